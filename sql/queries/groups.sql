-- Groups of users, what they are granted, and what holds where nothing is granted.

-- name: list_groups
-- A page of groups, or the one of that name or id.
SELECT one.id, one.name, one.is_everyone, one.claims
FROM user_groups AS one
WHERE (%(ref)s::text IS NULL OR one.name = %(ref)s OR one.id::text = lower(%(ref)s))
  AND (%(after_name)s::text IS NULL OR one.name > %(after_name)s)
ORDER BY one.name
LIMIT %(limit)s;

-- name: members_of
SELECT member.group_id, users.id, users.name
FROM group_members AS member
JOIN users ON users.id = member.user_id
WHERE member.group_id = ANY (%(group_ids)s::uuid[])
ORDER BY users.name, users.id;

-- name: grants_of
SELECT granted.group_id, granted.id, granted.level, server.name AS server, granted.tool_name AS tool,
       bundle.name AS bundle, approvers.name AS approvers, granted.self_approval
FROM access_grants AS granted
LEFT JOIN system_servers AS server ON server.id = granted.server_ref_id
LEFT JOIN bundles AS bundle ON bundle.id = granted.bundle_id
LEFT JOIN user_groups AS approvers ON approvers.id = granted.approvers
WHERE granted.group_id = ANY (%(group_ids)s::uuid[])
ORDER BY bundle.name NULLS FIRST, server.name, granted.tool_name NULLS FIRST, granted.id;

-- name: add_group
INSERT INTO user_groups (name, claims) VALUES (%(name)s, %(claims)s) RETURNING id;

-- name: change_group
UPDATE user_groups
SET name = coalesce(%(name)s, name), claims = coalesce(%(claims)s::text[], claims)
WHERE id = %(id)s;

-- name: asking_groups
SELECT DISTINCT asking.name
FROM access_grants AS granted JOIN user_groups AS asking ON asking.id = granted.group_id
WHERE granted.approvers = %(id)s AND granted.group_id <> %(id)s ORDER BY 1;

-- name: remove_group
DELETE FROM user_groups WHERE id = %(id)s;

-- name: add_member
INSERT INTO group_members (group_id, user_id) VALUES (%(group_id)s, %(user_id)s) ON CONFLICT DO NOTHING;

-- name: remove_member
DELETE FROM group_members WHERE group_id = %(group_id)s AND user_id = %(user_id)s RETURNING user_id;

-- name: find_bundle
SELECT id FROM bundles WHERE name = %(ref)s OR id::text = lower(%(ref)s);

-- name: find_system_server
SELECT id FROM system_servers WHERE name = %(ref)s OR id::text = lower(%(ref)s);

-- name: find_system_tool
-- By its namespaced name.
SELECT tool.server_ref_id, tool.tool_name
FROM tool_cache AS tool
JOIN system_servers AS server ON server.id = tool.server_ref_id
WHERE tool.namespaced_name = %(name)s AND tool.server_type = 'system' AND tool.tool_name IS NOT NULL
LIMIT 1;

-- name: grant_access
-- One grant for each thing: a further one takes its place.
INSERT INTO access_grants (group_id, level, server_ref_id, tool_name, bundle_id, approvers, self_approval)
VALUES (%(group_id)s, %(level)s, %(server_ref_id)s, %(tool_name)s, %(bundle_id)s, %(approvers)s, %(self_approval)s)
ON CONFLICT ON CONSTRAINT access_grants_target_key DO UPDATE
SET level = excluded.level, approvers = excluded.approvers, self_approval = excluded.self_approval
RETURNING id;

-- name: revoke_access
DELETE FROM access_grants WHERE group_id = %(group_id)s AND id = %(id)s RETURNING id;

-- name: is_open
SELECT nexus_is_open();

-- name: set_default_access
INSERT INTO hub_settings (access) VALUES (%(access)s)
ON CONFLICT (is_only) DO UPDATE SET access = excluded.access;

-- name: groups_of_user
SELECT one.id, one.name, one.is_everyone,
       EXISTS (SELECT FROM group_members AS member WHERE member.group_id = one.id AND member.user_id = %(user_id)s)
           AS by_hand
FROM user_groups AS one
WHERE one.id IN (SELECT nexus_groups_of(%(user_id)s::uuid))
ORDER BY one.name;

-- name: explain_permissions
-- What a user may do, each with the grants that say so; none of them: the default does.
SELECT said.target, coalesce(server.name, state.name, bundle.name, said.id::text) AS name, said.id,
       said.tool_name AS tool, said.level, said.self_approval,
       ARRAY(SELECT one.name FROM user_groups AS one WHERE one.id = ANY (said.approvers) ORDER BY 1) AS approvers,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('grant', granted.id, 'group', one.name) ORDER BY one.name), '[]')
        FROM access_grants AS granted
        JOIN user_groups AS one ON one.id = granted.group_id
        WHERE granted.group_id IN (SELECT nexus_groups_of(%(user_id)s::uuid)) AND granted.level = said.level
          AND CASE WHEN said.target = 'bundle' THEN granted.bundle_id = said.id
                   ELSE granted.server_ref_id = said.id END
          AND granted.tool_name IS NOT DISTINCT FROM said.tool_name) AS by
FROM nexus_permissions(%(user_id)s::uuid) AS said
LEFT JOIN system_servers AS server ON said.target <> 'bundle' AND server.id = said.id
LEFT JOIN server_state AS state
       ON said.target <> 'bundle' AND state.server_type = 'system' AND state.server_ref_id = said.id
LEFT JOIN bundles AS bundle ON said.target = 'bundle' AND bundle.id = said.id
WHERE %(after_target)s::text IS NULL
   OR (said.target, coalesce(server.name, state.name, bundle.name, said.id::text), coalesce(said.tool_name, ''),
       said.id) > (%(after_target)s, %(after_name)s, %(after_tool)s, %(after_id)s::uuid)
ORDER BY said.target, coalesce(server.name, state.name, bundle.name, said.id::text), coalesce(said.tool_name, ''),
         said.id
LIMIT %(limit)s;

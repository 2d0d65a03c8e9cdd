-- The hub's configuration as a whole: read, and changed to what its one file says. Service scope.

-- name: lock_configuration
-- One at a time, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('nexus.configuration', 0));

-- name: lock_what_is_changed
-- Whoever changes any of it by hand, or locks rows of it for that, waits until the transaction ends; readers don't.
LOCK TABLE system_servers, call_policies, bundles, bundle_entries, user_groups, group_members, access_grants, hub_settings
IN EXCLUSIVE MODE;

-- name: sealed_servers
SELECT 'system' AS server_type, server.id, NULL::uuid AS user_id, server.name, server.config_encrypted, server.key_id,
       server.revision, server.limit_per_minute, server.user_limit_per_minute, server.enabled,
       NOT EXISTS (
           SELECT FROM vault_rotations AS rotation
           WHERE rotation.bound AND rotation.restored_at IS NULL
       ) AS opens_unbound,
       NULL::text AS protocol_version, policy.durable, policy.handle_seconds
FROM system_servers AS server
LEFT JOIN call_policies AS policy
       ON policy.server_type = 'system' AND policy.server_ref_id = server.id AND policy.tool_name = ''
ORDER BY server.name;

-- name: server_words
SELECT server.id, server.access, server.tags, server.pin, server.ttl_seconds,
       (SELECT coalesce(jsonb_object_agg(of_tool.tool_name, jsonb_build_object(
                   'durable', of_tool.durable, 'enabled', coalesce(of_tool.enabled, true))), '{}')
        FROM call_policies AS of_tool
        WHERE of_tool.server_type = 'system' AND of_tool.server_ref_id = server.id AND of_tool.tool_name <> ''
          AND (of_tool.durable IS NOT NULL OR NOT of_tool.enabled)) AS tools
FROM system_servers AS server;

-- name: group_words
SELECT one.id, one.name, one.claims,
       ARRAY(SELECT users.name FROM group_members AS member JOIN users ON users.id = member.user_id
             WHERE member.group_id = one.id ORDER BY users.name) AS members,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'level', granted.level, 'server', server.name, 'tool', granted.tool_name, 'bundle', bundle.name,
                   'approvers', approvers.name, 'self_approval', granted.self_approval)
                   ORDER BY server.name, granted.tool_name NULLS FIRST, bundle.name), '[]')
        FROM access_grants AS granted
        LEFT JOIN system_servers AS server ON server.id = granted.server_ref_id
        LEFT JOIN bundles AS bundle ON bundle.id = granted.bundle_id
        LEFT JOIN user_groups AS approvers ON approvers.id = granted.approvers
        WHERE granted.group_id = one.id) AS grants
FROM user_groups AS one
ORDER BY one.name;

-- name: bundle_times
SELECT name, to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.USZ') AS changed_at FROM bundles;

-- name: known_users
SELECT name FROM users WHERE name = ANY (%(names)s::text[]);

-- name: taken_by_users
-- Names of servers that users have for their own.
SELECT DISTINCT name FROM user_servers WHERE name = ANY (%(names)s::text[]);

-- name: replace_connection
-- Its connections are opened anew: the revision goes up, unless another statement before has said that it should not.
WITH loud AS MATERIALIZED (SELECT set_config('nexus.reseal', '', true) AS was)
UPDATE system_servers AS server
SET transport = %(transport)s, config_encrypted = %(config_encrypted)s, key_id = %(key_id)s, endpoint = %(endpoint)s,
    login_kind = %(login_kind)s, credentials = %(credentials)s
FROM loud
WHERE server.id = %(id)s AND loud.was = '';

-- name: end_logins
-- Nobody's login goes to another place than the one it was made for.
WITH ended AS (DELETE FROM upstream_logins WHERE server_type = 'system' AND server_ref_id = %(id)s)
DELETE FROM login_requests WHERE server_type = 'system' AND server_ref_id = %(id)s;

-- name: expect_refresh
UPDATE server_state
SET next_refresh_at = now(), failures = 0
WHERE server_type = 'system' AND server_ref_id = %(id)s;

-- name: set_server_words
-- Connections stay as they are. Whoever knows the server is told all the same.
WITH quiet AS MATERIALIZED (SELECT set_config('nexus.reseal', 'on', true) AS is_on),
changed AS (
    UPDATE system_servers AS server
    SET enabled = %(enabled)s, access = %(access)s, tags = %(tags)s::text[], pin = %(pin)s, ttl_seconds = %(ttl_seconds)s,
        limit_per_minute = %(limit_per_minute)s, user_limit_per_minute = %(user_limit_per_minute)s
    FROM quiet
    WHERE quiet.is_on = 'on' AND server.id = %(id)s
    RETURNING server.id
)
SELECT pg_notify('nexus_catalog', json_build_object(
           'server_type', 'system', 'server_ref_id', changed.id, 'user_id', NULL,
           'kinds', json_build_array('server'))::text)
FROM changed;

-- name: put_policies
-- Of the server (no tool) and of its tools; of all others of its tools nothing is said any more.
WITH said AS (
    SELECT word.tool_name, word.durable, word.handle_seconds, word.enabled
    FROM jsonb_to_recordset(%(policies)s) AS word (tool_name text, durable text, handle_seconds float8, enabled boolean)
),
gone AS (
    DELETE FROM call_policies AS policy
    WHERE policy.server_type = 'system' AND policy.server_ref_id = %(id)s
      AND policy.tool_name NOT IN (SELECT said.tool_name FROM said)
)
INSERT INTO call_policies AS policy (server_type, server_ref_id, tool_name, durable, handle_seconds, enabled)
SELECT 'system', %(id)s, said.tool_name, said.durable, said.handle_seconds, said.enabled
FROM said
ON CONFLICT (server_type, server_ref_id, tool_name) DO UPDATE
SET durable = excluded.durable, handle_seconds = excluded.handle_seconds, enabled = excluded.enabled;

-- name: put_group
INSERT INTO user_groups AS one (name, claims) VALUES (%(name)s, %(claims)s::text[])
ON CONFLICT (name) DO UPDATE SET claims = excluded.claims
RETURNING one.id;

-- name: drop_members
DELETE FROM group_members
WHERE group_id = %(group_id)s
  AND user_id NOT IN (SELECT users.id FROM users WHERE users.name = ANY (%(members)s::text[]));

-- name: put_members
INSERT INTO group_members (group_id, user_id)
SELECT %(group_id)s, users.id FROM users WHERE users.name = ANY (%(members)s::text[])
ON CONFLICT DO NOTHING;

-- name: put_grants
-- All grants of a group, of which those on other things go.
WITH said AS (
    SELECT word.level, server.id AS server_ref_id, word.tool AS tool_name, bundle.id AS bundle_id,
           approvers.id AS approvers, word.self_approval
    FROM jsonb_to_recordset(%(grants)s) AS word (
        level text, server text, tool text, bundle text, approvers text, self_approval boolean)
    LEFT JOIN system_servers AS server ON server.name = word.server
    LEFT JOIN bundles AS bundle ON bundle.name = word.bundle
    LEFT JOIN user_groups AS approvers ON approvers.name = word.approvers
),
gone AS (
    DELETE FROM access_grants AS granted
    WHERE granted.group_id = %(group_id)s AND NOT EXISTS (
        SELECT FROM said
        WHERE (said.server_ref_id, said.tool_name, said.bundle_id)
              IS NOT DISTINCT FROM (granted.server_ref_id, granted.tool_name, granted.bundle_id))
)
INSERT INTO access_grants (group_id, level, server_ref_id, tool_name, bundle_id, approvers, self_approval)
SELECT %(group_id)s, said.level, said.server_ref_id, said.tool_name, said.bundle_id, said.approvers, said.self_approval
FROM said
ON CONFLICT ON CONSTRAINT access_grants_target_key DO UPDATE
SET level = excluded.level, approvers = excluded.approvers, self_approval = excluded.self_approval;

-- name: drop_group
DELETE FROM user_groups WHERE name = %(name)s AND NOT is_everyone;

-- name: applied_configuration
SELECT document, applied_at FROM applied_configuration;

-- name: note_applied
INSERT INTO applied_configuration (document) VALUES (%(document)s)
ON CONFLICT (is_only) DO UPDATE SET document = excluded.document, applied_at = now();

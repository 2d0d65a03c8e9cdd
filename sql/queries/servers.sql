-- Upstream servers. What is sealed leaves the database only through `sealed_server`.

-- name: add_system_server
INSERT INTO system_servers (id, name, transport, config_encrypted, key_id, endpoint, limit_per_minute,
                            user_limit_per_minute, login_kind, credentials, enabled)
VALUES (%(id)s, %(name)s, %(transport)s, %(config_encrypted)s, %(key_id)s, %(endpoint)s, %(limit_per_minute)s,
        %(user_limit_per_minute)s, %(login_kind)s, %(credentials)s, %(enabled)s);

-- name: add_user_server
INSERT INTO user_servers (id, user_id, name, transport, config_encrypted, key_id, endpoint, limit_per_minute,
                          login_kind, enabled)
VALUES (%(id)s, %(user_id)s, %(name)s, %(transport)s, %(config_encrypted)s, %(key_id)s, %(endpoint)s,
        %(limit_per_minute)s, %(login_kind)s, %(enabled)s);

-- name: list_servers
-- What a principal sees of all servers, in the order of their names; the operator sees those of all users. The login is
-- the one that the principal's own calls take. Of a server of which only tools are seen (`tools_seen`), nothing else is.
WITH permitted AS MATERIALIZED (
    SELECT said.id, said.tool_name
    FROM nexus_permissions(%(user_id)s::uuid) AS said
    WHERE NOT %(all_users)s AND said.target IN ('server', 'tool')
), server AS (
    SELECT 'system' AS server_type, id, NULL::uuid AS user_id, name, transport, endpoint, limit_per_minute,
           user_limit_per_minute, enabled, revision, created_at, login_kind, credentials, access, tags, pin,
           ttl_seconds,
           CASE WHEN NOT %(all_users)s AND id NOT IN (SELECT permitted.id FROM permitted WHERE tool_name IS NULL)
                THEN ARRAY(SELECT tool_name FROM permitted WHERE permitted.id = system_servers.id) END AS tools_seen
    FROM system_servers
    UNION ALL
    SELECT 'user', id, user_id, name, transport, endpoint, limit_per_minute, NULL, enabled, revision, created_at,
           login_kind, 'shared', NULL, tags, pin, ttl_seconds, NULL
    FROM user_servers
)
SELECT server.server_type, server.id, server.user_id, server.name, server.transport, server.endpoint,
       server.limit_per_minute, server.user_limit_per_minute, server.enabled, server.revision, server.created_at,
       CASE WHEN server.login_kind IS NOT NULL AND state.last_refresh_at IS NULL AND NOT EXISTS (
                SELECT FROM upstream_logins AS any_login
                WHERE any_login.server_type = server.server_type AND any_login.server_ref_id = server.id
                  AND any_login.state = 'ready')
            THEN 'needs-login' ELSE state.status END AS status,
       state.last_refresh_at, state.next_refresh_at, state.last_error_code, state.protocol_version,
       CASE WHEN server.tools_seen IS NULL THEN state.server_info END AS server_info,
       CASE WHEN server.tools_seen IS NULL THEN coalesce(state.omitted, '[]') ELSE '[]' END AS omitted,
       server.access, server.tags, server.pin, server.ttl_seconds,
       CASE WHEN state.circuit = 'open' AND state.circuit_until <= now() THEN 'half-open'
            ELSE coalesce(state.circuit, 'closed') END AS circuit,
       state.circuit_since, state.circuit_until,
       tools.entries AS tools, resources.entries AS resources, prompts.entries AS prompts,
       least(tools.expires_at, resources.expires_at, prompts.expires_at) AS expires_at,
       coalesce(state.failures, 0) AS failures, users.name AS owner,
       coalesce(policy.durable, 'long') AS durable, policy.handle_seconds,
       (SELECT coalesce(jsonb_object_agg(of_tool.tool_name, of_tool.durable ORDER BY of_tool.tool_name), '{}')
        FROM call_policies AS of_tool
        WHERE of_tool.server_type = server.server_type AND of_tool.server_ref_id = server.id
          AND of_tool.tool_name <> '' AND of_tool.durable IS NOT NULL
          AND (server.tools_seen IS NULL OR of_tool.tool_name = ANY (server.tools_seen))) AS durable_tools,
       (SELECT coalesce(array_agg(of_tool.tool_name ORDER BY of_tool.tool_name), '{}')
        FROM call_policies AS of_tool
        WHERE of_tool.server_type = server.server_type AND of_tool.server_ref_id = server.id
          AND of_tool.tool_name <> '' AND NOT of_tool.enabled) AS off_tools,
       tools.held,
       server.login_kind, server.credentials,
       CASE WHEN server.login_kind IS NOT NULL THEN coalesce(login.state, 'none') END AS login_state,
       login.reason AS login_reason, login.expires_at AS login_expires_at
FROM server
LEFT JOIN server_state AS state ON state.server_type = server.server_type AND state.server_ref_id = server.id
LEFT JOIN call_policies AS policy
       ON policy.server_type = server.server_type AND policy.server_ref_id = server.id AND policy.tool_name = ''
LEFT JOIN users ON users.id = server.user_id
LEFT JOIN LATERAL (  -- two looks at the index: there may be a login of each of thousands of users
    SELECT own.state, own.reason, own.expires_at FROM upstream_logins AS own
    WHERE own.server_type = server.server_type AND own.server_ref_id = server.id
      AND server.credentials = 'per-user' AND own.user_id = %(user_id)s::uuid
    UNION ALL
    SELECT common.state, common.reason, common.expires_at FROM upstream_logins AS common
    WHERE common.server_type = server.server_type AND common.server_ref_id = server.id
      AND (server.credentials = 'shared' OR %(user_id)s::uuid IS NULL) AND common.user_id IS NULL
) AS login ON true
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE tool.enabled) AS entries, count(*) FILTER (WHERE tool.held) AS held,
           min(tool.expires_at) AS expires_at
    FROM tool_cache AS tool
    WHERE tool.server_type = server.server_type AND tool.server_ref_id = server.id
      AND (server.tools_seen IS NULL OR tool.tool_name = ANY (server.tools_seen))
) AS tools
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE resource.enabled) AS entries, min(resource.expires_at) AS expires_at
    FROM resource_cache AS resource
    WHERE resource.server_type = server.server_type AND resource.server_ref_id = server.id
      AND server.tools_seen IS NULL
) AS resources
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE prompt.enabled) AS entries, min(prompt.expires_at) AS expires_at
    FROM prompt_cache AS prompt
    WHERE prompt.server_type = server.server_type AND prompt.server_ref_id = server.id
      AND server.tools_seen IS NULL
) AS prompts
WHERE (SELECT count(*) FROM permitted) >= 0  -- asked for in any case: no time tells what is hidden from what is not there
  AND nexus_is_seen_by(%(all_users)s, %(user_id)s, server.user_id)
  AND (server.tools_seen IS NULL OR cardinality(server.tools_seen) > 0)
  AND nexus_is_meant(%(ref)s, server.name, server.id)
  AND (%(after_name)s::text IS NULL OR (server.name, server.id) > (%(after_name)s, %(after_id)s::uuid))
ORDER BY server.name, server.id
LIMIT %(limit)s;

-- name: sealed_server
-- Values that are not bound to their row and their owner are opened until a rotation has bound all.
WITH server AS (
    SELECT 'system' AS server_type, id, NULL::uuid AS user_id, name, config_encrypted, key_id, revision,
           limit_per_minute, user_limit_per_minute, enabled, ttl_seconds
    FROM system_servers
    WHERE %(server_type)s = 'system' AND id = %(id)s
    UNION ALL
    SELECT 'user', id, user_id, name, config_encrypted, key_id, revision, limit_per_minute, NULL, enabled,
           ttl_seconds
    FROM user_servers
    WHERE %(server_type)s = 'user' AND id = %(id)s
)
SELECT server.server_type, server.id, server.user_id, server.name, server.config_encrypted, server.key_id,
       server.revision, server.limit_per_minute, server.user_limit_per_minute, server.enabled,
       server.ttl_seconds,
       (SELECT state.protocol_version FROM server_state AS state
        WHERE state.server_type = server.server_type AND state.server_ref_id = server.id) AS protocol_version,
       NOT EXISTS (
           SELECT FROM vault_rotations AS rotation
           WHERE rotation.bound AND rotation.restored_at IS NULL
       ) AS opens_unbound,
       policy.durable, policy.handle_seconds
FROM server
LEFT JOIN call_policies AS policy
       ON policy.server_type = server.server_type AND policy.server_ref_id = server.id AND policy.tool_name = '';

-- name: set_policy
-- Of a whole server (no tool), or of one tool; what is not said stays as it is.
INSERT INTO call_policies AS policy (server_type, server_ref_id, tool_name, durable, handle_seconds, enabled)
VALUES (%(server_type)s, %(server_ref_id)s, %(tool_name)s, %(durable)s, %(handle_seconds)s, %(enabled)s)
ON CONFLICT (server_type, server_ref_id, tool_name) DO UPDATE
SET durable = CASE WHEN %(says_durable)s THEN excluded.durable ELSE policy.durable END,
    handle_seconds = CASE WHEN %(says_handle)s THEN excluded.handle_seconds ELSE policy.handle_seconds END,
    enabled = CASE WHEN %(says_enabled)s THEN excluded.enabled ELSE policy.enabled END;

-- name: drop_empty_policies
DELETE FROM call_policies
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
  AND durable IS NULL AND handle_seconds IS NULL AND enabled IS NULL;

-- name: hold_system_server
-- Keeps a server from being removed, or switched off, until the transaction ends.
SELECT id FROM system_servers WHERE id = %(id)s AND enabled FOR SHARE;

-- name: hold_user_server
SELECT id FROM user_servers WHERE id = %(id)s AND enabled FOR SHARE;

-- name: remove_system_server
DELETE FROM system_servers WHERE id = %(id)s;

-- name: remove_user_server
DELETE FROM user_servers WHERE id = %(id)s;

-- name: note_circuits
-- Circuits that opened or closed in a process, which counts in seconds from now.
WITH noted AS (
    SELECT state.server_type, state.server_ref_id, change.circuit, change.seconds_since, change.seconds_left
    FROM jsonb_to_recordset(%(changes)s) AS change (
        server_type text, server_ref_id uuid, circuit text, seconds_since float8, seconds_left float8)
    JOIN server_state AS state USING (server_type, server_ref_id)
    WHERE 'open' IN (state.circuit, change.circuit)
    ORDER BY state.server_type, state.server_ref_id
    FOR NO KEY UPDATE OF state
)
UPDATE server_state AS state
SET circuit = noted.circuit,
    circuit_since = now() - make_interval(secs => noted.seconds_since),
    circuit_until = now() + make_interval(secs => noted.seconds_left)
FROM noted
WHERE state.server_type = noted.server_type AND state.server_ref_id = noted.server_ref_id;

-- name: open_circuits
-- Not those that nobody has cared for since long: their next call finds out anyway.
SELECT server_type, server_ref_id, extract(epoch FROM now() - circuit_since)::float8 AS seconds_since,
       extract(epoch FROM circuit_until - now())::float8 AS seconds_left
FROM server_state
WHERE circuit = 'open' AND circuit_until > now() - interval '1 minute';

-- name: last_errors
-- The newest failed jobs of the last day of each of these servers, as far as one sees them. A user's by a bundle's name
-- are of no server.
SELECT failed.server_ref_id, failed.at, failed.code, failed.error, failed.job_id
FROM unnest(%(server_ref_ids)s::uuid[]) AS server (id)
CROSS JOIN LATERAL (
    SELECT job.server_ref_id, job.completed_at AS at, job.error_code AS code, job.error, job.id AS job_id
    FROM job_results AS job
    WHERE job.status = 'failed' AND job.server_ref_id = server.id AND job.completed_at > now() - interval '1 day'
      AND (%(all_users)s OR job.user_id = %(user_id)s::uuid AND job.called_as IS NULL)
    ORDER BY job.completed_at DESC, job.id DESC
    LIMIT %(most)s
) AS failed
ORDER BY failed.at DESC, failed.job_id DESC;

-- name: set_limits
-- Connections stay as they are: a limit is no part of the configuration. Whoever knows the server is told all the same.
WITH quiet AS MATERIALIZED (SELECT set_config('nexus.reseal', 'on', true) AS is_on),
of_system AS (
    UPDATE system_servers
    SET limit_per_minute = CASE WHEN %(says_server)s THEN %(per_minute)s ELSE limit_per_minute END,
        user_limit_per_minute = CASE WHEN %(says_user)s THEN %(per_user)s ELSE user_limit_per_minute END
    FROM quiet
    WHERE quiet.is_on = 'on' AND %(server_type)s = 'system' AND id = %(id)s
    RETURNING id
),
of_user AS (
    UPDATE user_servers
    SET limit_per_minute = CASE WHEN %(says_server)s THEN %(per_minute)s ELSE limit_per_minute END
    FROM quiet
    WHERE quiet.is_on = 'on' AND %(server_type)s = 'user' AND id = %(id)s
    RETURNING id
)
SELECT pg_notify('nexus_catalog', json_build_object(
           'server_type', state.server_type, 'server_ref_id', state.server_ref_id, 'user_id', state.user_id,
           'kinds', json_build_array('server'))::text)
FROM server_state AS state
WHERE state.server_type = %(server_type)s
  AND state.server_ref_id IN (SELECT id FROM of_system UNION ALL SELECT id FROM of_user);

-- name: set_system_traits
-- No part of the configuration either. Whoever knows the server is told, since its tools are found by its tags.
WITH quiet AS MATERIALIZED (SELECT set_config('nexus.reseal', 'on', true) AS is_on),
changed AS (
    UPDATE system_servers
    SET access = CASE WHEN %(says_access)s THEN %(access)s ELSE access END,
        tags = CASE WHEN %(says_tags)s THEN %(tags)s::text[] ELSE tags END,
        pin = CASE WHEN %(says_pin)s THEN %(pin)s ELSE pin END,
        ttl_seconds = CASE WHEN %(says_ttl_seconds)s THEN %(ttl_seconds)s ELSE ttl_seconds END
    FROM quiet
    WHERE quiet.is_on = 'on' AND id = %(id)s
    RETURNING id
)
SELECT pg_notify('nexus_catalog', json_build_object(
           'server_type', state.server_type, 'server_ref_id', state.server_ref_id, 'user_id', state.user_id,
           'kinds', json_build_array('server'))::text)
FROM server_state AS state
WHERE state.server_type = 'system' AND state.server_ref_id IN (SELECT id FROM changed);

-- name: set_user_traits
-- Likewise; `access` is not asked for.
WITH quiet AS MATERIALIZED (SELECT set_config('nexus.reseal', 'on', true) AS is_on),
changed AS (
    UPDATE user_servers
    SET tags = CASE WHEN %(says_tags)s THEN %(tags)s::text[] ELSE tags END,
        pin = CASE WHEN %(says_pin)s THEN %(pin)s ELSE pin END,
        ttl_seconds = CASE WHEN %(says_ttl_seconds)s THEN %(ttl_seconds)s ELSE ttl_seconds END
    FROM quiet
    WHERE quiet.is_on = 'on' AND id = %(id)s
    RETURNING id
)
SELECT pg_notify('nexus_catalog', json_build_object(
           'server_type', state.server_type, 'server_ref_id', state.server_ref_id, 'user_id', state.user_id,
           'kinds', json_build_array('server'))::text)
FROM server_state AS state
WHERE state.server_type = 'user' AND state.server_ref_id IN (SELECT id FROM changed);

-- name: switch_system_server
UPDATE system_servers SET enabled = %(enabled)s WHERE id = %(id)s AND enabled <> %(enabled)s;

-- name: switch_user_server
UPDATE user_servers SET enabled = %(enabled)s WHERE id = %(id)s AND enabled <> %(enabled)s;

-- Upstream servers. What is sealed leaves the database only through `sealed_server`.

-- name: add_system_server
INSERT INTO system_servers (id, name, transport, config_encrypted, key_id, endpoint, limit_per_minute,
                            user_limit_per_minute)
VALUES (%(id)s, %(name)s, %(transport)s, %(config_encrypted)s, %(key_id)s, %(endpoint)s, %(limit_per_minute)s,
        %(user_limit_per_minute)s);

-- name: add_user_server
INSERT INTO user_servers (id, user_id, name, transport, config_encrypted, key_id, endpoint, limit_per_minute)
VALUES (%(id)s, %(user_id)s, %(name)s, %(transport)s, %(config_encrypted)s, %(key_id)s, %(endpoint)s,
        %(limit_per_minute)s);

-- name: list_servers
-- What a principal sees of all servers, in the order of their names; the operator sees those of all users.
WITH server AS (
    SELECT 'system' AS server_type, id, NULL::uuid AS user_id, name, transport, endpoint, limit_per_minute,
           user_limit_per_minute, enabled, revision, created_at
    FROM system_servers
    UNION ALL
    SELECT 'user', id, user_id, name, transport, endpoint, limit_per_minute, NULL, enabled, revision, created_at
    FROM user_servers
)
SELECT server.server_type, server.id, server.user_id, server.name, server.transport, server.endpoint,
       server.limit_per_minute, server.user_limit_per_minute, server.enabled, server.revision, server.created_at,
       state.status, state.last_refresh_at, state.next_refresh_at, state.last_error_code, state.protocol_version,
       state.server_info, coalesce(state.omitted, '[]') AS omitted,
       (SELECT count(*) FROM tool_cache AS tool
        WHERE tool.server_type = server.server_type AND tool.server_ref_id = server.id) AS tools,
       (SELECT count(*) FROM resource_cache AS resource
        WHERE resource.server_type = server.server_type AND resource.server_ref_id = server.id) AS resources,
       (SELECT count(*) FROM prompt_cache AS prompt
        WHERE prompt.server_type = server.server_type AND prompt.server_ref_id = server.id) AS prompts
FROM server
LEFT JOIN server_state AS state ON state.server_type = server.server_type AND state.server_ref_id = server.id
WHERE nexus_is_seen_by(%(all_users)s, %(user_id)s, server.user_id)
  AND nexus_is_meant(%(ref)s, server.name, server.id)
  AND (%(after_name)s::text IS NULL OR (server.name, server.id) > (%(after_name)s, %(after_id)s::uuid))
ORDER BY server.name, server.id
LIMIT %(limit)s;

-- name: sealed_server
-- Values that are not bound to their row and their owner are opened until a rotation has bound all.
WITH server AS (
    SELECT 'system' AS server_type, id, NULL::uuid AS user_id, name, config_encrypted, key_id, revision,
           limit_per_minute, user_limit_per_minute, enabled
    FROM system_servers
    WHERE %(server_type)s = 'system' AND id = %(id)s
    UNION ALL
    SELECT 'user', id, user_id, name, config_encrypted, key_id, revision, limit_per_minute, NULL, enabled
    FROM user_servers
    WHERE %(server_type)s = 'user' AND id = %(id)s
)
SELECT server.server_type, server.id, server.user_id, server.name, server.config_encrypted, server.key_id,
       server.revision, server.limit_per_minute, server.user_limit_per_minute, server.enabled,
       (SELECT state.protocol_version FROM server_state AS state
        WHERE state.server_type = server.server_type AND state.server_ref_id = server.id) AS protocol_version,
       NOT EXISTS (
           SELECT FROM vault_rotations AS rotation
           WHERE rotation.bound AND rotation.restored_at IS NULL
       ) AS opens_unbound
FROM server;

-- name: hold_system_server
-- Keeps a server from being removed until the transaction ends.
SELECT id FROM system_servers WHERE id = %(id)s FOR KEY SHARE;

-- name: hold_user_server
SELECT id FROM user_servers WHERE id = %(id)s FOR KEY SHARE;

-- name: remove_system_server
DELETE FROM system_servers WHERE id = %(id)s;

-- name: remove_user_server
DELETE FROM user_servers WHERE id = %(id)s;

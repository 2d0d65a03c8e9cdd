-- The catalog as `/mcp` keeps it in memory: all that the system's servers offer, or those of one user.

-- name: offering_servers
SELECT state.server_type, state.server_ref_id, state.name, state.instructions,
       coalesce(common.enabled, own.enabled, true) AS enabled
FROM server_state AS state
LEFT JOIN system_servers AS common ON state.server_type = 'system' AND common.id = state.server_ref_id
LEFT JOIN user_servers AS own ON state.server_type = 'user' AND own.id = state.server_ref_id
WHERE CASE WHEN %(user_id)s::uuid IS NULL THEN state.server_type = 'system' ELSE state.user_id = %(user_id)s END
ORDER BY state.name, state.server_ref_id;

-- name: durable_calls
SELECT policy.server_ref_id, policy.tool_name, policy.durable
FROM call_policies AS policy
JOIN server_state AS state
  ON state.server_type = policy.server_type AND state.server_ref_id = policy.server_ref_id
WHERE policy.durable IS NOT NULL
  AND CASE WHEN %(user_id)s::uuid IS NULL THEN state.server_type = 'system' ELSE state.user_id = %(user_id)s END;

-- name: offered_tool
SELECT tool.server_type, tool.server_ref_id, tool.tool_name AS name, tool.namespaced_name AS namespaced,
       tool.definition, tool.expires_at
FROM tool_cache AS tool
WHERE tool.enabled AND tool.tool_name IS NOT NULL AND tool.user_id IS NOT DISTINCT FROM %(user_id)s::uuid
ORDER BY tool.namespaced_name, tool.id;

-- name: offered_prompt
SELECT prompt.server_type, prompt.server_ref_id, prompt.prompt_name AS name, prompt.namespaced_name AS namespaced,
       prompt.definition, prompt.expires_at
FROM prompt_cache AS prompt
WHERE prompt.enabled AND prompt.prompt_name IS NOT NULL AND prompt.user_id IS NOT DISTINCT FROM %(user_id)s::uuid
ORDER BY prompt.namespaced_name, prompt.id;

-- name: offered_resource
SELECT resource.server_type, resource.server_ref_id, resource.uri AS name, resource.uri AS namespaced,
       resource.definition, resource.expires_at
FROM resource_cache AS resource
WHERE resource.enabled AND resource.uri IS NOT NULL AND NOT resource.is_template
  AND resource.user_id IS NOT DISTINCT FROM %(user_id)s::uuid
ORDER BY resource.uri, resource.id;

-- name: offered_template
SELECT resource.server_type, resource.server_ref_id, resource.uri AS name, resource.uri AS namespaced,
       resource.definition, resource.expires_at
FROM resource_cache AS resource
WHERE resource.enabled AND resource.uri IS NOT NULL AND resource.is_template
  AND resource.user_id IS NOT DISTINCT FROM %(user_id)s::uuid
ORDER BY resource.uri, resource.id;

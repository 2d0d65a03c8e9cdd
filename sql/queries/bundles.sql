-- Bundles and what is in them. Service scope, but for the names that a user sees.

-- name: list_bundles
-- A user's own server hides the bundle of its name.
SELECT bundle.id, bundle.name, bundle.title, bundle.instructions, bundle.access
FROM bundles AS bundle
WHERE (%(ref)s::text IS NULL OR bundle.name = %(ref)s OR bundle.id::text = lower(%(ref)s))
  AND (%(user_id)s::uuid IS NULL OR NOT EXISTS (
      SELECT FROM server_state AS own WHERE own.user_id = %(user_id)s AND own.name = bundle.name))
ORDER BY bundle.name;

-- name: list_entries
SELECT entry.id, entry.bundle_id, entry.kind, server.name AS server, entry.server_ref_id, entry.source, entry.name,
       entry.title, entry.description, entry.fixed, entry.hidden,
       CASE WHEN CASE entry.kind
                WHEN 'tool' THEN EXISTS (
                    SELECT FROM tool_cache AS tool
                    WHERE tool.server_type = 'system' AND tool.server_ref_id = entry.server_ref_id AND tool.enabled
                      AND tool.tool_name IS NOT NULL AND entry.source IN (tool.tool_name, '*'))
                WHEN 'prompt' THEN EXISTS (
                    SELECT FROM prompt_cache AS prompt
                    WHERE prompt.server_type = 'system' AND prompt.server_ref_id = entry.server_ref_id
                      AND prompt.enabled AND prompt.prompt_name IS NOT NULL AND entry.source IN (prompt.prompt_name, '*'))
                ELSE EXISTS (
                    SELECT FROM resource_cache AS resource
                    WHERE resource.server_type = 'system' AND resource.server_ref_id = entry.server_ref_id
                      AND resource.is_template = (entry.kind = 'template')
                      AND resource.enabled AND resource.uri IS NOT NULL AND entry.source IN (resource.uri, '*'))
            END THEN 'ok' ELSE 'missing' END AS state
FROM bundle_entries AS entry
JOIN system_servers AS server ON server.id = entry.server_ref_id
WHERE %(bundle_id)s::uuid IS NULL OR entry.bundle_id = %(bundle_id)s
ORDER BY entry.bundle_id, entry.position, entry.id;

-- name: add_bundle
INSERT INTO bundles (name, title, instructions, access)
VALUES (%(name)s, %(title)s, %(instructions)s, %(access)s)
RETURNING id;

-- name: change_bundle
UPDATE bundles
SET name = %(name)s, title = %(title)s, instructions = %(instructions)s, access = %(access)s, updated_at = now()
WHERE id = %(id)s;

-- name: remove_bundle
DELETE FROM bundles WHERE id = %(id)s;

-- name: find_servers
SELECT id, name FROM system_servers WHERE name = ANY (%(names)s::text[]);

-- name: put_entry
-- An entry that was there keeps its id, by which the jobs know it that were asked for before.
INSERT INTO bundle_entries
    (bundle_id, position, kind, server_ref_id, source, name, title, description, fixed, hidden)
VALUES (%(bundle_id)s, %(position)s, %(kind)s, %(server_ref_id)s, %(source)s, %(name)s, %(title)s, %(description)s,
        %(fixed)s, %(hidden)s)
ON CONFLICT ON CONSTRAINT bundle_entries_source_key DO UPDATE
SET position = excluded.position, title = excluded.title, description = excluded.description, fixed = excluded.fixed,
    hidden = excluded.hidden
RETURNING id;

-- name: remove_other_entries
DELETE FROM bundle_entries WHERE bundle_id = %(bundle_id)s AND NOT id = ANY (%(ids)s::uuid[]);

-- name: items_tool
-- What servers offer, by their own names and the hub's; `bytes` is the size of the definition.
SELECT server_ref_id, tool_name AS name, namespaced_name AS public, %(bundle)s AS server, definition_bytes AS bytes
FROM tool_cache
WHERE server_type = 'system' AND server_ref_id = ANY (%(servers)s) AND enabled AND tool_name IS NOT NULL
ORDER BY namespaced_name, id;

-- name: items_prompt
SELECT server_ref_id, prompt_name AS name, namespaced_name AS public, %(bundle)s AS server, definition_bytes AS bytes
FROM prompt_cache
WHERE server_type = 'system' AND server_ref_id = ANY (%(servers)s) AND enabled AND prompt_name IS NOT NULL
ORDER BY namespaced_name, id;

-- name: items_resource
SELECT server_ref_id, uri AS name, uri AS public, %(bundle)s AS server, definition_bytes AS bytes
FROM resource_cache
WHERE server_type = 'system' AND server_ref_id = ANY (%(servers)s) AND enabled AND uri IS NOT NULL AND NOT is_template
ORDER BY uri, id;

-- name: items_template
SELECT server_ref_id, uri AS name, uri AS public, %(bundle)s AS server, definition_bytes AS bytes
FROM resource_cache
WHERE server_type = 'system' AND server_ref_id = ANY (%(servers)s) AND enabled AND uri IS NOT NULL AND is_template
ORDER BY uri, id;

-- name: tools_of_items
-- The tools of these servers and names, whole.
SELECT tool.id, tool.namespaced_name AS name, tool.title, tool.description, tool.server_type, tool.server_ref_id,
       tool.tool_name, tool.definition, tool.expires_at, tool.stale
FROM unnest(%(servers)s::uuid[], %(names)s::text[]) AS item (server_ref_id, name)
JOIN tool_cache AS tool
  ON tool.server_type = 'system' AND tool.server_ref_id = item.server_ref_id AND tool.tool_name = item.name
WHERE tool.enabled;

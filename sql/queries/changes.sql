-- Changes of the catalog: what refreshes found, and the tools that wait for approval. Service scope.

-- name: note_changes
-- Before what was read is stored. The first reading of a server is no change, nor is another order of members.
WITH entry AS MATERIALIZED (
    SELECT key, definition FROM json_to_recordset(%(entries)s) AS entry (key text, definition json)
), stored AS (
    SELECT tool_name AS key, definition FROM tool_cache
    WHERE %(kind)s = 'tool' AND server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
      AND tool_name IS NOT NULL
    UNION ALL
    SELECT prompt_name, definition FROM prompt_cache
    WHERE %(kind)s = 'prompt' AND server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
      AND prompt_name IS NOT NULL
    UNION ALL
    SELECT uri, definition FROM resource_cache
    WHERE %(kind)s = 'resource' AND server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
      AND uri IS NOT NULL
), change AS (
    SELECT coalesce(entry.key, stored.key) AS name, stored.definition AS old, entry.definition AS new,
           CASE WHEN stored.key IS NULL THEN 'added' WHEN entry.key IS NULL THEN 'removed' ELSE 'changed' END AS change
    FROM entry FULL JOIN stored ON stored.key = entry.key
    WHERE stored.key IS NULL
       OR entry.key IS NULL AND stored.key <> ALL (%(kept)s)
       OR CASE WHEN stored.definition::text = entry.definition::text THEN false
               ELSE stored.definition::jsonb::text <> entry.definition::jsonb::text END  -- as their hashes are made
), known AS (
    SELECT FROM server_state
    WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND last_refresh_at IS NOT NULL
), noted AS (
    INSERT INTO catalog_changes (server_type, server_ref_id, kind, name, change, old, new)
    SELECT %(server_type)s, %(server_ref_id)s, %(kind)s, name, change, old, new FROM change, known
    ORDER BY name
    LIMIT %(most)s
)
SELECT %(kind)s AS kind, name, change FROM change, known ORDER BY name;

-- name: trim_changes
-- The newest are kept: so many, so many bytes, and none that is old; the last one always.
DELETE FROM catalog_changes
WHERE id IN (
    SELECT id
    FROM (
        SELECT id, at, row_number() OVER newest AS place,
               sum(octet_length(coalesce(old::text, '')) + octet_length(coalesce(new::text, ''))) OVER newest AS bytes
        FROM catalog_changes
        WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
        WINDOW newest AS (ORDER BY id DESC)
    ) AS change
    WHERE change.at < now() - make_interval(days => %(most_days)s)
       OR change.place > 1 AND (change.place > %(most)s OR change.bytes > %(most_bytes)s)
);

-- name: audit_changes
-- What a server itself has changed, and nobody who asked.
INSERT INTO audit_log (id, at, actor, action, target, server, server_ref_id, outcome, times)
VALUES (gen_random_uuid(), now(), 'hub', 'catalog.change', %(target)s, %(server)s, %(server_ref_id)s, 'ok', %(times)s);

-- name: list_changes
-- Those that a principal may know of, newest first; a page ends after so many bytes of definitions.
WITH selected AS (
    SELECT change.id,
           octet_length(coalesce(change.old::text, '')) + octet_length(coalesce(change.new::text, '')) AS bytes
    FROM catalog_changes AS change
    JOIN server_state AS state USING (server_type, server_ref_id)
    WHERE (%(all_users)s OR state.user_id = %(user_id)s::uuid)
      AND nexus_is_meant(%(server)s, state.name, change.server_ref_id)
      AND (%(after_id)s::bigint IS NULL OR change.id < %(after_id)s)
    ORDER BY change.id DESC
    LIMIT %(limit)s
), page AS (
    SELECT id, count(*) OVER () AS selected, sum(bytes) OVER (ORDER BY id DESC) - bytes AS bytes_before FROM selected
)
SELECT change.id::text AS id, change.at, state.name AS server, change.server_type, change.server_ref_id, change.kind,
       change.name, change.change, change.old, change.new,
       CASE WHEN change.kind = 'tool' AND change.new IS NOT NULL
            THEN encode(nexus_definition_hash(change.server_ref_id, change.new), 'hex') END AS hash,
       coalesce(tool.held AND tool.definition_hash = nexus_definition_hash(change.server_ref_id, change.new), false)
           AS held,
       page.selected
FROM page
JOIN catalog_changes AS change USING (id)
JOIN server_state AS state USING (server_type, server_ref_id)
LEFT JOIN tool_cache AS tool
       ON change.kind = 'tool' AND change.new IS NOT NULL AND tool.server_type = change.server_type
      AND tool.server_ref_id = change.server_ref_id AND tool.tool_name = change.name
WHERE page.bytes_before < %(most_bytes)s
ORDER BY change.id DESC;

-- name: list_held
-- The tools that wait for approval, beside what was approved of them last.
WITH selected AS (
    SELECT tool.id, state.name AS server, tool.tool_name, tool.definition_bytes AS bytes
    FROM tool_cache AS tool
    JOIN server_state AS state USING (server_type, server_ref_id)
    WHERE tool.held
      AND (%(all_users)s OR state.user_id = %(user_id)s::uuid)
      AND nexus_is_meant(%(server)s, state.name, tool.server_ref_id)
      AND (%(after_server)s::text IS NULL
           OR (state.name, tool.tool_name, tool.id) > (%(after_server)s, %(after_name)s, %(after_id)s::uuid))
    ORDER BY state.name, tool.tool_name, tool.id
    LIMIT %(limit)s
), page AS (
    SELECT id, server, count(*) OVER () AS selected,
           sum(bytes) OVER (ORDER BY server, tool_name, id) - bytes AS bytes_before
    FROM selected
)
SELECT tool.id::text AS id, tool.updated_at AS at, page.server, tool.server_type, tool.server_ref_id, 'tool' AS kind,
       tool.tool_name AS name, CASE WHEN pin.tool_name IS NULL THEN 'added' ELSE 'changed' END AS change,
       pin.definition AS old, tool.definition AS new, encode(tool.definition_hash, 'hex') AS hash, true AS held,
       page.selected
FROM page
JOIN tool_cache AS tool USING (id)
LEFT JOIN tool_pins AS pin
       ON pin.server_type = tool.server_type AND pin.server_ref_id = tool.server_ref_id
      AND pin.tool_name = tool.tool_name
WHERE page.bytes_before < %(most_bytes)s
ORDER BY page.server, tool.tool_name, tool.id;

-- name: hold_server
-- Whoever writes to several of a server's tools, resources and prompts locks it first, so that nobody waits in a circle.
SELECT server_ref_id FROM server_state
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s FOR UPDATE;

-- name: lock_tools
SELECT tool.tool_name AS name,
       encode(coalesce(tool.definition_hash, nexus_definition_hash(tool.server_ref_id, tool.definition)), 'hex') AS hash
FROM tool_cache AS tool
WHERE tool.server_type = %(server_type)s AND tool.server_ref_id = %(server_ref_id)s AND tool.tool_name = ANY (%(names)s)
ORDER BY tool.tool_name
FOR UPDATE;

-- name: has_pins
SELECT coalesce((SELECT pin FROM system_servers WHERE %(server_type)s = 'system' AND id = %(server_ref_id)s),
                (SELECT pin FROM user_servers WHERE %(server_type)s = 'user' AND id = %(server_ref_id)s), false) AS pin;

-- name: pin_tools
INSERT INTO tool_pins (server_type, server_ref_id, tool_name, definition_hash, definition, approved_by)
SELECT tool.server_type, tool.server_ref_id, tool.tool_name,
       nexus_definition_hash(tool.server_ref_id, tool.definition), tool.definition,
       coalesce((SELECT users.name FROM users WHERE users.id = %(user_id)s::uuid), 'operator')
FROM tool_cache AS tool
WHERE tool.server_type = %(server_type)s AND tool.server_ref_id = %(server_ref_id)s AND tool.tool_name = ANY (%(names)s)
ON CONFLICT (server_type, server_ref_id, tool_name) DO UPDATE
SET definition_hash = excluded.definition_hash, definition = excluded.definition, approved_at = now(),
    approved_by = excluded.approved_by;

-- name: free_tools
UPDATE tool_cache AS tool SET held = tool.held
WHERE tool.server_type = %(server_type)s AND tool.server_ref_id = %(server_ref_id)s AND tool.tool_name = ANY (%(names)s);

-- name: audit_approvals
-- Each tool by itself, with the hash of what was approved.
INSERT INTO audit_log (id, at, actor, actor_id, action, target, server, server_ref_id, tool, outcome)
SELECT gen_random_uuid(), now(), pin.approved_by, %(user_id)s::uuid, 'tool.approve',
       'sha256:' || encode(pin.definition_hash, 'hex'), state.name, pin.server_ref_id, left(pin.tool_name, 200), 'ok'
FROM tool_pins AS pin
JOIN server_state AS state USING (server_type, server_ref_id)
WHERE pin.server_type = %(server_type)s AND pin.server_ref_id = %(server_ref_id)s AND pin.tool_name = ANY (%(names)s)
ORDER BY pin.tool_name;

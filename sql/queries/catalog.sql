-- The cached tools, resources and prompts. Written in service scope, read by their names.
-- Rows without a tool_name, uri or prompt_name were put in by others than the hub: the next refresh replaces them.

-- name: due_servers
SELECT due.server_type, due.server_ref_id, state.name
FROM refresh_expired_cache_entries() AS due
JOIN server_state AS state ON state.server_type = due.server_type AND state.server_ref_id = due.server_ref_id
ORDER BY state.next_refresh_at, due.server_ref_id;

-- name: claim_refresh
-- One refresher per server; one that died gives it back when its lease runs out.
UPDATE server_state
SET refresh_claim = %(claim)s, refresh_lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
  AND (refresh_lease_expires_at IS NULL OR refresh_lease_expires_at < now());

-- name: has_state
SELECT server_ref_id FROM server_state WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s;

-- name: release_refresh
-- Ended without a verdict on the server: its entries are stale until it is read again, so it is due.
UPDATE server_state
SET refresh_claim = NULL, refresh_lease_expires_at = NULL, next_refresh_at = least(next_refresh_at, now())
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND refresh_claim = %(claim)s;

-- name: holds_refresh
-- Locked until the transaction ends, so that nobody else takes the server in between.
SELECT refresh_claim
FROM server_state
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND refresh_claim = %(claim)s
FOR UPDATE;

-- name: mark_stale
-- The last good entries stay while a refresh runs, and after one that failed.
WITH tools AS (
    UPDATE tool_cache SET stale = true
    WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND NOT stale
), resources AS (
    UPDATE resource_cache SET stale = true
    WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND NOT stale
)
UPDATE prompt_cache SET stale = true
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND NOT stale;

-- name: expiry
-- One time for a server and all its entries, within 10%% of the time to live: servers do not come due together.
SELECT now() + make_interval(secs => %(ttl_seconds)s * (0.9 + 0.2 * random())) AS expires_at;

-- name: server_ready
UPDATE server_state
SET status = 'ready', failures = 0, last_error_code = NULL, last_attempt_at = now(), last_refresh_at = now(),
    next_refresh_at = %(expires_at)s, refresh_claim = NULL, refresh_lease_expires_at = NULL,
    protocol_version = %(protocol_version)s, server_info = %(server_info)s, instructions = %(instructions)s,
    omitted = %(omitted)s, circuit = 'closed', circuit_since = NULL, circuit_until = NULL
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s;

-- name: server_failing
UPDATE server_state
SET status = 'failing', failures = failures + 1, last_error_code = %(error_code)s, last_attempt_at = now(),
    next_refresh_at = now() + least(interval '1 hour', interval '30 seconds' * power(2, least(failures, 10)))
                              * (0.9 + 0.2 * random()),
    refresh_claim = NULL, refresh_lease_expires_at = NULL
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND refresh_claim = %(claim)s;

-- name: keep_tools
-- The entries of a listing that could not be read to its end stay, as stale, until the next refresh.
UPDATE tool_cache SET expires_at = %(expires_at)s
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND NOT %(templates)s
RETURNING tool_name;

-- name: keep_resources
UPDATE resource_cache SET expires_at = %(expires_at)s
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND is_template = %(templates)s
RETURNING uri;

-- name: keep_prompts
UPDATE prompt_cache SET expires_at = %(expires_at)s
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND NOT %(templates)s
RETURNING prompt_name;

-- name: hold_user_catalog
-- One change of a user's servers at a time, so that the bounds hold.
SELECT pg_advisory_xact_lock(hashtextextended('nexus.user_catalog:' || %(user_id)s, 0)) IS NULL AS held;

-- name: count_user_catalog
SELECT (SELECT count(*) FROM user_servers AS server WHERE server.user_id = %(user_id)s) AS servers,
       (SELECT count(*) FROM tool_cache AS tool WHERE tool.user_id = %(user_id)s) AS tools,
       (SELECT coalesce(sum(tool.definition_bytes), 0) FROM tool_cache AS tool WHERE tool.user_id = %(user_id)s)
       + (SELECT coalesce(sum(resource.definition_bytes), 0) FROM resource_cache AS resource
          WHERE resource.user_id = %(user_id)s)
       + (SELECT coalesce(sum(prompt.definition_bytes), 0) FROM prompt_cache AS prompt
          WHERE prompt.user_id = %(user_id)s) AS bytes;

-- name: drop_tools
DELETE FROM tool_cache
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
  AND NOT coalesce(tool_name = ANY (%(keys)s), false);

-- name: put_tools
-- Entries that say what is stored already are only marked as fresh: nobody is told of those.
WITH entry AS MATERIALIZED (
    SELECT key, namespaced_name, title, description, definition
    FROM json_to_recordset(%(entries)s)
         AS entry (key text, namespaced_name text, title text, description text, definition json)
), known AS (
    UPDATE tool_cache AS tool SET expires_at = %(expires_at)s, stale = false
    FROM entry
    WHERE tool.server_type = %(server_type)s AND tool.server_ref_id = %(server_ref_id)s AND tool.tool_name = entry.key
      AND (tool.user_id, tool.namespaced_name, tool.title, tool.description, tool.definition::text)
          IS NOT DISTINCT FROM
          (%(user_id)s::uuid, entry.namespaced_name, entry.title, entry.description, entry.definition::text)
    RETURNING tool.tool_name
)
INSERT INTO tool_cache (server_type, server_ref_id, user_id, tool_name, namespaced_name, title, description,
                        definition, expires_at, updated_at, stale)
SELECT %(server_type)s, %(server_ref_id)s, %(user_id)s, entry.key, entry.namespaced_name, entry.title,
       entry.description, entry.definition, %(expires_at)s, now(), false
FROM entry
WHERE entry.key NOT IN (SELECT tool_name FROM known)
ON CONFLICT (server_type, server_ref_id, tool_name) DO UPDATE
SET user_id = excluded.user_id, namespaced_name = excluded.namespaced_name, title = excluded.title,
    description = excluded.description, definition = excluded.definition, expires_at = excluded.expires_at,
    updated_at = excluded.updated_at, stale = false;

-- name: drop_resources
DELETE FROM resource_cache
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
  AND NOT coalesce(uri = ANY (%(keys)s), false);

-- name: put_resources
WITH entry AS MATERIALIZED (
    SELECT key, name, title, description, mime_type, is_template, definition
    FROM json_to_recordset(%(entries)s)
         AS entry (key text, name text, title text, description text, mime_type text, is_template boolean,
                   definition json)
), known AS (
    UPDATE resource_cache AS resource SET expires_at = %(expires_at)s, stale = false
    FROM entry
    WHERE resource.server_type = %(server_type)s AND resource.server_ref_id = %(server_ref_id)s
      AND resource.uri = entry.key
      AND (resource.user_id, resource.name, resource.title, resource.description, resource.mime_type,
           resource.is_template, resource.definition::text)
          IS NOT DISTINCT FROM
          (%(user_id)s::uuid, entry.name, entry.title, entry.description, entry.mime_type, entry.is_template,
           entry.definition::text)
    RETURNING resource.uri
)
INSERT INTO resource_cache (server_type, server_ref_id, user_id, uri, name, title, description, mime_type,
                            is_template, definition, expires_at, updated_at, stale)
SELECT %(server_type)s, %(server_ref_id)s, %(user_id)s, entry.key, entry.name, entry.title, entry.description,
       entry.mime_type, entry.is_template, entry.definition, %(expires_at)s, now(), false
FROM entry
WHERE entry.key NOT IN (SELECT uri FROM known)
ON CONFLICT (server_type, server_ref_id, uri) DO UPDATE
SET user_id = excluded.user_id, name = excluded.name, title = excluded.title, description = excluded.description,
    mime_type = excluded.mime_type, is_template = excluded.is_template, definition = excluded.definition,
    expires_at = excluded.expires_at, updated_at = excluded.updated_at, stale = false;

-- name: drop_prompts
DELETE FROM prompt_cache
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s
  AND NOT coalesce(prompt_name = ANY (%(keys)s), false);

-- name: put_prompts
WITH entry AS MATERIALIZED (
    SELECT key, namespaced_name, title, description, definition
    FROM json_to_recordset(%(entries)s)
         AS entry (key text, namespaced_name text, title text, description text, definition json)
), known AS (
    UPDATE prompt_cache AS prompt SET expires_at = %(expires_at)s, stale = false
    FROM entry
    WHERE prompt.server_type = %(server_type)s AND prompt.server_ref_id = %(server_ref_id)s
      AND prompt.prompt_name = entry.key
      AND (prompt.user_id, prompt.namespaced_name, prompt.title, prompt.description, prompt.definition::text)
          IS NOT DISTINCT FROM
          (%(user_id)s::uuid, entry.namespaced_name, entry.title, entry.description, entry.definition::text)
    RETURNING prompt.prompt_name
)
INSERT INTO prompt_cache (server_type, server_ref_id, user_id, prompt_name, namespaced_name, title, description,
                          definition, expires_at, updated_at, stale)
SELECT %(server_type)s, %(server_ref_id)s, %(user_id)s, entry.key, entry.namespaced_name, entry.title,
       entry.description, entry.definition, %(expires_at)s, now(), false
FROM entry
WHERE entry.key NOT IN (SELECT prompt_name FROM known)
ON CONFLICT (server_type, server_ref_id, prompt_name) DO UPDATE
SET user_id = excluded.user_id, namespaced_name = excluded.namespaced_name, title = excluded.title,
    description = excluded.description, definition = excluded.definition, expires_at = excluded.expires_at,
    updated_at = excluded.updated_at, stale = false;

-- name: find_tool
SELECT tool.server_type, tool.server_ref_id, tool.tool_name AS name, tool.namespaced_name, tool.definition
FROM tool_cache AS tool
WHERE tool.namespaced_name = %(namespaced_name)s
  AND tool.tool_name IS NOT NULL
  AND nexus_is_seen_by(false, %(user_id)s, tool.user_id)
  AND tool.enabled
ORDER BY tool.user_id NULLS LAST
LIMIT 1;

-- name: find_prompt
SELECT prompt.server_type, prompt.server_ref_id, prompt.prompt_name AS name, prompt.namespaced_name, prompt.definition
FROM prompt_cache AS prompt
WHERE prompt.namespaced_name = %(namespaced_name)s
  AND prompt.prompt_name IS NOT NULL
  AND nexus_is_seen_by(false, %(user_id)s, prompt.user_id)
  AND prompt.enabled
ORDER BY prompt.user_id NULLS LAST
LIMIT 1;

-- name: find_own_tool
-- By its server and the server's own name of it.
SELECT tool.server_type, tool.server_ref_id, tool.tool_name AS name, tool.namespaced_name, tool.definition
FROM tool_cache AS tool
WHERE tool.server_type = %(server_type)s AND tool.server_ref_id = %(server_ref_id)s AND tool.tool_name = %(name)s
  AND nexus_is_seen_by(false, %(user_id)s, tool.user_id)
  AND tool.enabled;

-- name: find_own_prompt
SELECT prompt.server_type, prompt.server_ref_id, prompt.prompt_name AS name, prompt.namespaced_name, prompt.definition
FROM prompt_cache AS prompt
WHERE prompt.server_type = %(server_type)s AND prompt.server_ref_id = %(server_ref_id)s
  AND prompt.prompt_name = %(name)s
  AND nexus_is_seen_by(false, %(user_id)s, prompt.user_id)
  AND prompt.enabled;

-- name: list_tools
-- A user's own tool hides the system's of the same name, here as in find_tool.
-- A page ends after `limit` entries, or after so many bytes of definitions; `selected` counts those of the limit alone.
-- The short form of a tool needs no definition, and only the beginning of what describes it.
WITH selected AS (
    SELECT tool.id, tool.namespaced_name, tool.definition_bytes
    FROM tool_cache AS tool
    JOIN server_state AS state USING (server_type, server_ref_id)
    WHERE tool.enabled AND tool.tool_name IS NOT NULL
      AND nexus_is_seen_by(%(all_users)s, %(user_id)s, tool.user_id)
      AND nexus_is_meant(%(server)s, state.name, tool.server_ref_id)
      AND (%(tagged)s::uuid[] IS NULL OR tool.server_ref_id = ANY (%(tagged)s))
      AND (NOT %(read_only)s OR (tool.definition #> '{annotations,readOnlyHint}')::text = 'true')
      AND (tool.user_id IS NOT NULL
           OR tool.namespaced_name NOT IN (SELECT nexus_own_names('tool', %(user_id)s::uuid)))
      AND (%(after_name)s::text IS NULL OR (tool.namespaced_name, tool.id) > (%(after_name)s, %(after_id)s::uuid))
    ORDER BY tool.namespaced_name, tool.id
    LIMIT %(limit)s
), page AS (
    SELECT id, count(*) OVER () AS selected,
           sum(definition_bytes) OVER (ORDER BY namespaced_name, id) - definition_bytes AS bytes_before
    FROM selected
)
SELECT tool.id, tool.namespaced_name AS name, tool.title,
       CASE WHEN %(compact)s THEN left(ltrim(tool.description, E' \t\r\n'), %(longest_text)s)
            ELSE tool.description END AS description,
       tool.server_type, tool.server_ref_id, tool.tool_name,
       CASE WHEN %(compact)s THEN '{}' ELSE tool.definition END AS definition,
       tool.expires_at, tool.stale, tool.definition_bytes, page.selected
FROM page JOIN tool_cache AS tool USING (id)
WHERE %(compact)s OR page.bytes_before < %(most_bytes)s
ORDER BY tool.namespaced_name, tool.id;

-- name: offered_tools
SELECT tool.namespaced_name AS name
FROM tool_cache AS tool
WHERE tool.enabled AND tool.tool_name IS NOT NULL AND tool.server_type = 'system' AND tool.user_id IS NULL
ORDER BY tool.namespaced_name
LIMIT %(limit)s;

-- name: search_tools
-- The tools that any word of a request speaks of: a rare word counts for more than a common one, in a name for more
-- than in a description, in a short entry for more than in a long one. Names that are the query, or begin with it, come
-- first; those that merely hold it come last. Scores are numeric, so that they add up the same in every order.
--
-- What it costs is bounded by the tools that are seen: each is unpacked once (`|| ''` does that), held against so many
-- words at most, and only those that the rarest words speak of are ranked. An OFFSET 0 keeps the planner from unpacking
-- a tool again for each word.
WITH asked AS MATERIALIZED (
    SELECT lower(%(query)s) AS query, %(query)s ~ '[_-]' AS is_name
), word AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY positions[1], lexeme) AS place, ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery AS sought
    FROM unnest(to_tsvector('english', nexus_name_words(%(query)s)))
    ORDER BY place
    LIMIT %(most_words)s
), candidate AS MATERIALIZED (
    SELECT tool.id, tool.namespaced_name, tool.tool_name, tool.search, tool.definition_bytes
    FROM tool_cache AS tool
    JOIN server_state AS state USING (server_type, server_ref_id)
    WHERE tool.enabled AND tool.tool_name IS NOT NULL
      AND nexus_is_seen_by(%(all_users)s, %(user_id)s, tool.user_id)
      AND nexus_is_meant(%(server)s, state.name, tool.server_ref_id)
      AND (%(tagged)s::uuid[] IS NULL OR tool.server_ref_id = ANY (%(tagged)s))
      AND (NOT %(read_only)s OR (tool.definition #> '{annotations,readOnlyHint}')::text = 'true')
      AND (tool.user_id IS NOT NULL
           OR tool.namespaced_name NOT IN (SELECT nexus_own_names('tool', %(user_id)s::uuid)))
), hit AS MATERIALIZED (
    SELECT spoken_of.id, met.place
    FROM (
        SELECT id, search || ''::tsvector AS search
        FROM candidate
        WHERE search @@ (SELECT string_agg(sought::text, ' | ')::tsquery FROM word)
        OFFSET 0
    ) AS spoken_of
    CROSS JOIN LATERAL (SELECT place FROM word WHERE spoken_of.search @@ word.sought OFFSET 0) AS met
), weight AS MATERIALIZED (
    SELECT word.place, word.sought, ln(1 + (all_tools - tools + 0.5) / (tools + 0.5)) AS rarity
    FROM word
    JOIN (SELECT place, count(*) AS tools FROM hit GROUP BY place) AS met USING (place)
    CROSS JOIN (SELECT count(*) AS all_tools FROM candidate) AS catalog
), rarities AS (
    SELECT array_agg(coalesce(round(weight.rarity * 1000000), 0)::bigint ORDER BY place) AS of_place
    FROM word LEFT JOIN weight USING (place)
), likely AS (
    SELECT id
    FROM hit
    GROUP BY id
    ORDER BY sum((SELECT of_place FROM rarities)[place]) DESC, id
    LIMIT %(most_ranked)s
), ranked AS (
    SELECT entry.id, sum(met.score) AS score
    FROM (
        SELECT id, candidate.search || ''::tsvector AS search
        FROM likely JOIN candidate USING (id)
        OFFSET 0
    ) AS entry
    CROSS JOIN LATERAL (
        SELECT round((ts_rank('{0.2, 0.4, 0.6, 1.0}', entry.search, sought, 1) * rarity)::numeric, 6) AS score
        FROM weight
        WHERE entry.search @@ sought
        OFFSET 0
    ) AS met
    GROUP BY entry.id
), found AS (
    SELECT id, namespaced_name, definition_bytes,
           coalesce(ranked.score, 0) + CASE
               WHEN strpos(lower(namespaced_name), query) = 0 THEN 0
               WHEN query IN (lower(namespaced_name), lower(tool_name)) THEN 2000000
               WHEN strpos(lower(namespaced_name), query) = 1 OR strpos(lower(tool_name), query) = 1 THEN 1000000
               ELSE 0 END AS score
    FROM candidate CROSS JOIN asked LEFT JOIN ranked USING (id)
    WHERE ranked.id IS NOT NULL
       OR strpos(lower(namespaced_name), query) > 0
          AND (EXISTS (SELECT FROM word) OR is_name OR query IN (lower(namespaced_name), lower(tool_name)))
), selected AS (
    SELECT id, score, namespaced_name, definition_bytes
    FROM found
    WHERE %(after_score)s::numeric IS NULL
       OR (-score, namespaced_name, id) > (-%(after_score)s::numeric, %(after_name)s, %(after_id)s::uuid)
    ORDER BY score DESC, namespaced_name, id
    LIMIT %(limit)s
), page AS (
    SELECT id, score, count(*) OVER () AS selected,
           sum(definition_bytes) OVER (ORDER BY score DESC, namespaced_name, id) - definition_bytes AS bytes_before
    FROM selected
)
SELECT tool.id, tool.namespaced_name AS name, tool.title,
       CASE WHEN %(compact)s THEN left(ltrim(tool.description, E' \t\r\n'), %(longest_text)s)
            ELSE tool.description END AS description,
       tool.server_type, tool.server_ref_id, tool.tool_name,
       CASE WHEN %(compact)s THEN '{}' ELSE tool.definition END AS definition,
       tool.expires_at, tool.stale, tool.definition_bytes, page.score, page.selected
FROM page JOIN tool_cache AS tool USING (id)
WHERE %(compact)s OR page.bytes_before < %(most_bytes)s
ORDER BY page.score DESC, tool.namespaced_name, tool.id;

-- name: found_tools
-- The tools that a search in memory has found, as far as they are still there and seen, in the order in which it gives
-- them; a page ends as one of `list_tools` does. The table is looked at once, since what a user sees is worked out anew
-- for each look.
WITH found AS (
    SELECT tool.id, tool.namespaced_name AS name, tool.title, tool.description, tool.server_type, tool.server_ref_id,
           tool.tool_name, tool.definition, tool.expires_at, tool.stale, tool.definition_bytes, sought.place,
           count(*) OVER () AS selected,
           sum(tool.definition_bytes) OVER (ORDER BY sought.place) - tool.definition_bytes AS bytes_before
    FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS sought (id, place)
    JOIN tool_cache AS tool USING (id)
    WHERE tool.enabled AND tool.tool_name IS NOT NULL
      AND nexus_is_seen_by(%(all_users)s, %(user_id)s, tool.user_id)
)
SELECT id, name, title, description, server_type, server_ref_id, tool_name, definition, expires_at, stale,
       definition_bytes, selected
FROM found
WHERE bytes_before < %(most_bytes)s
ORDER BY place;

-- name: tagged_servers
-- In service scope: those of the system, and of the users whose tools are asked for.
SELECT id FROM system_servers WHERE %(tag)s = ANY (tags)
UNION ALL
SELECT id FROM user_servers WHERE %(tag)s = ANY (tags) AND nexus_is_seen_by(%(all_users)s, %(user_id)s, user_id);

-- name: indexed_servers
-- Servers of which there is a catalog: of the system, of one user, or of all.
SELECT state.server_type, state.server_ref_id
FROM server_state AS state
WHERE CASE WHEN %(all_owners)s THEN state.user_id IS NOT NULL ELSE state.user_id IS NOT DISTINCT FROM %(owner)s::uuid END;

-- name: count_own_tools
SELECT count(*) FROM (SELECT FROM tool_cache WHERE user_id IS NOT NULL LIMIT %(most)s) AS own;

-- name: indexed_tools
-- All that a search looks through of the tools of some servers, as one text each: there may be thousands.
SELECT state.server_type, state.server_ref_id, state.user_id AS owner, state.name,
       json_agg(json_build_object(
           'id', tool.id, 'name', tool.namespaced_name, 'own_name', tool.tool_name,
           'title', left(tool.title, %(longest_text)s),
           'description', left(ltrim(tool.description, E' \t\r\n'), %(longest_text)s),
           'properties', tool.definition #> '{inputSchema,properties}',
           'read_only', tool.definition #> '{annotations,readOnlyHint}',
           'bytes', tool.definition_bytes) ORDER BY tool.namespaced_name, tool.id)::text AS tools
FROM server_state AS state
JOIN tool_cache AS tool USING (server_type, server_ref_id)
WHERE state.server_ref_id = ANY (%(servers)s) AND tool.enabled AND tool.tool_name IS NOT NULL
GROUP BY state.server_type, state.server_ref_id;

-- name: all_tools
-- Of one server, also those that are not offered.
SELECT tool.id, tool.namespaced_name AS name, tool.tool_name, left(tool.title, %(longest_text)s) AS title,
       left(tool.description, %(longest_text)s) AS description, policy.enabled IS NOT FALSE AS enabled, tool.held,
       tool.enabled AS offered,
       encode(coalesce(tool.definition_hash, nexus_definition_hash(tool.server_ref_id, tool.definition)), 'hex') AS hash
FROM tool_cache AS tool
LEFT JOIN call_policies AS policy
       ON policy.server_type = tool.server_type AND policy.server_ref_id = tool.server_ref_id
      AND policy.tool_name = tool.tool_name
WHERE tool.server_type = %(server_type)s AND tool.server_ref_id = %(server_ref_id)s AND tool.tool_name IS NOT NULL
  AND (%(after_name)s::text IS NULL OR (tool.namespaced_name, tool.id) > (%(after_name)s, %(after_id)s::uuid))
ORDER BY tool.namespaced_name, tool.id
LIMIT %(limit)s;

-- name: withheld
-- Why a name of who asks, or of the system for an operator, is not offered.
SELECT server.name AS server, server.enabled, entry.held
FROM (SELECT server_type, server_ref_id, user_id, namespaced_name, held FROM tool_cache
      WHERE %(kind)s = 'tool' AND tool_name IS NOT NULL
      UNION ALL
      SELECT server_type, server_ref_id, user_id, namespaced_name, false FROM prompt_cache
      WHERE %(kind)s = 'prompt' AND prompt_name IS NOT NULL) AS entry
JOIN (SELECT 'system' AS server_type, id, name, enabled FROM system_servers
      UNION ALL
      SELECT 'user', id, name, enabled FROM user_servers) AS server
  ON server.server_type = entry.server_type AND server.id = entry.server_ref_id
WHERE entry.namespaced_name = %(namespaced_name)s AND entry.user_id IS NOT DISTINCT FROM %(user_id)s::uuid
LIMIT 1;

-- name: work_as_if_hidden
-- A policy asks for a user's permissions once it comes to a row. For a name that no row has they are asked for here, so
-- that the time of an answer does not tell what is hidden from what is not there.
SELECT (SELECT count(*) FROM nexus_seen_servers(%(user_id)s::uuid))
       + (SELECT count(*) FROM nexus_seen_tools(%(user_id)s::uuid)) AS seen
WHERE %(user_id)s::uuid IS NOT NULL
  AND NOT EXISTS (SELECT FROM tool_cache WHERE %(kind)s = 'tool' AND user_id IS NULL AND tool_name IS NOT NULL
                                           AND namespaced_name = %(namespaced_name)s)
  AND NOT EXISTS (SELECT FROM prompt_cache WHERE %(kind)s = 'prompt' AND user_id IS NULL AND prompt_name IS NOT NULL
                                             AND namespaced_name = %(namespaced_name)s);

-- name: show_tool
SELECT tool.id, tool.namespaced_name AS name, tool.title, tool.description, tool.server_type, tool.server_ref_id,
       tool.tool_name, tool.definition, tool.expires_at, tool.stale
FROM tool_cache AS tool
WHERE tool.namespaced_name = %(namespaced_name)s
  AND tool.tool_name IS NOT NULL
  AND nexus_is_seen_by(false, %(user_id)s, tool.user_id)
  AND tool.enabled
ORDER BY tool.user_id NULLS LAST
LIMIT 1;

-- name: tools_bytes
-- The size of all definitions that a principal sees.
SELECT coalesce(sum(definition_bytes), 0) AS bytes
FROM tool_cache
WHERE enabled AND tool_name IS NOT NULL
  AND nexus_is_seen_by(%(all_users)s, %(user_id)s, user_id);

-- name: list_resources
-- Likewise; of what a server says only the beginning is looked through.
WITH selected AS (
    SELECT resource.id, resource.uri, state.name AS server, resource.definition_bytes
    FROM resource_cache AS resource
    JOIN server_state AS state USING (server_type, server_ref_id)
    WHERE resource.enabled AND resource.uri IS NOT NULL
      AND nexus_is_seen_by(%(all_users)s, %(user_id)s, resource.user_id)
      AND nexus_is_meant(%(server)s, state.name, resource.server_ref_id)
      AND (%(query)s::text IS NULL
           OR strpos(lower(concat_ws(' ', resource.uri, left(resource.title, %(longest_text)s),
                                     left(resource.description, %(longest_text)s))), lower(%(query)s)) > 0)
      AND (%(after_name)s::text IS NULL OR (resource.uri, resource.id) > (%(after_name)s, %(after_id)s::uuid))
    ORDER BY resource.uri, resource.id
    LIMIT %(limit)s
), page AS (
    SELECT id, server, count(*) OVER () AS selected,
           sum(definition_bytes) OVER (ORDER BY uri, id) - definition_bytes AS bytes_before
    FROM selected
)
SELECT resource.id, resource.uri AS name, resource.name AS resource_name, resource.title, resource.description,
       resource.mime_type, resource.is_template, page.server, resource.server_type, resource.server_ref_id,
       resource.definition, resource.expires_at, resource.stale, page.selected
FROM page JOIN resource_cache AS resource USING (id)
WHERE page.bytes_before < %(most_bytes)s
ORDER BY resource.uri, resource.id;

-- name: list_prompts
WITH selected AS (
    SELECT prompt.id, prompt.namespaced_name, prompt.definition_bytes
    FROM prompt_cache AS prompt
    JOIN server_state AS state USING (server_type, server_ref_id)
    WHERE prompt.enabled AND prompt.prompt_name IS NOT NULL
      AND nexus_is_seen_by(%(all_users)s, %(user_id)s, prompt.user_id)
      AND nexus_is_meant(%(server)s, state.name, prompt.server_ref_id)
      AND (prompt.user_id IS NOT NULL
           OR prompt.namespaced_name NOT IN (SELECT nexus_own_names('prompt', %(user_id)s::uuid)))
      AND (%(query)s::text IS NULL
           OR strpos(lower(concat_ws(' ', prompt.namespaced_name, left(prompt.title, %(longest_text)s),
                                     left(prompt.description, %(longest_text)s))), lower(%(query)s)) > 0)
      AND (%(after_name)s::text IS NULL
           OR (prompt.namespaced_name, prompt.id) > (%(after_name)s, %(after_id)s::uuid))
    ORDER BY prompt.namespaced_name, prompt.id
    LIMIT %(limit)s
), page AS (
    SELECT id, count(*) OVER () AS selected,
           sum(definition_bytes) OVER (ORDER BY namespaced_name, id) - definition_bytes AS bytes_before
    FROM selected
)
SELECT prompt.id, prompt.namespaced_name AS name, prompt.title, prompt.description, prompt.server_type,
       prompt.server_ref_id, prompt.prompt_name, prompt.definition, prompt.expires_at, prompt.stale, page.selected
FROM page JOIN prompt_cache AS prompt USING (id)
WHERE page.bytes_before < %(most_bytes)s
ORDER BY prompt.namespaced_name, prompt.id;

-- name: tool_to_call
-- The operator may have said how a tool is called that its server does not offer now. One that is not in the catalog
-- says nothing; of a server with pins nobody has approved it.
SELECT tool.definition, policy.durable, coalesce(tool.held, server.pin, false) AS held,
       coalesce(tool.enabled, policy.enabled IS NOT FALSE AND server.pin IS NOT TRUE) AS enabled
FROM (SELECT %(server_type)s::text AS server_type, %(server_ref_id)s::uuid AS server_ref_id,
             %(tool_name)s::text AS tool_name) AS asked
LEFT JOIN tool_cache AS tool USING (server_type, server_ref_id, tool_name)
LEFT JOIN call_policies AS policy
       ON policy.server_type = asked.server_type AND policy.server_ref_id = asked.server_ref_id
      AND policy.tool_name = nullif(asked.tool_name, '')
LEFT JOIN (SELECT 'system' AS server_type, id AS server_ref_id, pin FROM system_servers
           UNION ALL
           SELECT 'user', id, pin FROM user_servers) AS server
       ON server.server_type = asked.server_type AND server.server_ref_id = asked.server_ref_id;

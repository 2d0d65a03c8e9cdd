-- Bounds on what it costs to search the catalog and to list it and the history, whatever servers say and users ask.

-- What a tool is found by, its name first. Cut, since an upstream may say anything, and a search reads all of it of
-- every tool that a user sees: the texts of real tools are shorter than this.
CREATE OR REPLACE FUNCTION nexus_tool_search(
    p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb
)
RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT setweight(to_tsvector('english', nexus_name_words(concat_ws(' ', t.name, t.title))), 'A')
        || setweight(to_tsvector('english', nexus_name_words(t.server)), 'B')
        || setweight(to_tsvector('english', nexus_words(t.description)), 'C')
        || setweight(to_tsvector('english', nexus_name_words(t.parameters)), 'D')
        || setweight(to_tsvector('english', nexus_words(t.parameter_descriptions)), 'D')
    FROM (SELECT
        left(p_tool_name, 500) AS name,
        left(p_title, 500) AS title,
        coalesce(split_part(left(p_namespaced_name, 500), '__', 1), '') AS server,
        coalesce(left(p_description, 4000), '') AS description,
        coalesce(left(jsonb_path_query_array(
            p_definition, '$.inputSchema.properties.keyvalue().key', '{}', true)::text, 1000), '') AS parameters,
        coalesce(left(jsonb_path_query_array(
            p_definition, '$.inputSchema.properties.*.description', '{}', true)::text, 3000), ''
        ) AS parameter_descriptions
    ) AS t
$$;

-- Computes `search` anew.
UPDATE tool_cache SET namespaced_name = namespaced_name;

-- A page of a list ends after so many entries or so many bytes; a size that is stored costs no reading of the entry.
ALTER TABLE resource_cache
    ADD COLUMN IF NOT EXISTS definition_bytes integer GENERATED ALWAYS AS (octet_length(definition::text)) STORED;
ALTER TABLE prompt_cache
    ADD COLUMN IF NOT EXISTS definition_bytes integer GENERATED ALWAYS AS (octet_length(definition::text)) STORED;

-- A user's list of the jobs of one state reads no others: pending and running ones have an index already, and the
-- completed ones are most of them all.
CREATE INDEX IF NOT EXISTS idx_job_results_unsuccessful ON job_results (user_id, status, created_at DESC, id DESC)
    WHERE user_id IS NOT NULL AND status IN ('failed', 'cancelled');

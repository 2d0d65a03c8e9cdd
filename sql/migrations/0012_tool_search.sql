-- Finding the tools that matter for a request, by their words. No index on `search`: `@@` is not leakproof, so that row
-- security has every visible row looked at before it, and how rare a word is takes looking at all of them anyway.

-- The parser of PostgreSQL takes `a.b`, `a/b` and `a-b` for hosts, files and compounds.
CREATE OR REPLACE FUNCTION nexus_words(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT regexp_replace(p_text, '[_./:-]+', ' ', 'g')
$$;

-- The words of a name such as getCurrent_HTTPTime: as they stand, and those in mixed case also taken apart.
CREATE OR REPLACE FUNCTION nexus_name_words(p_name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT nexus_words(p_name || ' ' || regexp_replace(
        regexp_replace(p_name, '([a-z0-9])([A-Z])', '\1 \2', 'g'), '([A-Z])([A-Z][a-z])', '\1 \2', 'g'))
$$;

-- What a tool is found by, its name first. Cut, since a tsvector takes 1 MB and an upstream may say anything.
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
        left(p_tool_name, 2000) AS name,
        left(p_title, 2000) AS title,
        coalesce(split_part(left(p_namespaced_name, 2000), '__', 1), '') AS server,
        coalesce(left(p_description, 20000), '') AS description,
        coalesce(left(jsonb_path_query_array(
            p_definition, '$.inputSchema.properties.keyvalue().key', '{}', true)::text, 10000), '') AS parameters,
        coalesce(left(jsonb_path_query_array(
            p_definition, '$.inputSchema.properties.*.description', '{}', true)::text, 20000), ''
        ) AS parameter_descriptions
    ) AS t
$$;

DO $$
DECLARE
    v_role     text;
    v_function regprocedure;
BEGIN
    FOREACH v_function IN ARRAY ARRAY[
        'nexus_words(text)', 'nexus_name_words(text)', 'nexus_tool_search(text, text, text, text, jsonb)'
    ]::regprocedure[] LOOP
        FOR v_role IN
            SELECT 'PUBLIC'
            UNION ALL
            SELECT quote_ident(r.rolname) FROM pg_roles r
            WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'nexus_app')
        LOOP
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', v_function, v_role);
        END LOOP;
        -- Who writes the table runs them.
        FOR v_role IN
            SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.rolname IN ('nexus_app', 'service_role')
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', v_function, v_role);
        END LOOP;
    END LOOP;
END
$$;

ALTER TABLE tool_cache
    ADD COLUMN IF NOT EXISTS search tsvector
        GENERATED ALWAYS AS (nexus_tool_search(namespaced_name, tool_name, title, description, definition)) STORED,
    ADD COLUMN IF NOT EXISTS definition_bytes integer
        GENERATED ALWAYS AS (octet_length(definition::text)) STORED;

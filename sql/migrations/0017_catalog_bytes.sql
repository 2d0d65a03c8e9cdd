-- The names of a user's own tools or prompts, which hide the system's of the same name from that user.
CREATE OR REPLACE FUNCTION nexus_own_names(p_kind text, p_user_id uuid) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT namespaced_name FROM tool_cache
    WHERE p_kind = 'tool' AND user_id = p_user_id AND enabled AND namespaced_name IS NOT NULL
    UNION ALL
    SELECT namespaced_name FROM prompt_cache
    WHERE p_kind = 'prompt' AND user_id = p_user_id AND namespaced_name IS NOT NULL
$$;

SELECT nexus_revoke_all('nexus_own_names(text, uuid)');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_own_names(text, uuid)', 'nexus_app');

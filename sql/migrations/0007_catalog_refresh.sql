-- What is due to be refreshed: not what rests after a failure, and not what is being refreshed right now.

CREATE OR REPLACE FUNCTION refresh_expired_cache_entries()
RETURNS TABLE (server_ref_id uuid, server_type text, user_id uuid)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    WITH due AS (
        SELECT s.server_type, s.server_ref_id FROM server_state s WHERE s.next_refresh_at <= now()
        UNION
        SELECT t.server_type, t.server_ref_id FROM tool_cache t WHERE t.enabled AND t.expires_at < now()
        UNION
        SELECT r.server_type, r.server_ref_id FROM resource_cache r WHERE r.expires_at < now()
        UNION
        SELECT p.server_type, p.server_ref_id FROM prompt_cache p WHERE p.expires_at < now()
    ), ready AS (
        SELECT s.server_type, s.server_ref_id
        FROM due d JOIN server_state s USING (server_type, server_ref_id)
        WHERE (s.failures = 0 OR s.next_refresh_at <= now())
            AND (s.refresh_lease_expires_at IS NULL OR s.refresh_lease_expires_at < now())
    )
    SELECT s.id, 'system', NULL::uuid
    FROM ready r JOIN system_servers s ON s.id = r.server_ref_id AND r.server_type = 'system'
    WHERE s.enabled
    UNION ALL
    SELECT s.id, 'user', s.user_id
    FROM ready r JOIN user_servers s ON s.id = r.server_ref_id AND r.server_type = 'user'
    WHERE s.enabled
$$;

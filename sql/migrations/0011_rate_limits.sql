-- A limit for each user of a system server, beside that of the server, and a look at both that counts no call.

ALTER TABLE system_servers ADD COLUMN IF NOT EXISTS user_limit_per_minute integer;
ALTER TABLE system_servers DROP CONSTRAINT IF EXISTS system_servers_user_limit;
ALTER TABLE system_servers ADD CONSTRAINT system_servers_user_limit CHECK (user_limit_per_minute > 0);

-- How far the limits of a server and of one user on it are used up: a row for each limit that there is.
CREATE OR REPLACE FUNCTION peek_rate_limit(
    p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer DEFAULT NULL
)
RETURNS TABLE (
    scope text, quota integer, remaining integer, retry_after double precision, reset_after double precision
)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT l.scope, l.quota, greatest(l.quota - u.used, 0)::integer, u.retry_after, u.reset_after
    FROM (VALUES ('server', p_limit_per_minute), ('user', p_user_limit_per_minute)) AS l (scope, quota)
    CROSS JOIN LATERAL nexus_rate_limit_usage(p_server_id, p_user_id, l.scope = 'server', l.quota) AS u
    WHERE l.quota IS NOT NULL
    ORDER BY l.scope
$$;

DO $$
DECLARE
    v_role text;
BEGIN
    FOR v_role IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(r.rolname) FROM pg_roles r
        WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'nexus_app')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION peek_rate_limit(text, uuid, integer, integer) FROM %s', v_role);
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'service_role') THEN
        GRANT EXECUTE ON FUNCTION peek_rate_limit(text, uuid, integer, integer) TO service_role;
        GRANT SELECT (user_limit_per_minute) ON system_servers TO service_role;
    END IF;
END
$$;

GRANT EXECUTE ON FUNCTION peek_rate_limit(text, uuid, integer, integer) TO nexus_app;

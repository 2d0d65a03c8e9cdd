-- Who may do what. The app's rights hang on the group role nexus_app; row security keeps users apart in it.
-- Roles that others make (anon, authenticated, service_role) are only looked after where they exist.

CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_results ENABLE ROW LEVEL SECURITY;
ALTER TABLE system_servers ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_servers ENABLE ROW LEVEL SECURITY;
ALTER TABLE server_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE tool_cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE resource_cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE prompt_cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE rate_limit_tracking ENABLE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_tokens ENABLE ROW LEVEL SECURITY;

-- Default privileges may have given all of this away when the tables and functions were made.
DO $$
DECLARE
    v_role  text;
    v_table text;
    v_function regprocedure;
BEGIN
    FOR v_role IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(r.rolname) FROM pg_roles r
        WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'nexus_app')
    LOOP
        FOREACH v_table IN ARRAY ARRAY[
            'schema_migrations', 'job_results', 'system_servers', 'user_servers', 'server_state', 'tool_cache',
            'resource_cache', 'prompt_cache', 'rate_limit_tracking', 'users', 'api_tokens'
        ] LOOP
            EXECUTE format('REVOKE ALL ON TABLE %I FROM %s', v_table, v_role);
        END LOOP;
        FOREACH v_function IN ARRAY ARRAY[
            'nexus_scope_is_service()', 'nexus_claims_user_id()', 'nexus_current_user_id()',
            'nexus_rate_limit_usage(text, uuid, boolean, integer)', 'take_rate_limit(text, uuid, integer, integer)',
            'check_rate_limit(text, uuid, integer)', 'refresh_expired_cache_entries()', 'rotate_vault_key()',
            'cleanup_old_job_results()', 'cleanup_job_results_manual(integer, integer)',
            'execute_job_via_pg_net(uuid)', 'nexus_job_before_write()', 'nexus_job_after_write()',
            'nexus_server_before_write()', 'nexus_server_check_name()', 'nexus_server_keep_state()',
            'nexus_cache_before_write()'
        ]::regprocedure[] LOOP
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', v_function, v_role);
        END LOOP;
    END LOOP;
END
$$;

-- The app.
GRANT USAGE ON SCHEMA public TO nexus_app;
GRANT SELECT ON schema_migrations TO nexus_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    job_results, system_servers, user_servers, server_state, tool_cache, resource_cache, prompt_cache,
    rate_limit_tracking, users, api_tokens
    TO nexus_app;
GRANT EXECUTE ON FUNCTION
    nexus_scope_is_service(), nexus_claims_user_id(), nexus_current_user_id(),
    nexus_rate_limit_usage(text, uuid, boolean, integer), take_rate_limit(text, uuid, integer, integer),
    check_rate_limit(text, uuid, integer), refresh_expired_cache_entries(), rotate_vault_key(),
    cleanup_old_job_results(), cleanup_job_results_manual(integer, integer), execute_job_via_pg_net(uuid)
    TO nexus_app;

DROP POLICY IF EXISTS nexus_read ON schema_migrations;
CREATE POLICY nexus_read ON schema_migrations FOR SELECT TO nexus_app USING (true);

-- In service scope: everything. The sub-selects are evaluated once per query instead of once per row.
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY[
        'job_results', 'system_servers', 'user_servers', 'server_state', 'tool_cache', 'resource_cache',
        'prompt_cache', 'rate_limit_tracking', 'users', 'api_tokens'
    ] LOOP
        EXECUTE format('DROP POLICY IF EXISTS nexus_service ON %I', v_table);
        EXECUTE format('CREATE POLICY nexus_service ON %I TO nexus_app '
            'USING ((SELECT nexus_scope_is_service())) WITH CHECK ((SELECT nexus_scope_is_service()))', v_table);
    END LOOP;
END
$$;

-- In user scope: one's own jobs and servers, and what the catalog has of these and of the system's.
DROP POLICY IF EXISTS nexus_own_read ON job_results;
CREATE POLICY nexus_own_read ON job_results FOR SELECT TO nexus_app
    USING (user_id = (SELECT nexus_current_user_id()));
DROP POLICY IF EXISTS nexus_own_insert ON job_results;
CREATE POLICY nexus_own_insert ON job_results FOR INSERT TO nexus_app
    WITH CHECK (user_id = (SELECT nexus_current_user_id()));
DROP POLICY IF EXISTS nexus_own_update ON job_results;
CREATE POLICY nexus_own_update ON job_results FOR UPDATE TO nexus_app
    USING (user_id = (SELECT nexus_current_user_id()))
    WITH CHECK (user_id = (SELECT nexus_current_user_id()));
DROP POLICY IF EXISTS nexus_own ON user_servers;
CREATE POLICY nexus_own ON user_servers TO nexus_app
    USING (user_id = (SELECT nexus_current_user_id()))
    WITH CHECK (user_id = (SELECT nexus_current_user_id()));
DROP POLICY IF EXISTS nexus_own_read ON server_state;
CREATE POLICY nexus_own_read ON server_state FOR SELECT TO nexus_app
    USING (user_id = (SELECT nexus_current_user_id())
        OR (server_type = 'system' AND (SELECT nexus_current_user_id()) IS NOT NULL));

DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['tool_cache', 'resource_cache', 'prompt_cache'] LOOP
        EXECUTE format('DROP POLICY IF EXISTS nexus_own_read ON %I', v_table);
        EXECUTE format('CREATE POLICY nexus_own_read ON %I FOR SELECT TO nexus_app '
            'USING (user_id = (SELECT nexus_current_user_id()) '
            'OR (user_id IS NULL AND server_type IS DISTINCT FROM ''user'' '
            'AND (SELECT nexus_current_user_id()) IS NOT NULL))', v_table);
    END LOOP;
END
$$;

-- service_role: the documented tables and functions, and what their triggers read. Sealed system servers stay shut.
DO $$
DECLARE
    v_table text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'service_role') THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA public TO service_role;
    GRANT SELECT, INSERT, UPDATE, DELETE ON
        job_results, user_servers, tool_cache, resource_cache, prompt_cache, rate_limit_tracking
        TO service_role;
    GRANT SELECT ON server_state TO service_role;
    GRANT SELECT (id, name, transport, key_id, endpoint, limit_per_minute, enabled, revision, created_at, updated_at)
        ON system_servers TO service_role;
    GRANT EXECUTE ON FUNCTION
        nexus_rate_limit_usage(text, uuid, boolean, integer), take_rate_limit(text, uuid, integer, integer),
        check_rate_limit(text, uuid, integer), refresh_expired_cache_entries(), rotate_vault_key(),
        cleanup_old_job_results(), cleanup_job_results_manual(integer, integer), execute_job_via_pg_net(uuid)
        TO service_role;
    FOREACH v_table IN ARRAY ARRAY[
        'job_results', 'user_servers', 'tool_cache', 'resource_cache', 'prompt_cache', 'rate_limit_tracking'
    ] LOOP
        EXECUTE format('DROP POLICY IF EXISTS service_role_all ON %I', v_table);
        EXECUTE format('CREATE POLICY service_role_all ON %I TO service_role USING (true) WITH CHECK (true)', v_table);
    END LOOP;
    FOREACH v_table IN ARRAY ARRAY['system_servers', 'server_state'] LOOP
        EXECUTE format('DROP POLICY IF EXISTS service_role_read ON %I', v_table);
        EXECUTE format('CREATE POLICY service_role_read ON %I FOR SELECT TO service_role USING (true)', v_table);
    END LOOP;
END
$$;

-- authenticated: only the verified claims say who it is, since anyone may set a nexus.* setting. It reads its own
-- jobs, stores new ones, and gives up one that it could not start.
DO $$
DECLARE
    v_table text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'authenticated') THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA public TO authenticated;
    GRANT SELECT, INSERT (user_id, job_type, server_id, tool_name, params, status), UPDATE (status, error)
        ON job_results TO authenticated;
    GRANT SELECT ON tool_cache, resource_cache, prompt_cache TO authenticated;
    GRANT SELECT (server_type, server_ref_id, user_id) ON server_state TO authenticated;
    GRANT EXECUTE ON FUNCTION nexus_claims_user_id(), execute_job_via_pg_net(uuid) TO authenticated;

    DROP POLICY IF EXISTS authenticated_own_read ON job_results;
    CREATE POLICY authenticated_own_read ON job_results FOR SELECT TO authenticated
        USING (user_id = (SELECT nexus_claims_user_id()));
    DROP POLICY IF EXISTS authenticated_own_insert ON job_results;
    CREATE POLICY authenticated_own_insert ON job_results FOR INSERT TO authenticated
        WITH CHECK (user_id = (SELECT nexus_claims_user_id()) AND status = 'pending'
            AND job_type IN ('tool_invoke', 'resource_fetch', 'prompt_execute'));
    DROP POLICY IF EXISTS authenticated_own_give_up ON job_results;
    CREATE POLICY authenticated_own_give_up ON job_results FOR UPDATE TO authenticated
        USING (user_id = (SELECT nexus_claims_user_id()) AND status = 'pending')
        WITH CHECK (user_id = (SELECT nexus_claims_user_id()) AND status = 'failed');
    DROP POLICY IF EXISTS authenticated_own_read ON server_state;
    CREATE POLICY authenticated_own_read ON server_state FOR SELECT TO authenticated
        USING (user_id = (SELECT nexus_claims_user_id())
            OR (server_type = 'system' AND (SELECT nexus_claims_user_id()) IS NOT NULL));
    FOREACH v_table IN ARRAY ARRAY['tool_cache', 'resource_cache', 'prompt_cache'] LOOP
        EXECUTE format('DROP POLICY IF EXISTS authenticated_own_read ON %I', v_table);
        EXECUTE format('CREATE POLICY authenticated_own_read ON %I FOR SELECT TO authenticated '
            'USING (user_id = (SELECT nexus_claims_user_id()) '
            'OR (user_id IS NULL AND server_type IS DISTINCT FROM ''user'' '
            'AND (SELECT nexus_claims_user_id()) IS NOT NULL))', v_table);
    END LOOP;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_publication p WHERE p.pubname = 'supabase_realtime' AND NOT p.puballtables)
        AND NOT EXISTS (
            SELECT FROM pg_publication_tables t
            WHERE t.pubname = 'supabase_realtime' AND t.schemaname = 'public' AND t.tablename = 'job_results'
        )
    THEN
        ALTER PUBLICATION supabase_realtime ADD TABLE job_results;
    END IF;
END
$$;

-- Bundles and system servers share their names, since both are addresses of `/mcp`. A user's own server may bear the
-- name of a bundle, which it then hides from its owner.

-- SECURITY DEFINER, since a user may not look into system_servers.
CREATE OR REPLACE FUNCTION nexus_server_check_name() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_taken_by text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.server_name:' || NEW.name, 0));
    v_taken_by := CASE
        WHEN TG_ARGV[0] = 'system' AND EXISTS (SELECT FROM public.bundles b WHERE b.name = NEW.name) THEN 'bundle'
        WHEN TG_ARGV[0] <> 'system' AND EXISTS (SELECT FROM public.system_servers s WHERE s.name = NEW.name) THEN 'server'
    END;
    IF v_taken_by IS NOT NULL THEN
        RAISE EXCEPTION 'The name % is taken by another %.', quote_literal(NEW.name), v_taken_by
            USING ERRCODE = '23505', CONSTRAINT = v_taken_by || '_name_taken';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON bundles
    FOR EACH ROW EXECUTE FUNCTION nexus_server_check_name('bundle');
CREATE OR REPLACE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON system_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_check_name('system');

-- By which name of a bundle a job was asked for is part of its request.
CREATE OR REPLACE TRIGGER keep_request BEFORE UPDATE OF id, user_id, job_type, server_id, server_ref_id, server_type,
        tool_name, params, params_escaped, params_sent, created_at, idempotency_key, request_digest, retry, timeout_seconds,
        max_attempts, bundle_entry_id, called_as
    ON job_results
    FOR EACH ROW
    WHEN (nexus_is_call(OLD.job_type) OR nexus_is_call(NEW.job_type))
    EXECUTE FUNCTION nexus_job_keep_request('id', 'user_id', 'job_type', 'server_id', 'server_ref_id', 'server_type',
        'tool_name', 'params', 'params_escaped', 'params_sent', 'created_at', 'idempotency_key', 'request_digest', 'retry',
        'timeout_seconds', 'max_attempts', 'bundle_entry_id', 'called_as');

-- The audit of a user's own doings shows that name in place of the server and the tool behind it.
ALTER TABLE audit_log ADD COLUMN IF NOT EXISTS called_as text;

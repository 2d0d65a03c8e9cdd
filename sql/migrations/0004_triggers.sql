-- Triggers: they fill what plain inserts leave out, keep ended jobs as they are, and tell who listens.
-- pg_temp comes last in every search path: left out, it would be searched first.

CREATE OR REPLACE FUNCTION nexus_job_before_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.status IN ('completed', 'failed', 'cancelled') THEN
            RAISE EXCEPTION 'Job % has ended as %; what has ended does not change.', OLD.id, OLD.status
                USING ERRCODE = 'NX001';
        END IF;
        NEW.version := OLD.version + 1;
    END IF;

    IF NEW.server_ref_id IS NOT NULL AND NEW.server_ref_id IS DISTINCT FROM OLD.server_ref_id THEN
        NEW.server_id := NEW.server_ref_id::text;
    ELSIF NEW.server_id IS DISTINCT FROM OLD.server_id THEN
        NEW.server_ref_id := CASE
            WHEN NEW.server_id ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
            THEN NEW.server_id::uuid
        END;
        NEW.server_id := coalesce(NEW.server_ref_id::text, NEW.server_id);
    END IF;
    IF NEW.server_type IS NULL AND NEW.server_ref_id IS NOT NULL THEN
        SELECT s.server_type INTO NEW.server_type
        FROM server_state s
        WHERE s.server_ref_id = NEW.server_ref_id
        LIMIT 1;
    END IF;

    IF NEW.status = 'running' THEN
        NEW.started_at := coalesce(NEW.started_at, now());
    ELSE
        NEW.claim_id := NULL;
        NEW.lease_expires_at := NULL;
    END IF;
    IF NEW.status IN ('completed', 'failed', 'cancelled') THEN
        NEW.completed_at := coalesce(NEW.completed_at, now());
    END IF;
    RETURN NEW;
END
$$;

-- Only names the job: a payload of 8,000 bytes or more would fail the write itself.
CREATE OR REPLACE FUNCTION nexus_job_after_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_notify('nexus_jobs', json_build_object(
        'id', NEW.id, 'version', NEW.version, 'status', NEW.status, 'user_id', NEW.user_id)::text);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE ON job_results
    FOR EACH ROW EXECUTE FUNCTION nexus_job_before_write();
CREATE OR REPLACE TRIGGER after_insert AFTER INSERT ON job_results
    FOR EACH ROW EXECUTE FUNCTION nexus_job_after_write();
-- Not on a mere heartbeat: every NOTIFY takes a lock that all of the cluster's commits share.
CREATE OR REPLACE TRIGGER after_update AFTER UPDATE ON job_results
    FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status
        OR OLD.attempt IS DISTINCT FROM NEW.attempt
        OR OLD.progress IS DISTINCT FROM NEW.progress
        OR OLD.available_at IS DISTINCT FROM NEW.available_at
        OR OLD.flow_run_id IS DISTINCT FROM NEW.flow_run_id
        OR OLD.cancel_requested_at IS DISTINCT FROM NEW.cancel_requested_at)
    EXECUTE FUNCTION nexus_job_after_write();

CREATE OR REPLACE FUNCTION nexus_server_before_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.name := coalesce(NEW.name, 'server-' || left(NEW.id::text, 8));
    IF TG_OP = 'UPDATE' THEN
        NEW.updated_at := now();
        NEW.revision := greatest(NEW.revision, OLD.revision + 1);
        -- Who is not the hub seals without a key id and without associated data, and leaves the old id behind.
        IF NEW.config_encrypted IS DISTINCT FROM OLD.config_encrypted
            AND NEW.key_id IS NOT DISTINCT FROM OLD.key_id
            AND NOT pg_has_role(current_user, 'nexus_app', 'MEMBER')
        THEN
            NEW.key_id := NULL;
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- SECURITY DEFINER, since a user may not look into system_servers.
CREATE OR REPLACE FUNCTION nexus_server_check_name() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_taken boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.server_name:' || NEW.name, 0));
    IF TG_ARGV[0] = 'system' THEN
        v_taken := EXISTS (SELECT FROM user_servers s WHERE s.name = NEW.name);
    ELSE
        v_taken := EXISTS (SELECT FROM system_servers s WHERE s.name = NEW.name);
    END IF;
    IF v_taken THEN
        RAISE EXCEPTION 'The name % is taken by another server.', quote_literal(NEW.name)
            USING ERRCODE = '23505', CONSTRAINT = 'server_name_taken';
    END IF;
    RETURN NEW;
END
$$;

-- SECURITY DEFINER, since users only read state rows.
CREATE OR REPLACE FUNCTION nexus_server_keep_state() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_owner uuid;
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM server_state s WHERE s.server_type = TG_ARGV[0] AND s.server_ref_id = OLD.id;
        RETURN NULL;
    END IF;
    IF TG_ARGV[0] = 'user' THEN
        v_owner := NEW.user_id;
    END IF;
    INSERT INTO server_state AS s (server_type, server_ref_id, user_id, name)
    VALUES (TG_ARGV[0], NEW.id, v_owner, NEW.name)
    ON CONFLICT (server_type, server_ref_id) DO UPDATE SET user_id = excluded.user_id, name = excluded.name;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE ON system_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_before_write();
CREATE OR REPLACE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON system_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_check_name('system');
CREATE OR REPLACE TRIGGER keep_state AFTER INSERT OR DELETE OR UPDATE OF name ON system_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_keep_state('system');

CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE ON user_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_before_write();
CREATE OR REPLACE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON user_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_check_name('user');
CREATE OR REPLACE TRIGGER keep_state AFTER INSERT OR DELETE OR UPDATE OF name, user_id ON user_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_keep_state('user');

-- A cache entry put in by hand may name a server that the hub has no state of.
CREATE OR REPLACE FUNCTION nexus_cache_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.server_type IN ('system', 'user') AND NEW.server_ref_id IS NOT NULL THEN
        INSERT INTO server_state (server_type, server_ref_id, user_id, name)
        VALUES (NEW.server_type, NEW.server_ref_id, CASE NEW.server_type WHEN 'user' THEN NEW.user_id END,
            'server-' || left(NEW.server_ref_id::text, 8))
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON tool_cache
    FOR EACH ROW EXECUTE FUNCTION nexus_cache_before_write();
CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON resource_cache
    FOR EACH ROW EXECUTE FUNCTION nexus_cache_before_write();
CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON prompt_cache
    FOR EACH ROW EXECUTE FUNCTION nexus_cache_before_write();

-- Live status: a version for each change that somebody may see, notices that say more, and an index for what ended.

CREATE INDEX IF NOT EXISTS idx_job_results_ended ON job_results (completed_at, id)
    WHERE status IN ('completed', 'failed', 'cancelled');

-- As before, but a mere heartbeat leaves the version alone: who holds a version knows of everything that was told.
CREATE OR REPLACE FUNCTION nexus_job_before_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_beat job_results;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.status IN ('completed', 'failed', 'cancelled') THEN
            RAISE EXCEPTION 'Job % has ended as %; what has ended does not change.', OLD.id, OLD.status
                USING ERRCODE = 'NX001';
        END IF;
        v_beat := OLD;
        v_beat.heartbeat_at := NEW.heartbeat_at;
        v_beat.lease_expires_at := NEW.lease_expires_at;
        v_beat.sent_at := NEW.sent_at;
        -- *= compares images: it also takes columns of types without an equality.
        NEW.version := CASE WHEN NEW *= v_beat THEN OLD.version ELSE OLD.version + 1 END;
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

-- Small members only, each of a bounded length: a payload of 8,000 bytes or more would fail the write itself.
CREATE OR REPLACE FUNCTION nexus_job_after_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_event text := 'state';
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.progress IS DISTINCT FROM NEW.progress
        AND (OLD.status, OLD.attempt, OLD.available_at, OLD.flow_run_id, OLD.cancel_requested_at)
            IS NOT DISTINCT FROM (NEW.status, NEW.attempt, NEW.available_at, NEW.flow_run_id, NEW.cancel_requested_at)
    THEN
        v_event := 'progress';
    END IF;
    PERFORM pg_notify('nexus_jobs', json_build_object(
        'id', NEW.id, 'version', NEW.version, 'status', NEW.status, 'user_id', NEW.user_id,
        'job_type', NEW.job_type, 'attempt', NEW.attempt, 'error_code', left(NEW.error_code, 100),
        'event', v_event)::text);
    RETURN NULL;
END
$$;

-- The direct lane: calls that somebody waits for, made in the API's process. Their rows are like those of jobs, with a
-- lease and without a flow run; `handed_at` says when a caller was promised the row of a call that takes long.
ALTER TABLE job_results
    ADD COLUMN IF NOT EXISTS lane      text NOT NULL DEFAULT 'durable',
    ADD COLUMN IF NOT EXISTS handed_at timestamptz;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint c
        WHERE c.conrelid = 'job_results'::regclass AND c.conname = 'job_results_known_lane'
    ) THEN
        ALTER TABLE job_results
            ADD CONSTRAINT job_results_known_lane CHECK (lane IN ('durable', 'direct')),
            -- Nothing else looks after a row that nobody dispatches.
            ADD CONSTRAINT job_results_direct_is_leased
                CHECK (lane = 'durable' OR claim_id IS NOT NULL OR nexus_has_ended(status));
    END IF;
END
$$;

-- As before, and what waits for another attempt waits for it in the durable lane.
CREATE OR REPLACE FUNCTION nexus_job_before_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_old job_results;
    v_new job_results;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF nexus_has_ended(OLD.status) THEN
            RAISE EXCEPTION 'Job % has ended as %; what has ended does not change.', OLD.id, OLD.status
                USING ERRCODE = 'NX001';
        END IF;
        v_old := OLD;
        v_old.heartbeat_at := NEW.heartbeat_at;
        v_old.lease_expires_at := NEW.lease_expires_at;
        v_old.sent_at := NEW.sent_at;
        v_old.lost_flow_run_id := NEW.lost_flow_run_id;
        v_old.params := NULL;
        v_old.result := NULL;
        v_old.params_sent := NULL;
        v_old.result_sent := NULL;
        v_new := NEW;
        v_new.params := NULL;
        v_new.result := NULL;
        v_new.params_sent := NULL;
        v_new.result_sent := NULL;
        -- *<> compares images: it also takes columns of types without an equality.
        IF v_new *<> v_old THEN
            NEW.version := OLD.version + 1;
        ELSIF NEW.status = 'running' THEN
            RETURN NEW;
        END IF;
    END IF;

    IF NEW.server_ref_id IS NOT NULL AND NEW.server_ref_id IS DISTINCT FROM OLD.server_ref_id THEN
        NEW.server_id := NEW.server_ref_id::text;
    ELSIF NEW.server_id IS DISTINCT FROM OLD.server_id THEN
        NEW.server_ref_id := nexus_uuid(NEW.server_id);
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
    IF NEW.status = 'pending' THEN
        NEW.lane := 'durable';
    END IF;
    IF nexus_has_ended(NEW.status) THEN
        NEW.completed_at := coalesce(NEW.completed_at, now());
    END IF;
    RETURN NEW;
END
$$;

-- As before, with the lane: what is in the direct one takes no room in a worker.
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
        'event', v_event, 'server_id', left(NEW.server_id, 100), 'lane', NEW.lane,
        'queued', nexus_is_queued(NEW.status, NEW.dispatched_at, NEW.flow_run_id)
            AND NEW.available_at <= clock_timestamp() + interval '1 second')::text);
    RETURN NULL;
END
$$;

-- Not of a call that was over before it had a row: nobody knows its id, and every NOTIFY costs each process that listens.
CREATE OR REPLACE TRIGGER after_insert AFTER INSERT ON job_results
    FOR EACH ROW WHEN (NEW.lane <> 'direct' OR NEW.status = 'running') EXECUTE FUNCTION nexus_job_after_write();

-- How an operator wants calls to be made: of a whole server (no tool), and of single tools, whether the server offers
-- them now or not.
CREATE TABLE IF NOT EXISTS call_policies (
    server_type    text NOT NULL,
    server_ref_id  uuid NOT NULL,
    tool_name      text NOT NULL DEFAULT '',
    durable        text CONSTRAINT call_policies_known_durable CHECK (durable IN ('always', 'long', 'never')),
    handle_seconds double precision CONSTRAINT call_policies_handle_seconds CHECK (handle_seconds >= 0),
    PRIMARY KEY (server_type, server_ref_id, tool_name),
    CONSTRAINT call_policies_server FOREIGN KEY (server_type, server_ref_id)
        REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE
);

-- Whoever keeps a server in memory reads it anew.
CREATE OR REPLACE FUNCTION nexus_policy_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_notify('nexus_catalog', json_build_object(
        'server_type', s.server_type, 'server_ref_id', s.server_ref_id, 'user_id', s.user_id,
        'kinds', json_build_array('server'))::text)
    FROM server_state s
    WHERE (s.server_type, s.server_ref_id) IN (
        (OLD.server_type, OLD.server_ref_id), (NEW.server_type, NEW.server_ref_id));
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER after_write AFTER INSERT OR UPDATE OR DELETE ON call_policies
    FOR EACH ROW EXECUTE FUNCTION nexus_policy_notify();

ALTER TABLE call_policies ENABLE ROW LEVEL SECURITY;

SELECT nexus_revoke_all('call_policies', 'nexus_policy_notify()');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON call_policies', 'nexus_app');
SELECT nexus_service_policy('call_policies');

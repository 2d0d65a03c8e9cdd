-- Changes of a job: who may move it how, kept by the database itself, whoever writes and with whatever program; and the
-- notices of what has changed.

-- Fills what plain writes leave out, and keeps ended jobs as they are. A heartbeat of a running job, the most frequent
-- of all writes, is let through at once, leaves the version alone, and costs the same whatever the job was given: to
-- compare params and result is to read all of them, which is left to count_payload.
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
        v_new := NEW;
        v_new.params := NULL;
        v_new.result := NULL;
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
    IF nexus_has_ended(NEW.status) THEN
        NEW.completed_at := coalesce(NEW.completed_at, now());
    END IF;
    RETURN NEW;
END
$$;

-- Who holds a version knows of everything that was told.
CREATE OR REPLACE FUNCTION nexus_job_count_payload() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$;

-- Sees the row as before_write leaves it: triggers fire in the order of their names.
CREATE OR REPLACE FUNCTION nexus_job_check_move() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_move    text := OLD.status || ' -> ' || NEW.status;
    v_step    integer := NEW.attempt - OLD.attempt;
    v_steps   integer[] := '{0}';
    v_refusal text;
BEGIN
    CASE v_move
        WHEN 'pending -> pending' THEN
            -- The flow run of the attempt was lost.
            IF OLD.flow_run_id IS NOT NULL AND NEW.flow_run_id IS NULL THEN
                v_steps := '{0,1}';
            END IF;
        WHEN 'pending -> running' THEN
            IF NEW.claim_id IS NOT NULL THEN
                v_steps := '{1}';
            ELSIF NOT nexus_is_call(NEW.job_type) THEN
                v_steps := '{0,1}';
            END IF;
        WHEN 'pending -> failed' THEN
            IF OLD.flow_run_id IS NOT NULL THEN
                v_steps := '{0,1}';
            END IF;
        WHEN 'pending -> completed' THEN
            -- Other programs may skip running; once a job was started, only who is at it can have its result.
            IF OLD.started_at IS NOT NULL THEN
                v_refusal := 'it was put back after it had started, and can go to running, failed or cancelled';
            END IF;
        WHEN 'running -> pending' THEN
            IF NEW.attempt >= NEW.max_attempts THEN
                v_refusal := 'no attempt is left, and it can go to completed, failed or cancelled';
            ELSIF OLD.claim_id IS NOT NULL THEN
                v_steps := '{-1,0}';  -- an attempt that a rate limit snoozed does not count
            END IF;
        WHEN 'running -> running' THEN
            IF NEW.claim_id IS DISTINCT FROM OLD.claim_id THEN
                v_refusal := 'a claim is taken with pending -> running only, and kept until the job leaves running';
            END IF;
        ELSE
            NULL;  -- running -> an end, pending -> cancelled; the rest breaks a constraint
    END CASE;
    IF v_refusal IS NULL AND NOT v_step = ANY (v_steps) THEN
        v_refusal := format('attempt would go from %s to %s, and can change by %s%s', OLD.attempt, NEW.attempt,
            array_to_string(v_steps, ' or '), CASE v_move WHEN 'pending -> running' THEN
                CASE WHEN NEW.claim_id IS NULL THEN ' without a claim' ELSE ' with a claim' END END);
    END IF;
    IF v_refusal IS NOT NULL THEN
        RAISE EXCEPTION 'Job %: % is refused: %.', OLD.id, v_move, v_refusal USING ERRCODE = 'NX002';
    END IF;
    RETURN NEW;
END
$$;

-- The arguments are the columns that say what was asked. Compared as text: two jsonb numbers can be equal and differ.
CREATE OR REPLACE FUNCTION nexus_job_keep_request() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_changed text;
BEGIN
    SELECT string_agg(o.key, ', ' ORDER BY o.key) INTO v_changed
    FROM json_each_text(to_json(OLD)) o
    JOIN json_each_text(to_json(NEW)) n USING (key)
    WHERE o.key = ANY (TG_ARGV) AND n.value IS DISTINCT FROM o.value
        -- What was derived of a server later on, by a migration or when it came to be known, names the same one.
        AND NOT (o.key = 'server_type' AND OLD.server_type IS NULL)
        AND NOT (o.key IN ('server_id', 'server_ref_id') AND OLD.server_ref_id IS NULL
            AND coalesce(NEW.server_ref_id::text = lower(OLD.server_id), false));
    IF v_changed IS NOT NULL THEN
        RAISE EXCEPTION 'Job %: a change of % is refused: what was asked never changes; store another job.',
            OLD.id, v_changed USING ERRCODE = 'NX002';
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

-- Only writes that name one of these columns pay for the checks: no heartbeat, no progress, no handing over.
CREATE OR REPLACE TRIGGER check_move BEFORE UPDATE OF status, attempt, claim_id ON job_results
    FOR EACH ROW EXECUTE FUNCTION nexus_job_check_move();
CREATE OR REPLACE TRIGGER count_payload BEFORE UPDATE OF params, result ON job_results
    FOR EACH ROW
    WHEN (NEW.version = OLD.version AND (NEW.params, NEW.result) IS DISTINCT FROM (OLD.params, OLD.result))
    EXECUTE FUNCTION nexus_job_count_payload();
CREATE OR REPLACE TRIGGER keep_request BEFORE UPDATE OF id, user_id, job_type, server_id, server_ref_id, server_type,
        tool_name, params, params_escaped, created_at, idempotency_key, request_digest, retry, timeout_seconds,
        max_attempts
    ON job_results
    FOR EACH ROW
    WHEN (nexus_is_call(OLD.job_type) OR nexus_is_call(NEW.job_type))
    EXECUTE FUNCTION nexus_job_keep_request('id', 'user_id', 'job_type', 'server_id', 'server_ref_id', 'server_type',
        'tool_name', 'params', 'params_escaped', 'created_at', 'idempotency_key', 'request_digest', 'retry',
        'timeout_seconds', 'max_attempts');

-- Wakes the dispatch. Row security decides who finds the job; its state does not change here.
DROP FUNCTION IF EXISTS execute_job_via_pg_net(uuid);
CREATE FUNCTION execute_job_via_pg_net(job_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM job_results j WHERE j.id = execute_job_via_pg_net.job_id) THEN
        RAISE EXCEPTION 'Job % not found', job_id USING ERRCODE = 'P0002';
    END IF;
    PERFORM pg_notify('nexus_dispatch', job_id::text);
END
$$;

SELECT nexus_revoke_all('nexus_job_before_write()', 'nexus_job_count_payload()', 'nexus_job_check_move()',
    'nexus_job_keep_request()', 'nexus_job_after_write()', 'execute_job_via_pg_net(uuid)');
SELECT nexus_grant('EXECUTE ON FUNCTION execute_job_via_pg_net(uuid)', 'nexus_app', 'service_role', 'authenticated');

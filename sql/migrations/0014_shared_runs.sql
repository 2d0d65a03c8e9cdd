-- Shared runs: flow runs that carry whatever jobs wait in the queue, one after the other and many at once.

-- Of a job: it waits for a shared run. One that waits for a run of its own is not dispatched, or has it already.
CREATE OR REPLACE FUNCTION nexus_is_queued(p_status text, p_dispatched_at timestamptz, p_flow_run_id uuid)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_status = 'pending' AND p_dispatched_at IS NOT NULL AND p_flow_run_id IS NULL;

-- Whose turn it is that a job takes: a user's, or the operator's, who is no user. No coalesce, which row-level security
-- takes for a function that could tell what it is given, so that no index would be entered by it.
CREATE OR REPLACE FUNCTION nexus_owner(p_user_id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p_user_id IS NULL THEN '00000000-0000-0000-0000-000000000000'::uuid ELSE p_user_id END;

-- A run comes, begins, and takes jobs until it is closed; those that it has taken it still carries to their ends. Its
-- lease is that of the process that takes jobs for it.
CREATE TABLE IF NOT EXISTS shared_runs (
    id               uuid PRIMARY KEY,
    flow_run_id      uuid,
    created_at       timestamptz NOT NULL DEFAULT now(),
    begun_at         timestamptz,
    lease_expires_at timestamptz,
    closed_at        timestamptz,
    CONSTRAINT shared_runs_begun_is_leased CHECK ((begun_at IS NULL) = (lease_expires_at IS NULL))
);
-- One at a time is on its way: whoever else wants one waits for that.
CREATE UNIQUE INDEX IF NOT EXISTS idx_shared_runs_coming ON shared_runs ((true))
    WHERE begun_at IS NULL AND closed_at IS NULL;
-- No unique one: to change a key would wait for those who join the run.
CREATE INDEX IF NOT EXISTS idx_shared_runs_flow_run ON shared_runs (flow_run_id) WHERE flow_run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_shared_runs_open ON shared_runs (begun_at) WHERE closed_at IS NULL;
CREATE INDEX IF NOT EXISTS idx_shared_runs_closed ON shared_runs (closed_at) WHERE closed_at IS NOT NULL;

-- What waits is read owner by owner, so that nobody's jobs hide another's.
CREATE INDEX IF NOT EXISTS idx_job_results_queued ON job_results (nexus_owner(user_id), available_at, id)
    WHERE nexus_is_queued(status, dispatched_at, flow_run_id);

-- The runs of batches carried their own jobs only; these wait for another run now.
UPDATE job_results SET dispatched_at = NULL, flow_run_id = NULL, batch_id = NULL
WHERE status = 'pending' AND batch_id IS NOT NULL;

-- Small members only, each of a bounded length: a payload of 8,000 bytes or more would fail the write itself. Workers
-- take a job that is queued by what its notice says of it.
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
        'event', v_event, 'server_id', left(NEW.server_id, 100),
        'queued', nexus_is_queued(NEW.status, NEW.dispatched_at, NEW.flow_run_id)
            AND NEW.available_at <= clock_timestamp() + interval '1 second')::text);
    RETURN NULL;
END
$$;

-- Not on a mere heartbeat: every NOTIFY takes a lock that all of the cluster's commits share.
CREATE OR REPLACE TRIGGER after_update AFTER UPDATE ON job_results
    FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status
        OR OLD.attempt IS DISTINCT FROM NEW.attempt
        OR OLD.progress IS DISTINCT FROM NEW.progress
        OR OLD.available_at IS DISTINCT FROM NEW.available_at
        OR OLD.flow_run_id IS DISTINCT FROM NEW.flow_run_id
        OR (OLD.dispatched_at IS NULL AND NEW.dispatched_at IS NOT NULL)
        OR OLD.cancel_requested_at IS DISTINCT FROM NEW.cancel_requested_at)
    EXECUTE FUNCTION nexus_job_after_write();

SELECT nexus_revoke_all('shared_runs', 'nexus_is_queued(text, timestamptz, uuid)', 'nexus_owner(uuid)');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON shared_runs', 'nexus_app');
-- A run belongs to nobody. Whoever stores a job keeps the run that it joins from being closed until then: that lock asks
-- for the right to change the row, which the check leaves without a use.
ALTER TABLE shared_runs ENABLE ROW LEVEL SECURITY;
SELECT nexus_service_policy('shared_runs');
SELECT nexus_policy('shared_runs', 'nexus_join_read', 'nexus_app', 'SELECT', u.is_user),
    nexus_policy('shared_runs', 'nexus_join_lock', 'nexus_app', 'UPDATE', u.is_user, 'false')
FROM (VALUES ('(SELECT nexus_current_user_id()) IS NOT NULL')) AS u (is_user);
-- Whoever writes jobs runs what their index and trigger ask.
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_is_queued(text, timestamptz, uuid), nexus_owner(uuid)',
    'nexus_app', 'service_role', 'authenticated');

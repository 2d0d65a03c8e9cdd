-- Jobs: a documented table, made anew or taken over, and what is true of every row of it.

-- Of a job's status: it has ended for good, or it lives.
CREATE OR REPLACE FUNCTION nexus_has_ended(p_status text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_status IN ('completed', 'failed', 'cancelled');

CREATE OR REPLACE FUNCTION nexus_is_live(p_status text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_status IN ('pending', 'running');

-- Of a job's type: it calls an upstream server. Rows of the other types mirror runs of the flows that look after the
-- hub.
CREATE OR REPLACE FUNCTION nexus_is_call(p_job_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_job_type IN ('tool_invoke', 'resource_fetch', 'prompt_execute');

-- It failed, since it gave no sign of life; such a job has a retention of its own.
CREATE OR REPLACE FUNCTION nexus_is_orphan(p_status text, p_error_code text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_status = 'failed' AND p_error_code = 'orphaned';

-- `lost_flow_run_id` is the run that a job went on without, `lost_runs` how many of an attempt never took it, and
-- `batch_id` says which jobs share a flow run.
CREATE TABLE IF NOT EXISTS job_results ();
ALTER TABLE job_results
    ADD COLUMN IF NOT EXISTS id                  uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS user_id             uuid,
    ADD COLUMN IF NOT EXISTS job_type            text NOT NULL,
    ADD COLUMN IF NOT EXISTS server_id           text NOT NULL,
    ADD COLUMN IF NOT EXISTS tool_name           text,
    ADD COLUMN IF NOT EXISTS params              jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS status              text NOT NULL DEFAULT 'pending',
    ADD COLUMN IF NOT EXISTS result              jsonb,
    ADD COLUMN IF NOT EXISTS error               text,
    ADD COLUMN IF NOT EXISTS created_at          timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS started_at          timestamptz,
    ADD COLUMN IF NOT EXISTS completed_at        timestamptz,
    ADD COLUMN IF NOT EXISTS server_type         text,
    ADD COLUMN IF NOT EXISTS server_ref_id       uuid,
    ADD COLUMN IF NOT EXISTS flow_run_id         uuid,
    ADD COLUMN IF NOT EXISTS attempt             integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS max_attempts        integer NOT NULL DEFAULT 3,
    ADD COLUMN IF NOT EXISTS claim_id            uuid,
    ADD COLUMN IF NOT EXISTS lease_expires_at    timestamptz,
    ADD COLUMN IF NOT EXISTS heartbeat_at        timestamptz,
    ADD COLUMN IF NOT EXISTS available_at        timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS dispatched_at       timestamptz,
    ADD COLUMN IF NOT EXISTS timeout_seconds     integer,
    ADD COLUMN IF NOT EXISTS retry               text NOT NULL DEFAULT 'auto',
    ADD COLUMN IF NOT EXISTS error_code          text,
    ADD COLUMN IF NOT EXISTS progress            jsonb,
    ADD COLUMN IF NOT EXISTS version             bigint NOT NULL DEFAULT 1,
    ADD COLUMN IF NOT EXISTS idempotency_key     text,
    ADD COLUMN IF NOT EXISTS request_digest      text,
    ADD COLUMN IF NOT EXISTS cancel_requested_at timestamptz,
    ADD COLUMN IF NOT EXISTS sent_at             timestamptz,
    ADD COLUMN IF NOT EXISTS params_escaped      boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS result_escaped      boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS lost_flow_run_id    uuid,
    ADD COLUMN IF NOT EXISTS lost_runs           integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS batch_id            uuid;
SELECT nexus_take_over_key('job_results');

-- Repair of what is taken over: ended jobs without an end, unended jobs with one, empty and odd values.
UPDATE job_results SET status = 'pending' WHERE status IS NULL;
UPDATE job_results SET created_at = coalesce(started_at, completed_at, now()) WHERE created_at IS NULL;
UPDATE job_results SET params = '{}' WHERE params IS NULL OR params = 'null';
UPDATE job_results SET params = jsonb_build_object('value', params) WHERE jsonb_typeof(params) <> 'object';
UPDATE job_results SET server_id = 'hub' WHERE server_id IS NULL;
UPDATE job_results SET completed_at = coalesce(started_at, created_at)
WHERE nexus_has_ended(status) AND completed_at IS NULL;
UPDATE job_results SET completed_at = NULL WHERE nexus_is_live(status) AND completed_at IS NOT NULL;
UPDATE job_results SET started_at = created_at WHERE status = 'running' AND started_at IS NULL;
UPDATE job_results j
SET server_id = lower(j.server_id), server_ref_id = nexus_uuid(j.server_id), server_type = (
    SELECT s.server_type FROM server_state s WHERE s.server_ref_id = nexus_uuid(j.server_id) LIMIT 1
)
WHERE j.server_ref_id IS NULL AND nexus_uuid(j.server_id) IS NOT NULL;

ALTER TABLE job_results
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN job_type SET NOT NULL,
    ALTER COLUMN server_id SET NOT NULL,
    ALTER COLUMN params SET DEFAULT '{}',
    ALTER COLUMN params SET NOT NULL,
    ALTER COLUMN status SET DEFAULT 'pending',
    ALTER COLUMN status SET NOT NULL,
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN created_at SET NOT NULL;

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_constraint c
        WHERE c.conrelid = 'job_results'::regclass AND c.conname = 'job_results_known_status'
    ) THEN
        RETURN;
    END IF;
    ALTER TABLE job_results
        ADD CONSTRAINT job_results_known_status
            CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
        ADD CONSTRAINT job_results_known_job_type
            CHECK (job_type IN
                ('tool_invoke', 'resource_fetch', 'prompt_execute', 'cache_refresh', 'key_rotation', 'job_cleanup')),
        ADD CONSTRAINT job_results_known_server_type CHECK (server_type IN ('system', 'user')),
        ADD CONSTRAINT job_results_one_server CHECK (server_ref_id IS NULL OR server_id = server_ref_id::text),
        ADD CONSTRAINT job_results_params_object CHECK (jsonb_typeof(params) = 'object'),
        ADD CONSTRAINT job_results_ended_has_end CHECK (nexus_has_ended(status) = (completed_at IS NOT NULL)),
        ADD CONSTRAINT job_results_running_has_start CHECK (status <> 'running' OR started_at IS NOT NULL),
        ADD CONSTRAINT job_results_claim_is_leased CHECK ((claim_id IS NULL) = (lease_expires_at IS NULL)),
        ADD CONSTRAINT job_results_claim_only_running CHECK (claim_id IS NULL OR status = 'running'),
        ADD CONSTRAINT job_results_attempts CHECK (attempt BETWEEN 0 AND max_attempts),
        ADD CONSTRAINT job_results_max_attempts CHECK (max_attempts BETWEEN 1 AND 20),
        ADD CONSTRAINT job_results_timeout CHECK (timeout_seconds > 0),
        ADD CONSTRAINT job_results_known_retry CHECK (retry IN ('auto', 'always')),
        ADD CONSTRAINT job_results_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 200),
        ADD CONSTRAINT job_results_lost_runs CHECK (lost_runs >= 0);
END
$$;

-- The documented ones, which say their conditions in their own words.
CREATE INDEX IF NOT EXISTS idx_job_results_cleanup ON job_results (status, completed_at)
    WHERE status IN ('completed', 'failed', 'cancelled');
CREATE INDEX IF NOT EXISTS idx_job_results_orphaned ON job_results (status, created_at)
    WHERE status IN ('pending', 'running');

CREATE UNIQUE INDEX IF NOT EXISTS job_results_idempotency_key ON job_results (user_id, idempotency_key)
    NULLS NOT DISTINCT WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_by_user ON job_results (user_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_job_results_recent ON job_results (created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_job_results_ended ON job_results (completed_at, id) WHERE nexus_has_ended(status);
CREATE INDEX IF NOT EXISTS idx_job_results_failed_orphans ON job_results (completed_at, id)
    WHERE nexus_is_orphan(status, error_code);
CREATE INDEX IF NOT EXISTS idx_job_results_undispatched ON job_results (available_at)
    WHERE status = 'pending' AND dispatched_at IS NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_dispatched ON job_results (dispatched_at, id)
    WHERE status = 'pending' AND dispatched_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_lease ON job_results (lease_expires_at) WHERE status = 'running';
CREATE INDEX IF NOT EXISTS idx_job_results_flow_run ON job_results (flow_run_id) WHERE flow_run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_lost_run ON job_results (lost_flow_run_id)
    WHERE status = 'pending' AND lost_flow_run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_batch ON job_results (batch_id)
    WHERE status = 'pending' AND batch_id IS NOT NULL;

ALTER TABLE job_results ENABLE ROW LEVEL SECURITY;

SELECT nexus_revoke_all('job_results', 'nexus_has_ended(text)', 'nexus_is_live(text)', 'nexus_is_call(text)',
    'nexus_is_orphan(text, text)');
-- Whoever reads and writes jobs runs what their indexes, checks and triggers ask.
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_has_ended(text), nexus_is_live(text), nexus_is_call(text), '
    'nexus_is_orphan(text, text)', 'nexus_app', 'service_role', 'authenticated');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON job_results', 'nexus_app', 'service_role');
SELECT nexus_grant('SELECT, INSERT (user_id, job_type, server_id, tool_name, params, status), UPDATE (status, error) '
    'ON job_results', 'authenticated');

-- Users see their own jobs, and store and change them.
SELECT nexus_service_policy('job_results');
SELECT nexus_policy('job_results', 'nexus_own_read', 'nexus_app', 'SELECT', o.own),
    nexus_policy('job_results', 'nexus_own_insert', 'nexus_app', 'INSERT', NULL, o.own),
    nexus_policy('job_results', 'nexus_own_update', 'nexus_app', 'UPDATE', o.own)
FROM (VALUES ('user_id = (SELECT nexus_current_user_id())')) AS o (own);
SELECT nexus_policy('job_results', 'service_role_all', 'service_role', 'ALL', 'true');
-- authenticated reads its own jobs, stores new ones, and gives up one that it could not start. Only the verified claims
-- say who it is, since anyone may set a nexus.* setting.
SELECT nexus_policy('job_results', 'authenticated_own_read', 'authenticated', 'SELECT', o.own),
    nexus_policy('job_results', 'authenticated_own_insert', 'authenticated', 'INSERT', NULL,
        o.own || ' AND status = ''pending'' AND nexus_is_call(job_type)'),
    nexus_policy('job_results', 'authenticated_own_give_up', 'authenticated', 'UPDATE',
        o.own || ' AND status = ''pending''', o.own || ' AND status = ''failed''')
FROM (VALUES ('user_id = (SELECT nexus_claims_user_id())')) AS o (own);

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

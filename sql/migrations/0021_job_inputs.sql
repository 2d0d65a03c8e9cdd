-- Questions in the middle of jobs: a server asks the client behind a call, which may answer later and from elsewhere.

-- The client's capabilities that are about such questions, as it declared them; without any, nobody can be asked.
ALTER TABLE job_results ADD COLUMN IF NOT EXISTS client_capabilities jsonb;

-- A question stands until it is answered, or the attempt that asks is over. The worker that asked takes the answer away.
-- No foreign key: whoever truncates jobs, or changes their key, is not to know of this table.
CREATE TABLE IF NOT EXISTS job_inputs (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id      uuid NOT NULL,
    claim_id    uuid NOT NULL,
    method      text NOT NULL,
    params      json NOT NULL,
    response    json,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at timestamptz,
    CONSTRAINT job_inputs_answered CHECK ((response IS NULL) = (answered_at IS NULL))
);
CREATE INDEX IF NOT EXISTS idx_job_inputs_job ON job_inputs (job_id, asked_at);

ALTER TABLE job_inputs ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('job_inputs');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON job_inputs', 'nexus_app');
SELECT nexus_service_policy('job_inputs');
-- Users see and answer what is asked in their own jobs.
SELECT nexus_policy('job_inputs', 'nexus_own', 'nexus_app', 'ALL',
    'EXISTS (SELECT FROM job_results AS job WHERE job.id = job_id AND job.user_id = (SELECT nexus_current_user_id()))');

-- Flow runs that were lost: which one a job went on without, and how many of an attempt never took it.

ALTER TABLE job_results
    ADD COLUMN IF NOT EXISTS lost_flow_run_id uuid,
    ADD COLUMN IF NOT EXISTS lost_runs        integer NOT NULL DEFAULT 0;

ALTER TABLE job_results DROP CONSTRAINT IF EXISTS job_results_lost_runs;
ALTER TABLE job_results ADD CONSTRAINT job_results_lost_runs CHECK (lost_runs >= 0);

CREATE INDEX IF NOT EXISTS idx_job_results_dispatched ON job_results (dispatched_at, id)
    WHERE status = 'pending' AND dispatched_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_lost_run ON job_results (lost_flow_run_id)
    WHERE status = 'pending' AND lost_flow_run_id IS NOT NULL;

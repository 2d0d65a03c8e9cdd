-- Batches: jobs that share a flow run.

ALTER TABLE job_results ADD COLUMN IF NOT EXISTS batch_id uuid;

CREATE INDEX IF NOT EXISTS idx_job_results_batch ON job_results (batch_id)
    WHERE status = 'pending' AND batch_id IS NOT NULL;

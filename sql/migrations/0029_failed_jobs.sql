-- What failed at a server last.
CREATE INDEX IF NOT EXISTS idx_job_results_failed_at_server ON job_results (server_ref_id, completed_at DESC, id DESC)
    WHERE status = 'failed' AND server_ref_id IS NOT NULL;

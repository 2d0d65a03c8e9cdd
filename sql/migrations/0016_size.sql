-- Indexes for tables of any size, and for tables whose dead versions can't be removed, since some transaction is held
-- open. Those that replace others are made first, under names of their own: only the end of this file keeps readers out.
DROP INDEX IF EXISTS new_job_results_idempotency_key, new_job_results_open, new_job_results_lease,
    new_job_results_lost_run, new_job_results_batch, new_job_results_orphaned;

-- The key first: with several keys asked for at once, or for the operator, whose rows have no user, only that is a range
-- of the index.
CREATE UNIQUE INDEX new_job_results_idempotency_key ON job_results (idempotency_key, user_id)
    NULLS NOT DISTINCT WHERE idempotency_key IS NOT NULL;

-- Open jobs, newest first, of one user and of all: without these, the planner goes over all jobs by their time where it
-- takes many of them for open.
CREATE INDEX new_job_results_open ON job_results (user_id, created_at DESC, id DESC) WHERE nexus_is_live(status);
CREATE INDEX IF NOT EXISTS idx_job_results_newest_open ON job_results (created_at DESC, id DESC)
    WHERE nexus_is_live(status);

-- The operator's list of the jobs of one state.
CREATE INDEX IF NOT EXISTS idx_job_results_all_unsuccessful ON job_results (status, created_at DESC, id DESC)
    WHERE status IN ('failed', 'cancelled');

-- Mirrors of other flows' runs are few among the open jobs.
CREATE INDEX IF NOT EXISTS idx_job_results_open_mirrors ON job_results (created_at)
    WHERE nexus_is_live(status) AND NOT nexus_is_call(job_type);

-- Only running jobs have a lease: no condition on the state, so that no other index of open jobs serves as well.
CREATE INDEX new_job_results_lease ON job_results (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

-- For the same reason the state is compared in a way that no other index knows.
CREATE INDEX new_job_results_lost_run ON job_results (lost_flow_run_id)
    WHERE status || '' = 'pending' AND lost_flow_run_id IS NOT NULL;
CREATE INDEX new_job_results_batch ON job_results (batch_id)
    WHERE status || '' = 'pending' AND batch_id IS NOT NULL;

-- The documented index, made anew to be the last: of indexes that seem to cost the same the planner takes the older,
-- and this one holds every version of every open job.
CREATE INDEX new_job_results_orphaned ON job_results (status, created_at)
    WHERE status IN ('pending', 'running');

-- What of the caches is one user's: counted whenever a server of that user is stored or read anew.
CREATE INDEX IF NOT EXISTS idx_tool_cache_user ON tool_cache (user_id);
CREATE INDEX IF NOT EXISTS idx_resource_cache_user ON resource_cache (user_id);
CREATE INDEX IF NOT EXISTS idx_prompt_cache_user ON prompt_cache (user_id);

DROP INDEX IF EXISTS job_results_idempotency_key, idx_job_results_open, idx_job_results_lease,
    idx_job_results_lost_run, idx_job_results_batch, idx_job_results_orphaned;
ALTER INDEX new_job_results_idempotency_key RENAME TO job_results_idempotency_key;
ALTER INDEX new_job_results_open RENAME TO idx_job_results_open;
ALTER INDEX new_job_results_lease RENAME TO idx_job_results_lease;
ALTER INDEX new_job_results_lost_run RENAME TO idx_job_results_lost_run;
ALTER INDEX new_job_results_batch RENAME TO idx_job_results_batch;
ALTER INDEX new_job_results_orphaned RENAME TO idx_job_results_orphaned;

-- Lists of jobs by what people ask for: each filter finds its jobs by an index that has them in the order of the list.
CREATE INDEX IF NOT EXISTS idx_job_results_by_server ON job_results (server_ref_id, created_at DESC, id DESC)
    WHERE server_ref_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_by_tool ON job_results (tool_name, created_at DESC, id DESC)
    WHERE tool_name IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_by_lane ON job_results (lane, created_at DESC, id DESC);
-- Most jobs are calls of tools, and most have no error code. `job_type || ''` keeps what looks for single rows of other
-- types from an index that may look empty and be full of dead versions.
CREATE INDEX IF NOT EXISTS idx_job_results_by_type ON job_results (job_type, created_at DESC, id DESC)
    WHERE job_type || '' <> 'tool_invoke';
CREATE INDEX IF NOT EXISTS idx_job_results_by_error ON job_results (error_code, created_at DESC, id DESC)
    WHERE error_code IS NOT NULL;

-- The filters of a list, and the place where its last page ended. Inlined, so that a filter that nobody has set costs
-- nothing and each of the others may enter an index.
CREATE OR REPLACE FUNCTION nexus_job_is_asked(
    p_job job_results, p_all_users boolean, p_user_id uuid, p_status text, p_job_type text, p_lane text,
    p_server_ref_id uuid, p_tool_name text, p_error_code text, p_after_created_at timestamptz, p_after_id uuid
)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (p_all_users OR (p_job).user_id = p_user_id)
    AND (p_status IS NULL OR (p_job).status = p_status)
    AND (p_job_type IS NULL OR (p_job).job_type = p_job_type)
    AND (p_job_type IS NULL OR p_job_type = 'tool_invoke' OR (p_job).job_type || '' <> 'tool_invoke')
    AND (p_lane IS NULL OR (p_job).lane = p_lane)
    AND (p_server_ref_id IS NULL OR (p_job).server_ref_id = p_server_ref_id)
    AND (p_tool_name IS NULL OR (p_job).tool_name = p_tool_name)
    AND (p_error_code IS NULL OR (p_job).error_code = p_error_code)
    AND (p_after_created_at IS NULL
        OR ((p_job).created_at, (p_job).id) < (p_after_created_at, p_after_id));

SELECT nexus_revoke_all(
    'nexus_job_is_asked(job_results, boolean, uuid, text, text, text, uuid, text, text, timestamptz, uuid)');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_job_is_asked(job_results, boolean, uuid, text, text, text, uuid, text,
    text, timestamptz, uuid)', 'nexus_app');

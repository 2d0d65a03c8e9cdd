-- Users in nobody's way: how many open jobs each has is counted cheaply, and no name is kept from an operator.

CREATE INDEX IF NOT EXISTS idx_job_results_open ON job_results (user_id) WHERE nexus_is_live(status);

-- A user's server still takes no name that a system server has; the other way round both stand, and each user's own
-- comes first for that user alone.
DROP TRIGGER IF EXISTS check_name ON system_servers;

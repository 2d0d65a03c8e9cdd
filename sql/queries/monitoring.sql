-- The documented monitoring queries, as the views have them.

-- name: job_results_stats
SELECT total_jobs, completed, failed, pending, running, older_than_7_days, table_size FROM job_results_stats;

-- name: job_results_alert
SELECT status, row_count FROM job_results_alert;

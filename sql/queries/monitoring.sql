-- The documented monitoring queries, as the views have them.

-- name: job_results_stats
SELECT total_jobs, completed, failed, pending, running, older_than_7_days, table_size FROM job_results_stats;

-- name: job_results_alert
SELECT status, row_count FROM job_results_alert;

-- name: told_status
SELECT status FROM alert_states WHERE name = %(name)s;

-- name: note_told_status
INSERT INTO alert_states (name, status) VALUES (%(name)s, %(status)s)
ON CONFLICT (name) DO UPDATE SET status = excluded.status, told_at = now();

-- The hub's health, as people look at it: bounded reads of the last hour, of all jobs or of one user's.

-- name: count_workers
-- Workers that hold a connection to listen on.
SELECT count(*) AS workers FROM pg_stat_activity WHERE datname = current_database() AND application_name = %(worker)s;

-- name: hour_minutes
-- What ended in each minute of the hour, or since one of them; how long it took, of the newest ones of each.
WITH minute AS (
    SELECT generate_series(greatest(date_trunc('minute', now()) - interval '59 minutes', %(since)s::timestamptz),
                           date_trunc('minute', now()), interval '1 minute') AS at
),
ended AS (
    SELECT date_trunc('minute', completed_at) AS at, count(*) AS jobs
    FROM job_results
    WHERE nexus_has_ended(status) AND completed_at <= now()
      AND completed_at >= greatest(date_trunc('minute', now()) - interval '59 minutes', %(since)s::timestamptz)
      AND (%(all_users)s OR user_id = %(user_id)s::uuid)
    GROUP BY 1
),
failed AS (
    SELECT date_trunc('minute', completed_at) AS at, count(*) AS jobs
    FROM job_results
    WHERE status = 'failed' AND completed_at <= now()
      AND completed_at >= greatest(date_trunc('minute', now()) - interval '59 minutes', %(since)s::timestamptz)
      AND (%(all_users)s OR user_id = %(user_id)s::uuid)
    GROUP BY 1
)
SELECT minute.at, coalesce(ended.jobs, 0) AS ended, coalesce(failed.jobs, 0) AS failed, took.p50_ms, took.p95_ms
FROM minute
LEFT JOIN ended ON ended.at = minute.at
LEFT JOIN failed ON failed.at = minute.at
LEFT JOIN LATERAL (
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY one.ms) AS p50_ms,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY one.ms) AS p95_ms
    FROM (SELECT extract(epoch FROM job.completed_at - job.started_at)::float8 * 1000 AS ms
          FROM job_results AS job
          WHERE nexus_has_ended(job.status) AND ended.jobs > 0
            AND job.completed_at >= minute.at AND job.completed_at < minute.at + interval '1 minute'
            AND (%(all_users)s OR job.user_id = %(user_id)s::uuid)
          ORDER BY job.completed_at DESC, job.id DESC
          LIMIT %(of_each)s) AS one
) AS took ON true
ORDER BY minute.at;

-- name: hour_servers
-- Of the newest jobs that ended within the hour; a user's by a bundle's name are of no server.
WITH newest AS (
    SELECT job.server_type, job.server_ref_id, job.status, job.error_code,
           extract(epoch FROM job.completed_at - job.started_at)::float8 * 1000 AS ms
    FROM job_results AS job
    WHERE nexus_has_ended(job.status) AND job.completed_at > now() - interval '1 hour' AND job.completed_at <= now()
      AND (%(all_users)s OR job.user_id = %(user_id)s::uuid AND job.called_as IS NULL)
    ORDER BY job.completed_at DESC, job.id DESC
    LIMIT %(most)s
)
SELECT newest.server_type, newest.server_ref_id, state.name AS server, count(*) AS ended,
       count(*) FILTER (WHERE newest.status = 'failed') AS failed,
       count(*) FILTER (WHERE newest.error_code = 'outcome-unknown') AS unknown,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY newest.ms) AS p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY newest.ms) AS p95_ms,
       mode() WITHIN GROUP (ORDER BY newest.error_code) FILTER (WHERE newest.status = 'failed') AS top_error
FROM newest
JOIN server_state AS state ON state.server_type = newest.server_type AND state.server_ref_id = newest.server_ref_id
GROUP BY newest.server_type, newest.server_ref_id, state.name
ORDER BY count(*) DESC, state.name
LIMIT %(most_servers)s;

-- name: unwell_servers
-- Those that give no sign of life, and those whose catalogs can't be read; not those that are off.
SELECT server_type, server_ref_id, name, circuit = 'open' AS is_silent
FROM server_state
WHERE (circuit = 'open' OR (status = 'failing' AND last_error_code IS DISTINCT FROM 'login-needed'))
  AND (%(all_users)s OR user_id IS NULL OR user_id = %(user_id)s::uuid)
  AND server_ref_id NOT IN (SELECT id FROM system_servers WHERE NOT enabled
                            UNION ALL
                            SELECT id FROM user_servers WHERE NOT enabled)
ORDER BY circuit DESC, name, server_ref_id
LIMIT %(most_servers)s;

-- name: needed_logins
-- Servers whose calls by a principal fail for want of a login that the principal can give.
SELECT server.server_type, server.id AS server_ref_id, server.name, server.login_kind AS kind, login.reason
FROM (
    SELECT 'system' AS server_type, id, NULL::uuid AS user_id, name, login_kind, credentials, enabled
    FROM system_servers
    UNION ALL
    SELECT 'user', id, user_id, name, login_kind, 'shared', enabled FROM user_servers
) AS server
LEFT JOIN LATERAL (
    SELECT own.state, own.reason FROM upstream_logins AS own
    WHERE own.server_type = server.server_type AND own.server_ref_id = server.id
      AND server.credentials = 'per-user' AND own.user_id = %(user_id)s::uuid
    UNION ALL
    SELECT common.state, common.reason FROM upstream_logins AS common
    WHERE common.server_type = server.server_type AND common.server_ref_id = server.id
      AND (server.credentials = 'shared' OR %(user_id)s::uuid IS NULL) AND common.user_id IS NULL
) AS login ON true
WHERE server.login_kind IS NOT NULL AND server.enabled
  AND CASE WHEN server.user_id IS NOT NULL THEN server.user_id = %(user_id)s::uuid
           ELSE %(all_users)s OR server.credentials = 'per-user'
                AND server.id IN (SELECT said.id FROM nexus_permissions(%(user_id)s::uuid) AS said
                                  WHERE said.target IN ('server', 'tool') AND said.level <> 'list') END
  AND coalesce(login.state, CASE WHEN server.credentials = 'shared' THEN 'none' ELSE 'ready' END) <> 'ready'
ORDER BY server.name, server.id
LIMIT %(most_servers)s;

-- name: needed_logins_of_all
-- Servers at which logins of anybody are over, for the doctor.
SELECT state.name, count(*) AS logins
FROM upstream_logins AS login
JOIN server_state AS state ON state.server_type = login.server_type AND state.server_ref_id = login.server_ref_id
WHERE login.state = 'needed'
GROUP BY state.name
ORDER BY state.name
LIMIT %(most_servers)s;

-- Gauges of the whole hub for Prometheus. Each reads a bounded number of rows, or an estimate.

-- name: be_quick
SELECT set_config('statement_timeout', %(milliseconds)s::text, true);

-- name: open_jobs
-- Those that wait, from the longest waiting one on; of more than so many the rest is not counted.
WITH pending AS (
    SELECT available_at
    FROM job_results
    WHERE status = 'pending' AND nexus_is_call(job_type)
    ORDER BY created_at
    LIMIT %(most_jobs)s
), running AS (
    SELECT
    FROM job_results
    WHERE status = 'running' AND nexus_is_call(job_type)
    LIMIT %(most_jobs)s
)
SELECT (SELECT count(*) FROM pending WHERE available_at <= now()) AS waiting,
       (SELECT count(*) FROM pending WHERE available_at > now()) AS later,
       (SELECT count(*) FROM running) AS running,
       (SELECT coalesce(extract(epoch FROM now() - min(available_at)), 0)::float8
        FROM pending WHERE available_at <= now()) AS oldest_seconds;

-- name: table_size
SELECT stats.total_jobs, stats.completed, stats.failed, stats.pending, stats.running,
       nexus_job_bytes() AS bytes
FROM job_results_stats AS stats;

-- name: servers
-- Those with trouble first, of which none may be left out; user servers of the same name are one.
SELECT state.name,
       bool_or(state.circuit = 'open') AS is_open,
       max(state.failures) AS failures,
       max(extract(epoch FROM now() - state.last_refresh_at))::float8 AS age_seconds,
       bool_or(state.status = 'failing') AS is_failing,
       sum((SELECT count(*) FROM tool_cache AS tool
            WHERE tool.held AND tool.server_ref_id = state.server_ref_id AND tool.server_type = state.server_type))::int
           AS held
FROM server_state AS state
JOIN (SELECT 'system' AS server_type, id, enabled FROM system_servers
      UNION ALL
      SELECT 'user', id, enabled FROM user_servers) AS server
  ON server.server_type = state.server_type AND server.id = state.server_ref_id AND server.enabled
GROUP BY state.name
ORDER BY bool_or(state.circuit = 'open') DESC, bool_or(state.status = 'failing') DESC,
         bool_or(state.server_type = 'system') DESC, state.name
LIMIT %(most_servers)s;

-- name: login_counts
-- Logins by their state; `none`: servers that want a login at which nobody has one.
SELECT login.state, count(*) AS logins FROM upstream_logins AS login GROUP BY login.state
UNION ALL
SELECT 'none', count(*)
FROM (SELECT 'system' AS server_type, id FROM system_servers WHERE login_kind IS NOT NULL AND enabled
      UNION ALL
      SELECT 'user', id FROM user_servers WHERE login_kind IS NOT NULL AND enabled) AS server
WHERE NOT EXISTS (SELECT FROM upstream_logins AS login
                  WHERE login.server_type = server.server_type AND login.server_ref_id = server.id);

-- name: server_counts
SELECT state.status, count(*) AS servers FROM server_state AS state GROUP BY state.status;

-- name: names
-- Of servers that are there.
SELECT id, name FROM system_servers WHERE id = ANY (%(ids)s::uuid[])
UNION ALL
SELECT id, name FROM user_servers WHERE id = ANY (%(ids)s::uuid[]);

-- name: keys
-- What each key seals, and since when it is known to: since the rotation to it, or since the oldest of what it seals.
SELECT sealed.key_id, count(*) AS rows,
       extract(epoch FROM now() - coalesce(
           (SELECT max(rotation.started_at) FROM vault_rotations AS rotation
            WHERE rotation.new_key_id = sealed.key_id AND rotation.restored_at IS NULL),
           min(sealed.created_at)))::float8 AS age_seconds
FROM (
    SELECT coalesce(key_id, '') AS key_id, created_at FROM system_servers
    UNION ALL
    SELECT coalesce(key_id, ''), created_at FROM user_servers WHERE config_encrypted IS NOT NULL
    UNION ALL
    SELECT key_id, created_at FROM upstream_logins
) AS sealed
GROUP BY sealed.key_id
ORDER BY count(*) DESC, sealed.key_id
LIMIT %(most_keys)s;

-- name: workers
-- Those that listen for jobs.
SELECT count(DISTINCT pid) AS workers
FROM pg_stat_activity
WHERE datname = current_database() AND application_name = %(worker)s;

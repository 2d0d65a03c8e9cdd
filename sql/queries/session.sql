-- name: set_scope
-- Who a transaction acts for: row-level security reads the first two. The third, where it is given, bounds each of its
-- statements.
SELECT set_config('nexus.scope', %(scope)s, true), set_config('nexus.user_id', %(user_id)s, true),
       set_config('statement_timeout', coalesce(%(statement_timeout)s, current_setting('statement_timeout')), true);

-- name: ping
SELECT 1 AS alive;

-- name: listen
-- Changes of jobs, and calls of execute_job_via_pg_net.
LISTEN nexus_jobs; LISTEN nexus_dispatch;

-- name: lock_exclusively
-- Held by the session until it is given back or ends. Keepalives let the server see within half a minute that the
-- holder's machine is gone; on a Unix socket it sees that at once.
SELECT pg_try_advisory_lock(hashtextextended('nexus.alone:' || %(name)s, 0)) AS taken,
       set_config('tcp_keepalives_idle', '15', false), set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false);

-- name: unlock_all
SELECT pg_advisory_unlock_all();

-- name: begin
-- A transaction and who it acts for, sent together: one way to the database and back instead of two. A process that is
-- frozen in the midst of it gives its locks back after a while.
BEGIN; SELECT set_config('nexus.scope', %(scope)s, true), set_config('nexus.user_id', %(user_id)s, true),
       set_config('statement_timeout', coalesce(%(statement_timeout)s, current_setting('statement_timeout')), true),
       set_config('idle_in_transaction_session_timeout', '15s', true);

-- name: keep_alive
-- The server notices within half a minute that the machine of a client is gone, and ends the session with its locks: by
-- its defaults that takes two hours. On a Unix socket it sees that at once. Each new connection tells the time, too.
SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '25s', false),
       extract(epoch FROM clock_timestamp())::float8 AS now;

-- name: set_scope
-- Who a transaction acts for: row-level security reads the first two. The third, where it is given, bounds each of its
-- statements.
SELECT set_config('nexus.scope', %(scope)s, true), set_config('nexus.user_id', %(user_id)s, true),
       set_config('statement_timeout', coalesce(%(statement_timeout)s, current_setting('statement_timeout')), true);

-- name: ping
SELECT 1 AS alive;

-- name: listen
-- Changes of jobs, calls of execute_job_via_pg_net, shared runs that Prefect has made, changes of the catalog, of tokens
-- and of permissions, and sessions that several processes get requests of.
LISTEN nexus_jobs; LISTEN nexus_dispatch; LISTEN nexus_runs; LISTEN nexus_catalog; LISTEN nexus_tokens;
LISTEN nexus_sessions; LISTEN nexus_permissions;

-- name: lock_exclusively
-- Held by the session until it is given back or ends.
SELECT pg_try_advisory_lock(hashtextextended('nexus.alone:' || %(name)s, 0)) AS taken;

-- name: unlock_all
SELECT pg_advisory_unlock_all();

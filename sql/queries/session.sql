-- Who a transaction acts for: row-level security reads these two.

-- name: set_scope
SELECT set_config('nexus.scope', %(scope)s, true), set_config('nexus.user_id', %(user_id)s, true);

-- name: ping
SELECT 1 AS alive;

-- name: listen
-- Changes of jobs, and calls of execute_job_via_pg_net.
LISTEN nexus_jobs; LISTEN nexus_dispatch;

-- name: try_lock
-- Held by the session until it is given back, or the session ends.
SELECT pg_try_advisory_lock(hashtextextended('nexus_hub.alone:' || %(name)s, 0)) AS taken;

-- name: unlock_all
SELECT pg_advisory_unlock_all();

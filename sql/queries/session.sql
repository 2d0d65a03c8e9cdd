-- Who a transaction acts for: row-level security reads these two.

-- name: set_scope
SELECT set_config('nexus.scope', %(scope)s, true), set_config('nexus.user_id', %(user_id)s, true);

-- name: ping
SELECT 1 AS alive;

-- name: listen
LISTEN nexus_jobs;

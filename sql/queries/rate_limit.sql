-- Rate limits, each in a short transaction of its own.

-- name: be_brief
-- Sent together with the next one, as one transaction. Who can't have an answer soon goes by the bound of its process.
SELECT set_config('nexus.scope', 'service', true), set_config('lock_timeout', '2s', true),
       set_config('statement_timeout', '2s', true);

-- name: take_rate_limit
SELECT allowed, remaining, retry_after
FROM take_rate_limit(%(server_id)s, %(user_id)s, %(per_minute)s, %(per_user)s);

-- name: peek_rate_limit
SELECT scope, quota, remaining, retry_after, reset_after
FROM peek_rate_limit(%(server_id)s, %(user_id)s, %(per_minute)s, %(per_user)s);

-- name: count_calls
-- In the last minute, of all users together.
SELECT server_id::uuid AS server_id, sum(request_count)::bigint AS used
FROM rate_limit_tracking
WHERE server_id = ANY (%(server_ids)s::text[]) AND window_start > clock_timestamp() - interval '61 seconds'
GROUP BY server_id;

-- name: purge_rate_limits
-- What no limit looks at any more, also of servers that nobody calls now. It waits for nobody: a call deletes the same
-- rows, in an order of its own.
DELETE FROM rate_limit_tracking AS tracked
USING (
    SELECT ctid AS place
    FROM rate_limit_tracking
    WHERE window_start < clock_timestamp() - interval '2 minutes'
    FOR UPDATE SKIP LOCKED
) AS old
WHERE tracked.ctid = old.place;

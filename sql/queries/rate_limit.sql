-- Rate limits, each in a short transaction of its own.

-- name: be_brief
-- Who can't have an answer soon goes by the bound of its process.
SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', '2s', true);

-- name: take_rate_limit
SELECT allowed, remaining, retry_after
FROM take_rate_limit(%(server_id)s, %(user_id)s, %(per_minute)s, %(per_user)s);

-- name: peek_rate_limit
SELECT scope, quota, remaining, retry_after, reset_after
FROM peek_rate_limit(%(server_id)s, %(user_id)s, %(per_minute)s, %(per_user)s);

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

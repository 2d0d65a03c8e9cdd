-- Rate limits: what was let through, a documented table that is made anew or taken over, and the functions that count.

CREATE TABLE IF NOT EXISTS rate_limit_tracking ();
ALTER TABLE rate_limit_tracking
    ADD COLUMN IF NOT EXISTS server_id     text NOT NULL,
    ADD COLUMN IF NOT EXISTS user_id       uuid,
    ADD COLUMN IF NOT EXISTS window_start  timestamptz NOT NULL,
    ADD COLUMN IF NOT EXISTS request_count integer NOT NULL DEFAULT 1;
SELECT nexus_take_over_key('rate_limit_tracking');

UPDATE rate_limit_tracking SET request_count = 1 WHERE request_count IS NULL;
-- Rows that only a NULL user keeps apart become one.
WITH doubled AS (
    DELETE FROM rate_limit_tracking t
    WHERE EXISTS (
        SELECT FROM rate_limit_tracking o
        WHERE o.server_id = t.server_id AND o.user_id IS NOT DISTINCT FROM t.user_id
            AND o.window_start = t.window_start AND o.ctid <> t.ctid
    )
    RETURNING t.server_id, t.user_id, t.window_start, t.request_count
)
INSERT INTO rate_limit_tracking (server_id, user_id, window_start, request_count)
SELECT d.server_id, d.user_id, d.window_start, sum(d.request_count)::integer
FROM doubled d
GROUP BY d.server_id, d.user_id, d.window_start;

ALTER TABLE rate_limit_tracking
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN request_count SET DEFAULT 1,
    ALTER COLUMN request_count SET NOT NULL,
    SET (fillfactor = 50);
CREATE UNIQUE INDEX IF NOT EXISTS rate_limit_tracking_window_key
    ON rate_limit_tracking (server_id, user_id, window_start) NULLS NOT DISTINCT;
-- The limit of a server counts all its users: without the user between, one range of the index is read.
DROP INDEX IF EXISTS idx_rate_limit_window;
CREATE INDEX idx_rate_limit_window ON rate_limit_tracking (server_id, window_start);

-- What the last minute holds, and the seconds until there is room again for one call.
-- A bucket covers one second and counts for 61, so that no sliding 60 seconds hold more than the limit. The clock is
-- read once: a bucket that is counted still has time to go, and whoever is denied is told to wait.
CREATE OR REPLACE FUNCTION nexus_rate_limit_usage(
    p_server_id text, p_user_id uuid, p_whole_server boolean, p_limit_per_minute integer,
    OUT used bigint, OUT retry_after double precision, OUT reset_after double precision
)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    WITH instant AS MATERIALIZED (
        SELECT clock_timestamp() - interval '61 seconds' AS oldest
    ), bucket AS (
        SELECT extract(epoch FROM t.window_start - i.oldest) AS leaves_in,
            sum(t.request_count) OVER (ORDER BY t.window_start, t.user_id) AS used_until,
            t.request_count
        FROM instant i
        JOIN rate_limit_tracking t ON t.window_start > i.oldest
        WHERE t.server_id = p_server_id
            AND (p_whole_server OR t.user_id IS NOT DISTINCT FROM p_user_id)
    ), total AS (
        SELECT coalesce(sum(b.request_count), 0) AS used, coalesce(max(b.leaves_in), 0) AS reset_after FROM bucket b
    )
    SELECT t.used,
        coalesce((
            SELECT min(b.leaves_in) FROM bucket b WHERE b.used_until > t.used - p_limit_per_minute
        ), 0)::double precision * (t.used >= p_limit_per_minute)::integer,
        t.reset_after::double precision
    FROM total t
$$;

-- Counts one call, if both limits leave room for it: that of the server as a whole and that of one user on it.
-- NULL is no limit. Denied calls write nothing.
CREATE OR REPLACE FUNCTION take_rate_limit(
    p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer DEFAULT NULL
)
RETURNS TABLE (allowed boolean, remaining integer, retry_after double precision, reset_after double precision)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_locked boolean;
    v_server record;
    v_user   record;
BEGIN
    IF p_limit_per_minute IS NULL AND p_user_limit_per_minute IS NULL THEN
        RETURN QUERY SELECT true, NULL::integer, 0::double precision, 0::double precision;
        RETURN;
    END IF;
    IF least(p_limit_per_minute, p_user_limit_per_minute) <= 0 THEN
        RETURN QUERY SELECT false, 0, 60::double precision, 60::double precision;
        RETURN;
    END IF;

    -- First without the lock: time only takes calls away, so that what is full by committed rows is full.
    FOREACH v_locked IN ARRAY ARRAY[false, true] LOOP
        IF v_locked THEN
            PERFORM pg_advisory_xact_lock(hashtextextended('nexus.rate_limit:' || p_server_id, 0));
        END IF;
        v_server := nexus_rate_limit_usage(p_server_id, p_user_id, true, p_limit_per_minute);
        v_user := nexus_rate_limit_usage(p_server_id, p_user_id, false, p_user_limit_per_minute);
        IF v_server.used >= p_limit_per_minute OR v_user.used >= p_user_limit_per_minute THEN
            RETURN QUERY SELECT false, 0, greatest(v_server.retry_after, v_user.retry_after),
                CASE WHEN p_limit_per_minute IS NULL THEN v_user.reset_after ELSE v_server.reset_after END;
            RETURN;
        END IF;
    END LOOP;

    DELETE FROM rate_limit_tracking t
    WHERE t.server_id = p_server_id AND t.window_start < clock_timestamp() - interval '2 minutes';
    INSERT INTO rate_limit_tracking AS t (server_id, user_id, window_start, request_count)
    VALUES (p_server_id, p_user_id, date_trunc('second', clock_timestamp()), 1)
    ON CONFLICT (server_id, user_id, window_start) DO UPDATE SET request_count = t.request_count + 1;
    RETURN QUERY SELECT true,
        least(p_limit_per_minute - v_server.used, p_user_limit_per_minute - v_user.used)::integer - 1,
        0::double precision, 61::double precision;
END
$$;

-- How far the limits of a server and of one user on it are used up: a row for each limit that there is. Counts no call.
CREATE OR REPLACE FUNCTION peek_rate_limit(
    p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer DEFAULT NULL
)
RETURNS TABLE (
    scope text, quota integer, remaining integer, retry_after double precision, reset_after double precision
)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT l.scope, l.quota, greatest(l.quota - u.used, 0)::integer, u.retry_after, u.reset_after
    FROM (VALUES ('server', p_limit_per_minute), ('user', p_user_limit_per_minute)) AS l (scope, quota)
    CROSS JOIN LATERAL nexus_rate_limit_usage(p_server_id, p_user_id, l.scope = 'server', l.quota) AS u
    WHERE l.quota IS NOT NULL
    ORDER BY l.scope
$$;

DROP FUNCTION IF EXISTS check_rate_limit(text, uuid, integer);
CREATE FUNCTION check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT t.allowed FROM take_rate_limit(p_server_id, p_user_id, p_limit_per_minute) t
$$;

ALTER TABLE rate_limit_tracking ENABLE ROW LEVEL SECURITY;

SELECT nexus_revoke_all('rate_limit_tracking', 'nexus_rate_limit_usage(text, uuid, boolean, integer)',
    'take_rate_limit(text, uuid, integer, integer)', 'peek_rate_limit(text, uuid, integer, integer)',
    'check_rate_limit(text, uuid, integer)');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON rate_limit_tracking', 'nexus_app', 'service_role');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_rate_limit_usage(text, uuid, boolean, integer), '
    'take_rate_limit(text, uuid, integer, integer), peek_rate_limit(text, uuid, integer, integer), '
    'check_rate_limit(text, uuid, integer)', 'nexus_app', 'service_role');

SELECT nexus_service_policy('rate_limit_tracking');
SELECT nexus_policy('rate_limit_tracking', 'service_role_all', 'service_role', 'ALL', 'true');

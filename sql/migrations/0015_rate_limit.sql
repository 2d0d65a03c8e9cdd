-- Rate limits that cost the same however busy a server is: a check reads the first and the last row of the minute, and
-- writes one. A row says how many calls its server had before it (calls_before), so that the calls of a minute are the
-- difference of two numbers. Rows of other programs, and those of before, have none, and are added up.

-- Not in the log of the database: no call waits for the disk. What a crash takes away is below.
ALTER TABLE rate_limit_tracking SET UNLOGGED;
ALTER TABLE rate_limit_tracking ADD COLUMN IF NOT EXISTS calls_before bigint;
CREATE INDEX IF NOT EXISTS idx_rate_limit_unnumbered
    ON rate_limit_tracking (server_id, window_start) WHERE calls_before IS NULL;

-- Since when calls are counted. A crash empties this table and the counts together, and so does a standby that takes
-- over: then nobody knows what the last minute held, and it counts as full until a minute has passed.
CREATE UNLOGGED TABLE IF NOT EXISTS rate_limit_counting (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    since timestamptz NOT NULL
);
INSERT INTO rate_limit_counting (since) VALUES ('-infinity') ON CONFLICT DO NOTHING;

-- What the last minute holds, row by row, and the seconds until there is room again for one call.
-- A row covers a second at most and counts for 61, so that no sliding 60 seconds hold more than the limit. The clock is
-- read once: a row that is counted still has time to go, and whoever is denied is told to wait.
CREATE OR REPLACE FUNCTION nexus_rate_limit_usage(
    p_server_id text, p_user_id uuid, p_whole_server boolean, p_limit_per_minute integer,
    OUT used bigint, OUT retry_after double precision, OUT reset_after double precision
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_oldest timestamptz := v_now - interval '61 seconds';
BEGIN
    -- A range of an index for each case: IS NOT DISTINCT FROM has none.
    WITH counted AS (
        SELECT t.window_start, t.request_count
        FROM rate_limit_tracking t
        WHERE p_whole_server AND t.server_id = p_server_id AND t.window_start > v_oldest
        UNION ALL
        SELECT t.window_start, t.request_count
        FROM rate_limit_tracking t
        WHERE NOT p_whole_server AND t.server_id = p_server_id AND t.user_id = p_user_id AND t.window_start > v_oldest
        UNION ALL
        SELECT t.window_start, t.request_count
        FROM rate_limit_tracking t
        WHERE NOT p_whole_server AND p_user_id IS NULL AND t.server_id = p_server_id AND t.user_id IS NULL
            AND t.window_start > v_oldest
        UNION ALL
        SELECT k.since, p_limit_per_minute
        FROM (SELECT coalesce((SELECT c.since FROM rate_limit_counting c), v_now) AS since) k
        WHERE k.since > v_oldest AND p_limit_per_minute > 0
    ), leaving AS (
        SELECT date_part('epoch', c.window_start - v_oldest) AS leaves_in,
            sum(c.request_count) OVER (ORDER BY c.window_start) AS used_until,
            sum(c.request_count) OVER () AS used
        FROM counted c
    )
    SELECT coalesce(max(l.used), 0),
        coalesce(min(l.leaves_in) FILTER (WHERE l.used >= p_limit_per_minute
            AND l.used_until > l.used - p_limit_per_minute), 0),
        coalesce(max(l.leaves_in), 0)
    INTO used, retry_after, reset_after
    FROM leaving l;
END
$$;

-- Counts one call, if both limits leave room for it: that of the server as a whole and that of one user on it.
-- NULL is no limit. Denied calls write nothing, lock nothing and wait for nobody.
CREATE OR REPLACE FUNCTION nexus_take_rate_limit(
    p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer,
    OUT allowed boolean, OUT remaining integer, OUT retry_after double precision, OUT reset_after double precision
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_locked    boolean := false;
    v_now       timestamptz;
    v_row       record;
    v_usage     record;
    v_used      bigint;
    v_user_used bigint;
    v_calls     bigint;
BEGIN
    IF p_limit_per_minute IS NULL AND p_user_limit_per_minute IS NULL THEN
        allowed := true;
        retry_after := 0;
        reset_after := 0;
        RETURN;
    ELSIF least(p_limit_per_minute, p_user_limit_per_minute) <= 0 THEN
        allowed := false;
        remaining := 0;
        retry_after := 60;
        reset_after := 60;
        RETURN;
    END IF;

    -- First without the lock: time only takes calls away, so that what is full by committed rows is full.
    -- Keys are compared whole: of one server alone the planner expects so few rows that it reads and sorts them all.
    LOOP
        v_now := clock_timestamp();
        SELECT latest.place, latest.user_id, latest.window_start, latest.calls, oldest.window_start AS oldest_start,
            CASE WHEN oldest.server_id = p_server_id THEN latest.calls - oldest.calls_before ELSE 0 END AS used,
            EXISTS (
                SELECT FROM rate_limit_tracking t
                WHERE t.server_id = p_server_id AND t.window_start > v_now - interval '61 seconds'
                    AND t.calls_before IS NULL
            ) AS has_others
        INTO v_row
        FROM (
            SELECT t.ctid AS place, t.server_id, t.user_id, t.window_start, t.calls_before + t.request_count AS calls
            FROM rate_limit_tracking t
            WHERE (t.server_id, t.window_start) <= (p_server_id, 'infinity'::timestamptz)
                AND t.calls_before IS NOT NULL
            ORDER BY t.server_id DESC, t.window_start DESC
            LIMIT 1
        ) latest
        LEFT JOIN (
            SELECT t.server_id, t.window_start, t.calls_before
            FROM rate_limit_tracking t
            WHERE (t.server_id, t.window_start) > (p_server_id, v_now - interval '61 seconds')
                AND t.calls_before IS NOT NULL
            ORDER BY t.server_id, t.window_start
            LIMIT 1
        ) oldest ON true
        WHERE latest.server_id = p_server_id;

        IF NOT FOUND THEN
            INSERT INTO rate_limit_counting (since)
            SELECT v_now WHERE NOT EXISTS (SELECT FROM rate_limit_counting)
            ON CONFLICT DO NOTHING;
        END IF;
        retry_after := 0;
        reset_after := 0;
        IF v_row.used <= coalesce(p_limit_per_minute, v_row.used) AND NOT v_row.has_others THEN
            v_used := v_row.used;
            IF v_used = p_limit_per_minute THEN
                retry_after := 61 + date_part('epoch', v_row.oldest_start - v_now);
                reset_after := 61 + date_part('epoch', v_row.window_start - v_now);
            END IF;
        ELSE
            v_usage := nexus_rate_limit_usage(p_server_id, p_user_id, true, p_limit_per_minute);
            v_used := v_usage.used;
            retry_after := v_usage.retry_after;
            reset_after := v_usage.reset_after;
        END IF;
        allowed := coalesce(v_used < p_limit_per_minute, true);
        IF p_user_limit_per_minute IS NOT NULL THEN
            v_usage := nexus_rate_limit_usage(p_server_id, p_user_id, false, p_user_limit_per_minute);
            v_user_used := v_usage.used;
            allowed := allowed AND v_user_used < p_user_limit_per_minute;
            retry_after := greatest(retry_after, v_usage.retry_after);
            reset_after := greatest(reset_after, v_usage.reset_after);
        END IF;
        IF NOT allowed THEN
            remaining := 0;
            RETURN;
        END IF;
        EXIT WHEN v_locked;
        PERFORM pg_advisory_xact_lock(hashtextextended('nexus.rate_limit:' || p_server_id, 0));
        v_locked := true;
    END LOOP;

    -- One that has seen only what was there when its transaction began would count from there.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'A rate limit is counted in a transaction that is READ COMMITTED; this one is %.',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    v_calls := coalesce(v_row.calls, 0);
    UPDATE rate_limit_tracking t SET request_count = t.request_count + 1
    WHERE t.ctid = v_row.place AND t.server_id = p_server_id AND v_row.user_id IS NOT DISTINCT FROM p_user_id
        AND v_row.window_start BETWEEN v_now - interval '100 milliseconds' AND v_now;
    IF NOT FOUND THEN
        -- Numbers grow with time: while the clock is behind the last row, calls are written down without.
        INSERT INTO rate_limit_tracking AS t (server_id, user_id, window_start, request_count, calls_before)
        VALUES (p_server_id, p_user_id, v_now, 1, CASE WHEN v_row.window_start >= v_now THEN NULL ELSE v_calls END)
        ON CONFLICT (server_id, user_id, window_start) DO UPDATE SET request_count = t.request_count + 1;
    END IF;
    IF v_used = 0 OR v_calls % 128 = 0 THEN
        DELETE FROM rate_limit_tracking t
        WHERE t.server_id = p_server_id AND t.window_start < v_now - interval '2 minutes';
    END IF;
    remaining := least(p_limit_per_minute - v_used, p_user_limit_per_minute - v_user_used) - 1;
    retry_after := 0;
    reset_after := 61;
END
$$;

CREATE OR REPLACE FUNCTION take_rate_limit(
    p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer DEFAULT NULL
)
RETURNS TABLE (allowed boolean, remaining integer, retry_after double precision, reset_after double precision)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT * FROM nexus_take_rate_limit(p_server_id, p_user_id, p_limit_per_minute, p_user_limit_per_minute);
END
$$;

CREATE OR REPLACE FUNCTION check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN (nexus_take_rate_limit(p_server_id, p_user_id, p_limit_per_minute, NULL)).allowed;
END
$$;

ALTER TABLE rate_limit_counting ENABLE ROW LEVEL SECURITY;

SELECT nexus_revoke_all('rate_limit_counting', 'nexus_take_rate_limit(text, uuid, integer, integer)');
SELECT nexus_grant('SELECT, INSERT ON rate_limit_counting', 'nexus_app', 'service_role');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_take_rate_limit(text, uuid, integer, integer)',
    'nexus_app', 'service_role');

SELECT nexus_service_policy('rate_limit_counting');
SELECT nexus_policy('rate_limit_counting', 'service_role_all', 'service_role', 'ALL', 'true');

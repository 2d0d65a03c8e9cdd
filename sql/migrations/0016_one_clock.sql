-- The clock is read once: a bucket that is counted still has time to go, and whoever is denied is told to wait.

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

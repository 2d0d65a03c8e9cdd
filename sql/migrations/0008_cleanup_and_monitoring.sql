-- Clean-up of jobs that ended long ago, and the documented monitoring queries as views.

-- When a job gave its last sign of life. Whoever takes a job that waits, or hands it over, gives one for it.
CREATE OR REPLACE FUNCTION nexus_last_sign(p_job job_results) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE (p_job).status
    WHEN 'running' THEN greatest((p_job).created_at, (p_job).started_at, (p_job).heartbeat_at)
    ELSE greatest((p_job).created_at, (p_job).available_at, (p_job).dispatched_at)
END;

-- Jobs that failed as orphans have a retention of their own. Live jobs are never touched.
DROP FUNCTION IF EXISTS cleanup_old_job_results();
DROP FUNCTION IF EXISTS cleanup_job_results_manual(integer, integer);
CREATE FUNCTION cleanup_job_results_manual(p_days_completed integer DEFAULT 7, p_days_orphaned integer DEFAULT 1)
RETURNS TABLE (deleted_completed integer, deleted_orphaned integer, total_deleted integer)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_completed integer;
    v_orphaned  integer;
BEGIN
    IF (p_days_completed BETWEEN 0 AND 3650 AND p_days_orphaned BETWEEN 0 AND 3650) IS NOT TRUE THEN
        RAISE EXCEPTION 'Days must be from 0 to 3650.' USING ERRCODE = '22023';
    END IF;
    DELETE FROM job_results j
    WHERE nexus_has_ended(j.status) AND j.error_code IS DISTINCT FROM 'orphaned'
        AND j.completed_at < now() - make_interval(days => p_days_completed);
    GET DIAGNOSTICS v_completed = ROW_COUNT;
    DELETE FROM job_results j
    WHERE nexus_is_orphan(j.status, j.error_code)
        AND j.completed_at < now() - make_interval(days => p_days_orphaned);
    GET DIAGNOSTICS v_orphaned = ROW_COUNT;
    RETURN QUERY SELECT v_completed, v_orphaned, v_completed + v_orphaned;
END
$$;

CREATE FUNCTION cleanup_old_job_results() RETURNS integer
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT c.total_deleted FROM cleanup_job_results_manual() c
$$;

-- How many jobs there are: counted while there are few or the table was never analyzed; else what the planner
-- expects, but for the live ones, which an index holds.
-- SECURITY DEFINER, since the planner's statistics are hidden from whom row security holds, and the policies would
-- enter into its estimate. What is planned is fixed text. VOLATILE, since EXPLAIN is not allowed otherwise.
CREATE OR REPLACE FUNCTION nexus_job_counts()
RETURNS TABLE (total_jobs bigint, completed bigint, failed bigint, pending bigint, running bigint,
    older_than_7_days bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_condition text;
    v_plan      json;
    v_rows      bigint[];
BEGIN
    FOREACH v_condition IN ARRAY ARRAY[
        'true', 'status = ''completed''', 'status = ''failed''', 'created_at < now() - interval ''7 days'''
    ] LOOP
        EXECUTE 'EXPLAIN (FORMAT JSON) SELECT FROM public.job_results WHERE ' || v_condition INTO v_plan;
        v_rows := v_rows || (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
    END LOOP;
    IF v_rows[1] < 10000 OR NOT EXISTS (
        SELECT FROM pg_stats s
        WHERE s.schemaname = 'public' AND s.tablename = 'job_results' AND s.attname = 'status'
    ) THEN
        RETURN QUERY
        SELECT count(*),
            count(*) FILTER (WHERE j.status = 'completed'),
            count(*) FILTER (WHERE j.status = 'failed'),
            count(*) FILTER (WHERE j.status = 'pending'),
            count(*) FILTER (WHERE j.status = 'running'),
            count(*) FILTER (WHERE j.created_at < now() - interval '7 days')
        FROM public.job_results j;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT v_rows[1], v_rows[2], v_rows[3],
        count(*) FILTER (WHERE j.status = 'pending'),
        count(*) FILTER (WHERE j.status = 'running'),
        v_rows[4]
    FROM public.job_results j
    WHERE public.nexus_is_live(j.status);
END
$$;

CREATE OR REPLACE VIEW job_results_stats WITH (security_invoker = true) AS
SELECT c.total_jobs, c.completed, c.failed, c.pending, c.running, c.older_than_7_days,
    pg_size_pretty(pg_total_relation_size('public.job_results')) AS table_size
FROM nexus_job_counts() c;

CREATE OR REPLACE VIEW job_results_alert WITH (security_invoker = true) AS
SELECT CASE WHEN c.total_jobs > 1000000 THEN 'ALERT: job_results table exceeds 1M rows' ELSE 'OK' END AS status,
    c.total_jobs AS row_count
FROM nexus_job_counts() c;

SELECT nexus_revoke_all('nexus_last_sign(job_results)', 'cleanup_job_results_manual(integer, integer)',
    'cleanup_old_job_results()', 'nexus_job_counts()', 'job_results_stats', 'job_results_alert');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_last_sign(job_results)', 'nexus_app');
SELECT nexus_grant('EXECUTE ON FUNCTION cleanup_job_results_manual(integer, integer), cleanup_old_job_results(), '
    'nexus_job_counts()', 'nexus_app', 'service_role');
SELECT nexus_grant('SELECT ON job_results_stats, job_results_alert', 'nexus_app', 'service_role');

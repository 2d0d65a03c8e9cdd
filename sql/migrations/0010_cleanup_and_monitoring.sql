-- An index in the order in which the clean-up deletes orphans, and the documented monitoring queries as views.

CREATE INDEX IF NOT EXISTS idx_job_results_failed_orphans ON job_results (completed_at, id)
    WHERE status = 'failed' AND error_code = 'orphaned';

-- How many jobs there are: counted while there are few or the table was never analyzed; else what the planner
-- expects, but for the live ones, which an index holds.
-- SECURITY DEFINER, since the planner's statistics are hidden from whom row security holds, and the policies would
-- enter into its estimate. What is planned is fixed text. VOLATILE, since EXPLAIN is not allowed otherwise.
CREATE OR REPLACE FUNCTION nexus_job_counts()
RETURNS TABLE (total_jobs bigint, completed bigint, failed bigint, pending bigint, running bigint,
    older_than_7_days bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_condition text;
    v_plan      json;
    v_rows      bigint[];
BEGIN
    FOREACH v_condition IN ARRAY ARRAY[
        'true', 'status = ''completed''', 'status = ''failed''', 'created_at < now() - interval ''7 days'''
    ] LOOP
        EXECUTE 'EXPLAIN (FORMAT JSON) SELECT FROM job_results WHERE ' || v_condition INTO v_plan;
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
        FROM job_results j;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT v_rows[1], v_rows[2], v_rows[3],
        count(*) FILTER (WHERE j.status = 'pending'),
        count(*) FILTER (WHERE j.status = 'running'),
        v_rows[4]
    FROM job_results j
    WHERE j.status IN ('pending', 'running');
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

DO $$
DECLARE
    v_role text;
BEGIN
    FOR v_role IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(r.rolname) FROM pg_roles r
        WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'nexus_app')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION nexus_job_counts() FROM %s', v_role);
        EXECUTE format('REVOKE ALL ON TABLE job_results_stats, job_results_alert FROM %s', v_role);
    END LOOP;
    FOR v_role IN
        SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.rolname IN ('nexus_app', 'service_role')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION nexus_job_counts() TO %s', v_role);
        EXECUTE format('GRANT SELECT ON TABLE job_results_stats, job_results_alert TO %s', v_role);
    END LOOP;
END
$$;

-- The audit: who did what, when, from where, and what came of it. The app adds rows and reads them; it changes none, and
-- takes none away but those that are older than a week, through the function below.
CREATE TABLE IF NOT EXISTS audit_log (
    id            uuid PRIMARY KEY,
    at            timestamptz NOT NULL,
    actor         text NOT NULL,
    actor_id      uuid,
    client        text,
    address       text,
    action        text NOT NULL,
    target        text,
    server        text,
    server_ref_id uuid,
    tool          text,
    job_id        uuid,
    outcome       text NOT NULL
        CONSTRAINT audit_log_known_outcome CHECK (outcome IN ('ok', 'refused', 'failed', 'cancelled')),
    code          text,
    digest        text,
    trace_id      text,
    times         integer NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS idx_audit_log_at ON audit_log (at, id);
CREATE INDEX IF NOT EXISTS idx_audit_log_actor ON audit_log (actor_id, at, id);
CREATE INDEX IF NOT EXISTS idx_audit_log_action ON audit_log (action, at, id);
CREATE INDEX IF NOT EXISTS idx_audit_log_server ON audit_log (server, at, id) WHERE server IS NOT NULL;

-- Takes away rows of so many days ago, some at a time; how many. SECURITY DEFINER, since the app may not do that by
-- itself: what happened within a week can't be made undone.
CREATE OR REPLACE FUNCTION nexus_purge_audit(p_days integer, p_limit integer DEFAULT 10000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_deleted integer;
BEGIN
    IF (p_days BETWEEN 7 AND 36500) IS NOT TRUE THEN
        RAISE EXCEPTION 'Days must be from 7 to 36500.' USING ERRCODE = '22023';
    END IF;
    DELETE FROM public.audit_log
    WHERE ctid = ANY (ARRAY(
        SELECT a.ctid FROM public.audit_log a
        WHERE a.at < now() - make_interval(days => p_days)
        ORDER BY a.at
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;

ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('audit_log', 'nexus_purge_audit(integer, integer)');
SELECT nexus_grant('SELECT, INSERT ON audit_log', 'nexus_app');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_purge_audit(integer, integer)', 'nexus_app');
SELECT nexus_service_policy('audit_log');
-- Users see their own.
SELECT nexus_policy('audit_log', 'nexus_own', 'nexus_app', 'SELECT', 'actor_id = (SELECT nexus_current_user_id())');

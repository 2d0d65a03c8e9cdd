-- Functions: who asks, rate limits, and the documented ones. All run with the rights of the caller.

-- Who asks. The app says it once per transaction; a setting that ended with its transaction reads as ''.
CREATE OR REPLACE FUNCTION nexus_scope_is_service() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(current_setting('nexus.scope', true), '') = 'service'
$$;

-- The subject of the JWT that an API gateway in front of the database has verified; NULL unless it is a uuid.
CREATE OR REPLACE FUNCTION nexus_claims_user_id() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_claims text := nullif(current_setting('request.jwt.claims', true), '');
BEGIN
    IF v_claims IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        RETURN (v_claims::jsonb ->> 'sub')::uuid;
    EXCEPTION WHEN data_exception OR untranslatable_character THEN
        RETURN NULL;
    END;
END
$$;

CREATE OR REPLACE FUNCTION nexus_current_user_id() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_user_id text := nullif(current_setting('nexus.user_id', true), '');
BEGIN
    IF v_user_id IS NULL THEN
        RETURN nexus_claims_user_id();
    END IF;
    IF coalesce(current_setting('nexus.scope', true), '') <> 'user'
        OR v_user_id !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
    THEN
        RETURN NULL;
    END IF;
    RETURN v_user_id::uuid;
END
$$;

-- What the last minute holds, and the seconds until there is room again for one call.
-- A bucket covers one second and counts for 61, so that no sliding 60 seconds hold more than the limit.
CREATE OR REPLACE FUNCTION nexus_rate_limit_usage(
    p_server_id text, p_user_id uuid, p_whole_server boolean, p_limit_per_minute integer,
    OUT used bigint, OUT retry_after double precision, OUT reset_after double precision
)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    WITH bucket AS (
        SELECT extract(epoch FROM t.window_start + interval '61 seconds' - clock_timestamp()) AS leaves_in,
            sum(t.request_count) OVER (ORDER BY t.window_start, t.user_id) AS used_until,
            t.request_count
        FROM rate_limit_tracking t
        WHERE t.server_id = p_server_id
            AND t.window_start > clock_timestamp() - interval '61 seconds'
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

DROP FUNCTION IF EXISTS check_rate_limit(text, uuid, integer);
CREATE FUNCTION check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT t.allowed FROM take_rate_limit(p_server_id, p_user_id, p_limit_per_minute) t
$$;

-- Enabled servers that are due, by their state row or by an entry that ran out.
DROP FUNCTION IF EXISTS refresh_expired_cache_entries();
CREATE FUNCTION refresh_expired_cache_entries() RETURNS TABLE (server_ref_id uuid, server_type text, user_id uuid)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    WITH due AS (
        SELECT s.server_type, s.server_ref_id FROM server_state s WHERE s.next_refresh_at <= now()
        UNION
        SELECT t.server_type, t.server_ref_id FROM tool_cache t WHERE t.enabled AND t.expires_at < now()
        UNION
        SELECT r.server_type, r.server_ref_id FROM resource_cache r WHERE r.expires_at < now()
        UNION
        SELECT p.server_type, p.server_ref_id FROM prompt_cache p WHERE p.expires_at < now()
    )
    SELECT s.id, 'system', NULL::uuid
    FROM due d JOIN system_servers s ON s.id = d.server_ref_id AND d.server_type = 'system'
    WHERE s.enabled
    UNION ALL
    SELECT s.id, 'user', s.user_id
    FROM due d JOIN user_servers s ON s.id = d.server_ref_id AND d.server_type = 'user'
    WHERE s.enabled
$$;

-- Counts what a rotation left behind; keys never come here, so that the hub itself reseals the rows.
DROP FUNCTION IF EXISTS rotate_vault_key();
CREATE FUNCTION rotate_vault_key() RETURNS TABLE (servers_updated integer, errors text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_primary text := nullif(current_setting('nexus.vault_primary_key_id', true), '');
BEGIN
    IF v_primary IS NULL THEN
        RAISE EXCEPTION 'The setting nexus.vault_primary_key_id is not set.'
            USING ERRCODE = '55000', HINT = 'Set it to the id of the primary key, as nexus-hub vault status shows it.';
    END IF;
    RETURN QUERY
    WITH sealed AS (
        SELECT 'system' AS server_type, s.id, s.key_id FROM system_servers s
        UNION ALL
        SELECT 'user', u.id, u.key_id FROM user_servers u WHERE u.config_encrypted IS NOT NULL
    )
    SELECT (count(*) FILTER (WHERE s.key_id = v_primary))::integer,
        coalesce(array_agg(
            format('Server %s/%s: sealed with %s, not with %s', s.server_type, s.id,
                coalesce('key ' || s.key_id, 'a key of no known id'), v_primary)
            ORDER BY s.server_type, s.id
        ) FILTER (WHERE s.key_id IS DISTINCT FROM v_primary), '{}')
    FROM sealed s;
END
$$;

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
    WHERE j.status IN ('completed', 'failed', 'cancelled')
        AND j.error_code IS DISTINCT FROM 'orphaned'
        AND j.completed_at < now() - make_interval(days => p_days_completed);
    GET DIAGNOSTICS v_completed = ROW_COUNT;
    DELETE FROM job_results j
    WHERE j.status = 'failed'
        AND j.error_code = 'orphaned'
        AND j.completed_at < now() - make_interval(days => p_days_orphaned);
    GET DIAGNOSTICS v_orphaned = ROW_COUNT;
    RETURN QUERY SELECT v_completed, v_orphaned, v_completed + v_orphaned;
END
$$;

CREATE FUNCTION cleanup_old_job_results() RETURNS integer
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT c.total_deleted FROM cleanup_job_results_manual() c
$$;

-- Wakes the dispatch. Row security decides who finds the job; its state does not change here.
DROP FUNCTION IF EXISTS execute_job_via_pg_net(uuid);
CREATE FUNCTION execute_job_via_pg_net(job_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM job_results j WHERE j.id = execute_job_via_pg_net.job_id) THEN
        RAISE EXCEPTION 'Job % not found', job_id USING ERRCODE = 'P0002';
    END IF;
    PERFORM pg_notify('nexus_dispatch', job_id::text);
END
$$;

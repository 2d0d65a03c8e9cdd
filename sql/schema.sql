-- The whole schema: what all files of migrations/ come to, to read and to compare. A test keeps it so.
-- The hub itself is set up by `nexus-hub migrate`, which also makes the role nexus_app.
-- Name: check_rate_limit(text, uuid, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN (nexus_take_rate_limit(p_server_id, p_user_id, p_limit_per_minute, NULL)).allowed;
END
$$;

-- Name: cleanup_job_results_manual(integer, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.cleanup_job_results_manual(p_days_completed integer DEFAULT 7, p_days_orphaned integer DEFAULT 1) RETURNS TABLE(deleted_completed integer, deleted_orphaned integer, total_deleted integer)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_completed integer;
    v_orphaned  integer;
BEGIN
    IF (p_days_completed BETWEEN 0 AND 3650 AND p_days_orphaned BETWEEN 0 AND 3650) IS NOT TRUE THEN
        RAISE EXCEPTION 'Days must be from 0 to 3650.' USING ERRCODE = '22023';
    END IF;
    IF nexus_jobs_are_in_days() AND (nexus_scope_is_service() OR NOT row_security_active('job_results')) THEN
        RETURN QUERY
        SELECT d.deleted_completed, d.deleted_orphaned, d.deleted_completed + d.deleted_orphaned
        FROM nexus_drop_job_days(p_days_completed, p_days_orphaned, true) d;
        RETURN;
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

-- Name: cleanup_old_job_results(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.cleanup_old_job_results() RETURNS integer
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT c.total_deleted FROM cleanup_job_results_manual() c
$$;

-- Name: execute_job_via_pg_net(uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.execute_job_via_pg_net(job_id uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM job_results j WHERE j.id = execute_job_via_pg_net.job_id) THEN
        RAISE EXCEPTION 'Job % not found', job_id USING ERRCODE = 'P0002';
    END IF;
    PERFORM pg_notify('nexus_dispatch', job_id::text);
END
$$;

-- Name: nexus_add_job_days(integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_add_job_days(p_days_ahead integer DEFAULT 3) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "DateStyle" TO 'ISO'
    AS $$
DECLARE
    v_timeout text := current_setting('lock_timeout');
    v_today   date := (now() AT TIME ZONE 'UTC')::date;
    v_made    integer := 0;
    v_since   timestamptz;
    v_until   timestamptz;
    v_name    text;
    v_taken   boolean;
BEGIN
    IF (p_days_ahead BETWEEN 0 AND 30) IS NOT TRUE THEN
        RAISE EXCEPTION 'Days must be from 0 to 30.' USING ERRCODE = '22023';
    END IF;
    PERFORM set_config('lock_timeout', '2s', true);
    BEGIN
        IF NOT public.nexus_jobs_are_in_days() THEN
            IF EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = to_regclass('public.job_results')
                           AND c.conname = 'job_results_until')
                AND pg_try_advisory_xact_lock(hashtextextended('nexus.migrate', 0))
            THEN
                PERFORM public.nexus_take_back_partitions();
            END IF;
        ELSE
            FOR v_day IN 0..p_days_ahead LOOP
                v_since := (v_today + v_day)::timestamp AT TIME ZONE 'UTC';
                v_until := (v_today + v_day + 1)::timestamp AT TIME ZONE 'UTC';
                SELECT EXISTS (SELECT FROM public.nexus_job_days() d WHERE d.since < v_until AND d.until > v_since)
                    OR EXISTS (SELECT FROM public.job_results_default j
                               WHERE j.created_at >= v_since AND j.created_at < v_until)
                INTO v_taken;
                CONTINUE WHEN v_taken;
                v_name := 'public.job_results_p' || to_char(v_today + v_day, 'YYYYMMDD');
                BEGIN
                    EXECUTE format('CREATE TABLE %s (LIKE public.job_results INCLUDING DEFAULTS INCLUDING CONSTRAINTS '
                        'INCLUDING STORAGE INCLUDING COMPRESSION)', v_name);
                    PERFORM public.nexus_close_job_day(v_name::regclass);
                    EXECUTE format('ALTER TABLE public.job_results ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                        v_name, v_since, v_until);
                    v_made := v_made + 1;
                EXCEPTION WHEN check_violation OR duplicate_table OR unique_violation THEN
                    NULL;
                END;
            END LOOP;
        END IF;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        v_made := 0;
    END;
    PERFORM set_config('lock_timeout', v_timeout, true);
    RETURN v_made;
END
$$;

-- Name: nexus_approval_check_move(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_approval_check_move() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF (NEW.id, NEW.job_id, NEW.user_id, NEW.digest, NEW.fixed, NEW.asked_at, NEW.approvers, NEW.self_approval)
        IS DISTINCT FROM (OLD.id, OLD.job_id, OLD.user_id, OLD.digest, OLD.fixed, OLD.asked_at, OLD.approvers, OLD.self_approval)
    THEN
        RAISE EXCEPTION 'Approval %: what was asked never changes.', OLD.id USING ERRCODE = 'NX003';
    END IF;
    IF OLD.state <> NEW.state AND NOT (OLD.state || ' -> ' || NEW.state) = ANY (
        '{waiting -> approved, waiting -> denied, waiting -> expired, approved -> used, approved -> expired}'::text[])
    THEN
        RAISE EXCEPTION 'Approval %: % -> % is refused.', OLD.id, OLD.state, NEW.state USING ERRCODE = 'NX003';
    END IF;
    RETURN NEW;
END
$$;

-- Name: nexus_approval_note(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_approval_note() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_actor uuid := CASE WHEN NEW.state IN ('approved', 'denied') THEN NEW.decided_by
                         WHEN NEW.state <> 'expired' THEN NEW.user_id END;
BEGIN
    INSERT INTO public.audit_log (
        id, at, actor, actor_id, action, target, server, server_ref_id, tool, job_id, outcome, code)
    SELECT gen_random_uuid(), clock_timestamp(),
           CASE WHEN NEW.state = 'expired' THEN 'nobody' WHEN v_actor IS NULL THEN 'operator'
                ELSE coalesce((SELECT u.name FROM public.users u WHERE u.id = v_actor), v_actor::text) END,
           v_actor,
           'approval.' || CASE NEW.state WHEN 'waiting' THEN 'ask' WHEN 'approved' THEN 'grant' WHEN 'denied' THEN 'deny'
                                         WHEN 'expired' THEN 'expire' ELSE 'use' END,
           'approval ' || NEW.id,
           CASE WHEN j.called_as IS NULL THEN s.name END, CASE WHEN j.called_as IS NULL THEN j.server_ref_id END,
           left(coalesce(j.called_as, j.tool_name), 200), NEW.job_id, 'ok', NULL
    FROM (VALUES (1)) one (n)
    LEFT JOIN public.job_results j ON j.id = NEW.job_id
    LEFT JOIN public.server_state s ON s.server_type = j.server_type AND s.server_ref_id = j.server_ref_id;
    RETURN NULL;
END
$$;

-- Name: nexus_cache_before_write(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_cache_before_write() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NEW.server_type IN ('system', 'user') AND NEW.server_ref_id IS NOT NULL THEN
        INSERT INTO public.server_state (server_type, server_ref_id, user_id, name)
        VALUES (NEW.server_type, NEW.server_ref_id, CASE NEW.server_type WHEN 'user' THEN NEW.user_id END,
            'server-' || left(NEW.server_ref_id::text, 8))
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NEW;
END
$$;

-- Name: nexus_catalog_notify(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_catalog_notify() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('nexus_catalog', '');
    ELSIF TG_LEVEL = 'ROW' THEN
        PERFORM pg_notify('nexus_catalog', json_build_object(
            'server_type', c.server_type, 'server_ref_id', c.server_ref_id, 'user_id', c.user_id,
            'kinds', json_build_array(TG_ARGV[0]))::text)
        FROM (VALUES (OLD.server_type, OLD.server_ref_id, OLD.user_id),
                     (NEW.server_type, NEW.server_ref_id, NEW.user_id)) AS c (server_type, server_ref_id, user_id);
    ELSE
        PERFORM pg_notify('nexus_catalog', json_build_object(
            'server_type', c.server_type, 'server_ref_id', c.server_ref_id, 'user_id', c.user_id,
            'kinds', json_build_array(TG_ARGV[0]))::text)
        FROM (SELECT DISTINCT server_type, server_ref_id, user_id FROM changed) AS c;
    END IF;
    RETURN NULL;
END
$$;

-- Name: nexus_claims_user_id(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_claims_user_id() RETURNS uuid
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

-- Name: nexus_close_job_day(regclass); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_close_job_day(p_part regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (id)', p_part);
    EXECUTE format('CREATE UNIQUE INDEX ON %s (idempotency_key, user_id) NULLS NOT DISTINCT '
        'WHERE idempotency_key IS NOT NULL', p_part);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_part);
    PERFORM nexus_revoke_all(p_part::text);
END
$$;

-- Name: nexus_current_user_id(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_current_user_id() RETURNS uuid
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_user_id text := nullif(current_setting('nexus.user_id', true), '');
BEGIN
    IF v_user_id IS NULL THEN
        RETURN nexus_claims_user_id();
    END IF;
    IF coalesce(current_setting('nexus.scope', true), '') <> 'user' THEN
        RETURN NULL;
    END IF;
    RETURN nexus_uuid(v_user_id);
END
$$;

-- Name: nexus_definition_hash(uuid, json); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_definition_hash(p_server_ref_id uuid, p_definition json) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT sha256(convert_to(p_server_ref_id::text || ' ' || p_definition::jsonb::text, 'UTF8'))
$$;

-- Name: nexus_drop_job_days(integer, integer, boolean); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_drop_job_days(p_days_completed integer, p_days_orphaned integer, p_rows boolean DEFAULT false) RETURNS TABLE(deleted_completed integer, deleted_orphaned integer, busy_days integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    v_timeout   text := current_setting('lock_timeout');
    v_completed timestamptz := now() - make_interval(days => p_days_completed);
    v_orphaned  timestamptz := now() - make_interval(days => p_days_orphaned);
    v_owner     oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = 'public.job_results'::regclass);
    v_sees      boolean := current_setting('transaction_isolation') IN ('read committed', 'read uncommitted');
    v_days      regclass[] := '{}';
    v_day       regclass;
    v_drops     boolean;
    v_counts    bigint[];
    v_all       bigint[] := '{0,0}';
    v_deletes   text := 'WITH gone AS (DELETE FROM %s WHERE public.nexus_has_ended(status) AND (error_code IS DISTINCT '
        'FROM ''orphaned'' AND completed_at < $1 OR public.nexus_is_orphan(status, error_code) AND completed_at < $2) '
        'RETURNING error_code IS NOT DISTINCT FROM ''orphaned'' AS orphan) '
        'SELECT ARRAY[count(*) FILTER (WHERE NOT orphan), count(*) FILTER (WHERE orphan)] FROM gone';
BEGIN
    IF (p_days_completed BETWEEN 0 AND 3650 AND p_days_orphaned BETWEEN 0 AND 3650) IS NOT TRUE THEN
        RAISE EXCEPTION 'Days must be from 0 to 3650.' USING ERRCODE = '22023';
    END IF;
    deleted_completed := 0;
    deleted_orphaned := 0;
    busy_days := 0;
    IF NOT public.nexus_jobs_are_in_days() OR NOT (
        public.nexus_scope_is_service() OR pg_has_role(session_user, v_owner, 'MEMBER')
        OR NOT pg_has_role(session_user, 'nexus_app', 'MEMBER'))
    THEN
        RETURN NEXT;
        RETURN;
    END IF;

    FOR v_day, v_drops IN
        SELECT d.part, d.until <= now() AND v_sees AND NOT public.nexus_job_day_is_kept(d.part, v_completed, v_orphaned)
        FROM public.nexus_job_days() d
        UNION ALL
        SELECT 'public.job_results_default'::regclass, false
    LOOP
        IF v_drops THEN
            v_days := v_days || v_day;
            EXECUTE format('SELECT ARRAY[count(*) FILTER (WHERE error_code IS DISTINCT FROM ''orphaned''), '
                'count(*) FILTER (WHERE error_code = ''orphaned'')] FROM %s', v_day) INTO v_counts;
        ELSIF p_rows THEN
            EXECUTE format(v_deletes, v_day) INTO v_counts USING v_completed, v_orphaned;
        ELSE
            v_counts := '{0,0}';
        END IF;
        v_all := ARRAY[v_all[1] + v_counts[1], v_all[2] + v_counts[2]];
    END LOOP;

    IF v_days <> '{}' THEN
        BEGIN
            FOREACH v_day IN ARRAY v_days LOOP
                EXECUTE format('DELETE FROM public.job_keys k USING %s j WHERE j.idempotency_key IS NOT NULL '
                    'AND k.idempotency_key = j.idempotency_key AND k.user_id IS NOT DISTINCT FROM j.user_id '
                    'AND k.job_id = j.id', v_day);
            END LOOP;
            PERFORM set_config('lock_timeout', '500ms', true);
            LOCK TABLE ONLY public.job_results IN ACCESS EXCLUSIVE MODE;
            FOREACH v_day IN ARRAY v_days LOOP
                EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', v_day);
                IF public.nexus_job_day_is_kept(v_day, v_completed, v_orphaned) THEN
                    RAISE EXCEPTION 'A job was stored into %.', v_day USING ERRCODE = '55P03';
                END IF;
            END LOOP;
            FOREACH v_day IN ARRAY v_days LOOP
                EXECUTE format('DROP TABLE %s', v_day);
            END LOOP;
        EXCEPTION WHEN lock_not_available OR deadlock_detected OR dependent_objects_still_exist THEN
            busy_days := cardinality(v_days);
            FOREACH v_day IN ARRAY v_days LOOP
                IF p_rows THEN
                    EXECUTE format(v_deletes, v_day) USING v_completed, v_orphaned;
                END IF;
            END LOOP;
            IF NOT p_rows THEN
                v_all := '{0,0}';
            END IF;
        END;
        PERFORM set_config('lock_timeout', v_timeout, true);
    END IF;
    deleted_completed := v_all[1];
    deleted_orphaned := v_all[2];
    RETURN NEXT;
END
$_$;

-- Name: nexus_entry_decide(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_entry_decide() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    NEW.enabled := NOT EXISTS (
        SELECT FROM public.system_servers s
        WHERE NEW.server_type = 'system' AND s.id = NEW.server_ref_id AND NOT s.enabled
        UNION ALL
        SELECT FROM public.user_servers s
        WHERE NEW.server_type = 'user' AND s.id = NEW.server_ref_id AND NOT s.enabled);
    RETURN NEW;
END
$$;

-- Name: nexus_grant(text, text[]); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_grant(p_right text, VARIADIC p_roles text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_role text;
BEGIN
    FOR v_role IN SELECT r.rolname FROM pg_roles r WHERE r.rolname = ANY (p_roles) LOOP
        EXECUTE format('GRANT %s TO %I', p_right, v_role);
    END LOOP;
END
$$;

-- Name: nexus_grants_of(text, text, aclitem[], oid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_grants_of(p_object text, p_columns text, p_rights aclitem[], p_owner oid) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT format('GRANT %s%s ON %s TO %s%s', a.privilege_type, p_columns, p_object,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM aclexplode(p_rights) a
    WHERE a.grantee <> p_owner
$$;

-- Name: nexus_groups_of(uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_groups_of(p_user_id uuid) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT g.id FROM public.user_groups g
    WHERE (SELECT public.nexus_may_ask_for(p_user_id))
      AND (g.is_everyone
           OR EXISTS (SELECT FROM public.group_members m WHERE m.group_id = g.id AND m.user_id = p_user_id)
           OR EXISTS (SELECT FROM public.user_identities i WHERE i.user_id = p_user_id AND i.groups && g.claims))
$$;

-- Name: nexus_has_ended(text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_has_ended(p_status text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (p_status = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text]));

-- Name: nexus_is_call(text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_is_call(p_job_type text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (p_job_type = ANY (ARRAY['tool_invoke'::text, 'resource_fetch'::text, 'prompt_execute'::text]));

-- Name: nexus_is_live(text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_is_live(p_status text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (p_status = ANY (ARRAY['pending'::text, 'running'::text]));

-- Name: nexus_is_meant(text, text, uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_is_meant(p_ref text, p_name text, p_id uuid) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((p_ref IS NULL) OR (p_name = p_ref) OR ((p_id)::text = lower(p_ref)));

-- Name: nexus_is_open(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_is_open() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT coalesce((SELECT h.access = 'open' FROM public.hub_settings h), true)
$$;

-- Name: nexus_is_orphan(text, text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_is_orphan(p_status text, p_error_code text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((p_status = 'failed'::text) AND (p_error_code = 'orphaned'::text));

-- Name: nexus_is_queued(text, timestamp with time zone, uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_is_queued(p_status text, p_dispatched_at timestamp with time zone, p_flow_run_id uuid) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((p_status = 'pending'::text) AND (p_dispatched_at IS NOT NULL) AND (p_flow_run_id IS NULL));

-- Name: nexus_is_seen_by(boolean, uuid, uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_is_seen_by(p_all_users boolean, p_user_id uuid, p_owner uuid) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (p_all_users OR (p_owner IS NULL) OR (p_owner = p_user_id));

-- Name: nexus_job_after_write(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_after_write() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_event text := 'state';
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.progress IS DISTINCT FROM NEW.progress
        AND (OLD.status, OLD.attempt, OLD.available_at, OLD.flow_run_id, OLD.cancel_requested_at)
            IS NOT DISTINCT FROM (NEW.status, NEW.attempt, NEW.available_at, NEW.flow_run_id, NEW.cancel_requested_at)
    THEN
        v_event := 'progress';
    END IF;
    PERFORM pg_notify('nexus_jobs', json_build_object(
        'id', NEW.id, 'version', NEW.version, 'status', NEW.status, 'user_id', NEW.user_id,
        'job_type', NEW.job_type, 'attempt', NEW.attempt, 'error_code', left(NEW.error_code, 100),
        'event', v_event, 'server_id', left(NEW.server_id, 100), 'lane', NEW.lane,
        'queued', nexus_is_queued(NEW.status, NEW.dispatched_at, NEW.flow_run_id)
            AND NEW.available_at <= clock_timestamp() + interval '1 second')::text);
    RETURN NULL;
END
$$;

-- Name: nexus_job_before_write(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_before_write() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_old job_results;
    v_new job_results;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF nexus_has_ended(OLD.status) THEN
            RAISE EXCEPTION 'Job % has ended as %; what has ended does not change.', OLD.id, OLD.status
                USING ERRCODE = 'NX001';
        END IF;
        v_old := OLD;
        v_old.heartbeat_at := NEW.heartbeat_at;
        v_old.lease_expires_at := NEW.lease_expires_at;
        v_old.sent_at := NEW.sent_at;
        v_old.lost_flow_run_id := NEW.lost_flow_run_id;
        v_old.params := NULL;
        v_old.result := NULL;
        v_old.params_sent := NULL;
        v_old.result_sent := NULL;
        v_new := NEW;
        v_new.params := NULL;
        v_new.result := NULL;
        v_new.params_sent := NULL;
        v_new.result_sent := NULL;
        -- *<> compares images: it also takes columns of types without an equality.
        IF v_new *<> v_old THEN
            NEW.version := OLD.version + 1;
        ELSIF NEW.status = 'running' THEN
            RETURN NEW;
        END IF;
    END IF;

    IF NEW.server_ref_id IS NOT NULL AND NEW.server_ref_id IS DISTINCT FROM OLD.server_ref_id THEN
        NEW.server_id := NEW.server_ref_id::text;
    ELSIF NEW.server_id IS DISTINCT FROM OLD.server_id THEN
        NEW.server_ref_id := nexus_uuid(NEW.server_id);
        NEW.server_id := coalesce(NEW.server_ref_id::text, NEW.server_id);
    END IF;
    IF NEW.server_type IS NULL AND NEW.server_ref_id IS NOT NULL THEN
        SELECT s.server_type INTO NEW.server_type
        FROM server_state s
        WHERE s.server_ref_id = NEW.server_ref_id
        LIMIT 1;
    END IF;

    IF NEW.status = 'running' THEN
        NEW.started_at := coalesce(NEW.started_at, now());
    ELSE
        NEW.claim_id := NULL;
        NEW.lease_expires_at := NULL;
    END IF;
    IF NEW.status = 'pending' THEN
        NEW.lane := 'durable';
    END IF;
    IF nexus_has_ended(NEW.status) THEN
        NEW.completed_at := coalesce(NEW.completed_at, now());
    END IF;
    RETURN NEW;
END
$$;

-- Name: nexus_job_bytes(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_bytes() RETURNS bigint
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT coalesce((SELECT sum(pg_total_relation_size(t.relid))::bigint FROM pg_partition_tree('public.job_results') t
                     WHERE t.isleaf),
                    pg_total_relation_size('public.job_results'))
$$;

-- Name: nexus_job_check_move(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_check_move() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_move    text := OLD.status || ' -> ' || NEW.status;
    v_step    integer := NEW.attempt - OLD.attempt;
    v_steps   integer[] := '{0}';
    v_refusal text;
BEGIN
    CASE v_move
        WHEN 'pending -> pending' THEN
            -- The flow run of the attempt was lost.
            IF OLD.flow_run_id IS NOT NULL AND NEW.flow_run_id IS NULL THEN
                v_steps := '{0,1}';
            END IF;
        WHEN 'pending -> running' THEN
            IF NEW.claim_id IS NOT NULL THEN
                v_steps := '{1}';
            ELSIF NOT nexus_is_call(NEW.job_type) THEN
                v_steps := '{0,1}';
            END IF;
        WHEN 'pending -> failed' THEN
            IF OLD.flow_run_id IS NOT NULL THEN
                v_steps := '{0,1}';
            END IF;
        WHEN 'pending -> completed' THEN
            -- Other programs may skip running; once a job was started, only who is at it can have its result.
            IF OLD.started_at IS NOT NULL THEN
                v_refusal := 'it was put back after it had started, and can go to running, failed or cancelled';
            END IF;
        WHEN 'running -> pending' THEN
            IF NEW.attempt >= NEW.max_attempts THEN
                v_refusal := 'no attempt is left, and it can go to completed, failed or cancelled';
            ELSIF OLD.claim_id IS NOT NULL THEN
                v_steps := '{-1,0}';  -- an attempt that a rate limit snoozed does not count
            END IF;
        WHEN 'running -> running' THEN
            IF NEW.claim_id IS DISTINCT FROM OLD.claim_id THEN
                v_refusal := 'a claim is taken with pending -> running only, and kept until the job leaves running';
            END IF;
        ELSE
            NULL;  -- running -> an end, pending -> cancelled; the rest breaks a constraint
    END CASE;
    IF v_refusal IS NULL AND NOT v_step = ANY (v_steps) THEN
        v_refusal := format('attempt would go from %s to %s, and can change by %s%s', OLD.attempt, NEW.attempt,
            array_to_string(v_steps, ' or '), CASE v_move WHEN 'pending -> running' THEN
                CASE WHEN NEW.claim_id IS NULL THEN ' without a claim' ELSE ' with a claim' END END);
    END IF;
    IF v_refusal IS NOT NULL THEN
        RAISE EXCEPTION 'Job %: % is refused: %.', OLD.id, v_move, v_refusal USING ERRCODE = 'NX002';
    END IF;
    RETURN NEW;
END
$$;

-- Name: nexus_job_count_payload(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_count_payload() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$;

-- Name: nexus_job_counts(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_counts() RETURNS TABLE(total_jobs bigint, completed bigint, failed bigint, pending bigint, running bigint, older_than_7_days bigint)
    LANGUAGE plpgsql SECURITY DEFINER ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
        WHERE s.schemaname = 'public' AND s.attname = 'status'
            AND (s.tablename = 'job_results' OR s.tablename IN (
                SELECT c.relname FROM pg_partition_tree('public.job_results') t JOIN pg_class c ON c.oid = t.relid))
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

-- Name: nexus_job_day_is_kept(regclass, timestamp with time zone, timestamp with time zone); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_day_is_kept(p_part regclass, p_completed timestamp with time zone, p_orphaned timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $_$
DECLARE
    v_kept boolean;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %1$s WHERE nexus_is_live(status))
        OR EXISTS (SELECT FROM %1$s WHERE nexus_has_ended(status) AND error_code IS DISTINCT FROM ''orphaned''
                       AND completed_at >= $1)
        OR EXISTS (SELECT FROM %1$s WHERE nexus_is_orphan(status, error_code) AND completed_at >= $2)
        OR EXISTS (SELECT FROM %1$s WHERE error_code = ''orphaned'' AND status <> ''failed'')', p_part)
    INTO v_kept USING p_completed, p_orphaned;
    RETURN v_kept;
END
$_$;

-- Name: nexus_job_days(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_days() RETURNS TABLE(part regclass, since timestamp with time zone, until timestamp with time zone)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET "DateStyle" TO 'ISO'
    AS $_$
    SELECT c.oid::regclass, coalesce(substring(b.bound FROM $re$FROM \('([^']+)'\)$re$)::timestamptz, '-infinity'),
        substring(b.bound FROM $re$TO \('([^']+)'\)$re$)::timestamptz
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS b (bound)
    WHERE i.inhparent = to_regclass('public.job_results') AND b.bound LIKE 'FOR VALUES%'
    ORDER BY 3
$_$;

-- Name: job_results; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.job_results (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid,
    job_type text NOT NULL,
    server_id text NOT NULL,
    tool_name text,
    params jsonb DEFAULT '{}'::jsonb NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    result jsonb,
    error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    server_type text,
    server_ref_id uuid,
    flow_run_id uuid,
    attempt integer DEFAULT 0 NOT NULL,
    max_attempts integer DEFAULT 3 NOT NULL,
    claim_id uuid,
    lease_expires_at timestamp with time zone,
    heartbeat_at timestamp with time zone,
    available_at timestamp with time zone DEFAULT now() NOT NULL,
    dispatched_at timestamp with time zone,
    timeout_seconds integer,
    retry text DEFAULT 'auto'::text NOT NULL,
    error_code text,
    progress jsonb,
    version bigint DEFAULT 1 NOT NULL,
    idempotency_key text,
    request_digest text,
    cancel_requested_at timestamp with time zone,
    sent_at timestamp with time zone,
    params_escaped boolean DEFAULT false NOT NULL,
    result_escaped boolean DEFAULT false NOT NULL,
    lost_flow_run_id uuid,
    lost_runs integer DEFAULT 0 NOT NULL,
    batch_id uuid,
    params_sent json,
    result_sent json,
    lane text DEFAULT 'durable'::text NOT NULL,
    handed_at timestamp with time zone,
    client_capabilities jsonb,
    trace_context text,
    bundle_entry_id uuid,
    called_as text,
    CONSTRAINT job_results_attempts CHECK (((attempt >= 0) AND (attempt <= max_attempts))),
    CONSTRAINT job_results_claim_is_leased CHECK (((claim_id IS NULL) = (lease_expires_at IS NULL))),
    CONSTRAINT job_results_claim_only_running CHECK (((claim_id IS NULL) OR (status = 'running'::text))),
    CONSTRAINT job_results_direct_is_leased CHECK (((lane = 'durable'::text) OR (claim_id IS NOT NULL) OR public.nexus_has_ended(status))),
    CONSTRAINT job_results_ended_has_end CHECK ((public.nexus_has_ended(status) = (completed_at IS NOT NULL))),
    CONSTRAINT job_results_idempotency_key_length CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 200))),
    CONSTRAINT job_results_known_job_type CHECK ((job_type = ANY (ARRAY['tool_invoke'::text, 'resource_fetch'::text, 'prompt_execute'::text, 'cache_refresh'::text, 'key_rotation'::text, 'job_cleanup'::text]))),
    CONSTRAINT job_results_known_lane CHECK ((lane = ANY (ARRAY['durable'::text, 'direct'::text]))),
    CONSTRAINT job_results_known_retry CHECK ((retry = ANY (ARRAY['auto'::text, 'always'::text]))),
    CONSTRAINT job_results_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text]))),
    CONSTRAINT job_results_known_status CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT job_results_lost_runs CHECK ((lost_runs >= 0)),
    CONSTRAINT job_results_max_attempts CHECK (((max_attempts >= 1) AND (max_attempts <= 20))),
    CONSTRAINT job_results_one_server CHECK (((server_ref_id IS NULL) OR (server_id = (server_ref_id)::text))),
    CONSTRAINT job_results_params_object CHECK ((jsonb_typeof(params) = 'object'::text)),
    CONSTRAINT job_results_running_has_start CHECK (((status <> 'running'::text) OR (started_at IS NOT NULL))),
    CONSTRAINT job_results_timeout CHECK ((timeout_seconds > 0))
);

-- Name: nexus_job_is_asked(public.job_results, boolean, uuid, text, text, text, uuid, text, text, timestamp with time zone, uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_is_asked(p_job public.job_results, p_all_users boolean, p_user_id uuid, p_status text, p_job_type text, p_lane text, p_server_ref_id uuid, p_tool_name text, p_error_code text, p_after_created_at timestamp with time zone, p_after_id uuid) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((p_all_users OR ((p_job).user_id = p_user_id)) AND ((p_status IS NULL) OR ((p_job).status = p_status)) AND ((p_job_type IS NULL) OR ((p_job).job_type = p_job_type)) AND ((p_job_type IS NULL) OR (p_job_type = 'tool_invoke'::text) OR (((p_job).job_type || ''::text) <> 'tool_invoke'::text)) AND ((p_lane IS NULL) OR ((p_job).lane = p_lane)) AND ((p_server_ref_id IS NULL) OR ((p_job).server_ref_id = p_server_ref_id)) AND ((p_tool_name IS NULL) OR ((p_job).tool_name = p_tool_name)) AND ((p_error_code IS NULL) OR ((p_job).error_code = p_error_code)) AND ((p_after_created_at IS NULL) OR (ROW((p_job).created_at, (p_job).id) < ROW(p_after_created_at, p_after_id))));

-- Name: nexus_job_keep_request(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_keep_request() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_changed text;
BEGIN
    SELECT string_agg(o.key, ', ' ORDER BY o.key) INTO v_changed
    FROM json_each_text(to_json(OLD)) o
    JOIN json_each_text(to_json(NEW)) n USING (key)
    WHERE o.key = ANY (TG_ARGV) AND n.value IS DISTINCT FROM o.value
        -- What was derived of a server later on, by a migration or when it came to be known, names the same one.
        AND NOT (o.key = 'server_type' AND OLD.server_type IS NULL)
        AND NOT (o.key IN ('server_id', 'server_ref_id') AND OLD.server_ref_id IS NULL
            AND coalesce(NEW.server_ref_id::text = lower(OLD.server_id), false));
    IF v_changed IS NOT NULL THEN
        RAISE EXCEPTION 'Job %: a change of % is refused: what was asked never changes; store another job.',
            OLD.id, v_changed USING ERRCODE = 'NX002';
    END IF;
    RETURN NEW;
END
$$;

-- Name: nexus_job_release(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_release() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM public.job_keys;
        RETURN NULL;
    END IF;
    DELETE FROM public.job_keys k
    WHERE k.idempotency_key = OLD.idempotency_key AND k.user_id IS NOT DISTINCT FROM OLD.user_id AND k.job_id = OLD.id;
    RETURN NULL;
END
$$;

-- Name: nexus_job_reserve(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_job_reserve() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_part oid;
BEGIN
    SELECT j.tableoid INTO v_part FROM public.job_results j WHERE j.id = NEW.id ORDER BY j.tableoid <> TG_RELID LIMIT 1;
    IF NOT FOUND THEN
        IF NEW.idempotency_key IS NULL THEN
            RETURN NEW;
        END IF;
        INSERT INTO public.job_keys (idempotency_key, user_id, job_id)
        VALUES (NEW.idempotency_key, NEW.user_id, NEW.id)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN NEW;
        END IF;
        SELECT j.tableoid INTO v_part
        FROM public.job_results j
        JOIN public.job_keys k ON k.job_id = j.id
        WHERE k.idempotency_key = NEW.idempotency_key AND k.user_id IS NOT DISTINCT FROM NEW.user_id;
    END IF;
    IF v_part = TG_RELID THEN
        RETURN NEW;
    END IF;
    IF coalesce(current_setting('nexus.scope', true), '') <> '' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'Another job has the id or the idempotency key of job % already.', NEW.id USING ERRCODE = '23505';
END
$$;

-- Name: nexus_jobs_are_in_days(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_jobs_are_in_days() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass('public.job_results') AND c.relkind = 'p')
$$;

-- Name: nexus_last_sign(public.job_results); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_last_sign(p_job public.job_results) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE (p_job).status WHEN 'running'::text THEN GREATEST((p_job).created_at, (p_job).started_at, (p_job).heartbeat_at) ELSE GREATEST((p_job).created_at, (p_job).available_at, (p_job).dispatched_at) END;

-- Name: nexus_login_after_write(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_login_after_write() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_login public.upstream_logins := coalesce(NEW, OLD);
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM public.vault_backups b WHERE b.server_type = 'login' AND b.server_ref_id = OLD.id;
    END IF;
    PERFORM pg_notify('nexus_catalog', json_build_object(
        'server_type', v_login.server_type, 'server_ref_id', v_login.server_ref_id,
        'user_id', coalesce(v_login.user_id, (
            SELECT s.user_id FROM public.server_state s
            WHERE s.server_type = v_login.server_type AND s.server_ref_id = v_login.server_ref_id)),
        'kinds', json_build_array('login'))::text);
    RETURN NULL;
END
$$;

-- Name: nexus_may_ask_for(uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_may_ask_for(p_user_id uuid) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT CASE WHEN nullif(current_setting('request.jwt.claims', true), '') IS NOT NULL
                THEN p_user_id = nexus_claims_user_id()
                ELSE nexus_scope_is_service() OR p_user_id = nexus_current_user_id() END
$$;

-- Name: nexus_name_words(text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_name_words(p_name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT nexus_words(p_name || ' ' || regexp_replace(
        regexp_replace(p_name, '([a-z0-9])([A-Z])', '\1 \2', 'g'), '([A-Z])([A-Z][a-z])', '\1 \2', 'g'))
$$;

-- Name: nexus_own_names(text, uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_own_names(p_kind text, p_user_id uuid) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT namespaced_name FROM tool_cache
    WHERE p_kind = 'tool' AND user_id = p_user_id AND enabled AND namespaced_name IS NOT NULL
    UNION ALL
    SELECT namespaced_name FROM prompt_cache
    WHERE p_kind = 'prompt' AND user_id = p_user_id AND enabled AND namespaced_name IS NOT NULL
$$;

-- Name: nexus_owner(uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_owner(p_user_id uuid) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (p_user_id IS NULL) THEN '00000000-0000-0000-0000-000000000000'::uuid ELSE p_user_id END;

-- Name: nexus_partition_hurdles(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_partition_hurdles() RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)
    FROM pg_depend d
    JOIN pg_class t ON t.oid = 'public.job_results'::regclass
    WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
                AND (d.classid = 'pg_rewrite'::regclass OR d.classid = 'pg_proc'::regclass AND NOT EXISTS (
                    SELECT FROM pg_proc p WHERE p.oid = d.objid AND t.reltype = ANY (p.proargtypes)))
            OR d.refclassid = 'pg_type'::regclass AND d.refobjid = t.reltype
                AND d.classid NOT IN ('pg_proc'::regclass, 'pg_type'::regclass)
            OR d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_constraint'::regclass
                AND EXISTS (SELECT FROM pg_constraint c WHERE c.oid = d.objid AND c.conrelid <> t.oid))
    UNION ALL
    SELECT 'publication ' || p.pubname
    FROM pg_publication_rel r
    JOIN pg_publication p ON p.oid = r.prpubid
    WHERE r.prrelid = 'public.job_results'::regclass
    UNION ALL
    SELECT 'table ' || i.inhrelid::regclass || ', which inherits from it'
    FROM pg_inherits i
    WHERE i.inhparent = 'public.job_results'::regclass
$$;

-- Name: nexus_partition_jobs(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_partition_jobs() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET "DateStyle" TO 'ISO'
    AS $$
DECLARE
    v_old      regclass := 'public.job_results'::regclass;
    v_owner    oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = v_old);
    v_type     oid := (SELECT c.reltype FROM pg_class c WHERE c.oid = v_old);
    v_until    timestamptz;
    v_indexes  integer;
    v_name     text;
    v_makes    text[];
    v_triggers text[];
    v_policies text[];
    v_drops    text[];
    v_text     text;
BEGIN
    LOCK TABLE job_results IN ACCESS EXCLUSIVE MODE;
    SELECT substring(pg_get_constraintdef(c.oid) FROM '''([^'']+)''')::timestamptz INTO v_until
    FROM pg_constraint c
    WHERE c.conrelid = v_old AND c.conname = 'job_results_until' AND c.convalidated;
    IF v_until IS NULL THEN
        RAISE EXCEPTION 'The partitions are not prepared.' USING ERRCODE = '55000';
    END IF;
    SELECT array_agg(pg_get_triggerdef(t.oid)), array_agg(format('DROP TRIGGER %I ON %s', t.tgname, v_old))
    INTO v_triggers, v_drops
    FROM pg_trigger t
    WHERE t.tgrelid = v_old AND NOT t.tgisinternal;
    SELECT array_agg(pg_get_indexdef(i.indexrelid)) INTO v_makes
    FROM pg_index i
    WHERE i.indrelid = v_old AND NOT i.indisunique;
    SELECT v_makes || array_agg(g.statement) INTO v_makes
    FROM (SELECT nexus_grants_of(v_old::text, '', c.relacl, v_owner) FROM pg_class c WHERE c.oid = v_old
          UNION ALL
          SELECT nexus_grants_of(v_old::text, format('(%I)', a.attname), a.attacl, v_owner)
          FROM pg_attribute a
          WHERE a.attrelid = v_old AND a.attacl IS NOT NULL AND NOT a.attisdropped) g (statement);
    -- The policies of jobs, and those of other tables that look at jobs.
    SELECT array_agg(format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, p.polrelid::regclass,
            CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
            CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                ELSE 'ALL' END,
            (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ', ') FROM unnest(p.polroles) r),
            ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
            ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')),
        v_drops || array_agg(format('DROP POLICY %I ON %s', p.polname, p.polrelid::regclass))
    INTO v_policies, v_drops
    FROM pg_policy p
    WHERE p.polrelid = v_old
        OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
                       AND d.refclassid = 'pg_class'::regclass AND d.refobjid = v_old);
    FOR v_name, v_text IN
        SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid)
        FROM pg_proc p
        WHERE v_type = ANY (p.proargtypes)
    LOOP
        v_makes := v_makes || v_text || format('SELECT nexus_revoke_all(%L)', v_name) || ARRAY(
            SELECT nexus_grants_of('FUNCTION ' || v_name, '', p.proacl, p.proowner)
            FROM pg_proc p WHERE p.oid = v_name::regprocedure);
        v_drops := v_drops || ('DROP FUNCTION ' || v_name);
    END LOOP;

    FOREACH v_text IN ARRAY v_drops LOOP
        EXECUTE v_text;
    END LOOP;
    ALTER TABLE job_results RENAME TO job_results_before;
    PERFORM nexus_revoke_all('job_results_before');
    FOR v_name IN
        SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = v_old
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', v_name, left('before_' || v_name, 63));
    END LOOP;
    CREATE TABLE public.job_results (LIKE job_results_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE
        INCLUDING COMPRESSION INCLUDING COMMENTS) PARTITION BY RANGE (created_at);
    ALTER TABLE job_results DROP CONSTRAINT job_results_until;
    EXECUTE format('ALTER TABLE job_results OWNER TO %s', v_owner::regrole);
    ALTER TABLE job_results ENABLE ROW LEVEL SECURITY;
    PERFORM nexus_revoke_all('job_results');
    FOREACH v_text IN ARRAY v_makes || v_policies LOOP
        EXECUTE v_text;
    END LOOP;
    -- The partition has all these indexes already; to make one would be to read all jobs under the lock.
    SELECT count(*) INTO v_indexes FROM pg_index i WHERE i.indrelid = v_old;
    EXECUTE format('ALTER TABLE job_results ATTACH PARTITION job_results_before FOR VALUES FROM (MINVALUE) TO (%L)',
        v_until);
    IF v_indexes <> (SELECT count(*) FROM pg_index i WHERE i.indrelid = v_old) THEN
        RAISE EXCEPTION 'An index of job_results was not recognised.' USING ERRCODE = '55000';
    END IF;
    ALTER TABLE job_results_before DROP CONSTRAINT job_results_until;
    CREATE TABLE public.job_results_default PARTITION OF job_results DEFAULT;
    EXECUTE format('ALTER TABLE job_results_default OWNER TO %s', v_owner::regrole);
    PERFORM nexus_close_job_day('job_results_default');
    FOREACH v_text IN ARRAY v_triggers LOOP
        EXECUTE v_text;
    END LOOP;
    PERFORM nexus_add_job_days();
END
$$;

-- Name: nexus_permissions(uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_permissions(p_user_id uuid) RETURNS TABLE(target text, id uuid, tool_name text, level text, approvers uuid[], self_approval boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH mine AS (
        SELECT a.server_ref_id, a.tool_name, a.bundle_id, a.level, a.approvers, a.self_approval,
               rank() OVER (PARTITION BY a.server_ref_id, a.tool_name, a.bundle_id
                            ORDER BY array_position('{list,approve,call}', a.level) DESC) AS place
        FROM public.access_grants a
        WHERE a.group_id IN (SELECT public.nexus_groups_of(p_user_id))
    ), granted AS MATERIALIZED (
        SELECT m.server_ref_id, m.tool_name, m.bundle_id, m.level,
               array_remove(array_agg(DISTINCT m.approvers), NULL) AS approvers, bool_or(m.self_approval) AS self_approval
        FROM mine m
        WHERE m.place = 1
        GROUP BY m.server_ref_id, m.tool_name, m.bundle_id, m.level
    ), given AS (
        SELECT 'server' AS target, s.id, NULL::text AS tool_name,
               coalesce(g.level, CASE WHEN s.access = 'open' OR s.access IS NULL AND (SELECT public.nexus_is_open())
                                      THEN 'call' END) AS level,
               g.approvers, g.self_approval
        FROM public.system_servers s
        LEFT JOIN granted g ON g.server_ref_id = s.id AND g.tool_name IS NULL
        UNION ALL
        SELECT 'server', o.server_ref_id, NULL, 'call', NULL, NULL
        FROM public.server_state o
        WHERE o.server_type = 'system' AND (SELECT public.nexus_is_open())
          AND NOT EXISTS (SELECT FROM public.system_servers s WHERE s.id = o.server_ref_id)
        UNION ALL
        SELECT 'bundle', b.id, NULL,
               coalesce(g.level, CASE WHEN b.access = 'open' OR b.access IS NULL AND (SELECT public.nexus_is_open())
                                      THEN 'call' END),
               g.approvers, g.self_approval
        FROM public.bundles b
        LEFT JOIN granted g ON g.bundle_id = b.id
        UNION ALL
        SELECT 'tool', g.server_ref_id, g.tool_name, g.level, g.approvers, g.self_approval
        FROM granted g
        WHERE g.tool_name IS NOT NULL
    )
    SELECT given.target, given.id, given.tool_name, given.level, coalesce(given.approvers, '{}'),
           coalesce(given.self_approval, false)
    FROM given
    WHERE given.level IS NOT NULL AND (SELECT public.nexus_may_ask_for(p_user_id))
$$;

-- Name: nexus_permissions_notify(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_permissions_notify() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_notify('nexus_permissions', '');
    RETURN NULL;
END
$$;

-- Name: nexus_policy(regclass, text, text, text, text, text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_policy(p_table regclass, p_name text, p_role text, p_command text, p_using text, p_check text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = p_role) THEN
        RETURN;
    END IF;
    EXECUTE format('DROP POLICY IF EXISTS %I ON %s', p_name, p_table);
    EXECUTE format('CREATE POLICY %I ON %s FOR %s TO %I', p_name, p_table, p_command, p_role)
        || coalesce(' USING (' || p_using || ')', '') || coalesce(' WITH CHECK (' || p_check || ')', '');
END
$$;

-- Name: nexus_policy_decide(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_policy_decide() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE public.tool_cache t SET held = t.held
    FROM (VALUES (OLD.server_type, OLD.server_ref_id, OLD.tool_name),
                 (NEW.server_type, NEW.server_ref_id, NEW.tool_name)) AS c (server_type, server_ref_id, tool_name)
    WHERE t.server_type = c.server_type AND t.server_ref_id = c.server_ref_id AND t.tool_name = c.tool_name;
    RETURN NULL;
END
$$;

-- Name: nexus_policy_hold(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_policy_hold() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM FROM public.server_state s
    WHERE s.server_type = coalesce(NEW.server_type, OLD.server_type)
      AND s.server_ref_id = coalesce(NEW.server_ref_id, OLD.server_ref_id) FOR UPDATE;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;

-- Name: nexus_policy_notify(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_policy_notify() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_notify('nexus_catalog', json_build_object(
        'server_type', s.server_type, 'server_ref_id', s.server_ref_id, 'user_id', s.user_id,
        'kinds', json_build_array('server'))::text)
    FROM server_state s
    WHERE (s.server_type, s.server_ref_id) IN (
        (OLD.server_type, OLD.server_ref_id), (NEW.server_type, NEW.server_ref_id));
    RETURN NULL;
END
$$;

-- Name: nexus_prepare_partitions(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_prepare_partitions() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET "DateStyle" TO 'ISO'
    AS $$
BEGIN
    CREATE OR REPLACE TRIGGER reserve BEFORE INSERT ON job_results
        FOR EACH ROW EXECUTE FUNCTION nexus_job_reserve();
    CREATE OR REPLACE TRIGGER release_key AFTER DELETE ON job_results
        FOR EACH ROW WHEN (OLD.idempotency_key IS NOT NULL) EXECUTE FUNCTION nexus_job_release();
    CREATE OR REPLACE TRIGGER release_keys AFTER TRUNCATE ON job_results
        FOR EACH STATEMENT EXECUTE FUNCTION nexus_job_release();
    CREATE OR REPLACE TRIGGER keep_key BEFORE UPDATE OF id, user_id, created_at, idempotency_key ON job_results
        FOR EACH ROW EXECUTE FUNCTION nexus_job_keep_request('id', 'user_id', 'created_at', 'idempotency_key');
    ALTER TABLE job_results DROP CONSTRAINT IF EXISTS job_results_until;
    EXECUTE format('ALTER TABLE job_results ADD CONSTRAINT job_results_until CHECK (created_at < %L) NOT VALID',
        ((now() AT TIME ZONE 'UTC')::date + 2)::timestamp AT TIME ZONE 'UTC');
END
$$;

-- Name: nexus_purge_audit(integer, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_purge_audit(p_days integer, p_limit integer DEFAULT 10000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

-- Name: nexus_rate_limit_usage(text, uuid, boolean, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_rate_limit_usage(p_server_id text, p_user_id uuid, p_whole_server boolean, p_limit_per_minute integer, OUT used bigint, OUT retry_after double precision, OUT reset_after double precision) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

-- Name: nexus_revoke_all(text[]); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_revoke_all(VARIADIC p_objects text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_object text;
    v_role   text;
BEGIN
    FOREACH v_object IN ARRAY p_objects LOOP
        v_object := CASE WHEN v_object LIKE '%(%' THEN 'FUNCTION ' || v_object::regprocedure
            ELSE 'TABLE ' || v_object::regclass END;
        FOR v_role IN
            SELECT 'PUBLIC'
            UNION ALL
            SELECT quote_ident(r.rolname) FROM pg_roles r
            WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'nexus_app')
        LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', v_object, v_role);
        END LOOP;
    END LOOP;
END
$$;

-- Name: nexus_rotation_takes(text, text, text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_rotation_takes(p_key_id text, p_new_key_id text, p_old_key_id text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((p_key_id IS NULL) OR ((p_key_id <> p_new_key_id) AND ((p_old_key_id IS NULL) OR (p_key_id = p_old_key_id))));

-- Name: nexus_scope_is_service(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_scope_is_service() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT coalesce(current_setting('nexus.scope', true), '') = 'service'
$$;

-- Name: nexus_seen_servers(uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_seen_servers(p_user_id uuid) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT p.id FROM public.nexus_permissions(p_user_id) p WHERE p.target = 'server'
$$;

-- Name: nexus_seen_tools(uuid); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_seen_tools(p_user_id uuid) RETURNS TABLE(server_ref_id uuid, tool_name text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT p.id, p.tool_name FROM public.nexus_permissions(p_user_id) p WHERE p.target = 'tool'
$$;

-- Name: nexus_server_before_write(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_server_before_write() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_is_hub boolean := pg_has_role(current_user, 'nexus_app', 'MEMBER');
BEGIN
    NEW.name := coalesce(NEW.name, 'server-' || left(NEW.id::text, 8));
    IF TG_OP = 'UPDATE' THEN
        IF NOT (v_is_hub AND coalesce(current_setting('nexus.reseal', true), '') = 'on') THEN
            NEW.updated_at := now();
            NEW.revision := greatest(NEW.revision, OLD.revision + 1);
        END IF;
        -- Who is not the hub seals without a key id and without associated data, and leaves the old id behind.
        IF NEW.config_encrypted IS DISTINCT FROM OLD.config_encrypted
            AND NEW.key_id IS NOT DISTINCT FROM OLD.key_id
            AND NOT v_is_hub
        THEN
            NEW.key_id := NULL;
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- Name: nexus_server_check_name(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_server_check_name() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_taken_by text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.server_name:' || NEW.name, 0));
    v_taken_by := CASE
        WHEN TG_ARGV[0] = 'system' AND EXISTS (SELECT FROM public.bundles b WHERE b.name = NEW.name) THEN 'bundle'
        WHEN TG_ARGV[0] <> 'system' AND EXISTS (SELECT FROM public.system_servers s WHERE s.name = NEW.name) THEN 'server'
    END;
    IF v_taken_by IS NOT NULL THEN
        RAISE EXCEPTION 'The name % is taken by another %.', quote_literal(NEW.name), v_taken_by
            USING ERRCODE = '23505', CONSTRAINT = v_taken_by || '_name_taken';
    END IF;
    RETURN NEW;
END
$$;

-- Name: nexus_server_decide(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_server_decide() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF OLD.pin IS DISTINCT FROM NEW.pin THEN  -- also what was approved just as the pin was switched off
        DELETE FROM public.tool_pins p WHERE p.server_type = TG_ARGV[0] AND p.server_ref_id = NEW.id;
    END IF;
    IF NEW.pin AND NOT OLD.pin THEN
        INSERT INTO public.tool_pins (server_type, server_ref_id, tool_name, definition_hash, definition)
        SELECT t.server_type, t.server_ref_id, t.tool_name,
               public.nexus_definition_hash(t.server_ref_id, t.definition), t.definition
        FROM public.tool_cache t
        WHERE t.server_type = TG_ARGV[0] AND t.server_ref_id = NEW.id AND t.tool_name IS NOT NULL
        ON CONFLICT DO NOTHING;
    END IF;
    IF (OLD.enabled, OLD.pin) IS DISTINCT FROM (NEW.enabled, NEW.pin) THEN
        UPDATE public.tool_cache t SET held = t.held WHERE t.server_type = TG_ARGV[0] AND t.server_ref_id = NEW.id;
    END IF;
    IF OLD.enabled IS DISTINCT FROM NEW.enabled THEN
        UPDATE public.resource_cache r SET enabled = NEW.enabled
        WHERE r.server_type = TG_ARGV[0] AND r.server_ref_id = NEW.id;
        UPDATE public.prompt_cache p SET enabled = NEW.enabled
        WHERE p.server_type = TG_ARGV[0] AND p.server_ref_id = NEW.id;
    END IF;
    UPDATE public.server_state s
    SET failures = CASE WHEN NEW.enabled AND NOT OLD.enabled THEN 0 ELSE s.failures END,
        next_refresh_at = CASE
            WHEN NEW.enabled AND NOT OLD.enabled THEN now()
            ELSE least(s.next_refresh_at, s.last_refresh_at + make_interval(secs => NEW.ttl_seconds)) END
    WHERE s.server_type = TG_ARGV[0] AND s.server_ref_id = NEW.id;
    RETURN NULL;
END
$$;

-- Name: nexus_server_hold(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_server_hold() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM FROM public.server_state s WHERE s.server_type = TG_ARGV[0] AND s.server_ref_id = NEW.id FOR UPDATE;
    RETURN NEW;
END
$$;

-- Name: nexus_server_keep_state(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_server_keep_state() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_owner uuid;
BEGIN
    IF TG_OP = 'DELETE' OR (
        TG_OP = 'UPDATE' AND to_jsonb(OLD) -> 'user_id' IS DISTINCT FROM to_jsonb(NEW) -> 'user_id'
    ) THEN
        DELETE FROM public.upstream_logins l WHERE l.server_type = TG_ARGV[0] AND l.server_ref_id = OLD.id;
        DELETE FROM public.login_requests r WHERE r.server_type = TG_ARGV[0] AND r.server_ref_id = OLD.id;
    END IF;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM public.server_state s WHERE s.server_type = TG_ARGV[0] AND s.server_ref_id = OLD.id;
        DELETE FROM public.vault_backups b WHERE b.server_type = TG_ARGV[0] AND b.server_ref_id = OLD.id;
        RETURN NULL;
    END IF;
    IF TG_ARGV[0] = 'user' THEN
        v_owner := NEW.user_id;
    END IF;
    INSERT INTO public.server_state AS s (server_type, server_ref_id, user_id, name)
    VALUES (TG_ARGV[0], NEW.id, v_owner, NEW.name)
    ON CONFLICT (server_type, server_ref_id) DO UPDATE SET user_id = excluded.user_id, name = excluded.name;
    RETURN NULL;
END
$$;

-- Name: nexus_server_notify(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_server_notify() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_notify('nexus_catalog', json_build_object(
        'server_type', TG_ARGV[0], 'server_ref_id', c.server ->> 'id', 'user_id', c.server ->> 'user_id',
        'kinds', CASE WHEN TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR NOT NEW.enabled)
                      THEN '["server", "off"]' ELSE '["server"]' END::json)::text)
    FROM (VALUES (to_jsonb(OLD)), (to_jsonb(NEW))) AS c (server)
    WHERE c.server ->> 'id' IS NOT NULL;
    RETURN NULL;
END
$$;

-- Name: nexus_service_policy(regclass[]); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_service_policy(VARIADIC p_tables regclass[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM nexus_policy(t, 'nexus_service', 'nexus_app', 'ALL', '(SELECT nexus_scope_is_service())')
    FROM unnest(p_tables) AS t;
END
$$;

-- Name: nexus_take_back_partitions(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_take_back_partitions() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    ALTER TABLE job_results DROP CONSTRAINT IF EXISTS job_results_until;
    DROP TRIGGER IF EXISTS reserve ON job_results;
    DROP TRIGGER IF EXISTS keep_key ON job_results;
    DROP TRIGGER IF EXISTS release_key ON job_results;
    DROP TRIGGER IF EXISTS release_keys ON job_results;
    TRUNCATE job_keys;
END
$$;

-- Name: nexus_take_over_key(regclass); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_take_over_key(p_table regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_id  int2 := (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = p_table AND a.attname = 'id');
    v_key pg_constraint;
BEGIN
    SELECT * INTO v_key FROM pg_constraint c WHERE c.conrelid = p_table AND c.contype = 'p';
    IF v_key.conkey IS DISTINCT FROM ARRAY[v_id] THEN
        IF v_key.conname IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', p_table, v_key.conname);
        END IF;
        IF v_id IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (id)', p_table);
        END IF;
    END IF;
END
$$;

-- Name: nexus_take_rate_limit(text, uuid, integer, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer, OUT allowed boolean, OUT remaining integer, OUT retry_after double precision, OUT reset_after double precision) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

-- Name: nexus_to_jsonb(json); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_to_jsonb(p_value json) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN p_value::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END
$$;

-- Name: nexus_tokens_notify(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_tokens_notify() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_notify('nexus_tokens', '');
    RETURN NULL;
END
$$;

-- Name: nexus_tool_decide(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_tool_decide() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_is_on boolean;
    v_pin   boolean;
    v_word  boolean;
BEGIN
    IF NEW.server_type IS NULL OR NEW.server_ref_id IS NULL THEN
        RETURN NEW;
    END IF;
    SELECT s.enabled, s.pin INTO v_is_on, v_pin
    FROM (SELECT 'system' AS server_type, o.id, o.enabled, o.pin FROM public.system_servers o
          UNION ALL
          SELECT 'user', o.id, o.enabled, o.pin FROM public.user_servers o) AS s
    WHERE s.server_type = NEW.server_type AND s.id = NEW.server_ref_id;
    IF NEW.tool_name IS NULL THEN  -- put in by others than the hub
        NEW.enabled := NEW.enabled AND coalesce(v_is_on, true);
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' AND NOT NEW.enabled OR TG_OP = 'UPDATE' AND NEW.enabled IS DISTINCT FROM OLD.enabled THEN
        INSERT INTO public.call_policies (server_type, server_ref_id, tool_name, enabled)
        VALUES (NEW.server_type, NEW.server_ref_id, NEW.tool_name, NEW.enabled)
        ON CONFLICT (server_type, server_ref_id, tool_name) DO UPDATE SET enabled = excluded.enabled;
    END IF;
    SELECT p.enabled INTO v_word
    FROM public.call_policies p
    WHERE p.server_type = NEW.server_type AND p.server_ref_id = NEW.server_ref_id AND p.tool_name = NEW.tool_name;
    NEW.definition_hash := public.nexus_definition_hash(NEW.server_ref_id, NEW.definition);
    NEW.held := coalesce(v_pin, false) AND NOT EXISTS (
        SELECT FROM public.tool_pins p
        WHERE p.server_type = NEW.server_type AND p.server_ref_id = NEW.server_ref_id
          AND p.tool_name = NEW.tool_name AND p.definition_hash = NEW.definition_hash);
    NEW.enabled := coalesce(v_is_on, true) AND coalesce(v_word, true) AND NOT NEW.held;
    RETURN NEW;
END
$$;

-- Name: nexus_tool_search(text, text, text, text, jsonb); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_tool_search(p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $_$
    SELECT setweight(to_tsvector('english', nexus_name_words(concat_ws(' ', t.name, t.title))), 'A')
        || setweight(to_tsvector('english', nexus_name_words(t.server)), 'B')
        || setweight(to_tsvector('english', nexus_words(t.description)), 'C')
        || setweight(to_tsvector('english', nexus_name_words(t.parameters)), 'D')
        || setweight(to_tsvector('english', nexus_words(t.parameter_descriptions)), 'D')
    FROM (SELECT
        left(p_tool_name, 500) AS name,
        left(p_title, 500) AS title,
        coalesce(split_part(left(p_namespaced_name, 500), '__', 1), '') AS server,
        coalesce(left(p_description, 4000), '') AS description,
        coalesce(left(jsonb_path_query_array(
            p_definition, '$.inputSchema.properties.keyvalue().key', '{}', true)::text, 1000), '') AS parameters,
        coalesce(left(jsonb_path_query_array(
            p_definition, '$.inputSchema.properties.*.description', '{}', true)::text, 3000), ''
        ) AS parameter_descriptions
    ) AS t
$_$;

-- Name: nexus_user_after_delete(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_user_after_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    DELETE FROM public.upstream_logins l WHERE l.user_id = OLD.id;
    DELETE FROM public.login_requests r WHERE r.user_id = OLD.id OR r.began_by = OLD.id;
    RETURN NULL;
END
$$;

-- Name: nexus_user_server_check_name(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_user_server_check_name() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.server_name:' || NEW.name, 0));
    IF EXISTS (
        SELECT FROM public.system_servers s
        WHERE s.name = NEW.name
          AND (NOT coalesce(public.nexus_may_ask_for(NEW.user_id), false)
               OR s.id IN (SELECT p.id FROM public.nexus_permissions(NEW.user_id) p
                           WHERE p.target IN ('server', 'tool')))
    ) THEN
        RAISE EXCEPTION 'The name % is taken by another server.', quote_literal(NEW.name)
            USING ERRCODE = '23505', CONSTRAINT = 'server_name_taken';
    END IF;
    RETURN NEW;
END
$$;

-- Name: nexus_uuid(text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_uuid(p_text text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (p_text ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'::text) THEN (p_text)::uuid ELSE NULL::uuid END;

-- Name: nexus_words(text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_words(p_text text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT regexp_replace(p_text, '[_./:-]+', ' ', 'g')
$$;

-- Name: peek_rate_limit(text, uuid, integer, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.peek_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer DEFAULT NULL::integer) RETURNS TABLE(scope text, quota integer, remaining integer, retry_after double precision, reset_after double precision)
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT l.scope, l.quota, greatest(l.quota - u.used, 0)::integer, u.retry_after, u.reset_after
    FROM (VALUES ('server', p_limit_per_minute), ('user', p_user_limit_per_minute)) AS l (scope, quota)
    CROSS JOIN LATERAL nexus_rate_limit_usage(p_server_id, p_user_id, l.scope = 'server', l.quota) AS u
    WHERE l.quota IS NOT NULL
    ORDER BY l.scope
$$;

-- Name: refresh_expired_cache_entries(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.refresh_expired_cache_entries() RETURNS TABLE(server_ref_id uuid, server_type text, user_id uuid)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    WITH due AS (
        SELECT s.server_type, s.server_ref_id FROM server_state s WHERE s.next_refresh_at <= now()
        UNION
        SELECT t.server_type, t.server_ref_id FROM tool_cache t WHERE t.enabled AND t.expires_at < now()
        UNION
        SELECT r.server_type, r.server_ref_id FROM resource_cache r WHERE r.expires_at < now()
        UNION
        SELECT p.server_type, p.server_ref_id FROM prompt_cache p WHERE p.expires_at < now()
    ), ready AS (
        SELECT s.server_type, s.server_ref_id
        FROM due d JOIN server_state s USING (server_type, server_ref_id)
        WHERE (s.failures = 0 OR s.next_refresh_at <= now())
            AND (s.refresh_lease_expires_at IS NULL OR s.refresh_lease_expires_at < now())
    )
    SELECT s.id, 'system', NULL::uuid
    FROM ready r JOIN system_servers s ON s.id = r.server_ref_id AND r.server_type = 'system'
    WHERE s.enabled
    UNION ALL
    SELECT s.id, 'user', s.user_id
    FROM ready r JOIN user_servers s ON s.id = r.server_ref_id AND r.server_type = 'user'
    WHERE s.enabled
$$;

-- Name: rotate_vault_key(); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.rotate_vault_key() RETURNS TABLE(servers_updated integer, errors text[])
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_primary text := nullif(current_setting('nexus.vault_primary_key_id', true), '');
BEGIN
    IF v_primary IS NULL THEN
        SELECT r.new_key_id INTO v_primary
        FROM vault_rotations r
        WHERE r.finished_at IS NOT NULL AND r.restored_at IS NULL
        ORDER BY r.finished_at DESC
        LIMIT 1;
    END IF;
    IF v_primary IS NULL THEN
        RAISE EXCEPTION 'The setting nexus.vault_primary_key_id is not set, and no rotation has ended yet.'
            USING ERRCODE = '55000', HINT = 'Set it to the id of the primary key, as nexus-hub vault status shows it.';
    END IF;
    RETURN QUERY
    WITH sealed AS (
        SELECT 'Server system/' || s.id AS place, s.key_id FROM system_servers s
        UNION ALL
        SELECT 'Server user/' || u.id, u.key_id FROM user_servers u WHERE u.config_encrypted IS NOT NULL
        UNION ALL
        SELECT 'Login ' || l.id, l.key_id FROM upstream_logins l
    )
    SELECT (count(*) FILTER (WHERE s.key_id = v_primary))::integer,
        coalesce(array_agg(
            format('%s: sealed with %s, not with %s', s.place, coalesce('key ' || s.key_id, 'a key of no known id'),
                v_primary)
            ORDER BY s.place
        ) FILTER (WHERE s.key_id IS DISTINCT FROM v_primary), '{}')
    FROM sealed s;
END
$$;

-- Name: take_rate_limit(text, uuid, integer, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer DEFAULT NULL::integer) RETURNS TABLE(allowed boolean, remaining integer, retry_after double precision, reset_after double precision)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT * FROM nexus_take_rate_limit(p_server_id, p_user_id, p_limit_per_minute, p_user_limit_per_minute);
END
$$;

-- Name: access_grants; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.access_grants (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    group_id uuid NOT NULL,
    level text NOT NULL,
    server_ref_id uuid,
    tool_name text,
    bundle_id uuid,
    approvers uuid,
    self_approval boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT access_grants_level CHECK ((level = ANY (ARRAY['list'::text, 'approve'::text, 'call'::text]))),
    CONSTRAINT access_grants_target CHECK (((num_nonnulls(server_ref_id, bundle_id) = 1) AND ((tool_name IS NULL) OR (server_ref_id IS NOT NULL))))
);

-- Name: alert_states; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.alert_states (
    name text NOT NULL,
    status text NOT NULL,
    told_at timestamp with time zone DEFAULT now() NOT NULL
);

-- Name: api_tokens; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.api_tokens (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    token_hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    expires_at timestamp with time zone,
    name text,
    scopes text[],
    last_used_at timestamp with time zone,
    CONSTRAINT api_tokens_hash_length CHECK ((octet_length(token_hash) = 32)),
    CONSTRAINT api_tokens_known_scopes CHECK (((cardinality(scopes) > 0) AND (scopes <@ ARRAY['tools:list'::text, 'tools:call'::text, 'jobs'::text, 'admin'::text]))),
    CONSTRAINT api_tokens_name_rule CHECK (((length(name) >= 1) AND (length(name) <= 100)))
);

-- Name: applied_configuration; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.applied_configuration (
    is_only boolean DEFAULT true NOT NULL,
    document jsonb NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT applied_configuration_one_row CHECK (is_only)
);

-- Name: approvals; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.approvals (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    job_id uuid NOT NULL,
    user_id uuid NOT NULL,
    digest bytea NOT NULL,
    fixed jsonb DEFAULT '{}'::jsonb NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    approvers uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    self_approval boolean DEFAULT false NOT NULL,
    asked_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    decided_at timestamp with time zone,
    decided_by uuid,
    decided_via text,
    reason text,
    used_at timestamp with time zone,
    told_at timestamp with time zone,
    CONSTRAINT approvals_decided CHECK ((((state = ANY (ARRAY['approved'::text, 'denied'::text, 'used'::text])) = ((decided_at IS NOT NULL) AND (decided_via IS NOT NULL))) OR (state = 'expired'::text))),
    CONSTRAINT approvals_decided_via CHECK ((decided_via = ANY (ARRAY['console'::text, 'api'::text, 'elicitation'::text]))),
    CONSTRAINT approvals_digest_length CHECK ((octet_length(digest) = 32)),
    CONSTRAINT approvals_reason_length CHECK ((length(reason) <= 1000)),
    CONSTRAINT approvals_state CHECK ((state = ANY (ARRAY['waiting'::text, 'approved'::text, 'denied'::text, 'expired'::text, 'used'::text])))
);

-- Name: audit_log; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.audit_log (
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    actor_id uuid,
    client text,
    address text,
    action text NOT NULL,
    target text,
    server text,
    server_ref_id uuid,
    tool text,
    job_id uuid,
    outcome text NOT NULL,
    code text,
    digest text,
    trace_id text,
    times integer DEFAULT 1 NOT NULL,
    called_as text,
    CONSTRAINT audit_log_known_outcome CHECK ((outcome = ANY (ARRAY['ok'::text, 'refused'::text, 'failed'::text, 'cancelled'::text])))
);

-- Name: bundle_entries; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.bundle_entries (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    bundle_id uuid NOT NULL,
    "position" integer DEFAULT 0 NOT NULL,
    kind text NOT NULL,
    server_ref_id uuid NOT NULL,
    source text NOT NULL,
    name text,
    title text,
    description text,
    fixed jsonb DEFAULT '{}'::jsonb NOT NULL,
    hidden text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT bundle_entries_kind CHECK ((kind = ANY (ARRAY['tool'::text, 'prompt'::text, 'resource'::text, 'template'::text])))
);

-- Name: bundles; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.bundles (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    title text,
    instructions text,
    access text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT bundles_access CHECK ((access = ANY (ARRAY['open'::text, 'closed'::text]))),
    CONSTRAINT bundles_name_rule CHECK (((name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$'::text) AND (name !~ '_$'::text) AND (length(name) <= 32)))
);

-- Name: call_policies; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.call_policies (
    server_type text NOT NULL,
    server_ref_id uuid NOT NULL,
    tool_name text DEFAULT ''::text NOT NULL,
    durable text,
    handle_seconds double precision,
    enabled boolean,
    CONSTRAINT call_policies_handle_seconds CHECK ((handle_seconds >= (0)::double precision)),
    CONSTRAINT call_policies_known_durable CHECK ((durable = ANY (ARRAY['always'::text, 'long'::text, 'never'::text])))
);

-- Name: catalog_changes; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.catalog_changes (
    id bigint NOT NULL,
    server_type text NOT NULL,
    server_ref_id uuid NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    change text NOT NULL,
    old json,
    new json,
    CONSTRAINT catalog_changes_change CHECK ((change = ANY (ARRAY['added'::text, 'changed'::text, 'removed'::text]))),
    CONSTRAINT catalog_changes_kind CHECK ((kind = ANY (ARRAY['tool'::text, 'prompt'::text, 'resource'::text])))
);

-- Name: catalog_changes_id_seq; Type: SEQUENCE; Schema: public; Owner: -

ALTER TABLE public.catalog_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.catalog_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

-- Name: console_links; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.console_links (
    code_hash bytea NOT NULL,
    token_id uuid,
    key_mark bytea,
    expires_at timestamp with time zone NOT NULL,
    user_id uuid,
    CONSTRAINT console_links_hash_length CHECK ((octet_length(code_hash) = 32)),
    CONSTRAINT console_links_holder CHECK ((num_nonnulls(token_id, key_mark, user_id) = 1))
);

-- Name: console_sessions; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.console_sessions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    cookie_hash bytea NOT NULL,
    token_id uuid,
    key_mark bytea,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    user_id uuid,
    CONSTRAINT console_sessions_hash_length CHECK ((octet_length(cookie_hash) = 32)),
    CONSTRAINT console_sessions_holder CHECK ((num_nonnulls(token_id, key_mark, user_id) = 1))
);

-- Name: group_members; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.group_members (
    group_id uuid NOT NULL,
    user_id uuid NOT NULL
);

-- Name: hub_settings; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.hub_settings (
    is_only boolean DEFAULT true NOT NULL,
    access text DEFAULT 'open'::text NOT NULL,
    CONSTRAINT hub_settings_access CHECK ((access = ANY (ARRAY['open'::text, 'closed'::text]))),
    CONSTRAINT hub_settings_one_row CHECK (is_only)
);

-- Name: job_inputs; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.job_inputs (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    job_id uuid NOT NULL,
    claim_id uuid NOT NULL,
    method text NOT NULL,
    params json NOT NULL,
    response json,
    asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    answered_at timestamp with time zone,
    CONSTRAINT job_inputs_answered CHECK (((response IS NULL) = (answered_at IS NULL)))
);

-- Name: job_keys; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.job_keys (
    idempotency_key text NOT NULL,
    user_id uuid,
    job_id uuid NOT NULL
);

-- Name: job_results_alert; Type: VIEW; Schema: public; Owner: -

CREATE VIEW public.job_results_alert WITH (security_invoker='true') AS
 SELECT
        CASE
            WHEN (total_jobs > 1000000) THEN 'ALERT: job_results table exceeds 1M rows'::text
            ELSE 'OK'::text
        END AS status,
    total_jobs AS row_count
   FROM public.nexus_job_counts() c(total_jobs, completed, failed, pending, running, older_than_7_days);

-- Name: job_results_stats; Type: VIEW; Schema: public; Owner: -

CREATE VIEW public.job_results_stats WITH (security_invoker='true') AS
 SELECT total_jobs,
    completed,
    failed,
    pending,
    running,
    older_than_7_days,
    pg_size_pretty(public.nexus_job_bytes()) AS table_size
   FROM public.nexus_job_counts() c(total_jobs, completed, failed, pending, running, older_than_7_days);

-- Name: login_requests; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.login_requests (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    state_hash bytea NOT NULL,
    server_type text NOT NULL,
    server_ref_id uuid NOT NULL,
    user_id uuid,
    began_by uuid,
    sealed bytea NOT NULL,
    key_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT login_requests_hash_length CHECK ((octet_length(state_hash) = 32)),
    CONSTRAINT login_requests_key_id CHECK ((key_id ~ '^[0-9a-f]{8}$'::text)),
    CONSTRAINT login_requests_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text]))),
    CONSTRAINT login_requests_sealed_length CHECK ((octet_length(sealed) >= 28))
);

-- Name: oauth_clients; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.oauth_clients (
    id text NOT NULL,
    name text NOT NULL,
    redirect_uris text[] NOT NULL,
    grant_types text[] NOT NULL,
    secret_hash text,
    is_document boolean NOT NULL,
    address text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    read_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT oauth_clients_id_length CHECK (((length(id) >= 1) AND (length(id) <= 2000)))
);

-- Name: oauth_grants; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.oauth_grants (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid,
    key_mark bytea,
    client_id text NOT NULL,
    scopes text[] NOT NULL,
    resource text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT oauth_grants_holder CHECK ((num_nonnulls(user_id, key_mark) = 1))
);

-- Name: oauth_requests; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.oauth_requests (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    client_id text NOT NULL,
    redirect_uri text NOT NULL,
    redirect_given boolean NOT NULL,
    state text NOT NULL,
    code_challenge text NOT NULL,
    scopes text[] NOT NULL,
    resource text NOT NULL,
    issuer text NOT NULL,
    address text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

-- Name: oauth_tokens; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.oauth_tokens (
    token_hash bytea NOT NULL,
    grant_id uuid NOT NULL,
    kind text NOT NULL,
    scopes text[] NOT NULL,
    redirect_uri text,
    redirect_given boolean,
    code_challenge text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT oauth_tokens_code CHECK (((kind = 'code'::text) = (num_nonnulls(redirect_uri, redirect_given, code_challenge) = 3))),
    CONSTRAINT oauth_tokens_hash_length CHECK ((octet_length(token_hash) = 32)),
    CONSTRAINT oauth_tokens_known_kind CHECK ((kind = ANY (ARRAY['code'::text, 'access'::text, 'refresh'::text])))
);

-- Name: prompt_cache; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.prompt_cache (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    server_ref_id uuid,
    server_type text,
    user_id uuid,
    expires_at timestamp with time zone DEFAULT (now() + '24:00:00'::interval) NOT NULL,
    prompt_name text,
    namespaced_name text,
    title text,
    description text,
    definition json,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    stale boolean DEFAULT false NOT NULL,
    definition_bytes integer GENERATED ALWAYS AS (octet_length((definition)::text)) STORED,
    enabled boolean DEFAULT true NOT NULL,
    CONSTRAINT prompt_cache_entry CHECK (((prompt_name IS NULL) OR ((server_type IS NOT NULL) AND (server_ref_id IS NOT NULL) AND (definition IS NOT NULL) AND (namespaced_name IS NOT NULL) AND (length(namespaced_name) <= 64)))),
    CONSTRAINT prompt_cache_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text])))
);

-- Name: rate_limit_counting; Type: TABLE; Schema: public; Owner: -

CREATE UNLOGGED TABLE public.rate_limit_counting (
    one boolean DEFAULT true NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT rate_limit_counting_one_check CHECK (one)
);

-- Name: rate_limit_tracking; Type: TABLE; Schema: public; Owner: -

CREATE UNLOGGED TABLE public.rate_limit_tracking (
    server_id text NOT NULL,
    user_id uuid,
    window_start timestamp with time zone NOT NULL,
    request_count integer DEFAULT 1 NOT NULL,
    calls_before bigint
)
WITH (fillfactor='50');

-- Name: resource_cache; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.resource_cache (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    server_ref_id uuid,
    server_type text,
    user_id uuid,
    expires_at timestamp with time zone DEFAULT (now() + '24:00:00'::interval) NOT NULL,
    uri text,
    name text,
    title text,
    description text,
    mime_type text,
    definition json,
    is_template boolean DEFAULT false NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    stale boolean DEFAULT false NOT NULL,
    definition_bytes integer GENERATED ALWAYS AS (octet_length((definition)::text)) STORED,
    enabled boolean DEFAULT true NOT NULL,
    CONSTRAINT resource_cache_entry CHECK (((uri IS NULL) OR ((server_type IS NOT NULL) AND (server_ref_id IS NOT NULL) AND (definition IS NOT NULL)))),
    CONSTRAINT resource_cache_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text])))
);

-- Name: schema_migrations; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

-- Name: server_state; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.server_state (
    server_type text NOT NULL,
    server_ref_id uuid NOT NULL,
    user_id uuid,
    name text NOT NULL,
    status text DEFAULT 'unknown'::text NOT NULL,
    next_refresh_at timestamp with time zone DEFAULT now() NOT NULL,
    last_refresh_at timestamp with time zone,
    last_attempt_at timestamp with time zone,
    failures integer DEFAULT 0 NOT NULL,
    last_error_code text,
    protocol_version text,
    server_info jsonb,
    instructions text,
    refresh_claim uuid,
    refresh_lease_expires_at timestamp with time zone,
    omitted jsonb DEFAULT '[]'::jsonb NOT NULL,
    circuit text DEFAULT 'closed'::text NOT NULL,
    circuit_since timestamp with time zone,
    circuit_until timestamp with time zone,
    CONSTRAINT server_state_claim_is_leased CHECK (((refresh_claim IS NULL) = (refresh_lease_expires_at IS NULL))),
    CONSTRAINT server_state_failures CHECK ((failures >= 0)),
    CONSTRAINT server_state_known_circuit CHECK ((circuit = ANY (ARRAY['closed'::text, 'open'::text]))),
    CONSTRAINT server_state_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text]))),
    CONSTRAINT server_state_known_status CHECK ((status = ANY (ARRAY['unknown'::text, 'ready'::text, 'failing'::text]))),
    CONSTRAINT server_state_system_has_no_owner CHECK (((server_type = 'user'::text) OR (user_id IS NULL)))
);

-- Name: shared_runs; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.shared_runs (
    id uuid NOT NULL,
    flow_run_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    begun_at timestamp with time zone,
    lease_expires_at timestamp with time zone,
    closed_at timestamp with time zone,
    CONSTRAINT shared_runs_begun_is_leased CHECK (((begun_at IS NULL) = (lease_expires_at IS NULL)))
);

-- Name: system_servers; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.system_servers (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    transport text NOT NULL,
    config_encrypted bytea NOT NULL,
    key_id text NOT NULL,
    endpoint text NOT NULL,
    limit_per_minute integer,
    user_limit_per_minute integer,
    enabled boolean DEFAULT true NOT NULL,
    revision bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    credentials text DEFAULT 'shared'::text NOT NULL,
    login_kind text,
    access text,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    pin boolean DEFAULT false NOT NULL,
    ttl_seconds integer,
    CONSTRAINT system_servers_access CHECK ((access = ANY (ARRAY['open'::text, 'closed'::text]))),
    CONSTRAINT system_servers_credentials CHECK ((credentials = ANY (ARRAY['shared'::text, 'per-user'::text]))),
    CONSTRAINT system_servers_key_id CHECK ((key_id ~ '^[0-9a-f]{8}$'::text)),
    CONSTRAINT system_servers_known_transport CHECK ((transport = ANY (ARRAY['http'::text, 'stdio'::text]))),
    CONSTRAINT system_servers_limit CHECK ((limit_per_minute > 0)),
    CONSTRAINT system_servers_login_kind CHECK ((login_kind = ANY (ARRAY['oauth'::text, 'header'::text]))),
    CONSTRAINT system_servers_name_rule CHECK (((name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$'::text) AND (name !~ '_$'::text) AND (length(name) <= 32))),
    CONSTRAINT system_servers_sealed_length CHECK ((octet_length(config_encrypted) >= 28)),
    CONSTRAINT system_servers_ttl CHECK ((ttl_seconds > 0)),
    CONSTRAINT system_servers_user_limit CHECK ((user_limit_per_minute > 0))
);

-- Name: tool_cache; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.tool_cache (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    server_ref_id uuid,
    server_type text,
    user_id uuid,
    namespaced_name text NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    expires_at timestamp with time zone DEFAULT (now() + '24:00:00'::interval) NOT NULL,
    tool_name text,
    title text,
    description text,
    definition json,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    stale boolean DEFAULT false NOT NULL,
    definition_bytes integer GENERATED ALWAYS AS (octet_length((definition)::text)) STORED,
    search tsvector GENERATED ALWAYS AS (public.nexus_tool_search(namespaced_name, tool_name, title, description, (definition)::jsonb)) STORED,
    held boolean DEFAULT false NOT NULL,
    definition_hash bytea,
    CONSTRAINT tool_cache_entry CHECK (((tool_name IS NULL) OR ((server_type IS NOT NULL) AND (server_ref_id IS NOT NULL) AND (definition IS NOT NULL) AND (length(namespaced_name) <= 64)))),
    CONSTRAINT tool_cache_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text])))
);

-- Name: tool_pins; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.tool_pins (
    server_type text NOT NULL,
    server_ref_id uuid NOT NULL,
    tool_name text NOT NULL,
    definition_hash bytea NOT NULL,
    definition json NOT NULL,
    approved_at timestamp with time zone DEFAULT now() NOT NULL,
    approved_by text
);

-- Name: upstream_logins; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.upstream_logins (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    server_type text NOT NULL,
    server_ref_id uuid NOT NULL,
    user_id uuid,
    kind text NOT NULL,
    sealed bytea NOT NULL,
    key_id text NOT NULL,
    state text DEFAULT 'ready'::text NOT NULL,
    reason text,
    scope text,
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    logged_in_at timestamp with time zone DEFAULT now() NOT NULL,
    refreshed_at timestamp with time zone,
    refreshing_since timestamp with time zone,
    last_used_at timestamp with time zone,
    revision bigint DEFAULT 1 NOT NULL,
    CONSTRAINT upstream_logins_key_id CHECK ((key_id ~ '^[0-9a-f]{8}$'::text)),
    CONSTRAINT upstream_logins_kind CHECK ((kind = ANY (ARRAY['oauth'::text, 'header'::text]))),
    CONSTRAINT upstream_logins_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text]))),
    CONSTRAINT upstream_logins_sealed_length CHECK ((octet_length(sealed) >= 28)),
    CONSTRAINT upstream_logins_state CHECK ((state = ANY (ARRAY['ready'::text, 'needed'::text])))
);

-- Name: used_states; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.used_states (
    id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

-- Name: user_groups; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.user_groups (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    is_everyone boolean DEFAULT false NOT NULL,
    claims text[] DEFAULT '{}'::text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT user_groups_name_rule CHECK (((name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]*$'::text) AND (length(name) <= 64)))
);

-- Name: user_identities; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.user_identities (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id uuid NOT NULL,
    groups text[] DEFAULT '{}'::text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone,
    CONSTRAINT user_identities_lengths CHECK (((length(issuer) <= 2048) AND ((length(subject) >= 1) AND (length(subject) <= 255))))
);

-- Name: user_servers; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.user_servers (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    config_encrypted bytea,
    name text NOT NULL,
    transport text DEFAULT 'http'::text NOT NULL,
    key_id text,
    endpoint text,
    limit_per_minute integer,
    enabled boolean DEFAULT true NOT NULL,
    revision bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    login_kind text,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    pin boolean DEFAULT false NOT NULL,
    ttl_seconds integer,
    CONSTRAINT user_servers_http_only CHECK ((transport = 'http'::text)),
    CONSTRAINT user_servers_key_id CHECK (((key_id IS NULL) OR ((key_id ~ '^[0-9a-f]{8}$'::text) AND (config_encrypted IS NOT NULL)))),
    CONSTRAINT user_servers_limit CHECK ((limit_per_minute > 0)),
    CONSTRAINT user_servers_login_kind CHECK ((login_kind = ANY (ARRAY['oauth'::text, 'header'::text]))),
    CONSTRAINT user_servers_name_rule CHECK (((name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$'::text) AND (name !~ '_$'::text) AND (length(name) <= 32))),
    CONSTRAINT user_servers_sealed_length CHECK ((octet_length(config_encrypted) >= 28)),
    CONSTRAINT user_servers_ttl CHECK ((ttl_seconds > 0))
);

-- Name: users; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.users (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_name_rule CHECK (((name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]*$'::text) AND (length(name) <= 64)))
);

-- Name: vault_backups; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.vault_backups (
    server_type text NOT NULL,
    server_ref_id uuid NOT NULL,
    new_key_id text NOT NULL,
    rotation_id uuid NOT NULL,
    key_id text,
    config_encrypted bytea NOT NULL,
    resealed_digest bytea NOT NULL,
    taken_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT vault_backups_known_place CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text, 'login'::text])))
);

-- Name: vault_rotations; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.vault_rotations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    old_key_id text,
    old_primary_key_id text,
    new_key_id text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamp with time zone,
    restored_at timestamp with time zone,
    updated integer DEFAULT 0 NOT NULL,
    errors text[] DEFAULT '{}'::text[] NOT NULL,
    flow_run_id uuid,
    bound boolean DEFAULT false NOT NULL,
    CONSTRAINT vault_rotations_new_key_id CHECK ((new_key_id ~ '^[0-9a-f]{8}$'::text)),
    CONSTRAINT vault_rotations_old_key_id CHECK ((old_key_id ~ '^[0-9a-f]{8}$'::text))
);

-- Name: access_grants access_grants_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.access_grants
    ADD CONSTRAINT access_grants_pkey PRIMARY KEY (id);

-- Name: access_grants access_grants_target_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.access_grants
    ADD CONSTRAINT access_grants_target_key UNIQUE NULLS NOT DISTINCT (group_id, server_ref_id, tool_name, bundle_id);

-- Name: alert_states alert_states_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.alert_states
    ADD CONSTRAINT alert_states_pkey PRIMARY KEY (name);

-- Name: api_tokens api_tokens_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (id);

-- Name: api_tokens api_tokens_token_hash_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_token_hash_key UNIQUE (token_hash);

-- Name: applied_configuration applied_configuration_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.applied_configuration
    ADD CONSTRAINT applied_configuration_pkey PRIMARY KEY (is_only);

-- Name: approvals approvals_job_id_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.approvals
    ADD CONSTRAINT approvals_job_id_key UNIQUE (job_id);

-- Name: approvals approvals_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.approvals
    ADD CONSTRAINT approvals_pkey PRIMARY KEY (id);

-- Name: audit_log audit_log_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);

-- Name: bundle_entries bundle_entries_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.bundle_entries
    ADD CONSTRAINT bundle_entries_pkey PRIMARY KEY (id);

-- Name: bundle_entries bundle_entries_source_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.bundle_entries
    ADD CONSTRAINT bundle_entries_source_key UNIQUE NULLS NOT DISTINCT (bundle_id, kind, server_ref_id, source, name);

-- Name: bundles bundles_name_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.bundles
    ADD CONSTRAINT bundles_name_key UNIQUE (name);

-- Name: bundles bundles_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.bundles
    ADD CONSTRAINT bundles_pkey PRIMARY KEY (id);

-- Name: call_policies call_policies_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.call_policies
    ADD CONSTRAINT call_policies_pkey PRIMARY KEY (server_type, server_ref_id, tool_name);

-- Name: catalog_changes catalog_changes_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.catalog_changes
    ADD CONSTRAINT catalog_changes_pkey PRIMARY KEY (id);

-- Name: console_links console_links_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.console_links
    ADD CONSTRAINT console_links_pkey PRIMARY KEY (code_hash);

-- Name: console_sessions console_sessions_cookie_hash_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_cookie_hash_key UNIQUE (cookie_hash);

-- Name: console_sessions console_sessions_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_pkey PRIMARY KEY (id);

-- Name: group_members group_members_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_pkey PRIMARY KEY (group_id, user_id);

-- Name: hub_settings hub_settings_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.hub_settings
    ADD CONSTRAINT hub_settings_pkey PRIMARY KEY (is_only);

-- Name: job_inputs job_inputs_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.job_inputs
    ADD CONSTRAINT job_inputs_pkey PRIMARY KEY (id);

-- Name: job_results job_results_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.job_results
    ADD CONSTRAINT job_results_pkey PRIMARY KEY (id);

-- Name: job_results job_results_trace_context; Type: CHECK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE public.job_results
    ADD CONSTRAINT job_results_trace_context CHECK ((trace_context ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'::text)) NOT VALID;

-- Name: login_requests login_requests_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.login_requests
    ADD CONSTRAINT login_requests_pkey PRIMARY KEY (id);

-- Name: login_requests login_requests_state_hash_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.login_requests
    ADD CONSTRAINT login_requests_state_hash_key UNIQUE (state_hash);

-- Name: oauth_clients oauth_clients_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.oauth_clients
    ADD CONSTRAINT oauth_clients_pkey PRIMARY KEY (id);

-- Name: oauth_grants oauth_grants_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.oauth_grants
    ADD CONSTRAINT oauth_grants_pkey PRIMARY KEY (id);

-- Name: oauth_requests oauth_requests_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.oauth_requests
    ADD CONSTRAINT oauth_requests_pkey PRIMARY KEY (id);

-- Name: oauth_tokens oauth_tokens_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.oauth_tokens
    ADD CONSTRAINT oauth_tokens_pkey PRIMARY KEY (token_hash);

-- Name: prompt_cache prompt_cache_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.prompt_cache
    ADD CONSTRAINT prompt_cache_pkey PRIMARY KEY (id);

-- Name: rate_limit_counting rate_limit_counting_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.rate_limit_counting
    ADD CONSTRAINT rate_limit_counting_pkey PRIMARY KEY (one);

-- Name: resource_cache resource_cache_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.resource_cache
    ADD CONSTRAINT resource_cache_pkey PRIMARY KEY (id);

-- Name: schema_migrations schema_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

-- Name: server_state server_state_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.server_state
    ADD CONSTRAINT server_state_pkey PRIMARY KEY (server_type, server_ref_id);

-- Name: shared_runs shared_runs_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.shared_runs
    ADD CONSTRAINT shared_runs_pkey PRIMARY KEY (id);

-- Name: system_servers system_servers_name_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.system_servers
    ADD CONSTRAINT system_servers_name_key UNIQUE (name);

-- Name: system_servers system_servers_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.system_servers
    ADD CONSTRAINT system_servers_pkey PRIMARY KEY (id);

-- Name: tool_cache tool_cache_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.tool_cache
    ADD CONSTRAINT tool_cache_pkey PRIMARY KEY (id);

-- Name: tool_pins tool_pins_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.tool_pins
    ADD CONSTRAINT tool_pins_pkey PRIMARY KEY (server_type, server_ref_id, tool_name);

-- Name: upstream_logins upstream_logins_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.upstream_logins
    ADD CONSTRAINT upstream_logins_pkey PRIMARY KEY (id);

-- Name: upstream_logins upstream_logins_server_user_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.upstream_logins
    ADD CONSTRAINT upstream_logins_server_user_key UNIQUE NULLS NOT DISTINCT (server_type, server_ref_id, user_id);

-- Name: used_states used_states_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.used_states
    ADD CONSTRAINT used_states_pkey PRIMARY KEY (id);

-- Name: user_groups user_groups_name_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.user_groups
    ADD CONSTRAINT user_groups_name_key UNIQUE (name);

-- Name: user_groups user_groups_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.user_groups
    ADD CONSTRAINT user_groups_pkey PRIMARY KEY (id);

-- Name: user_identities user_identities_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.user_identities
    ADD CONSTRAINT user_identities_pkey PRIMARY KEY (id);

-- Name: user_identities user_identities_subject_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.user_identities
    ADD CONSTRAINT user_identities_subject_key UNIQUE (issuer, subject);

-- Name: user_servers user_servers_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.user_servers
    ADD CONSTRAINT user_servers_pkey PRIMARY KEY (id);

-- Name: users users_name_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_name_key UNIQUE (name);

-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

-- Name: vault_backups vault_backups_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.vault_backups
    ADD CONSTRAINT vault_backups_pkey PRIMARY KEY (server_type, server_ref_id, new_key_id);

-- Name: vault_rotations vault_rotations_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.vault_rotations
    ADD CONSTRAINT vault_rotations_pkey PRIMARY KEY (id);

-- Name: idx_access_grants_bundle; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_access_grants_bundle ON public.access_grants USING btree (bundle_id);

-- Name: idx_access_grants_server; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_access_grants_server ON public.access_grants USING btree (server_ref_id);

-- Name: idx_api_tokens_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_api_tokens_user ON public.api_tokens USING btree (user_id);

-- Name: idx_approvals_asked_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_approvals_asked_at ON public.approvals USING btree (asked_at DESC, id DESC);

-- Name: idx_approvals_open; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_approvals_open ON public.approvals USING btree (expires_at, id) WHERE (state = ANY (ARRAY['waiting'::text, 'approved'::text]));

-- Name: idx_approvals_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_approvals_user ON public.approvals USING btree (user_id, asked_at DESC, id DESC);

-- Name: idx_audit_log_action; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_audit_log_action ON public.audit_log USING btree (action, at, id);

-- Name: idx_audit_log_actor; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_audit_log_actor ON public.audit_log USING btree (actor_id, at, id);

-- Name: idx_audit_log_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_audit_log_at ON public.audit_log USING btree (at, id);

-- Name: idx_audit_log_server; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_audit_log_server ON public.audit_log USING btree (server, at, id) WHERE (server IS NOT NULL);

-- Name: idx_bundle_entries_server; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_bundle_entries_server ON public.bundle_entries USING btree (server_ref_id);

-- Name: idx_catalog_changes_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_catalog_changes_at ON public.catalog_changes USING btree (at);

-- Name: idx_catalog_changes_server; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_catalog_changes_server ON public.catalog_changes USING btree (server_type, server_ref_id, id);

-- Name: idx_console_links_expires_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_console_links_expires_at ON public.console_links USING btree (expires_at);

-- Name: idx_console_sessions_expires_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_console_sessions_expires_at ON public.console_sessions USING btree (expires_at);

-- Name: idx_group_members_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_group_members_user ON public.group_members USING btree (user_id);

-- Name: idx_job_inputs_job; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_inputs_job ON public.job_inputs USING btree (job_id, asked_at);

-- Name: idx_job_results_all_unsuccessful; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_all_unsuccessful ON public.job_results USING btree (status, created_at DESC, id DESC) WHERE (status = ANY (ARRAY['failed'::text, 'cancelled'::text]));

-- Name: idx_job_results_batch; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_batch ON public.job_results USING btree (batch_id) WHERE (((status || ''::text) = 'pending'::text) AND (batch_id IS NOT NULL));

-- Name: idx_job_results_by_error; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_by_error ON public.job_results USING btree (error_code, created_at DESC, id DESC) WHERE (error_code IS NOT NULL);

-- Name: idx_job_results_by_lane; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_by_lane ON public.job_results USING btree (lane, created_at DESC, id DESC);

-- Name: idx_job_results_by_server; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_by_server ON public.job_results USING btree (server_ref_id, created_at DESC, id DESC) WHERE (server_ref_id IS NOT NULL);

-- Name: idx_job_results_by_tool; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_by_tool ON public.job_results USING btree (tool_name, created_at DESC, id DESC) WHERE (tool_name IS NOT NULL);

-- Name: idx_job_results_by_type; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_by_type ON public.job_results USING btree (job_type, created_at DESC, id DESC) WHERE ((job_type || ''::text) <> 'tool_invoke'::text);

-- Name: idx_job_results_by_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_by_user ON public.job_results USING btree (user_id, created_at DESC, id DESC);

-- Name: idx_job_results_cleanup; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_cleanup ON public.job_results USING btree (status, completed_at) WHERE (status = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text]));

-- Name: idx_job_results_dispatched; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_dispatched ON public.job_results USING btree (dispatched_at, id) WHERE ((status = 'pending'::text) AND (dispatched_at IS NOT NULL));

-- Name: idx_job_results_ended; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_ended ON public.job_results USING btree (completed_at, id) WHERE public.nexus_has_ended(status);

-- Name: idx_job_results_failed_at_server; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_failed_at_server ON public.job_results USING btree (server_ref_id, completed_at DESC, id DESC) WHERE ((status = 'failed'::text) AND (server_ref_id IS NOT NULL));

-- Name: idx_job_results_failed_orphans; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_failed_orphans ON public.job_results USING btree (completed_at, id) WHERE public.nexus_is_orphan(status, error_code);

-- Name: idx_job_results_flow_run; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_flow_run ON public.job_results USING btree (flow_run_id) WHERE (flow_run_id IS NOT NULL);

-- Name: idx_job_results_lease; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_lease ON public.job_results USING btree (lease_expires_at) WHERE (lease_expires_at IS NOT NULL);

-- Name: idx_job_results_lost_run; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_lost_run ON public.job_results USING btree (lost_flow_run_id) WHERE (((status || ''::text) = 'pending'::text) AND (lost_flow_run_id IS NOT NULL));

-- Name: idx_job_results_newest_open; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_newest_open ON public.job_results USING btree (created_at DESC, id DESC) WHERE public.nexus_is_live(status);

-- Name: idx_job_results_open; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_open ON public.job_results USING btree (user_id, created_at DESC, id DESC) WHERE public.nexus_is_live(status);

-- Name: idx_job_results_open_mirrors; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_open_mirrors ON public.job_results USING btree (created_at) WHERE (public.nexus_is_live(status) AND (NOT public.nexus_is_call(job_type)));

-- Name: idx_job_results_orphaned; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_orphaned ON public.job_results USING btree (status, created_at) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));

-- Name: idx_job_results_queued; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_queued ON public.job_results USING btree (public.nexus_owner(user_id), available_at, id) WHERE public.nexus_is_queued(status, dispatched_at, flow_run_id);

-- Name: idx_job_results_recent; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_recent ON public.job_results USING btree (created_at DESC, id DESC);

-- Name: idx_job_results_undispatched; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_undispatched ON public.job_results USING btree (available_at) WHERE ((status = 'pending'::text) AND (dispatched_at IS NULL));

-- Name: idx_job_results_unsuccessful; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_unsuccessful ON public.job_results USING btree (user_id, status, created_at DESC, id DESC) WHERE ((user_id IS NOT NULL) AND (status = ANY (ARRAY['failed'::text, 'cancelled'::text])));

-- Name: idx_login_requests_expires_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_login_requests_expires_at ON public.login_requests USING btree (expires_at);

-- Name: idx_login_requests_server; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_login_requests_server ON public.login_requests USING btree (server_type, server_ref_id);

-- Name: idx_oauth_clients_address; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_clients_address ON public.oauth_clients USING btree (address) WHERE (used_at IS NULL);

-- Name: idx_oauth_clients_unused; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_clients_unused ON public.oauth_clients USING btree (read_at) WHERE (used_at IS NULL);

-- Name: idx_oauth_grants_client; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_grants_client ON public.oauth_grants USING btree (client_id);

-- Name: idx_oauth_grants_expires_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_grants_expires_at ON public.oauth_grants USING btree (expires_at);

-- Name: idx_oauth_grants_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_grants_user ON public.oauth_grants USING btree (user_id);

-- Name: idx_oauth_requests_address; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_requests_address ON public.oauth_requests USING btree (address);

-- Name: idx_oauth_requests_client; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_requests_client ON public.oauth_requests USING btree (client_id);

-- Name: idx_oauth_requests_expires_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_requests_expires_at ON public.oauth_requests USING btree (expires_at);

-- Name: idx_oauth_tokens_expires_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_tokens_expires_at ON public.oauth_tokens USING btree (expires_at);

-- Name: idx_oauth_tokens_grant; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_oauth_tokens_grant ON public.oauth_tokens USING btree (grant_id);

-- Name: idx_prompt_cache_expires; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_prompt_cache_expires ON public.prompt_cache USING btree (expires_at);

-- Name: idx_prompt_cache_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_prompt_cache_user ON public.prompt_cache USING btree (user_id);

-- Name: idx_rate_limit_unnumbered; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_rate_limit_unnumbered ON public.rate_limit_tracking USING btree (server_id, window_start) WHERE (calls_before IS NULL);

-- Name: idx_rate_limit_window; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_rate_limit_window ON public.rate_limit_tracking USING btree (server_id, window_start);

-- Name: idx_resource_cache_expires; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_resource_cache_expires ON public.resource_cache USING btree (expires_at);

-- Name: idx_resource_cache_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_resource_cache_user ON public.resource_cache USING btree (user_id);

-- Name: idx_server_state_circuit; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_server_state_circuit ON public.server_state USING btree (circuit_until) WHERE (circuit = 'open'::text);

-- Name: idx_server_state_due; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_server_state_due ON public.server_state USING btree (next_refresh_at);

-- Name: idx_server_state_ref; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_server_state_ref ON public.server_state USING btree (server_ref_id);

-- Name: idx_shared_runs_closed; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_shared_runs_closed ON public.shared_runs USING btree (closed_at) WHERE (closed_at IS NOT NULL);

-- Name: idx_shared_runs_coming; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX idx_shared_runs_coming ON public.shared_runs USING btree ((true)) WHERE ((begun_at IS NULL) AND (closed_at IS NULL));

-- Name: idx_shared_runs_flow_run; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_shared_runs_flow_run ON public.shared_runs USING btree (flow_run_id) WHERE (flow_run_id IS NOT NULL);

-- Name: idx_shared_runs_open; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_shared_runs_open ON public.shared_runs USING btree (begun_at) WHERE (closed_at IS NULL);

-- Name: idx_tool_cache_expires; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_tool_cache_expires ON public.tool_cache USING btree (expires_at) WHERE enabled;

-- Name: idx_tool_cache_held; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_tool_cache_held ON public.tool_cache USING btree (server_ref_id) WHERE held;

-- Name: idx_tool_cache_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_tool_cache_user ON public.tool_cache USING btree (user_id);

-- Name: idx_upstream_logins_expires_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_upstream_logins_expires_at ON public.upstream_logins USING btree (expires_at) WHERE ((kind = 'oauth'::text) AND (state = 'ready'::text));

-- Name: idx_upstream_logins_refreshing; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_upstream_logins_refreshing ON public.upstream_logins USING btree (refreshing_since) WHERE (refreshing_since IS NOT NULL);

-- Name: idx_upstream_logins_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_upstream_logins_user ON public.upstream_logins USING btree (user_id) WHERE (user_id IS NOT NULL);

-- Name: idx_used_states_expires_at; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_used_states_expires_at ON public.used_states USING btree (expires_at);

-- Name: idx_user_groups_everyone; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX idx_user_groups_everyone ON public.user_groups USING btree (is_everyone) WHERE is_everyone;

-- Name: idx_user_identities_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_user_identities_user ON public.user_identities USING btree (user_id);

-- Name: idx_user_servers_name; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_user_servers_name ON public.user_servers USING btree (name);

-- Name: idx_vault_backups_rotation; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_vault_backups_rotation ON public.vault_backups USING btree (rotation_id);

-- Name: job_keys_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX job_keys_key ON public.job_keys USING btree (idempotency_key, user_id) NULLS NOT DISTINCT;

-- Name: job_results_idempotency_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX job_results_idempotency_key ON public.job_results USING btree (idempotency_key, user_id) NULLS NOT DISTINCT WHERE (idempotency_key IS NOT NULL);

-- Name: prompt_cache_namespaced_name_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX prompt_cache_namespaced_name_key ON public.prompt_cache USING btree (user_id, namespaced_name) NULLS NOT DISTINCT WHERE (prompt_name IS NOT NULL);

-- Name: prompt_cache_server_prompt_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX prompt_cache_server_prompt_key ON public.prompt_cache USING btree (server_type, server_ref_id, prompt_name);

-- Name: rate_limit_tracking_window_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX rate_limit_tracking_window_key ON public.rate_limit_tracking USING btree (server_id, user_id, window_start) NULLS NOT DISTINCT;

-- Name: resource_cache_server_uri_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX resource_cache_server_uri_key ON public.resource_cache USING btree (server_type, server_ref_id, uri);

-- Name: tool_cache_namespaced_name_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX tool_cache_namespaced_name_key ON public.tool_cache USING btree (user_id, namespaced_name) NULLS NOT DISTINCT WHERE (tool_name IS NOT NULL);

-- Name: tool_cache_server_tool_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX tool_cache_server_tool_key ON public.tool_cache USING btree (server_type, server_ref_id, tool_name);

-- Name: user_servers_user_id_name_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX user_servers_user_id_name_key ON public.user_servers USING btree (user_id, name);

-- Name: users after_delete; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER after_delete AFTER DELETE ON public.users FOR EACH ROW EXECUTE FUNCTION public.nexus_user_after_delete();

-- Name: job_results after_insert; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER after_insert AFTER INSERT ON public.job_results FOR EACH ROW WHEN (((new.lane <> 'direct'::text) OR (new.status = 'running'::text))) EXECUTE FUNCTION public.nexus_job_after_write();

-- Name: job_results after_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER after_update AFTER UPDATE ON public.job_results FOR EACH ROW WHEN (((old.status IS DISTINCT FROM new.status) OR (old.attempt IS DISTINCT FROM new.attempt) OR (old.progress IS DISTINCT FROM new.progress) OR (old.available_at IS DISTINCT FROM new.available_at) OR (old.flow_run_id IS DISTINCT FROM new.flow_run_id) OR ((old.dispatched_at IS NULL) AND (new.dispatched_at IS NOT NULL)) OR (old.cancel_requested_at IS DISTINCT FROM new.cancel_requested_at))) EXECUTE FUNCTION public.nexus_job_after_write();

-- Name: upstream_logins after_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER after_update AFTER UPDATE ON public.upstream_logins FOR EACH ROW WHEN (((old.state IS DISTINCT FROM new.state) OR (old.kind IS DISTINCT FROM new.kind) OR (old.logged_in_at IS DISTINCT FROM new.logged_in_at))) EXECUTE FUNCTION public.nexus_login_after_write();

-- Name: call_policies after_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER after_write AFTER INSERT OR DELETE OR UPDATE ON public.call_policies FOR EACH ROW EXECUTE FUNCTION public.nexus_policy_notify();

-- Name: upstream_logins after_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER after_write AFTER INSERT OR DELETE ON public.upstream_logins FOR EACH ROW EXECUTE FUNCTION public.nexus_login_after_write();

-- Name: job_results before_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER before_write BEFORE INSERT OR UPDATE ON public.job_results FOR EACH ROW EXECUTE FUNCTION public.nexus_job_before_write();

-- Name: prompt_cache before_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON public.prompt_cache FOR EACH ROW EXECUTE FUNCTION public.nexus_cache_before_write();

-- Name: resource_cache before_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON public.resource_cache FOR EACH ROW EXECUTE FUNCTION public.nexus_cache_before_write();

-- Name: system_servers before_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER before_write BEFORE INSERT OR UPDATE ON public.system_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_before_write();

-- Name: tool_cache before_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON public.tool_cache FOR EACH ROW EXECUTE FUNCTION public.nexus_cache_before_write();

-- Name: user_servers before_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER before_write BEFORE INSERT OR UPDATE ON public.user_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_before_write();

-- Name: approvals check_move; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER check_move BEFORE UPDATE ON public.approvals FOR EACH ROW EXECUTE FUNCTION public.nexus_approval_check_move();

-- Name: job_results check_move; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER check_move BEFORE UPDATE OF status, attempt, claim_id ON public.job_results FOR EACH ROW EXECUTE FUNCTION public.nexus_job_check_move();

-- Name: bundles check_name; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON public.bundles FOR EACH ROW EXECUTE FUNCTION public.nexus_server_check_name('bundle');

-- Name: system_servers check_name; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON public.system_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_check_name('system');

-- Name: user_servers check_name; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON public.user_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_user_server_check_name();

-- Name: job_results count_payload; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER count_payload BEFORE UPDATE OF params, result ON public.job_results FOR EACH ROW WHEN (((new.version = old.version) AND ((new.params IS DISTINCT FROM old.params) OR (new.result IS DISTINCT FROM old.result)))) EXECUTE FUNCTION public.nexus_job_count_payload();

-- Name: call_policies decide; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER decide AFTER INSERT OR DELETE OR UPDATE OF enabled ON public.call_policies FOR EACH ROW WHEN ((pg_trigger_depth() = 0)) EXECUTE FUNCTION public.nexus_policy_decide();

-- Name: prompt_cache decide; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER decide BEFORE INSERT OR UPDATE OF enabled, server_type, server_ref_id ON public.prompt_cache FOR EACH ROW EXECUTE FUNCTION public.nexus_entry_decide();

-- Name: resource_cache decide; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER decide BEFORE INSERT OR UPDATE OF enabled, server_type, server_ref_id ON public.resource_cache FOR EACH ROW EXECUTE FUNCTION public.nexus_entry_decide();

-- Name: system_servers decide; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER decide AFTER UPDATE ON public.system_servers FOR EACH ROW WHEN (((old.enabled IS DISTINCT FROM new.enabled) OR (old.pin IS DISTINCT FROM new.pin) OR (old.ttl_seconds IS DISTINCT FROM new.ttl_seconds))) EXECUTE FUNCTION public.nexus_server_decide('system');

-- Name: tool_cache decide; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER decide BEFORE INSERT OR UPDATE OF enabled, held, definition, definition_hash, tool_name, server_type, server_ref_id ON public.tool_cache FOR EACH ROW EXECUTE FUNCTION public.nexus_tool_decide();

-- Name: user_servers decide; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER decide AFTER UPDATE ON public.user_servers FOR EACH ROW WHEN (((old.enabled IS DISTINCT FROM new.enabled) OR (old.pin IS DISTINCT FROM new.pin) OR (old.ttl_seconds IS DISTINCT FROM new.ttl_seconds))) EXECUTE FUNCTION public.nexus_server_decide('user');

-- Name: call_policies hold; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER hold BEFORE INSERT OR DELETE OR UPDATE ON public.call_policies FOR EACH ROW WHEN ((pg_trigger_depth() = 0)) EXECUTE FUNCTION public.nexus_policy_hold();

-- Name: system_servers hold; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER hold BEFORE UPDATE ON public.system_servers FOR EACH ROW WHEN (((old.enabled IS DISTINCT FROM new.enabled) OR (old.pin IS DISTINCT FROM new.pin))) EXECUTE FUNCTION public.nexus_server_hold('system');

-- Name: user_servers hold; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER hold BEFORE UPDATE ON public.user_servers FOR EACH ROW WHEN (((old.enabled IS DISTINCT FROM new.enabled) OR (old.pin IS DISTINCT FROM new.pin))) EXECUTE FUNCTION public.nexus_server_hold('user');

-- Name: job_results keep_request; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER keep_request BEFORE UPDATE OF id, user_id, job_type, server_id, server_ref_id, server_type, tool_name, params, params_escaped, params_sent, created_at, idempotency_key, request_digest, retry, timeout_seconds, max_attempts, bundle_entry_id, called_as ON public.job_results FOR EACH ROW WHEN ((public.nexus_is_call(old.job_type) OR public.nexus_is_call(new.job_type))) EXECUTE FUNCTION public.nexus_job_keep_request('id', 'user_id', 'job_type', 'server_id', 'server_ref_id', 'server_type', 'tool_name', 'params', 'params_escaped', 'params_sent', 'created_at', 'idempotency_key', 'request_digest', 'retry', 'timeout_seconds', 'max_attempts', 'bundle_entry_id', 'called_as');

-- Name: system_servers keep_state; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER keep_state AFTER INSERT OR DELETE OR UPDATE OF name ON public.system_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_keep_state('system');

-- Name: user_servers keep_state; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER keep_state AFTER INSERT OR DELETE OR UPDATE OF name, user_id ON public.user_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_keep_state('user');

-- Name: approvals note_asked; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER note_asked AFTER INSERT ON public.approvals FOR EACH ROW EXECUTE FUNCTION public.nexus_approval_note();

-- Name: approvals note_moved; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER note_moved AFTER UPDATE ON public.approvals FOR EACH ROW WHEN (((old.state <> new.state) AND (NOT ((new.state = ANY (ARRAY['approved'::text, 'denied'::text])) AND (new.decided_via <> 'elicitation'::text))))) EXECUTE FUNCTION public.nexus_approval_note();

-- Name: api_tokens notify_delete; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_delete AFTER DELETE ON public.api_tokens FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_tokens_notify();

-- Name: oauth_tokens notify_delete; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_delete AFTER DELETE ON public.oauth_tokens FOR EACH ROW WHEN (((old.kind = 'access'::text) AND (old.expires_at > now()))) EXECUTE FUNCTION public.nexus_tokens_notify();

-- Name: prompt_cache notify_delete; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_delete AFTER DELETE ON public.prompt_cache REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('prompts');

-- Name: resource_cache notify_delete; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_delete AFTER DELETE ON public.resource_cache REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('resources');

-- Name: tool_cache notify_delete; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_delete AFTER DELETE ON public.tool_cache REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('tools');

-- Name: user_identities notify_delete; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_delete AFTER DELETE ON public.user_identities FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_tokens_notify();

-- Name: prompt_cache notify_insert; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_insert AFTER INSERT ON public.prompt_cache REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('prompts');

-- Name: resource_cache notify_insert; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_insert AFTER INSERT ON public.resource_cache REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('resources');

-- Name: tool_cache notify_insert; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_insert AFTER INSERT ON public.tool_cache REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('tools');

-- Name: access_grants notify_permissions; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.access_grants FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: bundle_entries notify_permissions; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.bundle_entries FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: bundles notify_permissions; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.bundles FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: group_members notify_permissions; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.group_members FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: hub_settings notify_permissions; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.hub_settings FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: system_servers notify_permissions; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions AFTER UPDATE ON public.system_servers FOR EACH ROW WHEN ((old.access IS DISTINCT FROM new.access)) EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: user_groups notify_permissions; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.user_groups FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: user_identities notify_permissions; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions AFTER UPDATE ON public.user_identities FOR EACH ROW WHEN (((old.groups IS DISTINCT FROM new.groups) OR (old.user_id IS DISTINCT FROM new.user_id))) EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: system_servers notify_permissions_of_all; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions_of_all AFTER INSERT OR DELETE OR TRUNCATE ON public.system_servers FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: user_identities notify_permissions_of_all; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_permissions_of_all AFTER INSERT OR DELETE OR TRUNCATE ON public.user_identities FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_permissions_notify();

-- Name: prompt_cache notify_switch; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_switch AFTER UPDATE ON public.prompt_cache FOR EACH ROW WHEN ((old.enabled IS DISTINCT FROM new.enabled)) EXECUTE FUNCTION public.nexus_catalog_notify('prompts');

-- Name: resource_cache notify_switch; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_switch AFTER UPDATE ON public.resource_cache FOR EACH ROW WHEN ((old.enabled IS DISTINCT FROM new.enabled)) EXECUTE FUNCTION public.nexus_catalog_notify('resources');

-- Name: api_tokens notify_truncate; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_truncate AFTER TRUNCATE ON public.api_tokens FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_tokens_notify();

-- Name: oauth_tokens notify_truncate; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_truncate AFTER TRUNCATE ON public.oauth_tokens FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_tokens_notify();

-- Name: prompt_cache notify_truncate; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_truncate AFTER TRUNCATE ON public.prompt_cache FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('prompts');

-- Name: resource_cache notify_truncate; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_truncate AFTER TRUNCATE ON public.resource_cache FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('resources');

-- Name: tool_cache notify_truncate; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_truncate AFTER TRUNCATE ON public.tool_cache FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_catalog_notify('tools');

-- Name: user_identities notify_truncate; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_truncate AFTER TRUNCATE ON public.user_identities FOR EACH STATEMENT EXECUTE FUNCTION public.nexus_tokens_notify();

-- Name: api_tokens notify_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_update AFTER UPDATE ON public.api_tokens FOR EACH ROW WHEN (((old.user_id IS DISTINCT FROM new.user_id) OR (old.token_hash IS DISTINCT FROM new.token_hash) OR (old.revoked_at IS DISTINCT FROM new.revoked_at) OR (old.expires_at IS DISTINCT FROM new.expires_at) OR (old.scopes IS DISTINCT FROM new.scopes))) EXECUTE FUNCTION public.nexus_tokens_notify();

-- Name: prompt_cache notify_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_update AFTER UPDATE ON public.prompt_cache FOR EACH ROW WHEN (((old.server_type IS DISTINCT FROM new.server_type) OR (old.server_ref_id IS DISTINCT FROM new.server_ref_id) OR (old.user_id IS DISTINCT FROM new.user_id) OR (old.prompt_name IS DISTINCT FROM new.prompt_name) OR (old.namespaced_name IS DISTINCT FROM new.namespaced_name) OR (old.title IS DISTINCT FROM new.title) OR (old.description IS DISTINCT FROM new.description) OR ((old.definition)::text IS DISTINCT FROM (new.definition)::text))) EXECUTE FUNCTION public.nexus_catalog_notify('prompts');

-- Name: resource_cache notify_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_update AFTER UPDATE ON public.resource_cache FOR EACH ROW WHEN (((old.server_type IS DISTINCT FROM new.server_type) OR (old.server_ref_id IS DISTINCT FROM new.server_ref_id) OR (old.user_id IS DISTINCT FROM new.user_id) OR (old.uri IS DISTINCT FROM new.uri) OR (old.name IS DISTINCT FROM new.name) OR (old.title IS DISTINCT FROM new.title) OR (old.description IS DISTINCT FROM new.description) OR (old.mime_type IS DISTINCT FROM new.mime_type) OR (old.is_template IS DISTINCT FROM new.is_template) OR ((old.definition)::text IS DISTINCT FROM (new.definition)::text))) EXECUTE FUNCTION public.nexus_catalog_notify('resources');

-- Name: server_state notify_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_update AFTER UPDATE ON public.server_state FOR EACH ROW WHEN (((old.user_id IS DISTINCT FROM new.user_id) OR (old.name IS DISTINCT FROM new.name) OR (old.protocol_version IS DISTINCT FROM new.protocol_version) OR (old.server_info IS DISTINCT FROM new.server_info) OR (old.instructions IS DISTINCT FROM new.instructions))) EXECUTE FUNCTION public.nexus_catalog_notify('server');

-- Name: system_servers notify_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_update AFTER UPDATE ON public.system_servers FOR EACH ROW WHEN ((old.revision IS DISTINCT FROM new.revision)) EXECUTE FUNCTION public.nexus_server_notify('system');

-- Name: tool_cache notify_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_update AFTER UPDATE ON public.tool_cache FOR EACH ROW WHEN (((old.server_type IS DISTINCT FROM new.server_type) OR (old.server_ref_id IS DISTINCT FROM new.server_ref_id) OR (old.user_id IS DISTINCT FROM new.user_id) OR (old.tool_name IS DISTINCT FROM new.tool_name) OR (old.namespaced_name IS DISTINCT FROM new.namespaced_name) OR (old.enabled IS DISTINCT FROM new.enabled) OR (old.title IS DISTINCT FROM new.title) OR (old.description IS DISTINCT FROM new.description) OR ((old.definition)::text IS DISTINCT FROM (new.definition)::text))) EXECUTE FUNCTION public.nexus_catalog_notify('tools');

-- Name: user_identities notify_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_update AFTER UPDATE ON public.user_identities FOR EACH ROW WHEN (((old.user_id IS DISTINCT FROM new.user_id) OR (old.issuer IS DISTINCT FROM new.issuer) OR (old.subject IS DISTINCT FROM new.subject))) EXECUTE FUNCTION public.nexus_tokens_notify();

-- Name: user_servers notify_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_update AFTER UPDATE ON public.user_servers FOR EACH ROW WHEN ((old.revision IS DISTINCT FROM new.revision)) EXECUTE FUNCTION public.nexus_server_notify('user');

-- Name: system_servers notify_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_write AFTER INSERT OR DELETE ON public.system_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_notify('system');

-- Name: user_servers notify_write; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER notify_write AFTER INSERT OR DELETE ON public.user_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_notify('user');

-- Name: access_grants access_grants_approvers_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.access_grants
    ADD CONSTRAINT access_grants_approvers_fkey FOREIGN KEY (approvers) REFERENCES public.user_groups(id) ON DELETE SET NULL;

-- Name: access_grants access_grants_bundle_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.access_grants
    ADD CONSTRAINT access_grants_bundle_id_fkey FOREIGN KEY (bundle_id) REFERENCES public.bundles(id) ON DELETE CASCADE;

-- Name: access_grants access_grants_group_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.access_grants
    ADD CONSTRAINT access_grants_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_groups(id) ON DELETE CASCADE;

-- Name: access_grants access_grants_server_ref_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.access_grants
    ADD CONSTRAINT access_grants_server_ref_id_fkey FOREIGN KEY (server_ref_id) REFERENCES public.system_servers(id) ON DELETE CASCADE;

-- Name: api_tokens api_tokens_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

-- Name: bundle_entries bundle_entries_bundle_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.bundle_entries
    ADD CONSTRAINT bundle_entries_bundle_id_fkey FOREIGN KEY (bundle_id) REFERENCES public.bundles(id) ON DELETE CASCADE;

-- Name: bundle_entries bundle_entries_server_ref_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.bundle_entries
    ADD CONSTRAINT bundle_entries_server_ref_id_fkey FOREIGN KEY (server_ref_id) REFERENCES public.system_servers(id) ON DELETE CASCADE;

-- Name: call_policies call_policies_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.call_policies
    ADD CONSTRAINT call_policies_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: catalog_changes catalog_changes_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.catalog_changes
    ADD CONSTRAINT catalog_changes_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: group_members group_members_group_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_groups(id) ON DELETE CASCADE;

-- Name: group_members group_members_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

-- Name: oauth_grants oauth_grants_client_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.oauth_grants
    ADD CONSTRAINT oauth_grants_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.oauth_clients(id) ON DELETE CASCADE;

-- Name: oauth_grants oauth_grants_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.oauth_grants
    ADD CONSTRAINT oauth_grants_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

-- Name: oauth_requests oauth_requests_client_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.oauth_requests
    ADD CONSTRAINT oauth_requests_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.oauth_clients(id) ON DELETE CASCADE;

-- Name: oauth_tokens oauth_tokens_grant_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.oauth_tokens
    ADD CONSTRAINT oauth_tokens_grant_id_fkey FOREIGN KEY (grant_id) REFERENCES public.oauth_grants(id) ON DELETE CASCADE;

-- Name: prompt_cache prompt_cache_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.prompt_cache
    ADD CONSTRAINT prompt_cache_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: resource_cache resource_cache_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.resource_cache
    ADD CONSTRAINT resource_cache_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: tool_cache tool_cache_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.tool_cache
    ADD CONSTRAINT tool_cache_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: tool_pins tool_pins_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.tool_pins
    ADD CONSTRAINT tool_pins_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: user_identities user_identities_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.user_identities
    ADD CONSTRAINT user_identities_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

-- Name: vault_backups vault_backups_rotation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.vault_backups
    ADD CONSTRAINT vault_backups_rotation_id_fkey FOREIGN KEY (rotation_id) REFERENCES public.vault_rotations(id);

-- Name: access_grants; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.access_grants ENABLE ROW LEVEL SECURITY;

-- Name: alert_states; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.alert_states ENABLE ROW LEVEL SECURITY;

-- Name: api_tokens; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.api_tokens ENABLE ROW LEVEL SECURITY;

-- Name: applied_configuration; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.applied_configuration ENABLE ROW LEVEL SECURITY;

-- Name: approvals; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.approvals ENABLE ROW LEVEL SECURITY;

-- Name: audit_log; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.audit_log ENABLE ROW LEVEL SECURITY;

-- Name: bundle_entries; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.bundle_entries ENABLE ROW LEVEL SECURITY;

-- Name: bundles; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.bundles ENABLE ROW LEVEL SECURITY;

-- Name: call_policies; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.call_policies ENABLE ROW LEVEL SECURITY;

-- Name: catalog_changes; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.catalog_changes ENABLE ROW LEVEL SECURITY;

-- Name: console_links; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.console_links ENABLE ROW LEVEL SECURITY;

-- Name: console_sessions; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.console_sessions ENABLE ROW LEVEL SECURITY;

-- Name: group_members; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.group_members ENABLE ROW LEVEL SECURITY;

-- Name: hub_settings; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.hub_settings ENABLE ROW LEVEL SECURITY;

-- Name: job_inputs; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.job_inputs ENABLE ROW LEVEL SECURITY;

-- Name: job_keys; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.job_keys ENABLE ROW LEVEL SECURITY;

-- Name: job_results; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.job_results ENABLE ROW LEVEL SECURITY;

-- Name: login_requests; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.login_requests ENABLE ROW LEVEL SECURITY;

-- Name: prompt_cache nexus_app_offered; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_app_offered ON public.prompt_cache AS RESTRICTIVE FOR SELECT TO nexus_app USING ((enabled OR ( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service)));

-- Name: resource_cache nexus_app_offered; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_app_offered ON public.resource_cache AS RESTRICTIVE FOR SELECT TO nexus_app USING ((enabled OR ( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service)));

-- Name: tool_cache nexus_app_offered; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_app_offered ON public.tool_cache AS RESTRICTIVE FOR SELECT TO nexus_app USING ((enabled OR ( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service)));

-- Name: shared_runs nexus_join_lock; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_join_lock ON public.shared_runs FOR UPDATE TO nexus_app USING ((( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL)) WITH CHECK (false);

-- Name: shared_runs nexus_join_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_join_read ON public.shared_runs FOR SELECT TO nexus_app USING ((( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL));

-- Name: audit_log nexus_own; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own ON public.audit_log FOR SELECT TO nexus_app USING ((actor_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: job_inputs nexus_own; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own ON public.job_inputs TO nexus_app USING ((EXISTS ( SELECT
   FROM public.job_results job
  WHERE ((job.id = job_inputs.job_id) AND (job.user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id))))));

-- Name: user_servers nexus_own; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own ON public.user_servers TO nexus_app USING ((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: approvals nexus_own_insert; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_insert ON public.approvals FOR INSERT TO nexus_app WITH CHECK (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) AND (state = 'waiting'::text) AND (decided_at IS NULL)));

-- Name: job_results nexus_own_insert; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_insert ON public.job_results FOR INSERT TO nexus_app WITH CHECK ((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: approvals nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.approvals FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR (approvers && ARRAY( SELECT public.nexus_groups_of(( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) AS nexus_groups_of))));

-- Name: bundles nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.bundles FOR SELECT TO nexus_app USING ((id IN ( SELECT p.id
   FROM public.nexus_permissions(( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) p(target, id, tool_name, level, approvers, self_approval)
  WHERE (p.target = 'bundle'::text))));

-- Name: job_results nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.job_results FOR SELECT TO nexus_app USING ((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: prompt_cache nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.prompt_cache FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM 'user'::text) AND (( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL) AND (((server_ref_id IS NULL) AND ( SELECT public.nexus_is_open() AS nexus_is_open)) OR (server_ref_id IN ( SELECT public.nexus_seen_servers(( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) AS nexus_seen_servers))))));

-- Name: resource_cache nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.resource_cache FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM 'user'::text) AND (( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL) AND (((server_ref_id IS NULL) AND ( SELECT public.nexus_is_open() AS nexus_is_open)) OR (server_ref_id IN ( SELECT public.nexus_seen_servers(( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) AS nexus_seen_servers))))));

-- Name: server_state nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.server_state FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM 'user'::text) AND (( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL) AND (((server_ref_id IS NULL) AND ( SELECT public.nexus_is_open() AS nexus_is_open)) OR (server_ref_id IN ( SELECT public.nexus_seen_servers(( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) AS nexus_seen_servers)) OR (server_ref_id IN ( SELECT o.server_ref_id
   FROM public.nexus_seen_tools(( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) o(server_ref_id, tool_name)))))));

-- Name: tool_cache nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.tool_cache FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM 'user'::text) AND (( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL) AND (((server_ref_id IS NULL) AND ( SELECT public.nexus_is_open() AS nexus_is_open)) OR (server_ref_id IN ( SELECT public.nexus_seen_servers(( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) AS nexus_seen_servers)) OR ((server_ref_id, tool_name) IN ( SELECT o.server_ref_id,
    o.tool_name
   FROM public.nexus_seen_tools(( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) o(server_ref_id, tool_name)))))));

-- Name: job_results nexus_own_update; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_update ON public.job_results FOR UPDATE TO nexus_app USING ((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: schema_migrations nexus_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_read ON public.schema_migrations FOR SELECT TO nexus_app USING (true);

-- Name: access_grants nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.access_grants TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: alert_states nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.alert_states TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: api_tokens nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.api_tokens TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: applied_configuration nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.applied_configuration TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: approvals nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.approvals TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: audit_log nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.audit_log TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: bundle_entries nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.bundle_entries TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: bundles nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.bundles TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: call_policies nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.call_policies TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: catalog_changes nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.catalog_changes TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: console_links nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.console_links TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: console_sessions nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.console_sessions TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: group_members nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.group_members TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: hub_settings nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.hub_settings TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: job_inputs nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.job_inputs TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: job_results nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.job_results TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: login_requests nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.login_requests TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: oauth_clients nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.oauth_clients TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: oauth_grants nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.oauth_grants TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: oauth_requests nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.oauth_requests TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: oauth_tokens nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.oauth_tokens TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: prompt_cache nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.prompt_cache TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: rate_limit_counting nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.rate_limit_counting TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: rate_limit_tracking nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.rate_limit_tracking TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: resource_cache nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.resource_cache TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: server_state nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.server_state TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: shared_runs nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.shared_runs TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: system_servers nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.system_servers TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: tool_cache nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.tool_cache TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: tool_pins nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.tool_pins TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: upstream_logins nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.upstream_logins TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: used_states nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.used_states TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: user_groups nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.user_groups TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: user_identities nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.user_identities TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: user_servers nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.user_servers TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: users nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.users TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: vault_backups nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.vault_backups TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: vault_rotations nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.vault_rotations TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: oauth_clients; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.oauth_clients ENABLE ROW LEVEL SECURITY;

-- Name: oauth_grants; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.oauth_grants ENABLE ROW LEVEL SECURITY;

-- Name: oauth_requests; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.oauth_requests ENABLE ROW LEVEL SECURITY;

-- Name: oauth_tokens; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.oauth_tokens ENABLE ROW LEVEL SECURITY;

-- Name: prompt_cache; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.prompt_cache ENABLE ROW LEVEL SECURITY;

-- Name: rate_limit_counting; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.rate_limit_counting ENABLE ROW LEVEL SECURITY;

-- Name: rate_limit_tracking; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.rate_limit_tracking ENABLE ROW LEVEL SECURITY;

-- Name: resource_cache; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.resource_cache ENABLE ROW LEVEL SECURITY;

-- Name: schema_migrations; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.schema_migrations ENABLE ROW LEVEL SECURITY;

-- Name: server_state; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.server_state ENABLE ROW LEVEL SECURITY;

-- Name: shared_runs; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.shared_runs ENABLE ROW LEVEL SECURITY;

-- Name: system_servers; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.system_servers ENABLE ROW LEVEL SECURITY;

-- Name: tool_cache; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.tool_cache ENABLE ROW LEVEL SECURITY;

-- Name: tool_pins; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.tool_pins ENABLE ROW LEVEL SECURITY;

-- Name: upstream_logins; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.upstream_logins ENABLE ROW LEVEL SECURITY;

-- Name: used_states; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.used_states ENABLE ROW LEVEL SECURITY;

-- Name: user_groups; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.user_groups ENABLE ROW LEVEL SECURITY;

-- Name: user_identities; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.user_identities ENABLE ROW LEVEL SECURITY;

-- Name: user_servers; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.user_servers ENABLE ROW LEVEL SECURITY;

-- Name: users; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;

-- Name: vault_backups; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.vault_backups ENABLE ROW LEVEL SECURITY;

-- Name: vault_rotations; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.vault_rotations ENABLE ROW LEVEL SECURITY;

-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: -

GRANT USAGE ON SCHEMA public TO nexus_app;

-- Name: FUNCTION check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer) TO nexus_app;

-- Name: FUNCTION cleanup_job_results_manual(p_days_completed integer, p_days_orphaned integer); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.cleanup_job_results_manual(p_days_completed integer, p_days_orphaned integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.cleanup_job_results_manual(p_days_completed integer, p_days_orphaned integer) TO nexus_app;

-- Name: FUNCTION cleanup_old_job_results(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.cleanup_old_job_results() FROM PUBLIC;
GRANT ALL ON FUNCTION public.cleanup_old_job_results() TO nexus_app;

-- Name: FUNCTION execute_job_via_pg_net(job_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.execute_job_via_pg_net(job_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.execute_job_via_pg_net(job_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_add_job_days(p_days_ahead integer); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_add_job_days(p_days_ahead integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_add_job_days(p_days_ahead integer) TO nexus_app;

-- Name: FUNCTION nexus_approval_check_move(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_approval_check_move() FROM PUBLIC;

-- Name: FUNCTION nexus_approval_note(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_approval_note() FROM PUBLIC;

-- Name: FUNCTION nexus_cache_before_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_cache_before_write() FROM PUBLIC;

-- Name: FUNCTION nexus_catalog_notify(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_catalog_notify() FROM PUBLIC;

-- Name: FUNCTION nexus_claims_user_id(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_claims_user_id() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_claims_user_id() TO nexus_app;

-- Name: FUNCTION nexus_close_job_day(p_part regclass); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_close_job_day(p_part regclass) FROM PUBLIC;

-- Name: FUNCTION nexus_current_user_id(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_current_user_id() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_current_user_id() TO nexus_app;

-- Name: FUNCTION nexus_definition_hash(p_server_ref_id uuid, p_definition json); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_definition_hash(p_server_ref_id uuid, p_definition json) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_definition_hash(p_server_ref_id uuid, p_definition json) TO nexus_app;

-- Name: FUNCTION nexus_drop_job_days(p_days_completed integer, p_days_orphaned integer, p_rows boolean); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_drop_job_days(p_days_completed integer, p_days_orphaned integer, p_rows boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_drop_job_days(p_days_completed integer, p_days_orphaned integer, p_rows boolean) TO nexus_app;

-- Name: FUNCTION nexus_entry_decide(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_entry_decide() FROM PUBLIC;

-- Name: FUNCTION nexus_grant(p_right text, VARIADIC p_roles text[]); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_grant(p_right text, VARIADIC p_roles text[]) FROM PUBLIC;

-- Name: FUNCTION nexus_grants_of(p_object text, p_columns text, p_rights aclitem[], p_owner oid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_grants_of(p_object text, p_columns text, p_rights aclitem[], p_owner oid) FROM PUBLIC;

-- Name: FUNCTION nexus_groups_of(p_user_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_groups_of(p_user_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_groups_of(p_user_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_has_ended(p_status text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_has_ended(p_status text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_has_ended(p_status text) TO nexus_app;

-- Name: FUNCTION nexus_is_call(p_job_type text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_call(p_job_type text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_call(p_job_type text) TO nexus_app;

-- Name: FUNCTION nexus_is_live(p_status text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_live(p_status text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_live(p_status text) TO nexus_app;

-- Name: FUNCTION nexus_is_meant(p_ref text, p_name text, p_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_meant(p_ref text, p_name text, p_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_meant(p_ref text, p_name text, p_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_is_open(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_open() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_open() TO nexus_app;

-- Name: FUNCTION nexus_is_orphan(p_status text, p_error_code text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_orphan(p_status text, p_error_code text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_orphan(p_status text, p_error_code text) TO nexus_app;

-- Name: FUNCTION nexus_is_queued(p_status text, p_dispatched_at timestamp with time zone, p_flow_run_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_queued(p_status text, p_dispatched_at timestamp with time zone, p_flow_run_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_queued(p_status text, p_dispatched_at timestamp with time zone, p_flow_run_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_is_seen_by(p_all_users boolean, p_user_id uuid, p_owner uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_seen_by(p_all_users boolean, p_user_id uuid, p_owner uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_seen_by(p_all_users boolean, p_user_id uuid, p_owner uuid) TO nexus_app;

-- Name: FUNCTION nexus_job_after_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_after_write() FROM PUBLIC;

-- Name: FUNCTION nexus_job_before_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_before_write() FROM PUBLIC;

-- Name: FUNCTION nexus_job_bytes(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_bytes() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_job_bytes() TO nexus_app;

-- Name: FUNCTION nexus_job_check_move(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_check_move() FROM PUBLIC;

-- Name: FUNCTION nexus_job_count_payload(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_count_payload() FROM PUBLIC;

-- Name: FUNCTION nexus_job_counts(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_counts() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_job_counts() TO nexus_app;

-- Name: FUNCTION nexus_job_day_is_kept(p_part regclass, p_completed timestamp with time zone, p_orphaned timestamp with time zone); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_day_is_kept(p_part regclass, p_completed timestamp with time zone, p_orphaned timestamp with time zone) FROM PUBLIC;

-- Name: FUNCTION nexus_job_days(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_days() FROM PUBLIC;

-- Name: TABLE job_results; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.job_results TO nexus_app;

-- Name: FUNCTION nexus_job_is_asked(p_job public.job_results, p_all_users boolean, p_user_id uuid, p_status text, p_job_type text, p_lane text, p_server_ref_id uuid, p_tool_name text, p_error_code text, p_after_created_at timestamp with time zone, p_after_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_is_asked(p_job public.job_results, p_all_users boolean, p_user_id uuid, p_status text, p_job_type text, p_lane text, p_server_ref_id uuid, p_tool_name text, p_error_code text, p_after_created_at timestamp with time zone, p_after_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_job_is_asked(p_job public.job_results, p_all_users boolean, p_user_id uuid, p_status text, p_job_type text, p_lane text, p_server_ref_id uuid, p_tool_name text, p_error_code text, p_after_created_at timestamp with time zone, p_after_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_job_keep_request(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_keep_request() FROM PUBLIC;

-- Name: FUNCTION nexus_job_release(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_release() FROM PUBLIC;

-- Name: FUNCTION nexus_job_reserve(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_reserve() FROM PUBLIC;

-- Name: FUNCTION nexus_jobs_are_in_days(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_jobs_are_in_days() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_jobs_are_in_days() TO nexus_app;

-- Name: FUNCTION nexus_last_sign(p_job public.job_results); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_last_sign(p_job public.job_results) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_last_sign(p_job public.job_results) TO nexus_app;

-- Name: FUNCTION nexus_login_after_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_login_after_write() FROM PUBLIC;

-- Name: FUNCTION nexus_may_ask_for(p_user_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_may_ask_for(p_user_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_may_ask_for(p_user_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_name_words(p_name text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_name_words(p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_name_words(p_name text) TO nexus_app;

-- Name: FUNCTION nexus_own_names(p_kind text, p_user_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_own_names(p_kind text, p_user_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_own_names(p_kind text, p_user_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_owner(p_user_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_owner(p_user_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_owner(p_user_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_partition_hurdles(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_partition_hurdles() FROM PUBLIC;

-- Name: FUNCTION nexus_partition_jobs(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_partition_jobs() FROM PUBLIC;

-- Name: FUNCTION nexus_permissions(p_user_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_permissions(p_user_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_permissions(p_user_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_permissions_notify(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_permissions_notify() FROM PUBLIC;

-- Name: FUNCTION nexus_policy(p_table regclass, p_name text, p_role text, p_command text, p_using text, p_check text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_policy(p_table regclass, p_name text, p_role text, p_command text, p_using text, p_check text) FROM PUBLIC;

-- Name: FUNCTION nexus_policy_decide(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_policy_decide() FROM PUBLIC;

-- Name: FUNCTION nexus_policy_hold(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_policy_hold() FROM PUBLIC;

-- Name: FUNCTION nexus_policy_notify(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_policy_notify() FROM PUBLIC;

-- Name: FUNCTION nexus_prepare_partitions(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_prepare_partitions() FROM PUBLIC;

-- Name: FUNCTION nexus_purge_audit(p_days integer, p_limit integer); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_purge_audit(p_days integer, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_purge_audit(p_days integer, p_limit integer) TO nexus_app;

-- Name: FUNCTION nexus_rate_limit_usage(p_server_id text, p_user_id uuid, p_whole_server boolean, p_limit_per_minute integer, OUT used bigint, OUT retry_after double precision, OUT reset_after double precision); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_rate_limit_usage(p_server_id text, p_user_id uuid, p_whole_server boolean, p_limit_per_minute integer, OUT used bigint, OUT retry_after double precision, OUT reset_after double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_rate_limit_usage(p_server_id text, p_user_id uuid, p_whole_server boolean, p_limit_per_minute integer, OUT used bigint, OUT retry_after double precision, OUT reset_after double precision) TO nexus_app;

-- Name: FUNCTION nexus_revoke_all(VARIADIC p_objects text[]); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_revoke_all(VARIADIC p_objects text[]) FROM PUBLIC;

-- Name: FUNCTION nexus_rotation_takes(p_key_id text, p_new_key_id text, p_old_key_id text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_rotation_takes(p_key_id text, p_new_key_id text, p_old_key_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_rotation_takes(p_key_id text, p_new_key_id text, p_old_key_id text) TO nexus_app;

-- Name: FUNCTION nexus_scope_is_service(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_scope_is_service() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_scope_is_service() TO nexus_app;

-- Name: FUNCTION nexus_seen_servers(p_user_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_seen_servers(p_user_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_seen_servers(p_user_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_seen_tools(p_user_id uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_seen_tools(p_user_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_seen_tools(p_user_id uuid) TO nexus_app;

-- Name: FUNCTION nexus_server_before_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_before_write() FROM PUBLIC;

-- Name: FUNCTION nexus_server_check_name(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_check_name() FROM PUBLIC;

-- Name: FUNCTION nexus_server_decide(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_decide() FROM PUBLIC;

-- Name: FUNCTION nexus_server_hold(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_hold() FROM PUBLIC;

-- Name: FUNCTION nexus_server_keep_state(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_keep_state() FROM PUBLIC;

-- Name: FUNCTION nexus_server_notify(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_notify() FROM PUBLIC;

-- Name: FUNCTION nexus_service_policy(VARIADIC p_tables regclass[]); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_service_policy(VARIADIC p_tables regclass[]) FROM PUBLIC;

-- Name: FUNCTION nexus_take_back_partitions(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_take_back_partitions() FROM PUBLIC;

-- Name: FUNCTION nexus_take_over_key(p_table regclass); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_take_over_key(p_table regclass) FROM PUBLIC;

-- Name: FUNCTION nexus_take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer, OUT allowed boolean, OUT remaining integer, OUT retry_after double precision, OUT reset_after double precision); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer, OUT allowed boolean, OUT remaining integer, OUT retry_after double precision, OUT reset_after double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer, OUT allowed boolean, OUT remaining integer, OUT retry_after double precision, OUT reset_after double precision) TO nexus_app;

-- Name: FUNCTION nexus_to_jsonb(p_value json); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_to_jsonb(p_value json) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_to_jsonb(p_value json) TO nexus_app;

-- Name: FUNCTION nexus_tokens_notify(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_tokens_notify() FROM PUBLIC;

-- Name: FUNCTION nexus_tool_decide(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_tool_decide() FROM PUBLIC;

-- Name: FUNCTION nexus_tool_search(p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_tool_search(p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_tool_search(p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb) TO nexus_app;

-- Name: FUNCTION nexus_user_after_delete(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_user_after_delete() FROM PUBLIC;

-- Name: FUNCTION nexus_user_server_check_name(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_user_server_check_name() FROM PUBLIC;

-- Name: FUNCTION nexus_uuid(p_text text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_uuid(p_text text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_uuid(p_text text) TO nexus_app;

-- Name: FUNCTION nexus_words(p_text text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_words(p_text text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_words(p_text text) TO nexus_app;

-- Name: FUNCTION peek_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.peek_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.peek_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer) TO nexus_app;

-- Name: FUNCTION refresh_expired_cache_entries(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.refresh_expired_cache_entries() FROM PUBLIC;
GRANT ALL ON FUNCTION public.refresh_expired_cache_entries() TO nexus_app;

-- Name: FUNCTION rotate_vault_key(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.rotate_vault_key() FROM PUBLIC;
GRANT ALL ON FUNCTION public.rotate_vault_key() TO nexus_app;

-- Name: FUNCTION take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer) TO nexus_app;

-- Name: TABLE access_grants; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.access_grants TO nexus_app;

-- Name: TABLE alert_states; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.alert_states TO nexus_app;

-- Name: TABLE api_tokens; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.api_tokens TO nexus_app;

-- Name: TABLE applied_configuration; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.applied_configuration TO nexus_app;

-- Name: TABLE approvals; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.approvals TO nexus_app;

-- Name: TABLE audit_log; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT ON TABLE public.audit_log TO nexus_app;

-- Name: TABLE bundle_entries; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.bundle_entries TO nexus_app;

-- Name: TABLE bundles; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.bundles TO nexus_app;

-- Name: TABLE call_policies; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.call_policies TO nexus_app;

-- Name: TABLE catalog_changes; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.catalog_changes TO nexus_app;

-- Name: TABLE console_links; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.console_links TO nexus_app;

-- Name: TABLE console_sessions; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.console_sessions TO nexus_app;

-- Name: TABLE group_members; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.group_members TO nexus_app;

-- Name: TABLE hub_settings; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.hub_settings TO nexus_app;

-- Name: TABLE job_inputs; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.job_inputs TO nexus_app;

-- Name: TABLE job_results_alert; Type: ACL; Schema: public; Owner: -

GRANT SELECT ON TABLE public.job_results_alert TO nexus_app;

-- Name: TABLE job_results_stats; Type: ACL; Schema: public; Owner: -

GRANT SELECT ON TABLE public.job_results_stats TO nexus_app;

-- Name: TABLE login_requests; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.login_requests TO nexus_app;

-- Name: TABLE oauth_clients; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.oauth_clients TO nexus_app;

-- Name: TABLE oauth_grants; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.oauth_grants TO nexus_app;

-- Name: TABLE oauth_requests; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.oauth_requests TO nexus_app;

-- Name: TABLE oauth_tokens; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.oauth_tokens TO nexus_app;

-- Name: TABLE prompt_cache; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.prompt_cache TO nexus_app;

-- Name: TABLE rate_limit_counting; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT ON TABLE public.rate_limit_counting TO nexus_app;

-- Name: TABLE rate_limit_tracking; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.rate_limit_tracking TO nexus_app;

-- Name: TABLE resource_cache; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.resource_cache TO nexus_app;

-- Name: TABLE schema_migrations; Type: ACL; Schema: public; Owner: -

GRANT SELECT ON TABLE public.schema_migrations TO nexus_app;

-- Name: TABLE server_state; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.server_state TO nexus_app;

-- Name: TABLE shared_runs; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.shared_runs TO nexus_app;

-- Name: TABLE system_servers; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.system_servers TO nexus_app;

-- Name: TABLE tool_cache; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.tool_cache TO nexus_app;

-- Name: TABLE tool_pins; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.tool_pins TO nexus_app;

-- Name: TABLE upstream_logins; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.upstream_logins TO nexus_app;

-- Name: TABLE used_states; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.used_states TO nexus_app;

-- Name: TABLE user_groups; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.user_groups TO nexus_app;

-- Name: TABLE user_identities; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.user_identities TO nexus_app;

-- Name: TABLE user_servers; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.user_servers TO nexus_app;

-- Name: TABLE users; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.users TO nexus_app;

-- Name: TABLE vault_backups; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.vault_backups TO nexus_app;

-- Name: TABLE vault_rotations; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.vault_rotations TO nexus_app;

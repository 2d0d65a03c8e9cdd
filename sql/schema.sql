-- The whole schema: what all files of migrations/ come to, to read and to compare. A test keeps it so.
-- The hub itself is set up by `nexus-hub migrate`, which also makes the role nexus_app.
-- Name: check_rate_limit(text, uuid, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer) RETURNS boolean
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT t.allowed FROM take_rate_limit(p_server_id, p_user_id, p_limit_per_minute) t
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

-- Name: nexus_is_orphan(text, text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_is_orphan(p_status text, p_error_code text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((p_status = 'failed'::text) AND (p_error_code = 'orphaned'::text));

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
        'event', v_event)::text);
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
    IF nexus_has_ended(NEW.status) THEN
        NEW.completed_at := coalesce(NEW.completed_at, now());
    END IF;
    RETURN NEW;
END
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
    CONSTRAINT job_results_attempts CHECK (((attempt >= 0) AND (attempt <= max_attempts))),
    CONSTRAINT job_results_claim_is_leased CHECK (((claim_id IS NULL) = (lease_expires_at IS NULL))),
    CONSTRAINT job_results_claim_only_running CHECK (((claim_id IS NULL) OR (status = 'running'::text))),
    CONSTRAINT job_results_ended_has_end CHECK ((public.nexus_has_ended(status) = (completed_at IS NOT NULL))),
    CONSTRAINT job_results_idempotency_key_length CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 200))),
    CONSTRAINT job_results_known_job_type CHECK ((job_type = ANY (ARRAY['tool_invoke'::text, 'resource_fetch'::text, 'prompt_execute'::text, 'cache_refresh'::text, 'key_rotation'::text, 'job_cleanup'::text]))),
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

-- Name: nexus_last_sign(public.job_results); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_last_sign(p_job public.job_results) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE (p_job).status WHEN 'running'::text THEN GREATEST((p_job).created_at, (p_job).started_at, (p_job).heartbeat_at) ELSE GREATEST((p_job).created_at, (p_job).available_at, (p_job).dispatched_at) END;

-- Name: nexus_name_words(text); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_name_words(p_name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT nexus_words(p_name || ' ' || regexp_replace(
        regexp_replace(p_name, '([a-z0-9])([A-Z])', '\1 \2', 'g'), '([A-Z])([A-Z][a-z])', '\1 \2', 'g'))
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

-- Name: nexus_rate_limit_usage(text, uuid, boolean, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.nexus_rate_limit_usage(p_server_id text, p_user_id uuid, p_whole_server boolean, p_limit_per_minute integer, OUT used bigint, OUT retry_after double precision, OUT reset_after double precision) RETURNS record
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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
    v_taken boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.server_name:' || NEW.name, 0));
    IF TG_ARGV[0] = 'system' THEN
        v_taken := EXISTS (SELECT FROM public.user_servers s WHERE s.name = NEW.name);
    ELSE
        v_taken := EXISTS (SELECT FROM public.system_servers s WHERE s.name = NEW.name);
    END IF;
    IF v_taken THEN
        RAISE EXCEPTION 'The name % is taken by another server.', quote_literal(NEW.name)
            USING ERRCODE = '23505', CONSTRAINT = 'server_name_taken';
    END IF;
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

-- Name: take_rate_limit(text, uuid, integer, integer); Type: FUNCTION; Schema: public; Owner: -

CREATE FUNCTION public.take_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer, p_user_limit_per_minute integer DEFAULT NULL::integer) RETURNS TABLE(allowed boolean, remaining integer, retry_after double precision, reset_after double precision)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
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

-- Name: api_tokens; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.api_tokens (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    token_hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    expires_at timestamp with time zone,
    CONSTRAINT api_tokens_hash_length CHECK ((octet_length(token_hash) = 32))
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
    pg_size_pretty(pg_total_relation_size('public.job_results'::regclass)) AS table_size
   FROM public.nexus_job_counts() c(total_jobs, completed, failed, pending, running, older_than_7_days);

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
    CONSTRAINT prompt_cache_entry CHECK (((prompt_name IS NULL) OR ((server_type IS NOT NULL) AND (server_ref_id IS NOT NULL) AND (definition IS NOT NULL) AND (namespaced_name IS NOT NULL) AND (length(namespaced_name) <= 64)))),
    CONSTRAINT prompt_cache_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text])))
);

-- Name: rate_limit_tracking; Type: TABLE; Schema: public; Owner: -

CREATE TABLE public.rate_limit_tracking (
    server_id text NOT NULL,
    user_id uuid,
    window_start timestamp with time zone NOT NULL,
    request_count integer DEFAULT 1 NOT NULL
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
    CONSTRAINT server_state_claim_is_leased CHECK (((refresh_claim IS NULL) = (refresh_lease_expires_at IS NULL))),
    CONSTRAINT server_state_failures CHECK ((failures >= 0)),
    CONSTRAINT server_state_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text]))),
    CONSTRAINT server_state_known_status CHECK ((status = ANY (ARRAY['unknown'::text, 'ready'::text, 'failing'::text]))),
    CONSTRAINT server_state_system_has_no_owner CHECK (((server_type = 'user'::text) OR (user_id IS NULL)))
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
    CONSTRAINT system_servers_key_id CHECK ((key_id ~ '^[0-9a-f]{8}$'::text)),
    CONSTRAINT system_servers_known_transport CHECK ((transport = ANY (ARRAY['http'::text, 'stdio'::text]))),
    CONSTRAINT system_servers_limit CHECK ((limit_per_minute > 0)),
    CONSTRAINT system_servers_name_rule CHECK (((name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$'::text) AND (name !~ '_$'::text) AND (length(name) <= 32))),
    CONSTRAINT system_servers_sealed_length CHECK ((octet_length(config_encrypted) >= 28)),
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
    CONSTRAINT tool_cache_entry CHECK (((tool_name IS NULL) OR ((server_type IS NOT NULL) AND (server_ref_id IS NOT NULL) AND (definition IS NOT NULL) AND (length(namespaced_name) <= 64)))),
    CONSTRAINT tool_cache_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text])))
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
    CONSTRAINT user_servers_http_only CHECK ((transport = 'http'::text)),
    CONSTRAINT user_servers_key_id CHECK (((key_id IS NULL) OR ((key_id ~ '^[0-9a-f]{8}$'::text) AND (config_encrypted IS NOT NULL)))),
    CONSTRAINT user_servers_limit CHECK ((limit_per_minute > 0)),
    CONSTRAINT user_servers_name_rule CHECK (((name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$'::text) AND (name !~ '_$'::text) AND (length(name) <= 32))),
    CONSTRAINT user_servers_sealed_length CHECK ((octet_length(config_encrypted) >= 28))
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
    CONSTRAINT vault_backups_known_server_type CHECK ((server_type = ANY (ARRAY['system'::text, 'user'::text])))
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

-- Name: api_tokens api_tokens_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (id);

-- Name: api_tokens api_tokens_token_hash_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_token_hash_key UNIQUE (token_hash);

-- Name: job_results job_results_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.job_results
    ADD CONSTRAINT job_results_pkey PRIMARY KEY (id);

-- Name: prompt_cache prompt_cache_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.prompt_cache
    ADD CONSTRAINT prompt_cache_pkey PRIMARY KEY (id);

-- Name: resource_cache resource_cache_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.resource_cache
    ADD CONSTRAINT resource_cache_pkey PRIMARY KEY (id);

-- Name: schema_migrations schema_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

-- Name: server_state server_state_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.server_state
    ADD CONSTRAINT server_state_pkey PRIMARY KEY (server_type, server_ref_id);

-- Name: system_servers system_servers_name_key; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.system_servers
    ADD CONSTRAINT system_servers_name_key UNIQUE (name);

-- Name: system_servers system_servers_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.system_servers
    ADD CONSTRAINT system_servers_pkey PRIMARY KEY (id);

-- Name: tool_cache tool_cache_pkey; Type: CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.tool_cache
    ADD CONSTRAINT tool_cache_pkey PRIMARY KEY (id);

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

-- Name: idx_api_tokens_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_api_tokens_user ON public.api_tokens USING btree (user_id);

-- Name: idx_job_results_batch; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_batch ON public.job_results USING btree (batch_id) WHERE ((status = 'pending'::text) AND (batch_id IS NOT NULL));

-- Name: idx_job_results_by_user; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_by_user ON public.job_results USING btree (user_id, created_at DESC, id DESC);

-- Name: idx_job_results_cleanup; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_cleanup ON public.job_results USING btree (status, completed_at) WHERE (status = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text]));

-- Name: idx_job_results_dispatched; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_dispatched ON public.job_results USING btree (dispatched_at, id) WHERE ((status = 'pending'::text) AND (dispatched_at IS NOT NULL));

-- Name: idx_job_results_ended; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_ended ON public.job_results USING btree (completed_at, id) WHERE public.nexus_has_ended(status);

-- Name: idx_job_results_failed_orphans; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_failed_orphans ON public.job_results USING btree (completed_at, id) WHERE public.nexus_is_orphan(status, error_code);

-- Name: idx_job_results_flow_run; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_flow_run ON public.job_results USING btree (flow_run_id) WHERE (flow_run_id IS NOT NULL);

-- Name: idx_job_results_lease; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_lease ON public.job_results USING btree (lease_expires_at) WHERE (status = 'running'::text);

-- Name: idx_job_results_lost_run; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_lost_run ON public.job_results USING btree (lost_flow_run_id) WHERE ((status = 'pending'::text) AND (lost_flow_run_id IS NOT NULL));

-- Name: idx_job_results_open; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_open ON public.job_results USING btree (user_id) WHERE public.nexus_is_live(status);

-- Name: idx_job_results_orphaned; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_orphaned ON public.job_results USING btree (status, created_at) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));

-- Name: idx_job_results_recent; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_recent ON public.job_results USING btree (created_at DESC, id DESC);

-- Name: idx_job_results_undispatched; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_undispatched ON public.job_results USING btree (available_at) WHERE ((status = 'pending'::text) AND (dispatched_at IS NULL));

-- Name: idx_job_results_unsuccessful; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_job_results_unsuccessful ON public.job_results USING btree (user_id, status, created_at DESC, id DESC) WHERE ((user_id IS NOT NULL) AND (status = ANY (ARRAY['failed'::text, 'cancelled'::text])));

-- Name: idx_prompt_cache_expires; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_prompt_cache_expires ON public.prompt_cache USING btree (expires_at);

-- Name: idx_rate_limit_window; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_rate_limit_window ON public.rate_limit_tracking USING btree (server_id, window_start);

-- Name: idx_resource_cache_expires; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_resource_cache_expires ON public.resource_cache USING btree (expires_at);

-- Name: idx_server_state_due; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_server_state_due ON public.server_state USING btree (next_refresh_at);

-- Name: idx_server_state_ref; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_server_state_ref ON public.server_state USING btree (server_ref_id);

-- Name: idx_tool_cache_expires; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_tool_cache_expires ON public.tool_cache USING btree (expires_at) WHERE enabled;

-- Name: idx_user_servers_name; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_user_servers_name ON public.user_servers USING btree (name);

-- Name: idx_vault_backups_rotation; Type: INDEX; Schema: public; Owner: -

CREATE INDEX idx_vault_backups_rotation ON public.vault_backups USING btree (rotation_id);

-- Name: job_results_idempotency_key; Type: INDEX; Schema: public; Owner: -

CREATE UNIQUE INDEX job_results_idempotency_key ON public.job_results USING btree (user_id, idempotency_key) NULLS NOT DISTINCT WHERE (idempotency_key IS NOT NULL);

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

-- Name: job_results after_insert; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER after_insert AFTER INSERT ON public.job_results FOR EACH ROW EXECUTE FUNCTION public.nexus_job_after_write();

-- Name: job_results after_update; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER after_update AFTER UPDATE ON public.job_results FOR EACH ROW WHEN (((old.status IS DISTINCT FROM new.status) OR (old.attempt IS DISTINCT FROM new.attempt) OR (old.progress IS DISTINCT FROM new.progress) OR (old.available_at IS DISTINCT FROM new.available_at) OR (old.flow_run_id IS DISTINCT FROM new.flow_run_id) OR (old.cancel_requested_at IS DISTINCT FROM new.cancel_requested_at))) EXECUTE FUNCTION public.nexus_job_after_write();

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

-- Name: job_results check_move; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER check_move BEFORE UPDATE OF status, attempt, claim_id ON public.job_results FOR EACH ROW EXECUTE FUNCTION public.nexus_job_check_move();

-- Name: user_servers check_name; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON public.user_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_check_name('user');

-- Name: job_results count_payload; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER count_payload BEFORE UPDATE OF params, result ON public.job_results FOR EACH ROW WHEN (((new.version = old.version) AND ((new.params IS DISTINCT FROM old.params) OR (new.result IS DISTINCT FROM old.result)))) EXECUTE FUNCTION public.nexus_job_count_payload();

-- Name: job_results keep_request; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER keep_request BEFORE UPDATE OF id, user_id, job_type, server_id, server_ref_id, server_type, tool_name, params, params_escaped, params_sent, created_at, idempotency_key, request_digest, retry, timeout_seconds, max_attempts ON public.job_results FOR EACH ROW WHEN ((public.nexus_is_call(old.job_type) OR public.nexus_is_call(new.job_type))) EXECUTE FUNCTION public.nexus_job_keep_request('id', 'user_id', 'job_type', 'server_id', 'server_ref_id', 'server_type', 'tool_name', 'params', 'params_escaped', 'params_sent', 'created_at', 'idempotency_key', 'request_digest', 'retry', 'timeout_seconds', 'max_attempts');

-- Name: system_servers keep_state; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER keep_state AFTER INSERT OR DELETE OR UPDATE OF name ON public.system_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_keep_state('system');

-- Name: user_servers keep_state; Type: TRIGGER; Schema: public; Owner: -

CREATE TRIGGER keep_state AFTER INSERT OR DELETE OR UPDATE OF name, user_id ON public.user_servers FOR EACH ROW EXECUTE FUNCTION public.nexus_server_keep_state('user');

-- Name: api_tokens api_tokens_user_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.api_tokens
    ADD CONSTRAINT api_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

-- Name: prompt_cache prompt_cache_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.prompt_cache
    ADD CONSTRAINT prompt_cache_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: resource_cache resource_cache_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.resource_cache
    ADD CONSTRAINT resource_cache_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: tool_cache tool_cache_server; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.tool_cache
    ADD CONSTRAINT tool_cache_server FOREIGN KEY (server_type, server_ref_id) REFERENCES public.server_state(server_type, server_ref_id) ON DELETE CASCADE;

-- Name: vault_backups vault_backups_rotation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -

ALTER TABLE ONLY public.vault_backups
    ADD CONSTRAINT vault_backups_rotation_id_fkey FOREIGN KEY (rotation_id) REFERENCES public.vault_rotations(id);

-- Name: api_tokens; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.api_tokens ENABLE ROW LEVEL SECURITY;

-- Name: job_results; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.job_results ENABLE ROW LEVEL SECURITY;

-- Name: user_servers nexus_own; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own ON public.user_servers TO nexus_app USING ((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: job_results nexus_own_insert; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_insert ON public.job_results FOR INSERT TO nexus_app WITH CHECK ((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: job_results nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.job_results FOR SELECT TO nexus_app USING ((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: prompt_cache nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.prompt_cache FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM 'user'::text) AND (( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL))));

-- Name: resource_cache nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.resource_cache FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM 'user'::text) AND (( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL))));

-- Name: server_state nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.server_state FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM 'user'::text) AND (( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL))));

-- Name: tool_cache nexus_own_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_read ON public.tool_cache FOR SELECT TO nexus_app USING (((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM 'user'::text) AND (( SELECT public.nexus_current_user_id() AS nexus_current_user_id) IS NOT NULL))));

-- Name: job_results nexus_own_update; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_own_update ON public.job_results FOR UPDATE TO nexus_app USING ((user_id = ( SELECT public.nexus_current_user_id() AS nexus_current_user_id)));

-- Name: schema_migrations nexus_read; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_read ON public.schema_migrations FOR SELECT TO nexus_app USING (true);

-- Name: api_tokens nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.api_tokens TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: job_results nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.job_results TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: prompt_cache nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.prompt_cache TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: rate_limit_tracking nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.rate_limit_tracking TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: resource_cache nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.resource_cache TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: server_state nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.server_state TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: system_servers nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.system_servers TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: tool_cache nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.tool_cache TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: user_servers nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.user_servers TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: users nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.users TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: vault_backups nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.vault_backups TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: vault_rotations nexus_service; Type: POLICY; Schema: public; Owner: -

CREATE POLICY nexus_service ON public.vault_rotations TO nexus_app USING (( SELECT public.nexus_scope_is_service() AS nexus_scope_is_service));

-- Name: prompt_cache; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.prompt_cache ENABLE ROW LEVEL SECURITY;

-- Name: rate_limit_tracking; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.rate_limit_tracking ENABLE ROW LEVEL SECURITY;

-- Name: resource_cache; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.resource_cache ENABLE ROW LEVEL SECURITY;

-- Name: schema_migrations; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.schema_migrations ENABLE ROW LEVEL SECURITY;

-- Name: server_state; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.server_state ENABLE ROW LEVEL SECURITY;

-- Name: system_servers; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.system_servers ENABLE ROW LEVEL SECURITY;

-- Name: tool_cache; Type: ROW SECURITY; Schema: public; Owner: -

ALTER TABLE public.tool_cache ENABLE ROW LEVEL SECURITY;

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

-- Name: FUNCTION nexus_cache_before_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_cache_before_write() FROM PUBLIC;

-- Name: FUNCTION nexus_claims_user_id(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_claims_user_id() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_claims_user_id() TO nexus_app;

-- Name: FUNCTION nexus_current_user_id(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_current_user_id() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_current_user_id() TO nexus_app;

-- Name: FUNCTION nexus_grant(p_right text, VARIADIC p_roles text[]); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_grant(p_right text, VARIADIC p_roles text[]) FROM PUBLIC;

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

-- Name: FUNCTION nexus_is_orphan(p_status text, p_error_code text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_orphan(p_status text, p_error_code text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_orphan(p_status text, p_error_code text) TO nexus_app;

-- Name: FUNCTION nexus_is_seen_by(p_all_users boolean, p_user_id uuid, p_owner uuid); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_is_seen_by(p_all_users boolean, p_user_id uuid, p_owner uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_is_seen_by(p_all_users boolean, p_user_id uuid, p_owner uuid) TO nexus_app;

-- Name: FUNCTION nexus_job_after_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_after_write() FROM PUBLIC;

-- Name: FUNCTION nexus_job_before_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_before_write() FROM PUBLIC;

-- Name: FUNCTION nexus_job_check_move(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_check_move() FROM PUBLIC;

-- Name: FUNCTION nexus_job_count_payload(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_count_payload() FROM PUBLIC;

-- Name: FUNCTION nexus_job_counts(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_counts() FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_job_counts() TO nexus_app;

-- Name: FUNCTION nexus_job_keep_request(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_job_keep_request() FROM PUBLIC;

-- Name: TABLE job_results; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.job_results TO nexus_app;

-- Name: FUNCTION nexus_last_sign(p_job public.job_results); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_last_sign(p_job public.job_results) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_last_sign(p_job public.job_results) TO nexus_app;

-- Name: FUNCTION nexus_name_words(p_name text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_name_words(p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_name_words(p_name text) TO nexus_app;

-- Name: FUNCTION nexus_policy(p_table regclass, p_name text, p_role text, p_command text, p_using text, p_check text); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_policy(p_table regclass, p_name text, p_role text, p_command text, p_using text, p_check text) FROM PUBLIC;

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

-- Name: FUNCTION nexus_server_before_write(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_before_write() FROM PUBLIC;

-- Name: FUNCTION nexus_server_check_name(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_check_name() FROM PUBLIC;

-- Name: FUNCTION nexus_server_keep_state(); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_server_keep_state() FROM PUBLIC;

-- Name: FUNCTION nexus_service_policy(VARIADIC p_tables regclass[]); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_service_policy(VARIADIC p_tables regclass[]) FROM PUBLIC;

-- Name: FUNCTION nexus_take_over_key(p_table regclass); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_take_over_key(p_table regclass) FROM PUBLIC;

-- Name: FUNCTION nexus_to_jsonb(p_value json); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_to_jsonb(p_value json) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_to_jsonb(p_value json) TO nexus_app;

-- Name: FUNCTION nexus_tool_search(p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb); Type: ACL; Schema: public; Owner: -

REVOKE ALL ON FUNCTION public.nexus_tool_search(p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.nexus_tool_search(p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb) TO nexus_app;

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

-- Name: TABLE api_tokens; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.api_tokens TO nexus_app;

-- Name: TABLE job_results_alert; Type: ACL; Schema: public; Owner: -

GRANT SELECT ON TABLE public.job_results_alert TO nexus_app;

-- Name: TABLE job_results_stats; Type: ACL; Schema: public; Owner: -

GRANT SELECT ON TABLE public.job_results_stats TO nexus_app;

-- Name: TABLE prompt_cache; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.prompt_cache TO nexus_app;

-- Name: TABLE rate_limit_tracking; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.rate_limit_tracking TO nexus_app;

-- Name: TABLE resource_cache; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.resource_cache TO nexus_app;

-- Name: TABLE schema_migrations; Type: ACL; Schema: public; Owner: -

GRANT SELECT ON TABLE public.schema_migrations TO nexus_app;

-- Name: TABLE server_state; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.server_state TO nexus_app;

-- Name: TABLE system_servers; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.system_servers TO nexus_app;

-- Name: TABLE tool_cache; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.tool_cache TO nexus_app;

-- Name: TABLE user_servers; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.user_servers TO nexus_app;

-- Name: TABLE users; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.users TO nexus_app;

-- Name: TABLE vault_backups; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.vault_backups TO nexus_app;

-- Name: TABLE vault_rotations; Type: ACL; Schema: public; Owner: -

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.vault_rotations TO nexus_app;

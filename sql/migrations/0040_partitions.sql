-- Jobs in partitions by day: an option for large hubs, taken by `nexus-hub migrate --partition-jobs`. All that it needs
-- is here, and none of it acts while job_results is a plain table. The documented functions are the same in both forms.

-- Which job has an idempotency key, while jobs are in partitions: no index is unique across several of them. Only the
-- triggers of jobs write it.
CREATE TABLE IF NOT EXISTS job_keys (
    idempotency_key text NOT NULL,
    user_id         uuid,
    job_id          uuid NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS job_keys_key ON job_keys (idempotency_key, user_id) NULLS NOT DISTINCT;
ALTER TABLE job_keys ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('job_keys');

-- The partitions that hold a span of time, and from when until when; none of a plain table. What belongs into none of
-- them is in job_results_default. Bounds are read from a text: in another style than ISO, that has names of time zones,
-- which mean something else when they are read.
CREATE OR REPLACE FUNCTION nexus_job_days() RETURNS TABLE (part regclass, since timestamptz, until timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp SET datestyle = 'ISO' AS $$
    SELECT c.oid::regclass, coalesce(substring(b.bound FROM $re$FROM \('([^']+)'\)$re$)::timestamptz, '-infinity'),
        substring(b.bound FROM $re$TO \('([^']+)'\)$re$)::timestamptz
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS b (bound)
    WHERE i.inhparent = to_regclass('public.job_results') AND b.bound LIKE 'FOR VALUES%'
    ORDER BY 3
$$;

CREATE OR REPLACE FUNCTION nexus_jobs_are_in_days() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass('public.job_results') AND c.relkind = 'p')
$$;

-- The bytes of all jobs and their indexes.
CREATE OR REPLACE FUNCTION nexus_job_bytes() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce((SELECT sum(pg_total_relation_size(t.relid))::bigint FROM pg_partition_tree('public.job_results') t
                     WHERE t.isleaf),
                    pg_total_relation_size('public.job_results'))
$$;

-- A new job whose id or key is taken by a job of the same partition is left to the indexes of that, and to the ON
-- CONFLICT of the statement. By a job of another day, it is passed over where the hub stores it, as its ON CONFLICT DO
-- NOTHING would do it; for other programs it is the error that the plain table gives them. SECURITY DEFINER, since a
-- user's job may meet one that this user does not see.
CREATE OR REPLACE FUNCTION nexus_job_reserve() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION nexus_job_release() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- Makes a table the partition of jobs that it is meant to be: its own keys, and no rights but the owner's, since
-- whoever reads or writes jobs does so by job_results.
CREATE OR REPLACE FUNCTION nexus_close_job_day(p_part regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (id)', p_part);
    EXECUTE format('CREATE UNIQUE INDEX ON %s (idempotency_key, user_id) NULLS NOT DISTINCT '
        'WHERE idempotency_key IS NOT NULL', p_part);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_part);
    PERFORM nexus_revoke_all(p_part::text);
END
$$;

-- Makes the partitions of today and of so many days after it, where they are missing; how many. A day of which
-- job_results_default has jobs stays there. Does nothing to a plain table, but for the bound of a change of its form
-- that was broken off. Nobody is kept waiting for longer than 2 s: what can't be done now, as somebody is in the table,
-- makes the same day, or just now stored a job of it into job_results_default, is done the next time.
CREATE OR REPLACE FUNCTION nexus_add_job_days(p_days_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' AS $$
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

-- A partition holds something that is not to be deleted: by its indexes, whatever its size.
CREATE OR REPLACE FUNCTION nexus_job_day_is_kept(p_part regclass, p_completed timestamptz, p_orphaned timestamptz)
RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
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
$$;

-- Drops the partitions of past days in which all is to be deleted, and tells how many jobs that were; with p_rows also
-- deletes what is to be deleted of the others. Counts come first and the drops last: only they keep others from the
-- table, for some milliseconds, and they wait no longer than half a second for whoever is in it. Days that can't be
-- had are left (`busy_days`), or deleted by their rows; so are all in a transaction of a stricter isolation, which does
-- not see what was stored a moment ago. SECURITY DEFINER, since only its owner drops a table: it acts for whom row
-- security would let delete all jobs.
CREATE OR REPLACE FUNCTION nexus_drop_job_days(
    p_days_completed integer, p_days_orphaned integer, p_rows boolean DEFAULT false
)
RETURNS TABLE (deleted_completed integer, deleted_orphaned integer, busy_days integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
$$;

-- As before; of jobs in partitions whole days go at once.
CREATE OR REPLACE FUNCTION cleanup_job_results_manual(
    p_days_completed integer DEFAULT 7, p_days_orphaned integer DEFAULT 1
)
RETURNS TABLE (deleted_completed integer, deleted_orphaned integer, total_deleted integer)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
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

-- As before; partitions are analyzed each by itself, and the table of them never.
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

CREATE OR REPLACE VIEW job_results_stats WITH (security_invoker = true) AS
SELECT c.total_jobs, c.completed, c.failed, c.pending, c.running, c.older_than_7_days,
    pg_size_pretty(nexus_job_bytes()) AS table_size
FROM nexus_job_counts() c;

-- The change of the form, in two steps, of which the owner of the tables runs both.

-- What in this database is in the way: objects that mean the table itself would go on meaning its oldest partition.
CREATE OR REPLACE FUNCTION nexus_partition_hurdles() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
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

-- First: keys of new jobs are kept in job_keys too, a job of whatever type keeps its key and its day, and no job is
-- stored for later than tomorrow, which is to be proved of the others by VALIDATE CONSTRAINT while everybody reads and
-- writes.
CREATE OR REPLACE FUNCTION nexus_prepare_partitions() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET datestyle = 'ISO' AS $$
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

-- Instead of what comes then, if that can't be done: the plain table is as it was.
CREATE OR REPLACE FUNCTION nexus_take_back_partitions() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    ALTER TABLE job_results DROP CONSTRAINT IF EXISTS job_results_until;
    DROP TRIGGER IF EXISTS reserve ON job_results;
    DROP TRIGGER IF EXISTS keep_key ON job_results;
    DROP TRIGGER IF EXISTS release_key ON job_results;
    DROP TRIGGER IF EXISTS release_keys ON job_results;
    TRUNCATE job_keys;
END
$$;

-- Of a table, or a function: the statements that give its rights, which are also given in job_results' new form.
CREATE OR REPLACE FUNCTION nexus_grants_of(p_object text, p_columns text, p_rights aclitem[], p_owner oid)
RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT format('GRANT %s%s ON %s TO %s%s', a.privilege_type, p_columns, p_object,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM aclexplode(p_rights) a
    WHERE a.grantee <> p_owner
$$;

-- Then: job_results becomes a table in partitions, of which the first is the table as it was. Nothing is copied and
-- nothing is read: what holds everybody up are some changes of the catalog. All that hangs on the table is made anew
-- as it was: indexes, triggers, rights, policies, and functions that take a job.
CREATE OR REPLACE FUNCTION nexus_partition_jobs() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET datestyle = 'ISO' AS $$
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

SELECT nexus_revoke_all('nexus_job_days()', 'nexus_jobs_are_in_days()', 'nexus_job_bytes()', 'nexus_job_reserve()',
    'nexus_job_release()', 'nexus_close_job_day(regclass)', 'nexus_add_job_days(integer)',
    'nexus_job_day_is_kept(regclass, timestamptz, timestamptz)', 'nexus_drop_job_days(integer, integer, boolean)',
    'nexus_partition_hurdles()', 'nexus_prepare_partitions()', 'nexus_take_back_partitions()',
    'nexus_grants_of(text, text, aclitem[], oid)', 'nexus_partition_jobs()',
    'cleanup_job_results_manual(integer, integer)', 'nexus_job_counts()', 'job_results_stats');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_jobs_are_in_days(), nexus_job_bytes(), nexus_scope_is_service(), '
    'nexus_drop_job_days(integer, integer, boolean), cleanup_job_results_manual(integer, integer), nexus_job_counts()',
    'nexus_app', 'service_role');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_add_job_days(integer)', 'nexus_app');
SELECT nexus_grant('SELECT ON job_results_stats', 'nexus_app', 'service_role');

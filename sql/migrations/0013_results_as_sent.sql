-- Requests, results and definitions as they were sent: the order of members, and numbers and texts of every form.
-- The documented columns `params` and `result` stay jsonb, so that programs can go on asking within them; beside each
-- stands the text that came, as json. Rows that other programs write have the documented columns alone.

ALTER TABLE job_results
    ADD COLUMN IF NOT EXISTS params_sent json,
    ADD COLUMN IF NOT EXISTS result_sent json;

-- A result as jsonb, or NULL if that refuses it, such as a number of too many digits.
CREATE OR REPLACE FUNCTION nexus_to_jsonb(p_value json) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN p_value::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION nexus_job_before_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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

CREATE OR REPLACE TRIGGER keep_request BEFORE UPDATE OF id, user_id, job_type, server_id, server_ref_id, server_type,
        tool_name, params, params_escaped, params_sent, created_at, idempotency_key, request_digest, retry, timeout_seconds,
        max_attempts
    ON job_results
    FOR EACH ROW
    WHEN (nexus_is_call(OLD.job_type) OR nexus_is_call(NEW.job_type))
    EXECUTE FUNCTION nexus_job_keep_request('id', 'user_id', 'job_type', 'server_id', 'server_ref_id', 'server_type',
        'tool_name', 'params', 'params_escaped', 'params_sent', 'created_at', 'idempotency_key', 'request_digest', 'retry',
        'timeout_seconds', 'max_attempts');

-- The definitions of tools, resources and prompts are no documented columns: they become json themselves. What is
-- computed of them is computed anew.
DO $$
DECLARE
    v_table    text;
    v_computed text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['tool_cache', 'resource_cache', 'prompt_cache'] LOOP
        CONTINUE WHEN 'json'::regtype = (
            SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = v_table::regclass AND a.attname = 'definition');
        SELECT coalesce(string_agg(format('DROP COLUMN %I, ', a.attname), ''), '') INTO v_computed
        FROM pg_attribute a
        WHERE a.attrelid = v_table::regclass AND a.attgenerated <> '' AND a.attname IN ('search', 'definition_bytes')
            AND NOT a.attisdropped;
        EXECUTE format('ALTER TABLE %I %s ALTER COLUMN definition TYPE json USING definition::json',
            v_table, v_computed);
        IF v_computed LIKE '%definition_bytes%' THEN
            EXECUTE format('ALTER TABLE %I ADD COLUMN definition_bytes integer '
                'GENERATED ALWAYS AS (octet_length(definition::text)) STORED', v_table);
        END IF;
    END LOOP;
END
$$;
ALTER TABLE tool_cache
    ADD COLUMN IF NOT EXISTS search tsvector
        GENERATED ALWAYS AS (nexus_tool_search(namespaced_name, tool_name, title, description, definition::jsonb)) STORED;

SELECT nexus_revoke_all('nexus_to_jsonb(json)');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_to_jsonb(json)', 'nexus_app', 'service_role');

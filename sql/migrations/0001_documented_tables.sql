-- The documented tables, made anew or taken over from a database that has them already.

-- The group role that holds the app's rights; login roles become members of it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'nexus_app') THEN
        CREATE ROLE nexus_app NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL; -- made at the same time for another database of this server
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'The role nexus_app does not exist, and % may not create it.', current_user
            USING ERRCODE = 'NX002', HINT = 'Run as an administrator: CREATE ROLE nexus_app NOLOGIN;';
END
$$;

CREATE TABLE IF NOT EXISTS job_results (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid,
    job_type     text NOT NULL,
    server_id    text NOT NULL,
    tool_name    text,
    params       jsonb NOT NULL DEFAULT '{}',
    status       text NOT NULL DEFAULT 'pending',
    result       jsonb,
    error        text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    completed_at timestamptz
);

CREATE TABLE IF NOT EXISTS user_servers (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id          uuid NOT NULL,
    config_encrypted bytea
);

CREATE TABLE IF NOT EXISTS tool_cache (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    server_ref_id   uuid,
    server_type     text,
    user_id         uuid,
    namespaced_name text NOT NULL,
    enabled         boolean NOT NULL DEFAULT true,
    expires_at      timestamptz NOT NULL DEFAULT now() + interval '24 hours'
);

CREATE TABLE IF NOT EXISTS resource_cache (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    server_ref_id uuid,
    server_type   text,
    user_id       uuid,
    expires_at    timestamptz NOT NULL DEFAULT now() + interval '24 hours'
);

CREATE TABLE IF NOT EXISTS prompt_cache (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    server_ref_id uuid,
    server_type   text,
    user_id       uuid,
    expires_at    timestamptz NOT NULL DEFAULT now() + interval '24 hours'
);

CREATE TABLE IF NOT EXISTS rate_limit_tracking (
    server_id     text NOT NULL,
    user_id       uuid,
    window_start  timestamptz NOT NULL,
    request_count integer NOT NULL DEFAULT 1
);

-- Columns that an older database may lack.
ALTER TABLE user_servers ADD COLUMN IF NOT EXISTS config_encrypted bytea;
ALTER TABLE tool_cache ADD COLUMN IF NOT EXISTS id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS server_ref_id uuid,
    ADD COLUMN IF NOT EXISTS server_type text,
    ADD COLUMN IF NOT EXISTS user_id uuid,
    ADD COLUMN IF NOT EXISTS enabled boolean DEFAULT true,
    ADD COLUMN IF NOT EXISTS expires_at timestamptz;
ALTER TABLE resource_cache ADD COLUMN IF NOT EXISTS id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS server_ref_id uuid,
    ADD COLUMN IF NOT EXISTS server_type text,
    ADD COLUMN IF NOT EXISTS user_id uuid,
    ADD COLUMN IF NOT EXISTS expires_at timestamptz;
ALTER TABLE prompt_cache ADD COLUMN IF NOT EXISTS id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS server_ref_id uuid,
    ADD COLUMN IF NOT EXISTS server_type text,
    ADD COLUMN IF NOT EXISTS user_id uuid,
    ADD COLUMN IF NOT EXISTS expires_at timestamptz;

-- An id is the primary key; a key over a nullable user is none. Only the tracking table has no id.
DO $$
DECLARE
    v_table regclass;
    v_key   name;
BEGIN
    FOREACH v_table IN ARRAY ARRAY[
        'job_results', 'user_servers', 'tool_cache', 'resource_cache', 'prompt_cache', 'rate_limit_tracking'
    ]::regclass[] LOOP
        SELECT c.conname INTO v_key
        FROM pg_constraint c
        WHERE c.conrelid = v_table AND c.contype = 'p'
            AND c.conkey IS DISTINCT FROM (
                SELECT array_agg(a.attnum) FROM pg_attribute a WHERE a.attrelid = v_table AND a.attname = 'id'
            );
        IF FOUND THEN
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', v_table, v_key);
        END IF;
        IF v_table <> 'rate_limit_tracking'::regclass
            AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = v_table AND c.contype = 'p')
        THEN
            EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (id)', v_table);
        END IF;
    END LOOP;
END
$$;

-- Repair: ended jobs without an end, unended jobs with one, empty and odd values.
UPDATE job_results SET status = 'pending' WHERE status IS NULL;
UPDATE job_results SET created_at = coalesce(started_at, completed_at, now()) WHERE created_at IS NULL;
UPDATE job_results SET params = '{}' WHERE params IS NULL OR params = 'null';
UPDATE job_results SET params = jsonb_build_object('value', params) WHERE jsonb_typeof(params) <> 'object';
UPDATE job_results SET server_id = 'hub' WHERE server_id IS NULL;
UPDATE job_results SET completed_at = coalesce(started_at, created_at)
WHERE status IN ('completed', 'failed', 'cancelled') AND completed_at IS NULL;
UPDATE job_results SET completed_at = NULL WHERE status IN ('pending', 'running') AND completed_at IS NOT NULL;
UPDATE job_results SET started_at = created_at WHERE status = 'running' AND started_at IS NULL;

UPDATE tool_cache SET enabled = true WHERE enabled IS NULL;
UPDATE tool_cache SET expires_at = now() WHERE expires_at IS NULL;
UPDATE resource_cache SET expires_at = now() WHERE expires_at IS NULL;
UPDATE prompt_cache SET expires_at = now() WHERE expires_at IS NULL;
UPDATE tool_cache SET server_type = CASE WHEN user_id IS NULL THEN 'system' ELSE 'user' END
WHERE server_type IS NULL AND server_ref_id IS NOT NULL;
UPDATE resource_cache SET server_type = CASE WHEN user_id IS NULL THEN 'system' ELSE 'user' END
WHERE server_type IS NULL AND server_ref_id IS NOT NULL;
UPDATE prompt_cache SET server_type = CASE WHEN user_id IS NULL THEN 'system' ELSE 'user' END
WHERE server_type IS NULL AND server_ref_id IS NOT NULL;

UPDATE rate_limit_tracking SET request_count = 1 WHERE request_count IS NULL;

-- Defaults and required values as documented.
ALTER TABLE job_results
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN job_type SET NOT NULL,
    ALTER COLUMN server_id SET NOT NULL,
    ALTER COLUMN params SET DEFAULT '{}',
    ALTER COLUMN params SET NOT NULL,
    ALTER COLUMN status SET DEFAULT 'pending',
    ALTER COLUMN status SET NOT NULL,
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN created_at SET NOT NULL;
ALTER TABLE user_servers
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN user_id SET NOT NULL,
    ALTER COLUMN config_encrypted DROP NOT NULL;
ALTER TABLE tool_cache
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN namespaced_name SET NOT NULL,
    ALTER COLUMN enabled SET DEFAULT true,
    ALTER COLUMN enabled SET NOT NULL,
    ALTER COLUMN expires_at SET DEFAULT now() + interval '24 hours',
    ALTER COLUMN expires_at SET NOT NULL;
ALTER TABLE resource_cache
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN expires_at SET DEFAULT now() + interval '24 hours',
    ALTER COLUMN expires_at SET NOT NULL;
ALTER TABLE prompt_cache
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN expires_at SET DEFAULT now() + interval '24 hours',
    ALTER COLUMN expires_at SET NOT NULL;
ALTER TABLE rate_limit_tracking
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN request_count SET DEFAULT 1,
    ALTER COLUMN request_count SET NOT NULL;

CREATE INDEX IF NOT EXISTS idx_job_results_cleanup ON job_results (status, completed_at)
    WHERE status IN ('completed', 'failed', 'cancelled');
CREATE INDEX IF NOT EXISTS idx_job_results_orphaned ON job_results (status, created_at)
    WHERE status IN ('pending', 'running');
CREATE INDEX IF NOT EXISTS idx_tool_cache_expires ON tool_cache (expires_at) WHERE enabled;
CREATE INDEX IF NOT EXISTS idx_resource_cache_expires ON resource_cache (expires_at);
CREATE INDEX IF NOT EXISTS idx_prompt_cache_expires ON prompt_cache (expires_at);

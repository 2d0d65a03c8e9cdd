-- The seed's SQL, with the behaviour that it has there: statements as the document has them, in named blocks.
-- Left out is what a server without its extensions lacks (pg_net, pg_cron); net.http_post is played by a table.

-- name: tables
-- The tables that the document takes for granted, with the columns that its code reads and writes.
CREATE TABLE job_results (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid, job_type text, server_id text, tool_name text, params jsonb, status text DEFAULT 'pending',
    result jsonb, error text, created_at timestamptz DEFAULT now(), started_at timestamptz, completed_at timestamptz
);
CREATE TABLE user_servers (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid, config jsonb);
CREATE TABLE tool_cache (
    server_ref_id uuid, server_type text, user_id uuid, namespaced_name text, enabled boolean DEFAULT true
);
CREATE TABLE resource_cache (server_ref_id uuid, server_type text, user_id uuid);
CREATE TABLE prompt_cache (server_ref_id uuid, server_type text, user_id uuid);

-- name: vault_migration
-- Chapter 1, Setup Instructions, 3.
ALTER TABLE user_servers
  ADD COLUMN config_encrypted bytea,
  DROP COLUMN config;  -- Remove old unencrypted column

-- name: pg_net
-- In the place of CREATE EXTENSION pg_net: its queue, which is UNLOGGED there too.
CREATE SCHEMA net;
CREATE UNLOGGED TABLE net.http_request_queue (id bigserial, url text, headers jsonb, body jsonb);
CREATE FUNCTION net.http_post(url text, headers jsonb, body jsonb) RETURNS bigint AS $$
  INSERT INTO net.http_request_queue (url, headers, body) VALUES ($1, $2, $3) RETURNING id
$$ LANGUAGE sql;

-- name: jobs
-- Chapter 2, PostgreSQL Function.
CREATE OR REPLACE FUNCTION execute_job_via_pg_net(job_id uuid)
RETURNS void AS $$
DECLARE
  job_record job_results%ROWTYPE;
  edge_function_url text;
  service_role_key text;
BEGIN
  SELECT * INTO job_record FROM job_results WHERE id = job_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'Job % not found', job_id;
  END IF;
  UPDATE job_results
  SET status = 'running', started_at = now()
  WHERE id = job_id;
  edge_function_url := current_setting('app.edge_function_url', true);
  service_role_key := current_setting('app.service_role_key', true);
  PERFORM net.http_post(
    url := edge_function_url || '/internal/job-executor',
    headers := jsonb_build_object(
      'Content-Type', 'application/json',
      'Authorization', 'Bearer ' || service_role_key
    ),
    body := jsonb_build_object(
      'job_id', job_id,
      'job_type', job_record.job_type,
      'server_id', job_record.server_id,
      'tool_name', job_record.tool_name,
      'params', job_record.params,
      'user_id', job_record.user_id
    )
  );
END;
$$ LANGUAGE plpgsql SECURITY DEFINER;

-- name: cache
-- Chapter 3, Database Migration.
ALTER TABLE tool_cache
  ADD COLUMN expires_at timestamptz DEFAULT (now() + interval '24 hours');
ALTER TABLE resource_cache
  ADD COLUMN expires_at timestamptz DEFAULT (now() + interval '24 hours');
ALTER TABLE prompt_cache
  ADD COLUMN expires_at timestamptz DEFAULT (now() + interval '24 hours');
CREATE INDEX idx_tool_cache_expires ON tool_cache(expires_at) WHERE enabled = true;
CREATE INDEX idx_resource_cache_expires ON resource_cache(expires_at);
CREATE INDEX idx_prompt_cache_expires ON prompt_cache(expires_at);
CREATE OR REPLACE FUNCTION refresh_expired_cache_entries()
RETURNS TABLE(server_ref_id uuid, server_type text, user_id uuid) AS $$
BEGIN
  RETURN QUERY
  SELECT DISTINCT tc.server_ref_id, tc.server_type, tc.user_id
  FROM tool_cache tc
  WHERE tc.expires_at < now()
    AND tc.enabled = true
  UNION
  SELECT DISTINCT rc.server_ref_id, rc.server_type, rc.user_id
  FROM resource_cache rc
  WHERE rc.expires_at < now()
  UNION
  SELECT DISTINCT pc.server_ref_id, pc.server_type, pc.user_id
  FROM prompt_cache pc
  WHERE pc.expires_at < now();
END;
$$ LANGUAGE plpgsql;

-- name: rate_limit_table_as_written
-- Chapter 5, Database Schema: word for word.
CREATE TABLE rate_limit_tracking (
  server_id text NOT NULL,
  user_id uuid,
  window_start timestamptz NOT NULL,
  request_count integer DEFAULT 1,
  PRIMARY KEY (server_id, user_id, window_start),
  INDEX idx_rate_limit_window (server_id, user_id, window_start)
);

-- name: rate_limits
-- Chapter 5, Database Schema: without the line that no PostgreSQL takes.
CREATE TABLE rate_limit_tracking (
  server_id text NOT NULL,
  user_id uuid,
  window_start timestamptz NOT NULL,
  request_count integer DEFAULT 1,
  PRIMARY KEY (server_id, user_id, window_start)
);
CREATE OR REPLACE FUNCTION check_rate_limit(
  p_server_id text,
  p_user_id uuid,
  p_limit_per_minute integer
)
RETURNS boolean AS $$
DECLARE
  v_window_start timestamptz;
  v_request_count integer;
BEGIN
  v_window_start := date_trunc('minute', now());
  INSERT INTO rate_limit_tracking (server_id, user_id, window_start, request_count)
  VALUES (p_server_id, p_user_id, v_window_start, 1)
  ON CONFLICT (server_id, user_id, window_start)
  DO UPDATE SET request_count = rate_limit_tracking.request_count + 1
  RETURNING request_count INTO v_request_count;
  RETURN v_request_count <= p_limit_per_minute;
END;
$$ LANGUAGE plpgsql;

-- name: rotation
-- Chapter 6, Vault Key Rotation, Database Function.
CREATE OR REPLACE FUNCTION rotate_vault_key()
RETURNS TABLE(servers_updated integer, errors text[]) AS $$
DECLARE
  v_old_key_hex text;
  v_new_key_hex text;
  v_server_record RECORD;
  v_updated_count integer := 0;
  v_errors text[] := '{}';
BEGIN
  v_old_key_hex := current_setting('app.vault_old_key', true);
  v_new_key_hex := current_setting('app.vault_new_key', true);
  IF v_old_key_hex IS NULL OR v_new_key_hex IS NULL THEN
    RAISE EXCEPTION 'Both app.vault_old_key and app.vault_new_key must be set for rotation';
  END IF;
  FOR v_server_record IN
    SELECT id, config_encrypted, user_id
    FROM user_servers
    WHERE config_encrypted IS NOT NULL
  LOOP
    BEGIN
      v_updated_count := v_updated_count + 1;
    EXCEPTION WHEN OTHERS THEN
      v_errors := array_append(v_errors,
        format('Server %s: %s', v_server_record.id, SQLERRM));
    END;
  END LOOP;
  RETURN QUERY SELECT v_updated_count, v_errors;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER;

-- name: cleanup
-- Chapter 6, Job Cleanup, Database Migration and Manual Cleanup Function.
CREATE OR REPLACE FUNCTION cleanup_old_job_results()
RETURNS integer AS $$
DECLARE
  v_deleted_count integer;
BEGIN
  DELETE FROM job_results
  WHERE status IN ('completed', 'failed', 'cancelled')
    AND completed_at < now() - interval '7 days';
  GET DIAGNOSTICS v_deleted_count = ROW_COUNT;
  DELETE FROM job_results
  WHERE status IN ('pending', 'running')
    AND created_at < now() - interval '1 day';
  RETURN v_deleted_count;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER;
CREATE INDEX IF NOT EXISTS idx_job_results_cleanup
  ON job_results(status, completed_at)
  WHERE status IN ('completed', 'failed', 'cancelled');
CREATE INDEX IF NOT EXISTS idx_job_results_orphaned
  ON job_results(status, created_at)
  WHERE status IN ('pending', 'running');
CREATE OR REPLACE FUNCTION cleanup_job_results_manual(
  p_days_completed integer DEFAULT 7,
  p_days_orphaned integer DEFAULT 1
)
RETURNS TABLE(
  deleted_completed integer,
  deleted_orphaned integer,
  total_deleted integer
) AS $$
DECLARE
  v_deleted_completed integer;
  v_deleted_orphaned integer;
BEGIN
  DELETE FROM job_results
  WHERE status IN ('completed', 'failed', 'cancelled')
    AND completed_at < now() - (p_days_completed || ' days')::interval;
  GET DIAGNOSTICS v_deleted_completed = ROW_COUNT;
  DELETE FROM job_results
  WHERE status IN ('pending', 'running')
    AND created_at < now() - (p_days_orphaned || ' days')::interval;
  GET DIAGNOSTICS v_deleted_orphaned = ROW_COUNT;
  RETURN QUERY SELECT
    v_deleted_completed,
    v_deleted_orphaned,
    v_deleted_completed + v_deleted_orphaned;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER;

-- name: cleanup_grant
-- Chapter 6, Manual Cleanup Function, its end: the role is of Supabase's making.
GRANT EXECUTE ON FUNCTION cleanup_job_results_manual TO service_role;

-- name: monitoring
-- Chapter 6, Job Cleanup Monitoring, the first query.
SELECT
  COUNT(*) as total_jobs,
  COUNT(*) FILTER (WHERE status = 'completed') as completed,
  COUNT(*) FILTER (WHERE status = 'failed') as failed,
  COUNT(*) FILTER (WHERE status = 'pending') as pending,
  COUNT(*) FILTER (WHERE status = 'running') as running,
  COUNT(*) FILTER (WHERE created_at < now() - interval '7 days') as older_than_7_days,
  pg_size_pretty(pg_total_relation_size('job_results')) as table_size
FROM job_results;

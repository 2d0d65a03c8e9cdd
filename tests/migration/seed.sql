-- A database as the seed's SQL makes it, where that is PostgreSQL; with the rows that its defects leave behind.

CREATE TABLE job_results (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid, job_type text, server_id text, tool_name text, params jsonb, status text DEFAULT 'pending',
    result jsonb, error text, created_at timestamptz DEFAULT now(), started_at timestamptz, completed_at timestamptz
);
CREATE TABLE user_servers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid, config_encrypted bytea
);
CREATE TABLE tool_cache (
    server_ref_id uuid, server_type text, user_id uuid, namespaced_name text, enabled boolean DEFAULT true
);
CREATE TABLE resource_cache (server_ref_id uuid, server_type text, user_id uuid);
CREATE TABLE prompt_cache (server_ref_id uuid, server_type text, user_id uuid);
ALTER TABLE tool_cache ADD COLUMN expires_at timestamptz DEFAULT (now() + interval '24 hours');
ALTER TABLE resource_cache ADD COLUMN expires_at timestamptz DEFAULT (now() + interval '24 hours');
ALTER TABLE prompt_cache ADD COLUMN expires_at timestamptz DEFAULT (now() + interval '24 hours');
CREATE INDEX idx_tool_cache_expires ON tool_cache (expires_at) WHERE enabled = true;
CREATE INDEX idx_resource_cache_expires ON resource_cache (expires_at);
CREATE INDEX idx_prompt_cache_expires ON prompt_cache (expires_at);
CREATE INDEX idx_job_results_cleanup ON job_results (status, completed_at)
    WHERE status IN ('completed', 'failed', 'cancelled');
CREATE INDEX idx_job_results_orphaned ON job_results (status, created_at) WHERE status IN ('pending', 'running');
CREATE TABLE rate_limit_tracking (
    server_id text NOT NULL, user_id uuid, window_start timestamptz NOT NULL, request_count integer DEFAULT 1,
    PRIMARY KEY (server_id, user_id, window_start)
);
CREATE INDEX idx_rate_limit_window ON rate_limit_tracking (server_id, user_id, window_start);

CREATE FUNCTION execute_job_via_pg_net(job_id uuid) RETURNS void
    AS $$ BEGIN UPDATE job_results SET status = 'running' WHERE id = job_id; END $$ LANGUAGE plpgsql SECURITY DEFINER;
CREATE FUNCTION refresh_expired_cache_entries() RETURNS TABLE (server_ref_id uuid, server_type text, user_id uuid)
    AS $$ BEGIN RETURN; END $$ LANGUAGE plpgsql;
CREATE FUNCTION check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer) RETURNS boolean
    AS $$ BEGIN RETURN true; END $$ LANGUAGE plpgsql;
CREATE FUNCTION rotate_vault_key() RETURNS TABLE (servers_updated integer, errors text[])
    AS $$ BEGIN RETURN; END $$ LANGUAGE plpgsql SECURITY DEFINER;
CREATE FUNCTION cleanup_old_job_results() RETURNS integer
    AS $$ BEGIN RETURN 0; END $$ LANGUAGE plpgsql SECURITY DEFINER;
CREATE FUNCTION cleanup_job_results_manual(p_days_completed integer DEFAULT 7, p_days_orphaned integer DEFAULT 1)
    RETURNS TABLE (deleted_completed integer, deleted_orphaned integer, total_deleted integer)
    AS $$ BEGIN RETURN; END $$ LANGUAGE plpgsql SECURITY DEFINER;

INSERT INTO user_servers (id, user_id, config_encrypted) VALUES
    ('00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-00000000000a', decode(repeat('ab', 60), 'hex')),
    ('00000000-0000-4000-8000-0000000000e2', '00000000-0000-4000-8000-00000000000a', decode(repeat('cd', 60), 'hex')),
    ('00000000-0000-4000-8000-0000000000e3', '00000000-0000-4000-8000-00000000000b', NULL);

INSERT INTO job_results (user_id, job_type, server_id, tool_name, params, status, result, error, started_at, completed_at)
VALUES
    ('00000000-0000-4000-8000-00000000000a', 'tool_invoke', '00000000-0000-4000-8000-0000000000e1', 'echo', '{"a": 1}', 'completed', '{"success": true}', NULL, now(), now()),
    ('00000000-0000-4000-8000-00000000000a', 'tool_invoke', '00000000-0000-4000-8000-0000000000e1', 'echo', '{}', 'failed', NULL, 'the trigger failed', NULL, NULL),
    ('00000000-0000-4000-8000-00000000000a', 'resource_fetch', '00000000-0000-4000-8000-0000000000e1', NULL, '{"uri": "a://b"}', 'cancelled', NULL, NULL, now(), NULL),
    ('00000000-0000-4000-8000-00000000000a', 'prompt_execute', '00000000-0000-4000-8000-00000000000a', NULL, NULL, 'pending', NULL, NULL, NULL, NULL),
    ('00000000-0000-4000-8000-00000000000b', 'tool_invoke', 'github', 'search', '[1, 2]', 'running', NULL, NULL, NULL, NULL),
    ('00000000-0000-4000-8000-00000000000b', 'tool_invoke', 'github', 'search', 'null', 'running', '{"success": true}', NULL, now(), now()),
    (NULL, 'tool_invoke', 'github', 'search', '{}', 'completed', '{"success": true}', 'late', now(), now()),
    (NULL, 'tool_invoke', 'github', 'search', '{}', 'pending', NULL, NULL, NULL, NULL);
UPDATE job_results SET created_at = NULL WHERE status = 'completed';

INSERT INTO tool_cache (server_ref_id, server_type, user_id, namespaced_name, expires_at) VALUES
    ('00000000-0000-4000-8000-0000000000e1', 'user', '00000000-0000-4000-8000-00000000000a', 'e1__echo', NULL),
    ('00000000-0000-4000-8000-0000000000e1', NULL, '00000000-0000-4000-8000-00000000000a', 'e1__echo', now()),
    ('00000000-0000-4000-8000-0000000000d1', 'system', NULL, repeat('long', 40), now()),
    (NULL, NULL, NULL, 'lost', NULL);
INSERT INTO resource_cache (server_ref_id, server_type, user_id) VALUES
    ('00000000-0000-4000-8000-0000000000d1', 'system', NULL);
INSERT INTO prompt_cache (server_ref_id, server_type, user_id, expires_at) VALUES
    ('00000000-0000-4000-8000-0000000000d2', NULL, NULL, NULL);
INSERT INTO rate_limit_tracking (server_id, user_id, window_start, request_count) VALUES
    ('github', '00000000-0000-4000-8000-00000000000b', date_trunc('minute', now()) - interval '1 hour', NULL);

-- Constraints and indexes; what older rows lack is filled in first.

-- Names: the slug of the old name, else 'server', then the first 8 hex digits of the id.
WITH numbered AS (
    SELECT id, name, row_number() OVER (PARTITION BY user_id, name ORDER BY id) AS place,
        trim(BOTH '-' FROM left(trim(BOTH '-' FROM regexp_replace(coalesce(name, ''), '[^A-Za-z0-9]+', '-', 'g')), 23)) AS slug
    FROM user_servers
)
UPDATE user_servers s
SET name = coalesce(nullif(n.slug, ''), 'server') || '-' || left(n.id::text, 8)
FROM numbered n
WHERE s.id = n.id
    AND (n.name IS NULL OR n.place > 1 OR n.name !~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$' OR n.name ~ '_$'
        OR length(n.name) > 32);

-- Two ids may share their first digits; all 32 are unique.
WITH numbered AS (
    SELECT id, row_number() OVER (PARTITION BY user_id, name ORDER BY id) AS place FROM user_servers
)
UPDATE user_servers s
SET name = replace(s.id::text, '-', '')
FROM numbered n
WHERE s.id = n.id AND n.place > 1;

ALTER TABLE user_servers ALTER COLUMN name SET NOT NULL;

INSERT INTO server_state (server_type, server_ref_id, user_id, name)
SELECT 'user', s.id, s.user_id, s.name FROM user_servers s
UNION ALL
SELECT 'system', s.id, NULL, s.name FROM system_servers s
ON CONFLICT DO NOTHING;

INSERT INTO server_state (server_type, server_ref_id, user_id, name)
SELECT DISTINCT ON (c.server_type, c.server_ref_id)
    c.server_type, c.server_ref_id, CASE c.server_type WHEN 'user' THEN c.user_id END,
    'server-' || left(c.server_ref_id::text, 8)
FROM (
    SELECT t.server_type, t.server_ref_id, t.user_id FROM tool_cache t
    UNION ALL
    SELECT r.server_type, r.server_ref_id, r.user_id FROM resource_cache r
    UNION ALL
    SELECT p.server_type, p.server_ref_id, p.user_id FROM prompt_cache p
) c
WHERE c.server_type IS NOT NULL AND c.server_ref_id IS NOT NULL
ORDER BY c.server_type, c.server_ref_id, c.user_id
ON CONFLICT DO NOTHING;

UPDATE job_results j
SET server_id = lower(j.server_id), server_ref_id = j.server_id::uuid, server_type = (
    SELECT s.server_type FROM server_state s WHERE s.server_ref_id::text = lower(j.server_id) LIMIT 1
)
WHERE j.server_ref_id IS NULL
    AND j.server_id ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';

ALTER TABLE job_results
    DROP CONSTRAINT IF EXISTS job_results_known_status,
    DROP CONSTRAINT IF EXISTS job_results_known_job_type,
    DROP CONSTRAINT IF EXISTS job_results_known_server_type,
    DROP CONSTRAINT IF EXISTS job_results_one_server,
    DROP CONSTRAINT IF EXISTS job_results_params_object,
    DROP CONSTRAINT IF EXISTS job_results_ended_has_end,
    DROP CONSTRAINT IF EXISTS job_results_running_has_start,
    DROP CONSTRAINT IF EXISTS job_results_claim_is_leased,
    DROP CONSTRAINT IF EXISTS job_results_claim_only_running,
    DROP CONSTRAINT IF EXISTS job_results_attempts,
    DROP CONSTRAINT IF EXISTS job_results_max_attempts,
    DROP CONSTRAINT IF EXISTS job_results_timeout,
    DROP CONSTRAINT IF EXISTS job_results_known_retry,
    DROP CONSTRAINT IF EXISTS job_results_idempotency_key_length;
ALTER TABLE job_results
    ADD CONSTRAINT job_results_known_status
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    ADD CONSTRAINT job_results_known_job_type
        CHECK (job_type IN
            ('tool_invoke', 'resource_fetch', 'prompt_execute', 'cache_refresh', 'key_rotation', 'job_cleanup')),
    ADD CONSTRAINT job_results_known_server_type CHECK (server_type IN ('system', 'user')),
    ADD CONSTRAINT job_results_one_server CHECK (server_ref_id IS NULL OR server_id = server_ref_id::text),
    ADD CONSTRAINT job_results_params_object CHECK (jsonb_typeof(params) = 'object'),
    ADD CONSTRAINT job_results_ended_has_end
        CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    ADD CONSTRAINT job_results_running_has_start CHECK (status <> 'running' OR started_at IS NOT NULL),
    ADD CONSTRAINT job_results_claim_is_leased CHECK ((claim_id IS NULL) = (lease_expires_at IS NULL)),
    ADD CONSTRAINT job_results_claim_only_running CHECK (claim_id IS NULL OR status = 'running'),
    ADD CONSTRAINT job_results_attempts CHECK (attempt BETWEEN 0 AND max_attempts),
    ADD CONSTRAINT job_results_max_attempts CHECK (max_attempts BETWEEN 1 AND 20),
    ADD CONSTRAINT job_results_timeout CHECK (timeout_seconds > 0),
    ADD CONSTRAINT job_results_known_retry CHECK (retry IN ('auto', 'always')),
    ADD CONSTRAINT job_results_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 200);

ALTER TABLE system_servers
    DROP CONSTRAINT IF EXISTS system_servers_name_rule,
    DROP CONSTRAINT IF EXISTS system_servers_known_transport,
    DROP CONSTRAINT IF EXISTS system_servers_sealed_length,
    DROP CONSTRAINT IF EXISTS system_servers_key_id,
    DROP CONSTRAINT IF EXISTS system_servers_limit;
ALTER TABLE system_servers
    ADD CONSTRAINT system_servers_name_rule
        CHECK (name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$' AND name !~ '_$' AND length(name) <= 32),
    ADD CONSTRAINT system_servers_known_transport CHECK (transport IN ('http', 'stdio')),
    ADD CONSTRAINT system_servers_sealed_length CHECK (octet_length(config_encrypted) >= 28),
    ADD CONSTRAINT system_servers_key_id CHECK (key_id ~ '^[0-9a-f]{8}$'),
    ADD CONSTRAINT system_servers_limit CHECK (limit_per_minute > 0);

ALTER TABLE user_servers
    DROP CONSTRAINT IF EXISTS user_servers_name_rule,
    DROP CONSTRAINT IF EXISTS user_servers_http_only,
    DROP CONSTRAINT IF EXISTS user_servers_sealed_length,
    DROP CONSTRAINT IF EXISTS user_servers_key_id,
    DROP CONSTRAINT IF EXISTS user_servers_limit;
ALTER TABLE user_servers
    ADD CONSTRAINT user_servers_name_rule
        CHECK (name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$' AND name !~ '_$' AND length(name) <= 32),
    ADD CONSTRAINT user_servers_http_only CHECK (transport = 'http'),
    ADD CONSTRAINT user_servers_sealed_length CHECK (octet_length(config_encrypted) >= 28),
    ADD CONSTRAINT user_servers_key_id
        CHECK (key_id IS NULL OR (key_id ~ '^[0-9a-f]{8}$' AND config_encrypted IS NOT NULL)),
    ADD CONSTRAINT user_servers_limit CHECK (limit_per_minute > 0);

ALTER TABLE server_state
    DROP CONSTRAINT IF EXISTS server_state_known_server_type,
    DROP CONSTRAINT IF EXISTS server_state_known_status,
    DROP CONSTRAINT IF EXISTS server_state_failures,
    DROP CONSTRAINT IF EXISTS server_state_system_has_no_owner,
    DROP CONSTRAINT IF EXISTS server_state_claim_is_leased;
ALTER TABLE server_state
    ADD CONSTRAINT server_state_known_server_type CHECK (server_type IN ('system', 'user')),
    ADD CONSTRAINT server_state_known_status CHECK (status IN ('unknown', 'ready', 'failing')),
    ADD CONSTRAINT server_state_failures CHECK (failures >= 0),
    ADD CONSTRAINT server_state_system_has_no_owner CHECK (server_type = 'user' OR user_id IS NULL),
    ADD CONSTRAINT server_state_claim_is_leased
        CHECK ((refresh_claim IS NULL) = (refresh_lease_expires_at IS NULL));

ALTER TABLE tool_cache
    DROP CONSTRAINT IF EXISTS tool_cache_server,
    DROP CONSTRAINT IF EXISTS tool_cache_known_server_type,
    DROP CONSTRAINT IF EXISTS tool_cache_entry;
ALTER TABLE tool_cache
    ADD CONSTRAINT tool_cache_server FOREIGN KEY (server_type, server_ref_id)
        REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE,
    ADD CONSTRAINT tool_cache_known_server_type CHECK (server_type IN ('system', 'user')),
    ADD CONSTRAINT tool_cache_entry CHECK (tool_name IS NULL OR (
        server_type IS NOT NULL AND server_ref_id IS NOT NULL AND definition IS NOT NULL
        AND length(namespaced_name) <= 64));

ALTER TABLE resource_cache
    DROP CONSTRAINT IF EXISTS resource_cache_server,
    DROP CONSTRAINT IF EXISTS resource_cache_known_server_type,
    DROP CONSTRAINT IF EXISTS resource_cache_entry;
ALTER TABLE resource_cache
    ADD CONSTRAINT resource_cache_server FOREIGN KEY (server_type, server_ref_id)
        REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE,
    ADD CONSTRAINT resource_cache_known_server_type CHECK (server_type IN ('system', 'user')),
    ADD CONSTRAINT resource_cache_entry CHECK (uri IS NULL OR (
        server_type IS NOT NULL AND server_ref_id IS NOT NULL AND definition IS NOT NULL));

ALTER TABLE prompt_cache
    DROP CONSTRAINT IF EXISTS prompt_cache_server,
    DROP CONSTRAINT IF EXISTS prompt_cache_known_server_type,
    DROP CONSTRAINT IF EXISTS prompt_cache_entry;
ALTER TABLE prompt_cache
    ADD CONSTRAINT prompt_cache_server FOREIGN KEY (server_type, server_ref_id)
        REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE,
    ADD CONSTRAINT prompt_cache_known_server_type CHECK (server_type IN ('system', 'user')),
    ADD CONSTRAINT prompt_cache_entry CHECK (prompt_name IS NULL OR (
        server_type IS NOT NULL AND server_ref_id IS NOT NULL AND definition IS NOT NULL
        AND namespaced_name IS NOT NULL AND length(namespaced_name) <= 64));

ALTER TABLE users
    DROP CONSTRAINT IF EXISTS users_name_rule;
ALTER TABLE users
    ADD CONSTRAINT users_name_rule CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]*$' AND length(name) <= 64);

ALTER TABLE api_tokens
    DROP CONSTRAINT IF EXISTS api_tokens_hash_length;
ALTER TABLE api_tokens
    ADD CONSTRAINT api_tokens_hash_length CHECK (octet_length(token_hash) = 32);

-- Rows that only a NULL user keeps apart become one.
WITH doubled AS (
    DELETE FROM rate_limit_tracking t
    WHERE EXISTS (
        SELECT FROM rate_limit_tracking o
        WHERE o.server_id = t.server_id AND o.user_id IS NOT DISTINCT FROM t.user_id
            AND o.window_start = t.window_start AND o.ctid <> t.ctid
    )
    RETURNING t.server_id, t.user_id, t.window_start, t.request_count
)
INSERT INTO rate_limit_tracking (server_id, user_id, window_start, request_count)
SELECT d.server_id, d.user_id, d.window_start, sum(d.request_count)::integer
FROM doubled d
GROUP BY d.server_id, d.user_id, d.window_start;

ALTER TABLE rate_limit_tracking SET (fillfactor = 50);
CREATE UNIQUE INDEX IF NOT EXISTS rate_limit_tracking_window_key
    ON rate_limit_tracking (server_id, user_id, window_start) NULLS NOT DISTINCT;
-- The limit of a server counts all its users: without the user between, one range of the index is read.
DROP INDEX IF EXISTS idx_rate_limit_window;
CREATE INDEX idx_rate_limit_window ON rate_limit_tracking (server_id, window_start);

CREATE UNIQUE INDEX IF NOT EXISTS user_servers_user_id_name_key ON user_servers (user_id, name);
CREATE INDEX IF NOT EXISTS idx_user_servers_name ON user_servers (name);
CREATE INDEX IF NOT EXISTS idx_api_tokens_user ON api_tokens (user_id);
CREATE INDEX IF NOT EXISTS idx_server_state_ref ON server_state (server_ref_id);
CREATE INDEX IF NOT EXISTS idx_server_state_due ON server_state (next_refresh_at);

CREATE UNIQUE INDEX IF NOT EXISTS tool_cache_server_tool_key ON tool_cache (server_type, server_ref_id, tool_name);
CREATE UNIQUE INDEX IF NOT EXISTS tool_cache_namespaced_name_key ON tool_cache (user_id, namespaced_name)
    NULLS NOT DISTINCT WHERE tool_name IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS resource_cache_server_uri_key ON resource_cache (server_type, server_ref_id, uri);
CREATE UNIQUE INDEX IF NOT EXISTS prompt_cache_server_prompt_key
    ON prompt_cache (server_type, server_ref_id, prompt_name);
CREATE UNIQUE INDEX IF NOT EXISTS prompt_cache_namespaced_name_key ON prompt_cache (user_id, namespaced_name)
    NULLS NOT DISTINCT WHERE prompt_name IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS job_results_idempotency_key ON job_results (user_id, idempotency_key)
    NULLS NOT DISTINCT WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_by_user ON job_results (user_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_job_results_recent ON job_results (created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_job_results_undispatched ON job_results (available_at)
    WHERE status = 'pending' AND dispatched_at IS NULL;
CREATE INDEX IF NOT EXISTS idx_job_results_lease ON job_results (lease_expires_at) WHERE status = 'running';
CREATE INDEX IF NOT EXISTS idx_job_results_flow_run ON job_results (flow_run_id) WHERE flow_run_id IS NOT NULL;

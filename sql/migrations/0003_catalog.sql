-- What servers offer: a state row for each server, and the cached tools, resources and prompts. The three caches are
-- documented tables: they are made anew or taken over. Their rows without a tool_name, uri or prompt_name were written
-- by others than the hub; they are replaced by the next refresh.

CREATE TABLE IF NOT EXISTS server_state (
    server_type              text NOT NULL
        CONSTRAINT server_state_known_server_type CHECK (server_type IN ('system', 'user')),
    server_ref_id            uuid NOT NULL,
    user_id                  uuid,
    name                     text NOT NULL,
    status                   text NOT NULL DEFAULT 'unknown'
        CONSTRAINT server_state_known_status CHECK (status IN ('unknown', 'ready', 'failing')),
    next_refresh_at          timestamptz NOT NULL DEFAULT now(),
    last_refresh_at          timestamptz,
    last_attempt_at          timestamptz,
    failures                 integer NOT NULL DEFAULT 0 CONSTRAINT server_state_failures CHECK (failures >= 0),
    last_error_code          text,
    protocol_version         text,
    server_info              jsonb,
    instructions             text,
    refresh_claim            uuid,
    refresh_lease_expires_at timestamptz,
    PRIMARY KEY (server_type, server_ref_id),
    CONSTRAINT server_state_system_has_no_owner CHECK (server_type = 'user' OR user_id IS NULL),
    CONSTRAINT server_state_claim_is_leased CHECK ((refresh_claim IS NULL) = (refresh_lease_expires_at IS NULL))
);
CREATE INDEX IF NOT EXISTS idx_server_state_ref ON server_state (server_ref_id);
CREATE INDEX IF NOT EXISTS idx_server_state_due ON server_state (next_refresh_at);

-- The parser of PostgreSQL takes `a.b`, `a/b` and `a-b` for hosts, files and compounds.
CREATE OR REPLACE FUNCTION nexus_words(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT regexp_replace(p_text, '[_./:-]+', ' ', 'g')
$$;

-- The words of a name such as getCurrent_HTTPTime: as they stand, and those in mixed case also taken apart.
CREATE OR REPLACE FUNCTION nexus_name_words(p_name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT nexus_words(p_name || ' ' || regexp_replace(
        regexp_replace(p_name, '([a-z0-9])([A-Z])', '\1 \2', 'g'), '([A-Z])([A-Z][a-z])', '\1 \2', 'g'))
$$;

-- What a tool is found by, its name first. Cut, since a tsvector takes 1 MB and an upstream may say anything.
CREATE OR REPLACE FUNCTION nexus_tool_search(
    p_namespaced_name text, p_tool_name text, p_title text, p_description text, p_definition jsonb
)
RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT setweight(to_tsvector('english', nexus_name_words(concat_ws(' ', t.name, t.title))), 'A')
        || setweight(to_tsvector('english', nexus_name_words(t.server)), 'B')
        || setweight(to_tsvector('english', nexus_words(t.description)), 'C')
        || setweight(to_tsvector('english', nexus_name_words(t.parameters)), 'D')
        || setweight(to_tsvector('english', nexus_words(t.parameter_descriptions)), 'D')
    FROM (SELECT
        left(p_tool_name, 2000) AS name,
        left(p_title, 2000) AS title,
        coalesce(split_part(left(p_namespaced_name, 2000), '__', 1), '') AS server,
        coalesce(left(p_description, 20000), '') AS description,
        coalesce(left(jsonb_path_query_array(
            p_definition, '$.inputSchema.properties.keyvalue().key', '{}', true)::text, 10000), '') AS parameters,
        coalesce(left(jsonb_path_query_array(
            p_definition, '$.inputSchema.properties.*.description', '{}', true)::text, 20000), ''
        ) AS parameter_descriptions
    ) AS t
$$;

-- No index on `search`: `@@` is not leakproof, so that row security has every visible row looked at before it, and how
-- rare a word is takes looking at all of them anyway.
CREATE TABLE IF NOT EXISTS tool_cache ();
ALTER TABLE tool_cache
    ADD COLUMN IF NOT EXISTS id              uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS server_ref_id   uuid,
    ADD COLUMN IF NOT EXISTS server_type     text,
    ADD COLUMN IF NOT EXISTS user_id         uuid,
    ADD COLUMN IF NOT EXISTS namespaced_name text NOT NULL,
    ADD COLUMN IF NOT EXISTS enabled         boolean NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS expires_at      timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    ADD COLUMN IF NOT EXISTS tool_name       text,
    ADD COLUMN IF NOT EXISTS title           text,
    ADD COLUMN IF NOT EXISTS description     text,
    ADD COLUMN IF NOT EXISTS definition      jsonb,
    ADD COLUMN IF NOT EXISTS updated_at      timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS stale           boolean NOT NULL DEFAULT false;
ALTER TABLE tool_cache
    ADD COLUMN IF NOT EXISTS search tsvector
        GENERATED ALWAYS AS (nexus_tool_search(namespaced_name, tool_name, title, description, definition)) STORED,
    ADD COLUMN IF NOT EXISTS definition_bytes integer
        GENERATED ALWAYS AS (octet_length(definition::text)) STORED;

CREATE TABLE IF NOT EXISTS resource_cache ();
ALTER TABLE resource_cache
    ADD COLUMN IF NOT EXISTS id            uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS server_ref_id uuid,
    ADD COLUMN IF NOT EXISTS server_type   text,
    ADD COLUMN IF NOT EXISTS user_id       uuid,
    ADD COLUMN IF NOT EXISTS expires_at    timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    ADD COLUMN IF NOT EXISTS uri           text,
    ADD COLUMN IF NOT EXISTS name          text,
    ADD COLUMN IF NOT EXISTS title         text,
    ADD COLUMN IF NOT EXISTS description   text,
    ADD COLUMN IF NOT EXISTS mime_type     text,
    ADD COLUMN IF NOT EXISTS definition    jsonb,
    ADD COLUMN IF NOT EXISTS is_template   boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS updated_at    timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS stale         boolean NOT NULL DEFAULT false;

CREATE TABLE IF NOT EXISTS prompt_cache ();
ALTER TABLE prompt_cache
    ADD COLUMN IF NOT EXISTS id              uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS server_ref_id   uuid,
    ADD COLUMN IF NOT EXISTS server_type     text,
    ADD COLUMN IF NOT EXISTS user_id         uuid,
    ADD COLUMN IF NOT EXISTS expires_at      timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    ADD COLUMN IF NOT EXISTS prompt_name     text,
    ADD COLUMN IF NOT EXISTS namespaced_name text,
    ADD COLUMN IF NOT EXISTS title           text,
    ADD COLUMN IF NOT EXISTS description     text,
    ADD COLUMN IF NOT EXISTS definition      jsonb,
    ADD COLUMN IF NOT EXISTS updated_at      timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS stale           boolean NOT NULL DEFAULT false;

INSERT INTO server_state (server_type, server_ref_id, user_id, name)
SELECT 'user', s.id, s.user_id, s.name FROM user_servers s
UNION ALL
SELECT 'system', s.id, NULL, s.name FROM system_servers s
ON CONFLICT DO NOTHING;

-- A cache that is taken over: its id is the key, entries that never expired are due, each says whose server it is of
-- and has that server's state row, and what the caches share is as documented.
DO $$
DECLARE
    v_cache regclass;
BEGIN
    FOREACH v_cache IN ARRAY '{tool_cache, resource_cache, prompt_cache}'::regclass[] LOOP
        PERFORM nexus_take_over_key(v_cache);
        EXECUTE format($sql$
            UPDATE %1$s SET expires_at = now() WHERE expires_at IS NULL;
            UPDATE %1$s SET server_type = CASE WHEN user_id IS NULL THEN 'system' ELSE 'user' END
            WHERE server_type IS NULL AND server_ref_id IS NOT NULL;
            ALTER TABLE %1$s
                ALTER COLUMN id SET DEFAULT gen_random_uuid(),
                ALTER COLUMN user_id DROP NOT NULL,
                ALTER COLUMN expires_at SET DEFAULT now() + interval '24 hours',
                ALTER COLUMN expires_at SET NOT NULL;
            INSERT INTO server_state (server_type, server_ref_id, user_id, name)
            SELECT DISTINCT ON (c.server_type, c.server_ref_id)
                c.server_type, c.server_ref_id, CASE c.server_type WHEN 'user' THEN c.user_id END,
                'server-' || left(c.server_ref_id::text, 8)
            FROM %1$s c
            WHERE c.server_type IS NOT NULL AND c.server_ref_id IS NOT NULL
            ORDER BY c.server_type, c.server_ref_id, c.user_id
            ON CONFLICT DO NOTHING;
        $sql$, v_cache);
    END LOOP;
END
$$;
UPDATE tool_cache SET enabled = true WHERE enabled IS NULL;
ALTER TABLE tool_cache
    ALTER COLUMN namespaced_name SET NOT NULL,
    ALTER COLUMN enabled SET DEFAULT true,
    ALTER COLUMN enabled SET NOT NULL;

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_constraint c WHERE c.conrelid = 'tool_cache'::regclass AND c.conname = 'tool_cache_server'
    ) THEN
        RETURN;
    END IF;
    ALTER TABLE tool_cache
        ADD CONSTRAINT tool_cache_server FOREIGN KEY (server_type, server_ref_id)
            REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE,
        ADD CONSTRAINT tool_cache_known_server_type CHECK (server_type IN ('system', 'user')),
        ADD CONSTRAINT tool_cache_entry CHECK (tool_name IS NULL OR (
            server_type IS NOT NULL AND server_ref_id IS NOT NULL AND definition IS NOT NULL
            AND length(namespaced_name) <= 64));
    ALTER TABLE resource_cache
        ADD CONSTRAINT resource_cache_server FOREIGN KEY (server_type, server_ref_id)
            REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE,
        ADD CONSTRAINT resource_cache_known_server_type CHECK (server_type IN ('system', 'user')),
        ADD CONSTRAINT resource_cache_entry CHECK (uri IS NULL OR (
            server_type IS NOT NULL AND server_ref_id IS NOT NULL AND definition IS NOT NULL));
    ALTER TABLE prompt_cache
        ADD CONSTRAINT prompt_cache_server FOREIGN KEY (server_type, server_ref_id)
            REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE,
        ADD CONSTRAINT prompt_cache_known_server_type CHECK (server_type IN ('system', 'user')),
        ADD CONSTRAINT prompt_cache_entry CHECK (prompt_name IS NULL OR (
            server_type IS NOT NULL AND server_ref_id IS NOT NULL AND definition IS NOT NULL
            AND namespaced_name IS NOT NULL AND length(namespaced_name) <= 64));
END
$$;

CREATE INDEX IF NOT EXISTS idx_tool_cache_expires ON tool_cache (expires_at) WHERE enabled;
CREATE INDEX IF NOT EXISTS idx_resource_cache_expires ON resource_cache (expires_at);
CREATE INDEX IF NOT EXISTS idx_prompt_cache_expires ON prompt_cache (expires_at);
CREATE UNIQUE INDEX IF NOT EXISTS tool_cache_server_tool_key ON tool_cache (server_type, server_ref_id, tool_name);
CREATE UNIQUE INDEX IF NOT EXISTS tool_cache_namespaced_name_key ON tool_cache (user_id, namespaced_name)
    NULLS NOT DISTINCT WHERE tool_name IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS resource_cache_server_uri_key ON resource_cache (server_type, server_ref_id, uri);
CREATE UNIQUE INDEX IF NOT EXISTS prompt_cache_server_prompt_key
    ON prompt_cache (server_type, server_ref_id, prompt_name);
CREATE UNIQUE INDEX IF NOT EXISTS prompt_cache_namespaced_name_key ON prompt_cache (user_id, namespaced_name)
    NULLS NOT DISTINCT WHERE prompt_name IS NOT NULL;

-- SECURITY DEFINER, since users only read state rows. Who removes a server removes all that is sealed of it.
CREATE OR REPLACE FUNCTION nexus_server_keep_state() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE TRIGGER keep_state AFTER INSERT OR DELETE OR UPDATE OF name ON system_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_keep_state('system');
CREATE OR REPLACE TRIGGER keep_state AFTER INSERT OR DELETE OR UPDATE OF name, user_id ON user_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_keep_state('user');

-- A cache entry put in by hand may name a server that the hub has no state of.
CREATE OR REPLACE FUNCTION nexus_cache_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON tool_cache
    FOR EACH ROW EXECUTE FUNCTION nexus_cache_before_write();
CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON resource_cache
    FOR EACH ROW EXECUTE FUNCTION nexus_cache_before_write();
CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE OF server_type, server_ref_id ON prompt_cache
    FOR EACH ROW EXECUTE FUNCTION nexus_cache_before_write();

-- Enabled servers that are due, by their state row or by an entry that ran out: not what rests after a failure, and not
-- what is being refreshed right now.
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

-- Whether what is of the system or of one user is seen by another user, or by the operator who looks at all users.
CREATE OR REPLACE FUNCTION nexus_is_seen_by(p_all_users boolean, p_user_id uuid, p_owner uuid) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_all_users OR p_owner IS NULL OR p_owner = p_user_id;

ALTER TABLE server_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE tool_cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE resource_cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE prompt_cache ENABLE ROW LEVEL SECURITY;

SELECT nexus_revoke_all('server_state', 'tool_cache', 'resource_cache', 'prompt_cache', 'nexus_words(text)',
    'nexus_name_words(text)', 'nexus_tool_search(text, text, text, text, jsonb)', 'nexus_server_keep_state()',
    'nexus_cache_before_write()', 'refresh_expired_cache_entries()', 'nexus_is_seen_by(boolean, uuid, uuid)');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON tool_cache, resource_cache, prompt_cache',
    'nexus_app', 'service_role');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON server_state', 'nexus_app');
SELECT nexus_grant('SELECT ON server_state', 'service_role');
SELECT nexus_grant('SELECT ON tool_cache, resource_cache, prompt_cache', 'authenticated');
SELECT nexus_grant('SELECT (server_type, server_ref_id, user_id) ON server_state', 'authenticated');
-- Who writes the cache runs the functions of its columns.
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_words(text), nexus_name_words(text), '
    'nexus_tool_search(text, text, text, text, jsonb), refresh_expired_cache_entries()', 'nexus_app', 'service_role');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_is_seen_by(boolean, uuid, uuid)', 'nexus_app');

SELECT nexus_service_policy('server_state', 'tool_cache', 'resource_cache', 'prompt_cache');
-- Users see what is of their own servers and of the system's. Of `authenticated` only the verified claims say who it
-- is, since anyone may set a nexus.* setting.
SELECT nexus_policy(t, p.name, p.role, 'SELECT', format(
    'user_id = (SELECT %1$s) OR '
    '(user_id IS NULL AND server_type IS DISTINCT FROM ''user'' AND (SELECT %1$s) IS NOT NULL)', p.asking))
FROM unnest('{server_state, tool_cache, resource_cache, prompt_cache}'::regclass[]) AS t
CROSS JOIN (VALUES
    ('nexus_own_read', 'nexus_app', 'nexus_current_user_id()'),
    ('authenticated_own_read', 'authenticated', 'nexus_claims_user_id()')) AS p (name, role, asking);
SELECT nexus_policy(t, 'service_role_all', 'service_role', 'ALL', 'true')
FROM unnest('{tool_cache, resource_cache, prompt_cache}'::regclass[]) AS t;
SELECT nexus_policy('server_state', 'service_role_read', 'service_role', 'SELECT', 'true');

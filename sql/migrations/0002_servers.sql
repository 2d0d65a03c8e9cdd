-- Upstream servers: the system's, and those of users. `user_servers` is one of the documented tables: it is made anew
-- or taken over from a database that has it already.

CREATE TABLE IF NOT EXISTS system_servers (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name             text NOT NULL CONSTRAINT system_servers_name_key UNIQUE,
    transport        text NOT NULL CONSTRAINT system_servers_known_transport CHECK (transport IN ('http', 'stdio')),
    config_encrypted bytea NOT NULL
        CONSTRAINT system_servers_sealed_length CHECK (octet_length(config_encrypted) >= 28),
    key_id           text NOT NULL CONSTRAINT system_servers_key_id CHECK (key_id ~ '^[0-9a-f]{8}$'),
    endpoint         text NOT NULL,
    limit_per_minute integer CONSTRAINT system_servers_limit CHECK (limit_per_minute > 0),
    user_limit_per_minute integer CONSTRAINT system_servers_user_limit CHECK (user_limit_per_minute > 0),
    enabled          boolean NOT NULL DEFAULT true,
    revision         bigint NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT system_servers_name_rule
        CHECK (name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$' AND name !~ '_$' AND length(name) <= 32)
);

CREATE TABLE IF NOT EXISTS user_servers ();
ALTER TABLE user_servers
    ADD COLUMN IF NOT EXISTS id               uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN IF NOT EXISTS user_id          uuid NOT NULL,
    ADD COLUMN IF NOT EXISTS config_encrypted bytea,
    ADD COLUMN IF NOT EXISTS name             text,
    ADD COLUMN IF NOT EXISTS transport        text NOT NULL DEFAULT 'http',
    ADD COLUMN IF NOT EXISTS key_id           text,
    ADD COLUMN IF NOT EXISTS endpoint         text,
    ADD COLUMN IF NOT EXISTS limit_per_minute integer,
    ADD COLUMN IF NOT EXISTS enabled          boolean NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS revision         bigint NOT NULL DEFAULT 1,
    ADD COLUMN IF NOT EXISTS created_at       timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at       timestamptz NOT NULL DEFAULT now();
SELECT nexus_take_over_key('user_servers');

-- Names: the slug of the old name, else 'server', then the first 8 hex digits of the id.
WITH numbered AS (
    SELECT id, name, row_number() OVER (PARTITION BY user_id, name ORDER BY id) AS place,
        trim(BOTH '-' FROM left(
            trim(BOTH '-' FROM regexp_replace(coalesce(name, ''), '[^A-Za-z0-9]+', '-', 'g')), 23)) AS slug
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

ALTER TABLE user_servers
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN user_id SET NOT NULL,
    ALTER COLUMN config_encrypted DROP NOT NULL,
    ALTER COLUMN name SET NOT NULL;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint c
        WHERE c.conrelid = 'user_servers'::regclass AND c.conname = 'user_servers_name_rule'
    ) THEN
        ALTER TABLE user_servers
            ADD CONSTRAINT user_servers_name_rule
                CHECK (name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$' AND name !~ '_$' AND length(name) <= 32),
            ADD CONSTRAINT user_servers_http_only CHECK (transport = 'http'),
            ADD CONSTRAINT user_servers_sealed_length CHECK (octet_length(config_encrypted) >= 28),
            ADD CONSTRAINT user_servers_key_id
                CHECK (key_id IS NULL OR (key_id ~ '^[0-9a-f]{8}$' AND config_encrypted IS NOT NULL)),
            ADD CONSTRAINT user_servers_limit CHECK (limit_per_minute > 0);
    END IF;
END
$$;

CREATE UNIQUE INDEX IF NOT EXISTS user_servers_user_id_name_key ON user_servers (user_id, name);
CREATE INDEX IF NOT EXISTS idx_user_servers_name ON user_servers (name);

-- A re-seal changes no server: with a new revision every connection to it would be made anew.
CREATE OR REPLACE FUNCTION nexus_server_before_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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

-- SECURITY DEFINER, since a user may not look into system_servers.
CREATE OR REPLACE FUNCTION nexus_server_check_name() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE ON system_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_before_write();
CREATE OR REPLACE TRIGGER before_write BEFORE INSERT OR UPDATE ON user_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_before_write();
CREATE OR REPLACE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON system_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_check_name('system');
CREATE OR REPLACE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON user_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_check_name('user');

-- Whether a server is the one that is meant by a name or an id; NULL means each.
CREATE OR REPLACE FUNCTION nexus_is_meant(p_ref text, p_name text, p_id uuid) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_ref IS NULL OR p_name = p_ref OR p_id::text = lower(p_ref);

ALTER TABLE system_servers ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_servers ENABLE ROW LEVEL SECURITY;

SELECT nexus_revoke_all('system_servers', 'user_servers', 'nexus_server_before_write()', 'nexus_server_check_name()',
    'nexus_is_meant(text, text, uuid)');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON system_servers', 'nexus_app');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON user_servers', 'nexus_app', 'service_role');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_is_meant(text, text, uuid)', 'nexus_app');
-- Sealed system servers stay shut.
SELECT nexus_grant('SELECT (id, name, transport, key_id, endpoint, limit_per_minute, user_limit_per_minute, enabled, '
    'revision, created_at, updated_at) ON system_servers', 'service_role');

SELECT nexus_service_policy('system_servers', 'user_servers');
SELECT nexus_policy('user_servers', 'nexus_own', 'nexus_app', 'ALL', 'user_id = (SELECT nexus_current_user_id())');
SELECT nexus_policy('user_servers', 'service_role_all', 'service_role', 'ALL', 'true');
SELECT nexus_policy('system_servers', 'service_role_read', 'service_role', 'SELECT', 'true');

-- The hub's logins at upstream servers: one for all, or one per user. What logs in is sealed; the rest says how it is.

-- `credentials` says whose login a call takes; `login_kind` that a server wants one at all.
ALTER TABLE system_servers
    ADD COLUMN IF NOT EXISTS credentials text NOT NULL DEFAULT 'shared',
    ADD COLUMN IF NOT EXISTS login_kind  text;
ALTER TABLE user_servers
    ADD COLUMN IF NOT EXISTS login_kind text;
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint c
        WHERE c.conrelid = 'system_servers'::regclass AND c.conname = 'system_servers_login_kind'
    ) THEN
        ALTER TABLE system_servers
            ADD CONSTRAINT system_servers_credentials CHECK (credentials IN ('shared', 'per-user')),
            ADD CONSTRAINT system_servers_login_kind CHECK (login_kind IN ('oauth', 'header'));
        ALTER TABLE user_servers
            ADD CONSTRAINT user_servers_login_kind CHECK (login_kind IN ('oauth', 'header'));
    END IF;
END
$$;

-- `user_id` NULL: the one login of a system server for all, or that of the owner of a user's server.
-- `revision` grows with what is sealed, but not when it goes under another key; `logged_in_at` only when somebody has
-- logged in. `refreshing_since`: an exchange was begun whose end is not known, which is then looked after soon: its
-- process may have died in the midst of it.
CREATE TABLE IF NOT EXISTS upstream_logins (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    server_type      text NOT NULL CONSTRAINT upstream_logins_known_server_type CHECK (server_type IN ('system', 'user')),
    server_ref_id    uuid NOT NULL,
    user_id          uuid,
    kind             text NOT NULL CONSTRAINT upstream_logins_kind CHECK (kind IN ('oauth', 'header')),
    sealed           bytea NOT NULL CONSTRAINT upstream_logins_sealed_length CHECK (octet_length(sealed) >= 28),
    key_id           text NOT NULL CONSTRAINT upstream_logins_key_id CHECK (key_id ~ '^[0-9a-f]{8}$'),
    state            text NOT NULL DEFAULT 'ready'
        CONSTRAINT upstream_logins_state CHECK (state IN ('ready', 'needed')),
    reason           text,
    scope            text,
    expires_at       timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    logged_in_at     timestamptz NOT NULL DEFAULT now(),
    refreshed_at     timestamptz,
    refreshing_since timestamptz,
    last_used_at     timestamptz,
    revision         bigint NOT NULL DEFAULT 1,
    CONSTRAINT upstream_logins_server_user_key UNIQUE NULLS NOT DISTINCT (server_type, server_ref_id, user_id)
);
CREATE INDEX IF NOT EXISTS idx_upstream_logins_user ON upstream_logins (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_upstream_logins_expires_at ON upstream_logins (expires_at)
    WHERE kind = 'oauth' AND state = 'ready';
CREATE INDEX IF NOT EXISTS idx_upstream_logins_refreshing ON upstream_logins (refreshing_since)
    WHERE refreshing_since IS NOT NULL;

-- Logins that somebody is about to do. Of the state in the address only the hash is kept, so that whoever reads the
-- table can't finish one. `user_id`: whose login it is to be; `began_by`: who may finish it, NULL being the operator.
CREATE TABLE IF NOT EXISTS login_requests (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    state_hash    bytea NOT NULL CONSTRAINT login_requests_state_hash_key UNIQUE
        CONSTRAINT login_requests_hash_length CHECK (octet_length(state_hash) = 32),
    server_type   text NOT NULL CONSTRAINT login_requests_known_server_type CHECK (server_type IN ('system', 'user')),
    server_ref_id uuid NOT NULL,
    user_id       uuid,
    began_by      uuid,
    sealed        bytea NOT NULL CONSTRAINT login_requests_sealed_length CHECK (octet_length(sealed) >= 28),
    key_id        text NOT NULL CONSTRAINT login_requests_key_id CHECK (key_id ~ '^[0-9a-f]{8}$'),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_login_requests_expires_at ON login_requests (expires_at);
CREATE INDEX IF NOT EXISTS idx_login_requests_server ON login_requests (server_type, server_ref_id);

-- A notice when somebody's calls may do otherwise than before; a refresh changes nothing of that. What is told of a
-- user's server is for its owner.
CREATE OR REPLACE FUNCTION nexus_login_after_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE TRIGGER after_write AFTER INSERT OR DELETE ON upstream_logins
    FOR EACH ROW EXECUTE FUNCTION nexus_login_after_write();
CREATE OR REPLACE TRIGGER after_update AFTER UPDATE ON upstream_logins
    FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state
        OR OLD.kind IS DISTINCT FROM NEW.kind
        OR OLD.logged_in_at IS DISTINCT FROM NEW.logged_in_at)
    EXECUTE FUNCTION nexus_login_after_write();

-- As before; what logs in at a server goes with it, and when it changes hands.
CREATE OR REPLACE FUNCTION nexus_server_keep_state() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- A user who is removed leaves none behind, with which a catalog would still be read. Users are no parents of such rows:
-- the ids may be those of another place's users.
CREATE OR REPLACE FUNCTION nexus_user_after_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM public.upstream_logins l WHERE l.user_id = OLD.id;
    DELETE FROM public.login_requests r WHERE r.user_id = OLD.id OR r.began_by = OLD.id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER after_delete AFTER DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION nexus_user_after_delete();

-- Rotations go over logins too: `server_type` is where a value lies, `server_ref_id` the id of its row.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint c
        WHERE c.conrelid = 'vault_backups'::regclass AND c.conname = 'vault_backups_known_place'
    ) THEN
        ALTER TABLE vault_backups
            DROP CONSTRAINT IF EXISTS vault_backups_known_server_type,
            ADD CONSTRAINT vault_backups_known_place CHECK (server_type IN ('system', 'user', 'login'));
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION rotate_vault_key() RETURNS TABLE (servers_updated integer, errors text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
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

ALTER TABLE upstream_logins ENABLE ROW LEVEL SECURITY;
ALTER TABLE login_requests ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('upstream_logins', 'login_requests', 'nexus_login_after_write()', 'nexus_user_after_delete()');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON upstream_logins, login_requests', 'nexus_app');
-- What rotate_vault_key() reads for service_role, and what it may know of servers.
SELECT nexus_grant('SELECT (id, key_id) ON upstream_logins', 'service_role');
SELECT nexus_grant('SELECT (credentials, login_kind) ON system_servers', 'service_role');

SELECT nexus_service_policy('upstream_logins', 'login_requests');
SELECT nexus_policy('upstream_logins', 'service_role_read', 'service_role', 'SELECT', 'true');

-- Key rotations, and the sealed bytes that they replaced.

-- `old_key_id` is the key that it comes from, `old_primary_key_id` the one that sealed until then; key ids only, keys
-- never come here. `restored_at`: it was taken back.
CREATE TABLE IF NOT EXISTS vault_rotations (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    old_key_id  text CONSTRAINT vault_rotations_old_key_id CHECK (old_key_id ~ '^[0-9a-f]{8}$'),
    old_primary_key_id text,
    new_key_id  text NOT NULL CONSTRAINT vault_rotations_new_key_id CHECK (new_key_id ~ '^[0-9a-f]{8}$'),
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    restored_at timestamptz,
    updated     integer NOT NULL DEFAULT 0,
    errors      text[] NOT NULL DEFAULT '{}',
    flow_run_id uuid
);

-- The newest bytes that rotations to one key replaced, and the SHA-256 of what they put in their place.
CREATE TABLE IF NOT EXISTS vault_backups (
    server_type      text NOT NULL CONSTRAINT vault_backups_known_server_type CHECK (server_type IN ('system', 'user')),
    server_ref_id    uuid NOT NULL,
    new_key_id       text NOT NULL,
    rotation_id      uuid NOT NULL REFERENCES vault_rotations,
    key_id           text,
    config_encrypted bytea NOT NULL,
    resealed_digest  bytea NOT NULL,
    taken_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (server_type, server_ref_id, new_key_id)
);
CREATE INDEX IF NOT EXISTS idx_vault_backups_rotation ON vault_backups (rotation_id);

ALTER TABLE vault_rotations ENABLE ROW LEVEL SECURITY;
ALTER TABLE vault_backups ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    v_role  text;
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['vault_rotations', 'vault_backups'] LOOP
        FOR v_role IN
            SELECT 'PUBLIC'
            UNION ALL
            SELECT quote_ident(r.rolname) FROM pg_roles r
            WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'nexus_app')
        LOOP
            EXECUTE format('REVOKE ALL ON TABLE %I FROM %s', v_table, v_role);
        END LOOP;
        EXECUTE format('DROP POLICY IF EXISTS nexus_service ON %I', v_table);
        EXECUTE format('CREATE POLICY nexus_service ON %I TO nexus_app '
            'USING ((SELECT nexus_scope_is_service())) WITH CHECK ((SELECT nexus_scope_is_service()))', v_table);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON vault_rotations, vault_backups TO nexus_app;

-- service_role: what rotate_vault_key() reads for it, and no more.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'service_role') THEN
        RETURN;
    END IF;
    GRANT SELECT (new_key_id, finished_at, restored_at) ON vault_rotations TO service_role;
    DROP POLICY IF EXISTS service_role_read ON vault_rotations;
    CREATE POLICY service_role_read ON vault_rotations FOR SELECT TO service_role USING (true);
END
$$;

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

-- SECURITY DEFINER, since users only read state rows. Who removes a server removes all that is sealed of it.
CREATE OR REPLACE FUNCTION nexus_server_keep_state() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_owner uuid;
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM server_state s WHERE s.server_type = TG_ARGV[0] AND s.server_ref_id = OLD.id;
        DELETE FROM vault_backups b WHERE b.server_type = TG_ARGV[0] AND b.server_ref_id = OLD.id;
        RETURN NULL;
    END IF;
    IF TG_ARGV[0] = 'user' THEN
        v_owner := NEW.user_id;
    END IF;
    INSERT INTO server_state AS s (server_type, server_ref_id, user_id, name)
    VALUES (TG_ARGV[0], NEW.id, v_owner, NEW.name)
    ON CONFLICT (server_type, server_ref_id) DO UPDATE SET user_id = excluded.user_id, name = excluded.name;
    RETURN NULL;
END
$$;

-- Counts what is sealed under the primary key and names the rest; keys never come here, so that the hub itself reseals
-- the rows. The primary is what the caller says, else where the last rotation that ended has led.
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

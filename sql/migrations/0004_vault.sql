-- Rotations of the vault's key, and the sealed bytes that they replaced. Only ids of keys, keys never come here.

-- `old_key_id` is the key that a rotation comes from, `old_primary_key_id` the one that sealed until then.
-- `restored_at`: it was taken back.
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

-- Whether a rotation seals a value under that key anew: all values but those of the new key, or only those of the old
-- one where it is named. A value without a key's id is sealed anew in any case.
CREATE OR REPLACE FUNCTION nexus_rotation_takes(p_key_id text, p_new_key_id text, p_old_key_id text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_key_id IS NULL OR (p_key_id <> p_new_key_id AND (p_old_key_id IS NULL OR p_key_id = p_old_key_id));

-- Counts what is sealed under the primary key and names the rest; keys never come here, so that the hub itself reseals
-- the rows. The primary is what the caller says, else where the last rotation that ended has led.
DROP FUNCTION IF EXISTS rotate_vault_key();
CREATE FUNCTION rotate_vault_key() RETURNS TABLE (servers_updated integer, errors text[])
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

ALTER TABLE vault_rotations ENABLE ROW LEVEL SECURITY;
ALTER TABLE vault_backups ENABLE ROW LEVEL SECURITY;

SELECT nexus_revoke_all('vault_rotations', 'vault_backups', 'nexus_rotation_takes(text, text, text)',
    'rotate_vault_key()');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON vault_rotations, vault_backups', 'nexus_app');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_rotation_takes(text, text, text)', 'nexus_app');
SELECT nexus_grant('EXECUTE ON FUNCTION rotate_vault_key()', 'nexus_app', 'service_role');
-- What rotate_vault_key() reads for service_role, and no more.
SELECT nexus_grant('SELECT (new_key_id, finished_at, restored_at) ON vault_rotations', 'service_role');

SELECT nexus_service_policy('vault_rotations', 'vault_backups');
SELECT nexus_policy('vault_rotations', 'service_role_read', 'service_role', 'SELECT', 'true');

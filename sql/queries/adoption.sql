-- Taking over the plain configs of a database of the seed's making: sealed, verified, then dropped.

-- name: has_plain_config
SELECT EXISTS (
    SELECT FROM pg_attribute a
    WHERE a.attrelid = 'user_servers'::regclass AND a.attname = 'config' AND NOT a.attisdropped
) AS has_plain_config;

-- name: lock_servers
LOCK TABLE user_servers IN SHARE ROW EXCLUSIVE MODE;

-- name: plain_configs
SELECT s.id, s.user_id, s.config, s.config_encrypted, s.key_id FROM user_servers s WHERE s.config IS NOT NULL ORDER BY s.id;

-- name: store_sealed_config
UPDATE user_servers SET config_encrypted = %(sealed)s, key_id = %(key_id)s WHERE id = %(id)s;

-- name: sealed_config
SELECT s.id, s.user_id, s.config, s.config_encrypted, s.key_id FROM user_servers s WHERE s.id = %(id)s;

-- name: drop_plain_config
ALTER TABLE user_servers DROP COLUMN config;

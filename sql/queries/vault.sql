-- The rotation of the vault's keys. A value without a key id is of the seed's making; only user servers have such.

-- name: last_rotation
SELECT id, old_key_id, new_key_id, started_at, finished_at, restored_at, updated, errors, flow_run_id
FROM vault_rotations
ORDER BY started_at DESC
LIMIT 1;

-- name: used_key_ids
-- Keys that were a primary at some time: a rotation does not go back to one unasked.
SELECT new_key_id AS key_id FROM vault_rotations
UNION
SELECT old_key_id FROM vault_rotations WHERE old_key_id IS NOT NULL
UNION
SELECT old_primary_key_id FROM vault_rotations WHERE old_primary_key_id IS NOT NULL
UNION
SELECT key_id FROM system_servers
UNION
SELECT key_id FROM user_servers WHERE key_id IS NOT NULL
UNION
SELECT key_id FROM upstream_logins;

-- name: begin_rotation
INSERT INTO vault_rotations (old_key_id, old_primary_key_id, new_key_id, flow_run_id)
VALUES (%(old_key_id)s, %(old_primary_key_id)s, %(new_key_id)s, %(flow_run_id)s)
RETURNING id;

-- name: resume_rotation
UPDATE vault_rotations SET flow_run_id = %(flow_run_id)s WHERE id = %(id)s RETURNING id;

-- name: finish_rotation
UPDATE vault_rotations
SET finished_at = clock_timestamp(), updated = %(updated)s, errors = %(errors)s, bound = %(bound)s
WHERE id = %(id)s
RETURNING old_key_id, new_key_id, extract(epoch FROM finished_at - started_at)::double precision AS seconds;

-- name: has_backups
SELECT rotation_id FROM vault_backups WHERE new_key_id = %(new_key_id)s LIMIT 1;

-- name: undo_rotations
-- A rotation of which a value was put back no longer counts.
UPDATE vault_rotations
SET restored_at = clock_timestamp()
WHERE restored_at IS NULL AND id IN (
    SELECT rotation_id FROM vault_backups
    WHERE server_type = %(server_type)s AND server_ref_id = ANY (%(ids)s::uuid[]) AND new_key_id = %(new_key_id)s
);

-- name: count_rotated
-- How many values a rotation has sealed anew so far.
SELECT count(*) AS rows FROM vault_backups WHERE rotation_id = %(rotation_id)s;

-- name: count_due
-- How many values are still to be sealed anew, but for those that failed.
SELECT (SELECT count(*) FROM system_servers
        WHERE nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s) AND id <> ALL (%(failed)s::uuid[]))
     + (SELECT count(*) FROM user_servers
        WHERE config_encrypted IS NOT NULL AND nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s)
          AND id <> ALL (%(failed)s::uuid[]))
     + (SELECT count(*) FROM upstream_logins
        WHERE nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s) AND id <> ALL (%(failed)s::uuid[])) AS rows;

-- name: due
-- Those values themselves.
SELECT 'system' AS place, id AS row_id
FROM system_servers
WHERE nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s)
  AND id <> ALL (%(failed)s::uuid[])
UNION ALL
SELECT 'user', id
FROM user_servers
WHERE config_encrypted IS NOT NULL AND nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s)
  AND id <> ALL (%(failed)s::uuid[])
UNION ALL
SELECT 'login', id
FROM upstream_logins
WHERE nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s)
  AND id <> ALL (%(failed)s::uuid[]);

-- name: take_due_system
-- The next values to seal anew, held until the transaction ends. What somebody else holds is left for a later pass.
SELECT id, NULL::uuid AS user_id, key_id, config_encrypted
FROM system_servers
WHERE nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s)
  AND id > %(after)s AND id <> ALL (%(failed)s::uuid[])
ORDER BY id
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED;

-- name: take_due_user
SELECT id, user_id, key_id, config_encrypted
FROM user_servers
WHERE config_encrypted IS NOT NULL AND nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s)
  AND id > %(after)s AND id <> ALL (%(failed)s::uuid[])
ORDER BY id
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED;

-- name: take_due_login
-- What is being renewed is held for the time of an exchange.
SELECT id, user_id, key_id, sealed AS config_encrypted
FROM upstream_logins
WHERE nexus_rotation_takes(key_id, %(new_key_id)s, %(old_key_id)s)
  AND id > %(after)s AND id <> ALL (%(failed)s::uuid[])
ORDER BY id
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED;

-- name: no_new_revision
-- Until the transaction ends, a change of sealed bytes is no change of a server, and rows are found by their ids: the
-- planner may take a batch for reason enough to read the whole table.
SELECT set_config('nexus.reseal', 'on', true), set_config('enable_seqscan', 'off', true);

-- name: reseal_system
-- Compare and set, with a backup of what is replaced.
WITH sealed AS (
    SELECT value.id, value.old, value.new
    FROM unnest(%(ids)s::uuid[], %(old)s::bytea[], %(new)s::bytea[]) AS value (id, old, new)
), backup AS (
    INSERT INTO vault_backups
        (server_type, server_ref_id, new_key_id, rotation_id, key_id, config_encrypted, resealed_digest)
    SELECT 'system', server.id, %(new_key_id)s, %(rotation_id)s, server.key_id, server.config_encrypted,
           sha256(sealed.new)
    FROM system_servers AS server JOIN sealed ON server.id = sealed.id AND server.config_encrypted = sealed.old
    ON CONFLICT (server_type, server_ref_id, new_key_id) DO UPDATE
    SET rotation_id = excluded.rotation_id, key_id = excluded.key_id, config_encrypted = excluded.config_encrypted,
        resealed_digest = excluded.resealed_digest, taken_at = excluded.taken_at
)
UPDATE system_servers AS server
SET config_encrypted = sealed.new, key_id = %(new_key_id)s
FROM sealed
WHERE server.id = sealed.id AND server.config_encrypted = sealed.old;

-- name: reseal_user
WITH sealed AS (
    SELECT value.id, value.old, value.new
    FROM unnest(%(ids)s::uuid[], %(old)s::bytea[], %(new)s::bytea[]) AS value (id, old, new)
), backup AS (
    INSERT INTO vault_backups
        (server_type, server_ref_id, new_key_id, rotation_id, key_id, config_encrypted, resealed_digest)
    SELECT 'user', server.id, %(new_key_id)s, %(rotation_id)s, server.key_id, server.config_encrypted,
           sha256(sealed.new)
    FROM user_servers AS server JOIN sealed ON server.id = sealed.id AND server.config_encrypted = sealed.old
    ON CONFLICT (server_type, server_ref_id, new_key_id) DO UPDATE
    SET rotation_id = excluded.rotation_id, key_id = excluded.key_id, config_encrypted = excluded.config_encrypted,
        resealed_digest = excluded.resealed_digest, taken_at = excluded.taken_at
)
UPDATE user_servers AS server
SET config_encrypted = sealed.new, key_id = %(new_key_id)s
FROM sealed
WHERE server.id = sealed.id AND server.config_encrypted = sealed.old;

-- name: reseal_login
WITH sealed AS (
    SELECT value.id, value.old, value.new
    FROM unnest(%(ids)s::uuid[], %(old)s::bytea[], %(new)s::bytea[]) AS value (id, old, new)
), backup AS (
    INSERT INTO vault_backups
        (server_type, server_ref_id, new_key_id, rotation_id, key_id, config_encrypted, resealed_digest)
    SELECT 'login', login.id, %(new_key_id)s, %(rotation_id)s, login.key_id, login.sealed, sha256(sealed.new)
    FROM upstream_logins AS login JOIN sealed ON login.id = sealed.id AND login.sealed = sealed.old
    ON CONFLICT (server_type, server_ref_id, new_key_id) DO UPDATE
    SET rotation_id = excluded.rotation_id, key_id = excluded.key_id, config_encrypted = excluded.config_encrypted,
        resealed_digest = excluded.resealed_digest, taken_at = excluded.taken_at
)
UPDATE upstream_logins AS login
SET sealed = sealed.new, key_id = %(new_key_id)s
FROM sealed
WHERE login.id = sealed.id AND login.sealed = sealed.old;

-- name: sealed_system
-- A page of all values with whether the rotation sealed them anew. A subquery with one value, which is asked for each
-- row; EXISTS would have all backups read for each page.
SELECT server.id, NULL::uuid AS user_id, server.key_id, server.config_encrypted,
       coalesce((
           SELECT backup.rotation_id = %(rotation_id)s::uuid FROM vault_backups AS backup
           WHERE backup.server_type = 'system' AND backup.server_ref_id = server.id
             AND backup.new_key_id = server.key_id
       ), false) AS rotated
FROM system_servers AS server
WHERE server.id > %(after)s
ORDER BY server.id
LIMIT %(limit)s;

-- name: sealed_user
SELECT server.id, server.user_id, server.key_id, server.config_encrypted,
       coalesce((
           SELECT backup.rotation_id = %(rotation_id)s::uuid FROM vault_backups AS backup
           WHERE backup.server_type = 'user' AND backup.server_ref_id = server.id
             AND backup.new_key_id = server.key_id
       ), false) AS rotated
FROM user_servers AS server
WHERE server.config_encrypted IS NOT NULL AND server.id > %(after)s
ORDER BY server.id
LIMIT %(limit)s;

-- name: sealed_login
SELECT login.id, login.user_id, login.key_id, login.sealed AS config_encrypted,
       coalesce((
           SELECT backup.rotation_id = %(rotation_id)s::uuid FROM vault_backups AS backup
           WHERE backup.server_type = 'login' AND backup.server_ref_id = login.id
             AND backup.new_key_id = login.key_id
       ), false) AS rotated
FROM upstream_logins AS login
WHERE login.id > %(after)s
ORDER BY login.id
LIMIT %(limit)s;

-- name: backups_system
-- A page of what rotations to a key replaced; `state` says what has become of it since.
SELECT backup.server_ref_id AS id, NULL::uuid AS user_id, backup.key_id, backup.config_encrypted,
       CASE
           WHEN server.config_encrypted = backup.config_encrypted THEN 'restored'
           WHEN server.key_id = %(new_key_id)s AND sha256(server.config_encrypted) = backup.resealed_digest
               THEN 'resealed'
           ELSE 'changed'
       END AS state
FROM vault_backups AS backup JOIN system_servers AS server ON server.id = backup.server_ref_id
WHERE backup.server_type = 'system' AND backup.new_key_id = %(new_key_id)s AND backup.server_ref_id > %(after)s
ORDER BY backup.server_ref_id
LIMIT %(limit)s
FOR NO KEY UPDATE OF server;

-- name: backups_user
SELECT backup.server_ref_id AS id, server.user_id, backup.key_id, backup.config_encrypted,
       CASE
           WHEN server.config_encrypted = backup.config_encrypted THEN 'restored'
           WHEN server.key_id = %(new_key_id)s AND sha256(server.config_encrypted) = backup.resealed_digest
               THEN 'resealed'
           ELSE 'changed'
       END AS state
FROM vault_backups AS backup JOIN user_servers AS server ON server.id = backup.server_ref_id
WHERE backup.server_type = 'user' AND backup.new_key_id = %(new_key_id)s AND backup.server_ref_id > %(after)s
ORDER BY backup.server_ref_id
LIMIT %(limit)s
FOR NO KEY UPDATE OF server;

-- name: backups_login
SELECT backup.server_ref_id AS id, login.user_id, backup.key_id, backup.config_encrypted,
       CASE
           WHEN login.sealed = backup.config_encrypted THEN 'restored'
           WHEN login.key_id = %(new_key_id)s AND sha256(login.sealed) = backup.resealed_digest THEN 'resealed'
           ELSE 'changed'
       END AS state
FROM vault_backups AS backup JOIN upstream_logins AS login ON login.id = backup.server_ref_id
WHERE backup.server_type = 'login' AND backup.new_key_id = %(new_key_id)s AND backup.server_ref_id > %(after)s
ORDER BY backup.server_ref_id
LIMIT %(limit)s
FOR NO KEY UPDATE OF login;

-- name: restore_system
UPDATE system_servers AS server
SET config_encrypted = backup.config_encrypted, key_id = backup.key_id
FROM vault_backups AS backup
WHERE backup.server_type = 'system' AND backup.new_key_id = %(new_key_id)s AND backup.server_ref_id = server.id
  AND server.id = ANY (%(ids)s::uuid[]);

-- name: restore_user
UPDATE user_servers AS server
SET config_encrypted = backup.config_encrypted, key_id = backup.key_id
FROM vault_backups AS backup
WHERE backup.server_type = 'user' AND backup.new_key_id = %(new_key_id)s AND backup.server_ref_id = server.id
  AND server.id = ANY (%(ids)s::uuid[]);

-- name: restore_login
UPDATE upstream_logins AS login
SET sealed = backup.config_encrypted, key_id = backup.key_id
FROM vault_backups AS backup
WHERE backup.server_type = 'login' AND backup.new_key_id = %(new_key_id)s AND backup.server_ref_id = login.id
  AND login.id = ANY (%(ids)s::uuid[]);

-- name: purge_backups
-- Those of a rotation that can still be resumed say what it has done so far.
DELETE FROM vault_backups AS backup
USING vault_rotations AS rotation
WHERE rotation.id = backup.rotation_id
  AND (rotation.finished_at IS NOT NULL OR rotation.started_at < (SELECT max(started_at) FROM vault_rotations))
  AND backup.taken_at < clock_timestamp() - make_interval(days => %(days)s);

-- name: rows_per_key
-- What is sealed under a key now, and since when it has been in use: a rotation to it began, or else the first of what it
-- seals was registered. A login that somebody is about to do goes under no other key: it is done or over in minutes.
SELECT key_id, coalesce(sum(sealed.rows), 0)::bigint AS rows,
       coalesce(min(rotation.started_at), min(sealed.since)) AS first_used_at, max(rotation.finished_at) AS rotated_at
FROM (
    SELECT value.key_id, count(*) AS rows, min(value.created_at) AS since
    FROM (
        SELECT key_id, created_at FROM system_servers
        UNION ALL
        SELECT key_id, created_at FROM user_servers WHERE config_encrypted IS NOT NULL
        UNION ALL
        SELECT key_id, created_at FROM upstream_logins
        UNION ALL
        SELECT key_id, created_at FROM login_requests WHERE expires_at > now()
    ) AS value
    GROUP BY value.key_id
) AS sealed
FULL JOIN (
    SELECT new_key_id AS key_id, min(started_at) AS started_at, max(finished_at) AS finished_at
    FROM vault_rotations
    GROUP BY new_key_id
) AS rotation USING (key_id)
GROUP BY key_id
ORDER BY key_id;

-- name: count_backups
SELECT count(*) AS rows FROM vault_backups;

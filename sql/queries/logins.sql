-- Logins at upstream servers. What is sealed leaves the database only through `read_login` and `lock_login`. How long a
-- token holds is reckoned by this clock alone, since those of the hub's processes may differ.

-- name: read_login
SELECT login.id, login.server_type, login.server_ref_id, login.user_id, login.kind, login.sealed, login.key_id,
       login.state, login.reason, login.revision,
       extract(epoch FROM login.expires_at - now())::float8 AS seconds_left,
       extract(epoch FROM login.expires_at - greatest(login.refreshed_at, login.logged_in_at))::float8 AS lifetime,
       login.refreshing_since IS NOT NULL AS refreshing
FROM upstream_logins AS login
WHERE login.server_type = %(server_type)s AND login.server_ref_id = %(server_ref_id)s
  AND login.user_id IS NOT DISTINCT FROM %(user_id)s;

-- name: mark_refreshing
-- Before a refresh token is sent: whoever finds this mark, and the row not locked, knows that an exchange was cut off.
-- Gives true if one was before.
WITH before AS (
    SELECT id, refreshing_since FROM upstream_logins
    WHERE id = %(id)s AND revision = %(revision)s AND state = 'ready'
    FOR NO KEY UPDATE
)
UPDATE upstream_logins AS login
SET refreshing_since = clock_timestamp()
FROM before
WHERE login.id = before.id
RETURNING before.refreshing_since IS NOT NULL;

-- name: lock_login
-- The row is held until the transaction ends, so that of all processes one alone exchanges a refresh token.
SELECT login.id, login.server_type, login.server_ref_id, login.user_id, login.kind, login.sealed, login.key_id,
       login.state, login.reason, login.revision,
       extract(epoch FROM login.expires_at - clock_timestamp())::float8 AS seconds_left,
       extract(epoch FROM login.expires_at - greatest(login.refreshed_at, login.logged_in_at))::float8 AS lifetime,
       login.refreshing_since IS NOT NULL AS refreshing
FROM upstream_logins AS login
WHERE login.id = %(id)s
FOR NO KEY UPDATE;

-- name: keep_refreshed
UPDATE upstream_logins
SET sealed = %(sealed)s, key_id = %(key_id)s,
    expires_at = clock_timestamp() + make_interval(secs => %(seconds_left)s::float8),
    refreshed_at = clock_timestamp(), refreshing_since = NULL, revision = revision + 1
WHERE id = %(id)s AND revision = %(revision)s;

-- name: clear_mark
UPDATE upstream_logins SET refreshing_since = NULL WHERE id = %(id)s AND revision = %(revision)s;

-- name: need_login
-- Nobody sends what is sealed any more, until somebody logs in anew.
UPDATE upstream_logins
SET state = 'needed', reason = %(reason)s, refreshing_since = NULL
WHERE id = %(id)s AND revision = %(revision)s;

-- name: lock_system_server
-- A server that is being removed takes its logins with it, and none is added to it meanwhile.
SELECT id FROM system_servers WHERE id = %(id)s FOR KEY SHARE;

-- name: lock_user_server
SELECT id FROM user_servers WHERE id = %(id)s FOR KEY SHARE;

-- name: id_of_login
SELECT id FROM upstream_logins
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND user_id IS NOT DISTINCT FROM %(user_id)s;

-- name: store_login
-- No row if somebody else was quicker and has made one of another id.
INSERT INTO upstream_logins AS login
    (id, server_type, server_ref_id, user_id, kind, sealed, key_id, scope, expires_at, logged_in_at)
VALUES (%(id)s, %(server_type)s, %(server_ref_id)s, %(user_id)s, %(kind)s, %(sealed)s, %(key_id)s, %(scope)s,
        clock_timestamp() + make_interval(secs => %(seconds_left)s::float8), clock_timestamp())
ON CONFLICT ON CONSTRAINT upstream_logins_server_user_key DO UPDATE
SET kind = excluded.kind, sealed = excluded.sealed, key_id = excluded.key_id, scope = excluded.scope,
    expires_at = excluded.expires_at, logged_in_at = excluded.logged_in_at, refreshed_at = NULL,
    refreshing_since = NULL, state = 'ready', reason = NULL, revision = login.revision + 1
WHERE login.id = excluded.id
RETURNING id;

-- name: remove_login
-- Gives what it was, for the authorization server to be told.
DELETE FROM upstream_logins AS login
WHERE login.server_type = %(server_type)s AND login.server_ref_id = %(server_ref_id)s
  AND login.user_id IS NOT DISTINCT FROM %(user_id)s
RETURNING login.id, login.server_type, login.server_ref_id, login.user_id, login.kind, login.sealed, login.key_id,
          login.state, login.reason, login.revision,
          extract(epoch FROM login.expires_at - now())::float8 AS seconds_left,
          extract(epoch FROM login.expires_at - greatest(login.refreshed_at, login.logged_in_at))::float8 AS lifetime,
          login.refreshing_since IS NOT NULL AS refreshing;

-- name: want_scope
-- The next login asks for these scopes too; those that there are still do.
UPDATE upstream_logins
SET scope = %(scope)s, reason = %(reason)s
WHERE id = %(id)s AND (scope IS DISTINCT FROM %(scope)s OR reason IS DISTINCT FROM %(reason)s);

-- name: forget_scope
-- The next login asks for what the server says of itself.
UPDATE upstream_logins SET scope = NULL
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND user_id IS NOT DISTINCT FROM %(user_id)s;

-- name: scope_of_login
SELECT scope FROM upstream_logins WHERE id = %(id)s;

-- name: list_logins
-- Those that a user may know of: own ones and those that are for all; the operator sees all. `mine` leaves others out.
SELECT login.id, login.server_type, login.server_ref_id, login.user_id, login.kind, login.state, login.reason,
       login.scope, login.expires_at, login.logged_in_at, login.refreshed_at, login.last_used_at
FROM upstream_logins AS login
LEFT JOIN user_servers AS own ON login.server_type = 'user' AND own.id = login.server_ref_id
WHERE nexus_is_seen_by(%(all_users)s, %(user_id)s, coalesce(login.user_id, own.user_id))
  AND (%(server_ref_id)s::uuid IS NULL OR login.server_ref_id = %(server_ref_id)s)
ORDER BY login.server_ref_id, login.user_id NULLS FIRST
LIMIT %(limit)s;

-- name: login_for_catalog
-- Whose login a server's catalog is read with: the one for all, else that of who used it last.
SELECT user_id FROM upstream_logins
WHERE server_type = %(server_type)s AND server_ref_id = %(server_ref_id)s AND state = 'ready'
ORDER BY user_id IS NOT NULL, last_used_at DESC NULLS LAST, logged_in_at DESC
LIMIT 1;

-- name: note_use
-- What is locked is being renewed, and is noted the next time.
UPDATE upstream_logins SET last_used_at = now()
WHERE id IN (SELECT id FROM upstream_logins WHERE id = ANY (%(ids)s::uuid[]) FOR NO KEY UPDATE SKIP LOCKED);

-- name: due_logins
-- What ends soon and is used often; what ended is renewed by whoever uses it next. Not of servers that are off.
SELECT server_type, server_ref_id, user_id
FROM upstream_logins
WHERE kind = 'oauth' AND state = 'ready'
  AND expires_at BETWEEN now() AND now() + make_interval(secs => %(ahead_seconds)s::float8)
  AND last_used_at > now() - make_interval(secs => %(used_seconds)s::float8)
  AND server_ref_id NOT IN (SELECT id FROM system_servers WHERE NOT enabled
                            UNION ALL
                            SELECT id FROM user_servers WHERE NOT enabled)
ORDER BY expires_at
LIMIT %(limit)s;

-- name: interrupted_logins
-- Exchanges that nobody is at any more, though their end was not noted.
SELECT id, server_type, server_ref_id, user_id, refreshing_since
FROM upstream_logins
WHERE refreshing_since IS NOT NULL AND state = 'ready'
ORDER BY refreshing_since
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED;

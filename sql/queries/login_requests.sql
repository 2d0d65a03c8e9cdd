-- Logins that somebody is about to do. Of a state only the hash is here; what is sealed leaves with the row, once.

-- name: begin_login
-- What has expired goes, a few at a time, and so does what the same person began and did not finish, beyond a number.
WITH old AS (
    DELETE FROM login_requests
    WHERE id = ANY (ARRAY(
        SELECT id FROM login_requests WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED
    ))
), spare AS (
    DELETE FROM login_requests
    WHERE id = ANY (ARRAY(
        SELECT id FROM login_requests
        WHERE began_by IS NOT DISTINCT FROM %(began_by)s::uuid
        ORDER BY expires_at DESC
        OFFSET %(most)s - 1
    ))
)
INSERT INTO login_requests
    (id, state_hash, server_type, server_ref_id, user_id, began_by, sealed, key_id, expires_at)
VALUES (%(id)s, %(state_hash)s, %(server_type)s, %(server_ref_id)s, %(user_id)s, %(began_by)s, %(sealed)s, %(key_id)s,
        now() + make_interval(secs => %(seconds)s::float8))
RETURNING expires_at;

-- name: take_login
-- Once, whoever asks: a state that was seen by the wrong one is good for nothing more.
DELETE FROM login_requests
WHERE state_hash = %(state_hash)s AND expires_at > now()
RETURNING id, server_type, server_ref_id, user_id, began_by, sealed, key_id,
          extract(epoch FROM expires_at - now())::float8 AS seconds;

-- Users as an outside issuer names them: service scope only.

-- name: find_identity
-- And whether there is something to note: other groups, or a minute since the subject was seen.
SELECT user_id,
       groups <> %(groups)s::text[]
           OR seen_at IS NULL
           OR seen_at < now() - make_interval(secs => %(seen_seconds)s) AS is_unnoted
FROM user_identities
WHERE issuer = %(issuer)s AND subject = %(subject)s;

-- name: note_identity
UPDATE user_identities SET groups = %(groups)s::text[], seen_at = now()
WHERE issuer = %(issuer)s AND subject = %(subject)s;

-- name: lock_subject
-- Of several processes that see a subject for the first time, one alone makes a user.
SELECT pg_advisory_xact_lock(hashtextextended('nexus-hub subject' || %(issuer)s || chr(10) || %(subject)s, 0));

-- name: add_named_user
-- No user of that name is taken over: there is none to give where it is taken.
INSERT INTO users (name) VALUES (%(name)s)
ON CONFLICT (name) DO NOTHING
RETURNING id;

-- name: add_identity
INSERT INTO user_identities (issuer, subject, user_id, groups, seen_at)
VALUES (%(issuer)s, %(subject)s, %(user_id)s, %(groups)s::text[], now());

-- name: map_subject
-- None where the subject stands for another user already.
INSERT INTO user_identities AS identity (issuer, subject, user_id)
SELECT %(issuer)s, %(subject)s, users.id FROM users WHERE users.id = %(user_id)s
ON CONFLICT (issuer, subject) DO UPDATE SET subject = excluded.subject
WHERE identity.user_id = excluded.user_id
RETURNING id, issuer, subject, groups, created_at, seen_at;

-- name: list_identities
SELECT id, issuer, subject, groups, created_at, seen_at
FROM user_identities
WHERE user_id = %(user_id)s
ORDER BY created_at, id;

-- name: remove_identity
DELETE FROM user_identities WHERE id = %(id)s AND user_id = %(user_id)s;

-- name: has_user
SELECT EXISTS (SELECT FROM users WHERE id = %(user_id)s);

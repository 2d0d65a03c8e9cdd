-- Sessions of the console and links that open one: service scope only.

-- name: open_session
-- For a user's token, or for the operator if there is a mark of the key, in place of the session of another cookie. What
-- ended long ago goes, and so does what the same holder has too many of.
WITH old AS (
    DELETE FROM console_sessions
    WHERE id = ANY (ARRAY(
        SELECT id FROM console_sessions WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED
    ))
), holder AS (
    SELECT api_tokens.id AS token_id, NULL::bytea AS key_mark
    FROM api_tokens
    WHERE api_tokens.token_hash = %(token_hash)s
    UNION ALL
    SELECT NULL, %(key_mark)s::bytea
    WHERE %(key_mark)s::bytea IS NOT NULL
), replaced AS (
    DELETE FROM console_sessions
    WHERE cookie_hash = %(before_hash)s AND EXISTS (SELECT FROM holder)
), spare AS (
    DELETE FROM console_sessions
    WHERE id = ANY (ARRAY(
        SELECT sessions.id FROM console_sessions AS sessions
        JOIN holder ON sessions.token_id = holder.token_id OR sessions.key_mark = holder.key_mark
        ORDER BY sessions.last_seen_at DESC
        OFFSET %(most)s - 1
    ))
)
INSERT INTO console_sessions (cookie_hash, token_id, key_mark, expires_at)
SELECT %(cookie_hash)s, holder.token_id, holder.key_mark,
       now() + make_interval(secs => least(%(idle_seconds)s::float8, %(longest_seconds)s::float8))
FROM holder;

-- name: make_link
-- Likewise.
WITH old AS (
    DELETE FROM console_links
    WHERE code_hash = ANY (ARRAY(
        SELECT code_hash FROM console_links WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED
    ))
), holder AS (
    SELECT api_tokens.id AS token_id, NULL::bytea AS key_mark
    FROM api_tokens
    WHERE api_tokens.token_hash = %(token_hash)s
    UNION ALL
    SELECT NULL, %(key_mark)s::bytea
    WHERE %(key_mark)s::bytea IS NOT NULL
), spare AS (
    DELETE FROM console_links
    WHERE code_hash = ANY (ARRAY(
        SELECT links.code_hash FROM console_links AS links
        JOIN holder ON links.token_id = holder.token_id OR links.key_mark = holder.key_mark
        ORDER BY links.expires_at DESC
        OFFSET %(most)s - 1
    ))
)
INSERT INTO console_links (code_hash, token_id, key_mark, expires_at)
SELECT %(code_hash)s, holder.token_id, holder.key_mark, now() + make_interval(secs => %(seconds)s)
FROM holder
RETURNING expires_at;

-- name: make_user_link
-- Likewise for a user, who need not have a token.
WITH old AS (
    DELETE FROM console_links
    WHERE code_hash = ANY (ARRAY(
        SELECT code_hash FROM console_links WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED
    ))
), spare AS (
    DELETE FROM console_links
    WHERE code_hash = ANY (ARRAY(
        SELECT code_hash FROM console_links WHERE user_id = %(user_id)s
        ORDER BY expires_at DESC
        OFFSET %(most)s - 1
    ))
)
INSERT INTO console_links (code_hash, user_id, expires_at)
SELECT %(code_hash)s, users.id, now() + make_interval(secs => %(seconds)s)
FROM users
WHERE users.id = %(user_id)s
RETURNING expires_at;

-- name: use_link
-- Opens a session with a link, which is gone then. A link whose holder is no longer good opens one that is not either.
WITH used AS (
    DELETE FROM console_links
    WHERE code_hash = %(code_hash)s AND expires_at > now()
    RETURNING token_id, key_mark, user_id
), replaced AS (
    DELETE FROM console_sessions
    WHERE cookie_hash = %(before_hash)s AND EXISTS (SELECT FROM used)
), spare AS (
    DELETE FROM console_sessions
    WHERE id = ANY (ARRAY(
        SELECT sessions.id FROM console_sessions AS sessions
        JOIN used ON sessions.token_id = used.token_id OR sessions.key_mark = used.key_mark
            OR sessions.user_id = used.user_id
        ORDER BY sessions.last_seen_at DESC
        OFFSET %(most)s - 1
    ))
)
INSERT INTO console_sessions (cookie_hash, token_id, key_mark, user_id, expires_at)
SELECT %(cookie_hash)s, used.token_id, used.key_mark, used.user_id,
       now() + make_interval(secs => least(%(idle_seconds)s::float8, %(longest_seconds)s::float8))
FROM used;

-- name: find_session
SELECT console_sessions.id, console_sessions.expires_at, users.id AS user_id, users.name,
       api_tokens.scopes,
       console_sessions.last_seen_at < now() - make_interval(secs => %(seen_seconds)s) AS is_unseen
FROM console_sessions
LEFT JOIN api_tokens ON api_tokens.id = console_sessions.token_id
LEFT JOIN users ON users.id = coalesce(api_tokens.user_id, console_sessions.user_id)
WHERE console_sessions.cookie_hash = %(cookie_hash)s
  AND console_sessions.expires_at > now()
  AND (console_sessions.key_mark = %(key_mark)s
       OR api_tokens.revoked_at IS NULL AND users.id IS NOT NULL
          AND (api_tokens.expires_at IS NULL OR api_tokens.expires_at > now()));

-- name: note_session_seen
UPDATE console_sessions
SET last_seen_at = now(),
    expires_at = least(
        now() + make_interval(secs => %(idle_seconds)s), created_at + make_interval(secs => %(longest_seconds)s)
    )
WHERE id = %(id)s
RETURNING expires_at;

-- name: close_session
DELETE FROM console_sessions WHERE cookie_hash = %(cookie_hash)s;

-- name: name_user
SELECT name FROM users WHERE id = %(user_id)s;

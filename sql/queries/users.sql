-- Users and their tokens: service scope only.

-- name: user_of_token
-- And for how long it goes on to be good, in seconds: infinity, unless it has an end.
SELECT api_tokens.id, api_tokens.user_id, api_tokens.scopes,
       coalesce(extract(epoch FROM api_tokens.expires_at - now())::float8, 'infinity') AS seconds_left,
       coalesce(api_tokens.last_used_at < now() - make_interval(secs => %(used_seconds)s), true) AS is_unseen
FROM api_tokens
WHERE api_tokens.token_hash = %(token_hash)s
  AND api_tokens.revoked_at IS NULL
  AND (api_tokens.expires_at IS NULL OR api_tokens.expires_at > now());

-- name: add_user
INSERT INTO users (name) VALUES (%(name)s)
RETURNING id, name, created_at;

-- name: list_users
SELECT users.id, users.name, users.created_at,
       (SELECT count(*) FROM api_tokens
        WHERE api_tokens.user_id = users.id AND api_tokens.revoked_at IS NULL
          AND (api_tokens.expires_at IS NULL OR api_tokens.expires_at > now())) AS tokens,
       (SELECT count(*)
        FROM (SELECT FROM job_results AS job
              WHERE job.user_id = users.id AND nexus_is_live(job.status)
              LIMIT %(most_jobs)s) AS open) AS open_jobs,
       (SELECT job.created_at FROM job_results AS job
        WHERE job.user_id = users.id
        ORDER BY job.created_at DESC, job.id DESC
        LIMIT 1) AS last_job_at
FROM users
ORDER BY users.name;

-- name: find_user
SELECT id FROM users WHERE name = %(name)s;

-- name: lock_user
-- One token of a user is made at a time, so that their number is bounded.
SELECT id FROM users WHERE id = %(user_id)s FOR NO KEY UPDATE;

-- name: count_tokens
SELECT count(*) FILTER (WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())) AS good,
       count(*) FILTER (WHERE revoked_at IS NOT NULL OR expires_at <= now()) AS over
FROM api_tokens
WHERE user_id = %(user_id)s;

-- name: remove_old_tokens
-- Of the tokens that are over, the last ones stay.
DELETE FROM api_tokens
WHERE id = ANY (ARRAY(
    SELECT id FROM api_tokens
    WHERE user_id = %(user_id)s AND (revoked_at IS NOT NULL OR expires_at <= now())
    ORDER BY coalesce(revoked_at, expires_at) DESC
    OFFSET %(most)s
));

-- name: add_token
INSERT INTO api_tokens (user_id, token_hash, name, scopes, expires_at)
VALUES (%(user_id)s, %(token_hash)s, %(name)s, %(scopes)s, %(expires_at)s)
RETURNING id, name, scopes, created_at, expires_at, last_used_at, revoked_at;

-- name: list_tokens
SELECT id, name, scopes, created_at, expires_at, last_used_at, revoked_at
FROM api_tokens
WHERE user_id = %(user_id)s
ORDER BY created_at DESC, id
LIMIT %(most)s;

-- name: note_tokens_used
-- Rows that another process writes just now are written by it.
UPDATE api_tokens SET last_used_at = now()
WHERE id = ANY (ARRAY(
    SELECT id FROM api_tokens
    WHERE id = ANY (%(ids)s)
      AND (last_used_at IS NULL OR last_used_at < now() - make_interval(secs => %(used_seconds)s))
    FOR NO KEY UPDATE SKIP LOCKED
));

-- name: revoke_token
-- One that is over stays as it is.
UPDATE api_tokens
SET revoked_at = CASE
        WHEN revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) THEN now()
        ELSE revoked_at
    END
WHERE user_id = %(user_id)s AND id = %(id)s
RETURNING id, name, scopes, created_at, expires_at, last_used_at, revoked_at;

-- name: revoke_tokens
-- With all else that lets the user in, or a client in the user's name.
WITH links AS (
    DELETE FROM console_links WHERE user_id = %(user_id)s
), sessions AS (
    DELETE FROM console_sessions WHERE user_id = %(user_id)s
), grants AS (
    DELETE FROM oauth_grants WHERE user_id = %(user_id)s
)
UPDATE api_tokens SET revoked_at = now()
WHERE user_id = %(user_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

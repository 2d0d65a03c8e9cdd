-- Users and their tokens: service scope only.

-- name: user_of_token
SELECT api_tokens.user_id
FROM api_tokens
WHERE api_tokens.token_hash = %(token_hash)s
  AND api_tokens.revoked_at IS NULL
  AND (api_tokens.expires_at IS NULL OR api_tokens.expires_at > now());

-- name: add_user
INSERT INTO users (name) VALUES (%(name)s)
RETURNING id, name, created_at;

-- name: list_users
SELECT users.id, users.name, users.created_at,
       count(api_tokens.id) FILTER (
           WHERE api_tokens.revoked_at IS NULL AND (api_tokens.expires_at IS NULL OR api_tokens.expires_at > now())
       ) AS tokens
FROM users LEFT JOIN api_tokens ON api_tokens.user_id = users.id
GROUP BY users.id
ORDER BY users.name;

-- name: find_user
SELECT id FROM users WHERE name = %(name)s;

-- name: add_token
INSERT INTO api_tokens (user_id, token_hash)
SELECT id, %(token_hash)s FROM users WHERE name = %(user)s OR id::text = lower(%(user)s);

-- name: revoke_tokens
UPDATE api_tokens SET revoked_at = now() 
WHERE user_id = %(user_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

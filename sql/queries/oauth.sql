-- The built-in authorization server: service scope only.

-- name: find_client
-- `is_stale`: its document was read so long ago that it is read again before a person is asked.
SELECT id, name, redirect_uris, grant_types, secret_hash, is_document, used_at IS NOT NULL AS is_used,
       read_at < now() - make_interval(secs => %(fresh_seconds)s) AS is_stale
FROM oauth_clients
WHERE id = %(client_id)s;

-- name: make_room
-- For one more client: those that nobody has used for a day go, and so do the oldest unused ones where there are too
-- many, of this address or in all; in all also those whose last grant has ended. Says how many unused ones of this
-- address are left, and how many clients in all.
WITH bounds AS (
    SELECT (SELECT count(*) FROM oauth_clients) >= %(most)s AS is_full,
           (SELECT count(*) FROM oauth_clients WHERE address = %(address)s AND used_at IS NULL)
               >= %(most_of_address)s AS is_address_full
), gone AS (
    DELETE FROM oauth_clients
    WHERE id = ANY (ARRAY(
        SELECT client.id
        FROM oauth_clients AS client, bounds
        WHERE client.used_at IS NULL
          AND (client.read_at < now() - interval '1 day'
               OR client.read_at < now() - make_interval(secs => %(spared_seconds)s)
                  AND (bounds.is_full OR bounds.is_address_full AND client.address = %(address)s))
           OR bounds.is_full
          AND greatest(client.used_at, client.read_at) < now() - make_interval(secs => %(spared_seconds)s)
          AND NOT EXISTS (SELECT FROM oauth_grants AS grant_row WHERE grant_row.client_id = client.id)
        ORDER BY client.used_at IS NOT NULL, client.read_at
        LIMIT 100
        FOR UPDATE OF client SKIP LOCKED
    ))
    RETURNING address, used_at
)
SELECT (SELECT count(*) FROM oauth_clients WHERE address = %(address)s AND used_at IS NULL)
           - (SELECT count(*) FROM gone WHERE address = %(address)s AND used_at IS NULL) AS of_address,
       (SELECT count(*) FROM oauth_clients) - (SELECT count(*) FROM gone) AS in_all;

-- name: keep_client
-- One that is there already is a document that was read anew.
INSERT INTO oauth_clients (id, name, redirect_uris, grant_types, secret_hash, is_document, address)
VALUES (%(id)s, %(name)s, %(redirect_uris)s, %(grant_types)s, %(secret_hash)s, %(is_document)s, %(address)s)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, redirect_uris = excluded.redirect_uris, grant_types = excluded.grant_types, read_at = now()
WHERE oauth_clients.is_document;

-- name: add_request
-- In place of the oldest ones, of the same address or of all, where those are too many.
WITH spare AS (
    (SELECT id FROM oauth_requests WHERE address = %(address)s ORDER BY expires_at DESC OFFSET %(most)s - 1)
    UNION
    (SELECT id FROM oauth_requests ORDER BY expires_at DESC OFFSET %(most_in_all)s - 1)
), gone AS (
    DELETE FROM oauth_requests
    WHERE id = ANY (ARRAY(
        SELECT id FROM oauth_requests WHERE id IN (SELECT id FROM spare) FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO oauth_requests (
    client_id, redirect_uri, redirect_given, state, code_challenge, scopes, resource, issuer, address, expires_at
)
VALUES (
    %(client_id)s, %(redirect_uri)s, %(redirect_given)s, %(state)s, %(code_challenge)s, %(scopes)s, %(resource)s,
    %(issuer)s, %(address)s, now() + make_interval(secs => %(seconds)s)
)
RETURNING id;

-- name: find_request
SELECT request.id, request.client_id, client.name AS client_name, client.is_document, request.redirect_uri,
       request.state, request.scopes, request.resource, request.issuer, request.expires_at
FROM oauth_requests AS request
JOIN oauth_clients AS client ON client.id = request.client_id
WHERE request.id = %(request_id)s AND request.expires_at > now();

-- name: drop_request
DELETE FROM oauth_requests WHERE id = %(request_id)s AND expires_at > now();

-- name: grant
-- Once: the request goes, and what the holder has granted to too many goes, the least used first.
WITH request AS (
    DELETE FROM oauth_requests WHERE id = %(request_id)s AND expires_at > now()
    RETURNING client_id, redirect_uri, redirect_given, code_challenge, resource
), client AS (
    UPDATE oauth_clients SET used_at = now() WHERE id = (SELECT client_id FROM request)
), spare AS (
    DELETE FROM oauth_grants
    WHERE id = ANY (ARRAY(
        SELECT id FROM oauth_grants
        WHERE user_id = %(user_id)s::uuid OR key_mark = %(key_mark)s::bytea
        ORDER BY last_used_at DESC
        OFFSET %(most)s - 1
    )) AND EXISTS (SELECT FROM request)
), made AS (
    INSERT INTO oauth_grants (user_id, key_mark, client_id, scopes, resource, expires_at)
    SELECT %(user_id)s::uuid, %(key_mark)s::bytea, client_id, %(scopes)s::text[], resource, now() + make_interval(secs => %(seconds)s)
    FROM request
    RETURNING id, expires_at
)
INSERT INTO oauth_tokens (
    token_hash, grant_id, kind, scopes, redirect_uri, redirect_given, code_challenge, expires_at
)
SELECT %(code_hash)s::bytea, made.id, 'code', %(scopes)s::text[], request.redirect_uri, request.redirect_given,
       request.code_challenge, made.expires_at
FROM made, request;

-- name: lock_family
-- What happens to one family of tokens happens one after the other: each looks at it as the one before has left it.
SELECT id FROM oauth_grants
WHERE id = (SELECT grant_id FROM oauth_tokens WHERE token_hash = %(token_hash)s)
FOR UPDATE;

-- name: find_token
SELECT token.grant_id, token.kind, token.scopes, token.redirect_uri, token.redirect_given, token.code_challenge,
       extract(epoch FROM token.expires_at)::float8 AS expires_at, token.expires_at <= now() AS is_over,
       token.used_at IS NOT NULL AS is_used,
       coalesce(token.used_at > now() - make_interval(secs => %(grace_seconds)s), false) AS is_repeated,
       grant_row.client_id, grant_row.resource, grant_row.user_id
FROM oauth_tokens AS token
JOIN oauth_grants AS grant_row ON grant_row.id = token.grant_id
WHERE token.token_hash = %(token_hash)s
  AND (grant_row.key_mark IS NULL OR grant_row.key_mark = %(key_mark)s);

-- name: use_token
UPDATE oauth_tokens SET used_at = now() WHERE token_hash = %(token_hash)s;

-- name: add_token
INSERT INTO oauth_tokens (token_hash, grant_id, kind, scopes, expires_at)
VALUES (%(token_hash)s, %(grant_id)s, %(kind)s, %(scopes)s, now() + make_interval(secs => %(seconds)s));

-- name: trim_grant
-- The oldest of too many tokens go, however fast their client refreshes.
DELETE FROM oauth_tokens
WHERE token_hash = ANY (ARRAY(
    SELECT token_hash FROM oauth_tokens WHERE grant_id = %(grant_id)s ORDER BY created_at DESC OFFSET %(most)s
));

-- name: prolong_grant
UPDATE oauth_grants
SET last_used_at = now(), expires_at = now() + make_interval(secs => %(seconds)s)
WHERE id = %(grant_id)s;

-- name: count_live
-- Of the tokens that a request gave, those that are as they were then.
SELECT count(*) AS live
FROM oauth_tokens
WHERE grant_id = %(grant_id)s AND token_hash = ANY (%(hashes)s) AND used_at IS NULL AND expires_at > now();

-- name: end_grant
DELETE FROM oauth_grants
WHERE id = %(grant_id)s
  AND (%(is_any)s OR user_id = %(user_id)s::uuid OR key_mark = %(key_mark)s::bytea);

-- name: list_grants
SELECT grant_row.id, grant_row.user_id, users.name AS user_name, grant_row.client_id, client.name AS client_name,
       client.is_document, client.redirect_uris, grant_row.scopes, grant_row.resource, grant_row.created_at,
       grant_row.last_used_at, grant_row.expires_at
FROM oauth_grants AS grant_row
JOIN oauth_clients AS client ON client.id = grant_row.client_id
LEFT JOIN users ON users.id = grant_row.user_id
WHERE grant_row.expires_at > now()
  AND (%(is_any)s AND grant_row.key_mark IS NULL
       OR grant_row.user_id = %(user_id)s::uuid OR grant_row.key_mark = %(key_mark)s::bytea)
ORDER BY grant_row.last_used_at DESC, grant_row.id
LIMIT %(most)s;

-- name: find_access
-- Whose a token is, and that it is used: written down once in so many seconds, by one at a time.
WITH token AS (
    SELECT token.grant_id, token.scopes, grant_row.user_id, grant_row.resource,
           extract(epoch FROM token.expires_at - now())::float8 AS seconds_left
    FROM oauth_tokens AS token
    JOIN oauth_grants AS grant_row ON grant_row.id = token.grant_id
    WHERE token.token_hash = %(token_hash)s AND token.kind = 'access'
      AND (grant_row.key_mark IS NULL OR grant_row.key_mark = %(key_mark)s)
), seen AS (
    UPDATE oauth_grants SET last_used_at = now()
    WHERE id = ANY (ARRAY(
        SELECT grant_row.id FROM oauth_grants AS grant_row
        JOIN token ON token.grant_id = grant_row.id AND token.seconds_left > 0
        WHERE grant_row.last_used_at < now() - make_interval(secs => %(seen_seconds)s)
        FOR UPDATE OF grant_row SKIP LOCKED
    ))
)
SELECT user_id, scopes, resource, seconds_left FROM token;

-- name: purge
-- What is over, some at a time; how much. A used refresh token stays as long as it would have been good: whoever sends
-- it again ends its family.
WITH tokens AS (
    DELETE FROM oauth_tokens
    WHERE token_hash = ANY (ARRAY(
        SELECT token_hash FROM oauth_tokens WHERE expires_at < now() ORDER BY expires_at LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
), grants AS (
    DELETE FROM oauth_grants
    WHERE id = ANY (ARRAY(
        SELECT id FROM oauth_grants WHERE expires_at < now() ORDER BY expires_at LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
), requests AS (
    DELETE FROM oauth_requests
    WHERE id = ANY (ARRAY(
        SELECT id FROM oauth_requests WHERE expires_at < now() ORDER BY expires_at LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
), clients AS (
    DELETE FROM oauth_clients
    WHERE id = ANY (ARRAY(
        SELECT client.id FROM oauth_clients AS client
        WHERE coalesce(client.used_at + make_interval(days => %(client_days)s), client.read_at + interval '1 day')
              < now()
          AND NOT EXISTS (SELECT FROM oauth_grants AS grant_row WHERE grant_row.client_id = client.id)
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
)
SELECT (SELECT count(*) FROM tokens) + (SELECT count(*) FROM grants) + (SELECT count(*) FROM requests)
       + (SELECT count(*) FROM clients) AS purged;

-- The built-in authorization server: clients, what they ask of a person, and what was granted to them. Of codes, tokens
-- and the clients' secrets only hashes are kept. What a grant gave goes with it, which is what ends a family of tokens.

-- A client that has registered itself, or one whose id is the address of the document that describes it.
CREATE TABLE IF NOT EXISTS oauth_clients (
    id            text PRIMARY KEY CONSTRAINT oauth_clients_id_length CHECK (length(id) BETWEEN 1 AND 2000),
    name          text NOT NULL,
    redirect_uris text[] NOT NULL,
    grant_types   text[] NOT NULL,
    secret_hash   text,
    is_document   boolean NOT NULL,
    address       text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    read_at       timestamptz NOT NULL DEFAULT now(),
    used_at       timestamptz
);
CREATE INDEX IF NOT EXISTS idx_oauth_clients_unused ON oauth_clients (read_at) WHERE used_at IS NULL;
CREATE INDEX IF NOT EXISTS idx_oauth_clients_address ON oauth_clients (address) WHERE used_at IS NULL;

-- What waits for a person's consent.
CREATE TABLE IF NOT EXISTS oauth_requests (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_id      text NOT NULL REFERENCES oauth_clients ON DELETE CASCADE,
    redirect_uri   text NOT NULL,
    redirect_given boolean NOT NULL,
    state          text NOT NULL,
    code_challenge text NOT NULL,
    scopes         text[] NOT NULL,
    resource       text NOT NULL,
    issuer         text NOT NULL,
    address        text NOT NULL,
    expires_at     timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_oauth_requests_client ON oauth_requests (client_id);
CREATE INDEX IF NOT EXISTS idx_oauth_requests_address ON oauth_requests (address);
CREATE INDEX IF NOT EXISTS idx_oauth_requests_expires_at ON oauth_requests (expires_at);

-- A client may act for a user, or for the operator: as long as the key is the one of which `key_mark` is derived.
CREATE TABLE IF NOT EXISTS oauth_grants (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid REFERENCES users ON DELETE CASCADE,
    key_mark     bytea,
    client_id    text NOT NULL REFERENCES oauth_clients ON DELETE CASCADE,
    scopes       text[] NOT NULL,
    resource     text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    CONSTRAINT oauth_grants_holder CHECK (num_nonnulls(user_id, key_mark) = 1)
);
CREATE INDEX IF NOT EXISTS idx_oauth_grants_user ON oauth_grants (user_id);
CREATE INDEX IF NOT EXISTS idx_oauth_grants_client ON oauth_grants (client_id);
CREATE INDEX IF NOT EXISTS idx_oauth_grants_expires_at ON oauth_grants (expires_at);

CREATE TABLE IF NOT EXISTS oauth_tokens (
    token_hash     bytea PRIMARY KEY CONSTRAINT oauth_tokens_hash_length CHECK (octet_length(token_hash) = 32),
    grant_id       uuid NOT NULL REFERENCES oauth_grants ON DELETE CASCADE,
    kind           text NOT NULL CONSTRAINT oauth_tokens_known_kind CHECK (kind IN ('code', 'access', 'refresh')),
    scopes         text[] NOT NULL,
    redirect_uri   text,
    redirect_given boolean,
    code_challenge text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    used_at        timestamptz,
    CONSTRAINT oauth_tokens_code CHECK (
        (kind = 'code') = (num_nonnulls(redirect_uri, redirect_given, code_challenge) = 3)
    )
);
CREATE INDEX IF NOT EXISTS idx_oauth_tokens_grant ON oauth_tokens (grant_id);
CREATE INDEX IF NOT EXISTS idx_oauth_tokens_expires_at ON oauth_tokens (expires_at);

-- An access token that was good and is so no longer, as with the tokens of users.
CREATE OR REPLACE TRIGGER notify_delete AFTER DELETE ON oauth_tokens
    FOR EACH ROW
    WHEN (OLD.kind = 'access' AND OLD.expires_at > now())
    EXECUTE FUNCTION nexus_tokens_notify();
CREATE OR REPLACE TRIGGER notify_truncate AFTER TRUNCATE ON oauth_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_tokens_notify();

-- Links and sessions may stand for a user as such, who need not have a token.
ALTER TABLE console_sessions ADD COLUMN IF NOT EXISTS user_id uuid;
ALTER TABLE console_links ADD COLUMN IF NOT EXISTS user_id uuid;
ALTER TABLE console_sessions DROP CONSTRAINT IF EXISTS console_sessions_holder;
ALTER TABLE console_links DROP CONSTRAINT IF EXISTS console_links_holder;
ALTER TABLE console_sessions ADD CONSTRAINT console_sessions_holder
    CHECK (num_nonnulls(token_id, key_mark, user_id) = 1);
ALTER TABLE console_links ADD CONSTRAINT console_links_holder CHECK (num_nonnulls(token_id, key_mark, user_id) = 1);

ALTER TABLE oauth_clients ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_tokens ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('oauth_clients', 'oauth_requests', 'oauth_grants', 'oauth_tokens');
SELECT nexus_grant(
    'SELECT, INSERT, UPDATE, DELETE ON oauth_clients, oauth_requests, oauth_grants, oauth_tokens', 'nexus_app'
);
SELECT nexus_service_policy('oauth_clients', 'oauth_requests', 'oauth_grants', 'oauth_tokens');

-- Sessions of the console, and links that open one. Both stand for a user's token or for the operator's key, and are
-- good as long as that is: revoking the token, or changing the key, ends them. Both are looked up together, so that there
-- is no foreign key, which would keep tokens from being truncated.

-- Of a cookie only the hash is kept. `key_mark` is derived from the operator's key, and says nothing about it.
CREATE TABLE IF NOT EXISTS console_sessions (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    cookie_hash  bytea NOT NULL CONSTRAINT console_sessions_cookie_hash_key UNIQUE
        CONSTRAINT console_sessions_hash_length CHECK (octet_length(cookie_hash) = 32),
    token_id     uuid,
    key_mark     bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    CONSTRAINT console_sessions_holder CHECK ((token_id IS NULL) <> (key_mark IS NULL))
);
CREATE INDEX IF NOT EXISTS idx_console_sessions_expires_at ON console_sessions (expires_at);

-- A link is used by deleting it, so that of several processes one alone opens a session with it.
CREATE TABLE IF NOT EXISTS console_links (
    code_hash  bytea PRIMARY KEY CONSTRAINT console_links_hash_length CHECK (octet_length(code_hash) = 32),
    token_id   uuid,
    key_mark   bytea,
    expires_at timestamptz NOT NULL,
    CONSTRAINT console_links_holder CHECK ((token_id IS NULL) <> (key_mark IS NULL))
);
CREATE INDEX IF NOT EXISTS idx_console_links_expires_at ON console_links (expires_at);

ALTER TABLE console_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE console_links ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('console_sessions', 'console_links');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON console_sessions, console_links', 'nexus_app');
SELECT nexus_service_policy('console_sessions', 'console_links');

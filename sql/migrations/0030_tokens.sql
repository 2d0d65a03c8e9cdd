-- Tokens have names, are good for some of what their user may do (scopes NULL: for all of it), and tell when they were
-- used last.
ALTER TABLE api_tokens
    ADD COLUMN IF NOT EXISTS name text
        CONSTRAINT api_tokens_name_rule CHECK (length(name) BETWEEN 1 AND 100),
    ADD COLUMN IF NOT EXISTS scopes text[]
        CONSTRAINT api_tokens_known_scopes
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['tools:list', 'tools:call', 'jobs', 'admin']),
    ADD COLUMN IF NOT EXISTS last_used_at timestamptz;

-- As before, and when a token is good for other scopes.
CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON api_tokens
    FOR EACH ROW
    WHEN (OLD.user_id IS DISTINCT FROM NEW.user_id
        OR OLD.token_hash IS DISTINCT FROM NEW.token_hash
        OR OLD.revoked_at IS DISTINCT FROM NEW.revoked_at
        OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
        OR OLD.scopes IS DISTINCT FROM NEW.scopes)
    EXECUTE FUNCTION nexus_tokens_notify();

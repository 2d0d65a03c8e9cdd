-- The users whom an outside issuer names: a subject of an issuer stands for one user. What its tokens said last of the
-- user's groups stays for those who look at the user while no token is at hand.
CREATE TABLE IF NOT EXISTS user_identities (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    issuer     text NOT NULL,
    subject    text NOT NULL,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    groups     text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz,
    CONSTRAINT user_identities_subject_key UNIQUE (issuer, subject),
    CONSTRAINT user_identities_lengths CHECK (length(issuer) <= 2048 AND length(subject) BETWEEN 1 AND 255)
);
CREATE INDEX IF NOT EXISTS idx_user_identities_user ON user_identities (user_id);

-- A token is trusted for a moment after it was looked up: who it stands for is told at once, as for API tokens.
CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON user_identities
    FOR EACH ROW
    WHEN (OLD.user_id IS DISTINCT FROM NEW.user_id
        OR OLD.issuer IS DISTINCT FROM NEW.issuer
        OR OLD.subject IS DISTINCT FROM NEW.subject)
    EXECUTE FUNCTION nexus_tokens_notify();
CREATE OR REPLACE TRIGGER notify_delete AFTER DELETE ON user_identities
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_tokens_notify();
CREATE OR REPLACE TRIGGER notify_truncate AFTER TRUNCATE ON user_identities
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_tokens_notify();

ALTER TABLE user_identities ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('user_identities');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON user_identities', 'nexus_app');
SELECT nexus_service_policy('user_identities');

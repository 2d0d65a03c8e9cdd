-- The hub's one file as it was applied last, without its secrets: whatever was changed by hand since is told by it.
-- `document`: by section and name, the members that had been said, each with its value, or null if that is a secret.
CREATE TABLE IF NOT EXISTS applied_configuration (
    is_only    boolean PRIMARY KEY DEFAULT true CONSTRAINT applied_configuration_one_row CHECK (is_only),
    document   jsonb NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE applied_configuration ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('applied_configuration');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON applied_configuration', 'nexus_app');
SELECT nexus_service_policy('applied_configuration');

-- The state of each alert that a webhook was told of last: it is told once per change. Without a row: `OK`.
CREATE TABLE IF NOT EXISTS alert_states (
    name    text PRIMARY KEY,
    status  text NOT NULL,
    told_at timestamptz NOT NULL DEFAULT now()
);

SELECT nexus_revoke_all('alert_states');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON alert_states', 'nexus_app');
ALTER TABLE alert_states ENABLE ROW LEVEL SECURITY;
SELECT nexus_service_policy('alert_states');

-- States that clients gave back with their answers: each is good for one use, whichever process of the hub gets it. It
-- is kept a minute beyond its end, for clocks that differ.
CREATE TABLE IF NOT EXISTS used_states (
    id         uuid PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_used_states_expires_at ON used_states (expires_at);

SELECT nexus_revoke_all('used_states');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON used_states', 'nexus_app');
ALTER TABLE used_states ENABLE ROW LEVEL SECURITY;
SELECT nexus_service_policy('used_states');

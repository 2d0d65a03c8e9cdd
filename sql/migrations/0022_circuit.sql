-- The circuit of a server, as the processes of the hub share it: open while the server gives no sign of life. One that
-- is open and whose time is over is half-open: the next call finds out.
ALTER TABLE server_state
    ADD COLUMN IF NOT EXISTS circuit       text NOT NULL DEFAULT 'closed',
    ADD COLUMN IF NOT EXISTS circuit_since timestamptz,
    ADD COLUMN IF NOT EXISTS circuit_until timestamptz;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint c
        WHERE c.conrelid = 'server_state'::regclass AND c.conname = 'server_state_known_circuit'
    ) THEN
        ALTER TABLE server_state
            ADD CONSTRAINT server_state_known_circuit CHECK (circuit IN ('closed', 'open'));
    END IF;
END
$$;

CREATE INDEX IF NOT EXISTS idx_server_state_circuit ON server_state (circuit_until) WHERE circuit = 'open';

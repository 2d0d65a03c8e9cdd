-- States of requests that wait for input, and were used.

-- name: use_state
-- The first to write it uses it; what nobody can use any more goes.
WITH old AS (
    DELETE FROM used_states
    WHERE id = ANY (ARRAY(
        SELECT id FROM used_states WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO used_states (id, expires_at) VALUES (%(id)s, %(expires_at)s::timestamptz + interval '1 minute')
ON CONFLICT DO NOTHING;

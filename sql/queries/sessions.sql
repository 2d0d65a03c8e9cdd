-- Sessions of /mcp that several processes get requests of.

-- name: tell_of_session
-- The process that keeps the session hears of it.
SELECT pg_notify('nexus_sessions', %(session)s);

-- What a migration needs beside the migrations themselves. One session at a time holds the lock.

-- name: prepare
SET search_path = public;
SET client_min_messages = warning;

-- name: lock
SELECT pg_advisory_lock(hashtextextended('nexus.migrate', 0));

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended('nexus.migrate', 0));

-- name: bound_locks
-- Less than PostgreSQL's deadlock_timeout, so that of two that wait for each other the migration gives way.
SET LOCAL lock_timeout = '900ms';

-- name: has_ledger
SELECT to_regclass('public.schema_migrations') IS NOT NULL AS has_ledger;

-- name: create_ledger
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: applied
SELECT m.version, m.name, m.checksum FROM schema_migrations m ORDER BY m.version;

-- name: newest
SELECT coalesce(max(m.version), 0) AS newest FROM schema_migrations m;

-- name: record
INSERT INTO schema_migrations (version, name, checksum) VALUES (%(version)s, %(name)s, %(checksum)s);

-- name: app_role
SELECT current_user = %(login)s AS owns,
    EXISTS (SELECT FROM pg_roles r WHERE r.rolname = %(login)s) AS found,
    EXISTS (
        SELECT FROM pg_auth_members m
        WHERE m.roleid = to_regrole('nexus_app') AND m.member = to_regrole(quote_ident(%(login)s))
    ) AS member;

-- name: grant_app_role
SELECT format('GRANT nexus_app TO %%I', %(login)s::text) AS statement;

-- The roles and databases of the embedded PostgreSQL, made or mended at each start by its superuser.
-- Statements that can't take parameters are written by the server itself, by format(), and then run.

-- name: role_statement
-- %(verifier)s is a SCRAM verifier, so that no password travels or is logged.
SELECT format(
    CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = %(role)s::text) THEN 'ALTER' ELSE 'CREATE' END
        || ' ROLE %%I WITH LOGIN NOSUPERUSER NOBYPASSRLS NOREPLICATION NOCREATEDB %%s PASSWORD %%L',
    %(role)s::text,
    CASE WHEN %(createrole)s::boolean THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
    %(verifier)s::text
) AS statement;

-- name: database_statement
SELECT format('CREATE DATABASE %%I OWNER %%I', %(database)s::text, %(owner)s::text) AS statement
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = %(database)s::text);

-- name: close_databases
-- Roles enter only the database they are for: the owner of each may, PUBLIC may not.
REVOKE CONNECT, TEMPORARY ON DATABASE hub, prefect, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE hub TO nexus_hub;

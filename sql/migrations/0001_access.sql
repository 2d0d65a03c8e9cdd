-- Who may do what: the group role of the app, how rights are taken and given, who asks, and the hub's own users.
-- Each table's rights and policies stand in the migration that makes it, so that none is ever open in between.
-- pg_temp comes last in every search path: left out, it would be searched first. What runs with the owner's rights
-- (SECURITY DEFINER) also leaves out public, and names its tables in full.

-- The group role that holds the app's rights; login roles become members of it. Roles that others make (anon,
-- authenticated, service_role) are only looked after where they exist.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'nexus_app') THEN
        CREATE ROLE nexus_app NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL; -- made at the same time for another database of this server
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'The role nexus_app does not exist, and % may not create it.', current_user
            USING ERRCODE = 'NX002', HINT = 'Run as an administrator: CREATE ROLE nexus_app NOLOGIN;';
END
$$;

-- Whoever can create objects in a schema can put them in front of those that a query means.
DO $$
BEGIN
    IF pg_has_role((SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'public'), 'USAGE') THEN
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    END IF;
END
$$;

-- Takes every right on these tables, views and functions from everybody but their owner: default privileges may have
-- given them away when they were made. A function is named with the types of its parameters.
CREATE OR REPLACE FUNCTION nexus_revoke_all(VARIADIC p_objects text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_object text;
    v_role   text;
BEGIN
    FOREACH v_object IN ARRAY p_objects LOOP
        v_object := CASE WHEN v_object LIKE '%(%' THEN 'FUNCTION ' || v_object::regprocedure
            ELSE 'TABLE ' || v_object::regclass END;
        FOR v_role IN
            SELECT 'PUBLIC'
            UNION ALL
            SELECT quote_ident(r.rolname) FROM pg_roles r
            WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'nexus_app')
        LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', v_object, v_role);
        END LOOP;
    END LOOP;
END
$$;

-- Gives a right, such as 'SELECT ON job_results', to those of the roles that exist.
CREATE OR REPLACE FUNCTION nexus_grant(p_right text, VARIADIC p_roles text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_role text;
BEGIN
    FOR v_role IN SELECT r.rolname FROM pg_roles r WHERE r.rolname = ANY (p_roles) LOOP
        EXECUTE format('GRANT %s TO %I', p_right, v_role);
    END LOOP;
END
$$;

-- Makes a policy anew, if its role exists. Without p_check, what may be written is what may be seen.
CREATE OR REPLACE FUNCTION nexus_policy(
    p_table regclass, p_name text, p_role text, p_command text, p_using text, p_check text DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = p_role) THEN
        RETURN;
    END IF;
    EXECUTE format('DROP POLICY IF EXISTS %I ON %s', p_name, p_table);
    EXECUTE format('CREATE POLICY %I ON %s FOR %s TO %I', p_name, p_table, p_command, p_role)
        || coalesce(' USING (' || p_using || ')', '') || coalesce(' WITH CHECK (' || p_check || ')', '');
END
$$;

-- In service scope the app sees and writes everything. The sub-select is evaluated once per query, not once per row.
CREATE OR REPLACE FUNCTION nexus_service_policy(VARIADIC p_tables regclass[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM nexus_policy(t, 'nexus_service', 'nexus_app', 'ALL', '(SELECT nexus_scope_is_service())')
    FROM unnest(p_tables) AS t;
END
$$;

-- The id as the primary key of a table that is taken over; a key over a nullable user is none. A table without an id
-- has none at all.
CREATE OR REPLACE FUNCTION nexus_take_over_key(p_table regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_id  int2 := (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = p_table AND a.attname = 'id');
    v_key pg_constraint;
BEGIN
    SELECT * INTO v_key FROM pg_constraint c WHERE c.conrelid = p_table AND c.contype = 'p';
    IF v_key.conkey IS DISTINCT FROM ARRAY[v_id] THEN
        IF v_key.conname IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', p_table, v_key.conname);
        END IF;
        IF v_id IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (id)', p_table);
        END IF;
    END IF;
END
$$;

-- A text as a uuid, NULL unless it is written as one. As all functions of this form it is part of the plan of the query
-- that calls it, and what it calls is fixed when it is made, whatever the search path of the caller is.
CREATE OR REPLACE FUNCTION nexus_uuid(p_text text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN p_text ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN p_text::uuid
END;

-- Who asks. The app says it once per transaction; a setting that ended with its transaction reads as ''.
CREATE OR REPLACE FUNCTION nexus_scope_is_service() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(current_setting('nexus.scope', true), '') = 'service'
$$;

-- The subject of the JWT that an API gateway in front of the database has verified; NULL unless it is a uuid.
CREATE OR REPLACE FUNCTION nexus_claims_user_id() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_claims text := nullif(current_setting('request.jwt.claims', true), '');
BEGIN
    IF v_claims IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        RETURN (v_claims::jsonb ->> 'sub')::uuid;
    EXCEPTION WHEN data_exception OR untranslatable_character THEN
        RETURN NULL;
    END;
END
$$;

CREATE OR REPLACE FUNCTION nexus_current_user_id() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_user_id text := nullif(current_setting('nexus.user_id', true), '');
BEGIN
    IF v_user_id IS NULL THEN
        RETURN nexus_claims_user_id();
    END IF;
    IF coalesce(current_setting('nexus.scope', true), '') <> 'user' THEN
        RETURN NULL;
    END IF;
    RETURN nexus_uuid(v_user_id);
END
$$;

CREATE TABLE IF NOT EXISTS users (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text NOT NULL CONSTRAINT users_name_key UNIQUE
        CONSTRAINT users_name_rule CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]*$' AND length(name) <= 64),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS api_tokens (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash bytea NOT NULL CONSTRAINT api_tokens_token_hash_key UNIQUE
        CONSTRAINT api_tokens_hash_length CHECK (octet_length(token_hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    expires_at timestamptz
);
CREATE INDEX IF NOT EXISTS idx_api_tokens_user ON api_tokens (user_id);

-- The migrations that were applied; `nexus-hub migrate` makes it before the first of them.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY;

SELECT nexus_revoke_all('users', 'api_tokens', 'schema_migrations', 'nexus_revoke_all(text[])',
    'nexus_grant(text, text[])', 'nexus_policy(regclass, text, text, text, text, text)',
    'nexus_service_policy(regclass[])', 'nexus_take_over_key(regclass)', 'nexus_uuid(text)',
    'nexus_scope_is_service()', 'nexus_claims_user_id()', 'nexus_current_user_id()');
SELECT nexus_grant('USAGE ON SCHEMA public', 'nexus_app', 'service_role', 'authenticated');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON users, api_tokens', 'nexus_app');
SELECT nexus_grant('SELECT ON schema_migrations', 'nexus_app');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_scope_is_service(), nexus_current_user_id()', 'nexus_app');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_claims_user_id()', 'nexus_app', 'authenticated');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_uuid(text)', 'nexus_app', 'service_role', 'authenticated');

SELECT nexus_service_policy('users', 'api_tokens');
SELECT nexus_policy('schema_migrations', 'nexus_read', 'nexus_app', 'SELECT', 'true');

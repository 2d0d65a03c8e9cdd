-- Who may use what of the system's servers: groups of users, bundles of tools, and what a group is granted. What nobody
-- says anything of is as the hub's default has it: open to every user, or closed.

CREATE TABLE IF NOT EXISTS hub_settings (
    is_only boolean PRIMARY KEY DEFAULT true CONSTRAINT hub_settings_one_row CHECK (is_only),
    access  text NOT NULL DEFAULT 'open' CONSTRAINT hub_settings_access CHECK (access IN ('open', 'closed'))
);
INSERT INTO hub_settings DEFAULT VALUES ON CONFLICT DO NOTHING;

-- `claims`: what an outside issuer calls the group; whoever it names so is a member, beside those by hand.
CREATE TABLE IF NOT EXISTS user_groups (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text NOT NULL CONSTRAINT user_groups_name_key UNIQUE
        CONSTRAINT user_groups_name_rule CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]*$' AND length(name) <= 64),
    is_everyone boolean NOT NULL DEFAULT false,
    claims      text[] NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_user_groups_everyone ON user_groups (is_everyone) WHERE is_everyone;
INSERT INTO user_groups (name, is_everyone) VALUES ('everyone', true) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS group_members (
    group_id uuid NOT NULL REFERENCES user_groups ON DELETE CASCADE,
    user_id  uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX IF NOT EXISTS idx_group_members_user ON group_members (user_id);

-- A set of tools, prompts and resources of system servers, under names of its own. `access` NULL: the hub's default.
CREATE TABLE IF NOT EXISTS bundles (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name         text NOT NULL CONSTRAINT bundles_name_key UNIQUE
        CONSTRAINT bundles_name_rule
            CHECK (name ~ '^[A-Za-z0-9]([A-Za-z0-9-]|_(?!_))*$' AND name !~ '_$' AND length(name) <= 32),
    title        text,
    instructions text,
    access       text CONSTRAINT bundles_access CHECK (access IN ('open', 'closed')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

-- `source`: the server's own name of a tool or prompt, the URI of a resource or template; '*' stands for all of a kind.
-- `name`: what it is called in the bundle, `description`: what is said of it there, NULL being what the server says.
-- `fixed` arguments are sent with each call and not shown; `hidden` ones are neither shown nor sent.
CREATE TABLE IF NOT EXISTS bundle_entries (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    bundle_id     uuid NOT NULL REFERENCES bundles ON DELETE CASCADE,
    position      integer NOT NULL DEFAULT 0,
    kind          text NOT NULL
        CONSTRAINT bundle_entries_kind CHECK (kind IN ('tool', 'prompt', 'resource', 'template')),
    server_ref_id uuid NOT NULL REFERENCES system_servers ON DELETE CASCADE,
    source        text NOT NULL,
    name          text,
    title         text,
    description   text,
    fixed         jsonb NOT NULL DEFAULT '{}',
    hidden        text[] NOT NULL DEFAULT '{}',
    CONSTRAINT bundle_entries_source_key UNIQUE NULLS NOT DISTINCT (bundle_id, kind, server_ref_id, source, name)
);
CREATE INDEX IF NOT EXISTS idx_bundle_entries_server ON bundle_entries (server_ref_id);

-- What the members of a group may do with a server, a tool of it, or a bundle: see it, call it, or call it once a
-- person has said yes. `approvers`: whose members may say that beside the operators; `self_approval`: who asks may.
CREATE TABLE IF NOT EXISTS access_grants (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    group_id      uuid NOT NULL REFERENCES user_groups ON DELETE CASCADE,
    level         text NOT NULL CONSTRAINT access_grants_level CHECK (level IN ('list', 'approve', 'call')),
    server_ref_id uuid REFERENCES system_servers ON DELETE CASCADE,
    tool_name     text,
    bundle_id     uuid REFERENCES bundles ON DELETE CASCADE,
    approvers     uuid REFERENCES user_groups ON DELETE SET NULL,
    self_approval boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT access_grants_target CHECK (num_nonnulls(server_ref_id, bundle_id) = 1
        AND (tool_name IS NULL OR server_ref_id IS NOT NULL)),
    CONSTRAINT access_grants_target_key UNIQUE NULLS NOT DISTINCT (group_id, server_ref_id, tool_name, bundle_id)
);
CREATE INDEX IF NOT EXISTS idx_access_grants_server ON access_grants (server_ref_id);
CREATE INDEX IF NOT EXISTS idx_access_grants_bundle ON access_grants (bundle_id);

-- `access` NULL: the hub's default. `ttl_seconds` NULL: the hub's own time to live.
ALTER TABLE system_servers
    ADD COLUMN IF NOT EXISTS access text CONSTRAINT system_servers_access CHECK (access IN ('open', 'closed')),
    ADD COLUMN IF NOT EXISTS tags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS pin boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS ttl_seconds integer CONSTRAINT system_servers_ttl CHECK (ttl_seconds > 0);
ALTER TABLE user_servers
    ADD COLUMN IF NOT EXISTS tags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS pin boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS ttl_seconds integer CONSTRAINT user_servers_ttl CHECK (ttl_seconds > 0);

-- A job that was asked for by a name of a bundle: the entry, whose fixed arguments go with it when it is called.
ALTER TABLE job_results ADD COLUMN IF NOT EXISTS bundle_entry_id uuid, ADD COLUMN IF NOT EXISTS called_as text;

-- True if the rights of that user may be asked for: by the hub, or by the user.
CREATE OR REPLACE FUNCTION nexus_may_ask_for(p_user_id uuid) RETURNS boolean
LANGUAGE sql STABLE
SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $$
    SELECT CASE WHEN nullif(current_setting('request.jwt.claims', true), '') IS NOT NULL
                THEN p_user_id = nexus_claims_user_id()
                ELSE nexus_scope_is_service() OR p_user_id = nexus_current_user_id() END
$$;

CREATE OR REPLACE FUNCTION nexus_is_open() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
    SELECT coalesce((SELECT h.access = 'open' FROM public.hub_settings h), true)
$$;

-- Groups that a user belongs to: everyone, those that were said by hand, those that the user's issuer names.
CREATE OR REPLACE FUNCTION nexus_groups_of(p_user_id uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
    SELECT g.id FROM public.user_groups g
    WHERE (SELECT public.nexus_may_ask_for(p_user_id))
      AND (g.is_everyone
           OR EXISTS (SELECT FROM public.group_members m WHERE m.group_id = g.id AND m.user_id = p_user_id)
           OR EXISTS (SELECT FROM public.user_identities i WHERE i.user_id = p_user_id AND i.groups && g.claims))
$$;

-- What a user may do, the one place that says so: a row per system server, bundle and tool that the user may see. Of a
-- server of which there is a catalog and no registration the default counts.
-- What is said of a tool goes before what is said of its server, and that before the default; of what several groups
-- are granted on one thing the most counts. A bundle says nothing of the same tools outside of it.
CREATE OR REPLACE FUNCTION nexus_permissions(p_user_id uuid)
RETURNS TABLE (target text, id uuid, tool_name text, level text, approvers uuid[], self_approval boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
    WITH mine AS (
        SELECT a.server_ref_id, a.tool_name, a.bundle_id, a.level, a.approvers, a.self_approval,
               rank() OVER (PARTITION BY a.server_ref_id, a.tool_name, a.bundle_id
                            ORDER BY array_position('{list,approve,call}', a.level) DESC) AS place
        FROM public.access_grants a
        WHERE a.group_id IN (SELECT public.nexus_groups_of(p_user_id))
    ), granted AS MATERIALIZED (
        SELECT m.server_ref_id, m.tool_name, m.bundle_id, m.level,
               array_remove(array_agg(DISTINCT m.approvers), NULL) AS approvers, bool_or(m.self_approval) AS self_approval
        FROM mine m
        WHERE m.place = 1
        GROUP BY m.server_ref_id, m.tool_name, m.bundle_id, m.level
    ), given AS (
        SELECT 'server' AS target, s.id, NULL::text AS tool_name,
               coalesce(g.level, CASE WHEN s.access = 'open' OR s.access IS NULL AND (SELECT public.nexus_is_open())
                                      THEN 'call' END) AS level,
               g.approvers, g.self_approval
        FROM public.system_servers s
        LEFT JOIN granted g ON g.server_ref_id = s.id AND g.tool_name IS NULL
        UNION ALL
        SELECT 'server', o.server_ref_id, NULL, 'call', NULL, NULL
        FROM public.server_state o
        WHERE o.server_type = 'system' AND (SELECT public.nexus_is_open())
          AND NOT EXISTS (SELECT FROM public.system_servers s WHERE s.id = o.server_ref_id)
        UNION ALL
        SELECT 'bundle', b.id, NULL,
               coalesce(g.level, CASE WHEN b.access = 'open' OR b.access IS NULL AND (SELECT public.nexus_is_open())
                                      THEN 'call' END),
               g.approvers, g.self_approval
        FROM public.bundles b
        LEFT JOIN granted g ON g.bundle_id = b.id
        UNION ALL
        SELECT 'tool', g.server_ref_id, g.tool_name, g.level, g.approvers, g.self_approval
        FROM granted g
        WHERE g.tool_name IS NOT NULL
    )
    SELECT given.target, given.id, given.tool_name, given.level, coalesce(given.approvers, '{}'),
           coalesce(given.self_approval, false)
    FROM given
    WHERE given.level IS NOT NULL AND (SELECT public.nexus_may_ask_for(p_user_id))
$$;

-- The system servers of which a user sees everything.
CREATE OR REPLACE FUNCTION nexus_seen_servers(p_user_id uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
    SELECT p.id FROM public.nexus_permissions(p_user_id) p WHERE p.target = 'server'
$$;

-- Single tools of system servers that a user was granted.
CREATE OR REPLACE FUNCTION nexus_seen_tools(p_user_id uuid) RETURNS TABLE (server_ref_id uuid, tool_name text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
    SELECT p.id, p.tool_name FROM public.nexus_permissions(p_user_id) p WHERE p.target = 'tool'
$$;

-- Everybody is told at once: the hub's processes keep permissions in memory.
CREATE OR REPLACE FUNCTION nexus_permissions_notify() RETURNS trigger
LANGUAGE plpgsql
SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $$
BEGIN
    PERFORM pg_notify('nexus_permissions', '');
    RETURN NULL;
END
$$;
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY '{hub_settings, user_groups, group_members, bundles, bundle_entries, access_grants}'::text[] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER notify_permissions AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I '
            'FOR EACH STATEMENT EXECUTE FUNCTION nexus_permissions_notify()', v_table);
    END LOOP;
END
$$;
CREATE OR REPLACE TRIGGER notify_permissions AFTER UPDATE ON user_identities
    FOR EACH ROW WHEN (OLD.groups IS DISTINCT FROM NEW.groups OR OLD.user_id IS DISTINCT FROM NEW.user_id)
    EXECUTE FUNCTION nexus_permissions_notify();
CREATE OR REPLACE TRIGGER notify_permissions_of_all AFTER INSERT OR DELETE OR TRUNCATE ON user_identities
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_permissions_notify();
CREATE OR REPLACE TRIGGER notify_permissions AFTER UPDATE ON system_servers
    FOR EACH ROW WHEN (OLD.access IS DISTINCT FROM NEW.access)
    EXECUTE FUNCTION nexus_permissions_notify();
CREATE OR REPLACE TRIGGER notify_permissions_of_all AFTER INSERT OR DELETE OR TRUNCATE ON system_servers
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_permissions_notify();

-- Users see what is of their own servers, and of the system's what they may.
SELECT nexus_policy(t.name, p.policy, p.role, 'SELECT', format(
    '(user_id = (SELECT %1$s)) OR ((user_id IS NULL) AND (server_type IS DISTINCT FROM ''user'') '
    'AND ((SELECT %1$s) IS NOT NULL) AND (server_ref_id IS NULL AND (SELECT nexus_is_open()) '
    'OR server_ref_id IN (SELECT nexus_seen_servers((SELECT %1$s)))' || t.more || '))', p.asking))
FROM (VALUES
    ('tool_cache'::regclass,
     ' OR (server_ref_id, tool_name) IN (SELECT o.server_ref_id, o.tool_name FROM nexus_seen_tools((SELECT %1$s)) o)'),
    ('resource_cache', ''),
    ('prompt_cache', ''),
    ('server_state', ' OR server_ref_id IN (SELECT o.server_ref_id FROM nexus_seen_tools((SELECT %1$s)) o)')
) AS t (name, more)
CROSS JOIN (VALUES
    ('nexus_own_read', 'nexus_app', 'nexus_current_user_id()'),
    ('authenticated_own_read', 'authenticated', 'nexus_claims_user_id()')) AS p (policy, role, asking);

ALTER TABLE hub_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_groups ENABLE ROW LEVEL SECURITY;
ALTER TABLE group_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE bundles ENABLE ROW LEVEL SECURITY;
ALTER TABLE bundle_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_grants ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('hub_settings', 'user_groups', 'group_members', 'bundles', 'bundle_entries', 'access_grants',
    'nexus_may_ask_for(uuid)', 'nexus_is_open()', 'nexus_groups_of(uuid)', 'nexus_permissions(uuid)',
    'nexus_seen_servers(uuid)', 'nexus_seen_tools(uuid)', 'nexus_permissions_notify()');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON hub_settings, user_groups, group_members, bundles, '
    'bundle_entries, access_grants', 'nexus_app');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_may_ask_for(uuid), nexus_is_open(), nexus_groups_of(uuid), '
    'nexus_permissions(uuid), nexus_seen_servers(uuid), nexus_seen_tools(uuid)', 'nexus_app', 'authenticated');
SELECT nexus_grant('SELECT (access, tags, pin, ttl_seconds) ON system_servers', 'service_role');
SELECT nexus_grant('SELECT (tags, pin, ttl_seconds) ON user_servers', 'service_role');
SELECT nexus_service_policy('hub_settings', 'user_groups', 'group_members', 'bundles', 'bundle_entries',
    'access_grants');
-- A user sees the bundles that the user may use, by name; what is in them is read for the user by the hub.
SELECT nexus_policy('bundles', 'nexus_own_read', 'nexus_app', 'SELECT',
    'id IN (SELECT p.id FROM nexus_permissions((SELECT nexus_current_user_id())) p WHERE p.target = ''bundle'')');

-- What is offered of the catalog, decided in one place. `enabled` says it of each entry, and every query asks for that
-- alone: its server is switched on, nobody has switched the tool off, and it is not held. A tool is held on a server
-- with `pin` while its definition is not the one that was approved.

ALTER TABLE call_policies ADD COLUMN IF NOT EXISTS enabled boolean;
ALTER TABLE tool_cache
    ADD COLUMN IF NOT EXISTS held            boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS definition_hash bytea;
ALTER TABLE resource_cache ADD COLUMN IF NOT EXISTS enabled boolean NOT NULL DEFAULT true;
ALTER TABLE prompt_cache ADD COLUMN IF NOT EXISTS enabled boolean NOT NULL DEFAULT true;

-- The definition of a tool that was approved last: by a person, or by turning `pin` on while it was offered (nobody).
CREATE TABLE IF NOT EXISTS tool_pins (
    server_type     text NOT NULL,
    server_ref_id   uuid NOT NULL,
    tool_name       text NOT NULL,
    definition_hash bytea NOT NULL,
    definition      json NOT NULL,
    approved_at     timestamptz NOT NULL DEFAULT now(),
    approved_by     text,
    PRIMARY KEY (server_type, server_ref_id, tool_name),
    CONSTRAINT tool_pins_server FOREIGN KEY (server_type, server_ref_id)
        REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE
);

-- What each refresh found changed. The first reading of a server is no change.
CREATE TABLE IF NOT EXISTS catalog_changes (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server_type   text NOT NULL,
    server_ref_id uuid NOT NULL,
    at            timestamptz NOT NULL DEFAULT now(),
    kind          text NOT NULL CONSTRAINT catalog_changes_kind CHECK (kind IN ('tool', 'prompt', 'resource')),
    name          text NOT NULL,
    change        text NOT NULL CONSTRAINT catalog_changes_change CHECK (change IN ('added', 'changed', 'removed')),
    old           json,
    new           json,
    CONSTRAINT catalog_changes_server FOREIGN KEY (server_type, server_ref_id)
        REFERENCES server_state (server_type, server_ref_id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS idx_catalog_changes_server ON catalog_changes (server_type, server_ref_id, id);
CREATE INDEX IF NOT EXISTS idx_catalog_changes_at ON catalog_changes (at);
CREATE INDEX IF NOT EXISTS idx_tool_cache_held ON tool_cache (server_ref_id) WHERE held;

-- A tool is what its server says of it: the same words of another server are another tool. The order of members and the
-- white space between them change nothing.
CREATE OR REPLACE FUNCTION nexus_definition_hash(p_server_ref_id uuid, p_definition json) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT sha256(convert_to(p_server_ref_id::text || ' ' || p_definition::jsonb::text, 'UTF8'))
$$;

-- Before a tool is written; `SET held = held` has it decided anew. Who writes `enabled` itself has switched the tool,
-- and that word stays when the tool goes and comes back.
CREATE OR REPLACE FUNCTION nexus_tool_decide() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_is_on boolean;
    v_pin   boolean;
    v_word  boolean;
BEGIN
    IF NEW.server_type IS NULL OR NEW.server_ref_id IS NULL THEN
        RETURN NEW;
    END IF;
    SELECT s.enabled, s.pin INTO v_is_on, v_pin
    FROM (SELECT 'system' AS server_type, o.id, o.enabled, o.pin FROM public.system_servers o
          UNION ALL
          SELECT 'user', o.id, o.enabled, o.pin FROM public.user_servers o) AS s
    WHERE s.server_type = NEW.server_type AND s.id = NEW.server_ref_id;
    IF NEW.tool_name IS NULL THEN  -- put in by others than the hub
        NEW.enabled := NEW.enabled AND coalesce(v_is_on, true);
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' AND NOT NEW.enabled OR TG_OP = 'UPDATE' AND NEW.enabled IS DISTINCT FROM OLD.enabled THEN
        INSERT INTO public.call_policies (server_type, server_ref_id, tool_name, enabled)
        VALUES (NEW.server_type, NEW.server_ref_id, NEW.tool_name, NEW.enabled)
        ON CONFLICT (server_type, server_ref_id, tool_name) DO UPDATE SET enabled = excluded.enabled;
    END IF;
    SELECT p.enabled INTO v_word
    FROM public.call_policies p
    WHERE p.server_type = NEW.server_type AND p.server_ref_id = NEW.server_ref_id AND p.tool_name = NEW.tool_name;
    NEW.definition_hash := public.nexus_definition_hash(NEW.server_ref_id, NEW.definition);
    NEW.held := coalesce(v_pin, false) AND NOT EXISTS (
        SELECT FROM public.tool_pins p
        WHERE p.server_type = NEW.server_type AND p.server_ref_id = NEW.server_ref_id
          AND p.tool_name = NEW.tool_name AND p.definition_hash = NEW.definition_hash);
    NEW.enabled := coalesce(v_is_on, true) AND coalesce(v_word, true) AND NOT NEW.held;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER decide
    BEFORE INSERT OR UPDATE OF enabled, held, definition, definition_hash, tool_name, server_type, server_ref_id
    ON tool_cache FOR EACH ROW EXECUTE FUNCTION nexus_tool_decide();

-- Of prompts and resources the server's switch alone decides.
CREATE OR REPLACE FUNCTION nexus_entry_decide() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.enabled := NOT EXISTS (
        SELECT FROM public.system_servers s
        WHERE NEW.server_type = 'system' AND s.id = NEW.server_ref_id AND NOT s.enabled
        UNION ALL
        SELECT FROM public.user_servers s
        WHERE NEW.server_type = 'user' AND s.id = NEW.server_ref_id AND NOT s.enabled);
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER decide BEFORE INSERT OR UPDATE OF enabled, server_type, server_ref_id ON resource_cache
    FOR EACH ROW EXECUTE FUNCTION nexus_entry_decide();
CREATE OR REPLACE TRIGGER decide BEFORE INSERT OR UPDATE OF enabled, server_type, server_ref_id ON prompt_cache
    FOR EACH ROW EXECUTE FUNCTION nexus_entry_decide();

-- Switches of a server. Turning `pin` on approves what the server offers then. One that is switched on is read at once;
-- with another time to live it is due by that.
CREATE OR REPLACE FUNCTION nexus_server_decide() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.pin IS DISTINCT FROM NEW.pin THEN  -- also what was approved just as the pin was switched off
        DELETE FROM public.tool_pins p WHERE p.server_type = TG_ARGV[0] AND p.server_ref_id = NEW.id;
    END IF;
    IF NEW.pin AND NOT OLD.pin THEN
        INSERT INTO public.tool_pins (server_type, server_ref_id, tool_name, definition_hash, definition)
        SELECT t.server_type, t.server_ref_id, t.tool_name,
               public.nexus_definition_hash(t.server_ref_id, t.definition), t.definition
        FROM public.tool_cache t
        WHERE t.server_type = TG_ARGV[0] AND t.server_ref_id = NEW.id AND t.tool_name IS NOT NULL
        ON CONFLICT DO NOTHING;
    END IF;
    IF (OLD.enabled, OLD.pin) IS DISTINCT FROM (NEW.enabled, NEW.pin) THEN
        UPDATE public.tool_cache t SET held = t.held WHERE t.server_type = TG_ARGV[0] AND t.server_ref_id = NEW.id;
    END IF;
    IF OLD.enabled IS DISTINCT FROM NEW.enabled THEN
        UPDATE public.resource_cache r SET enabled = NEW.enabled
        WHERE r.server_type = TG_ARGV[0] AND r.server_ref_id = NEW.id;
        UPDATE public.prompt_cache p SET enabled = NEW.enabled
        WHERE p.server_type = TG_ARGV[0] AND p.server_ref_id = NEW.id;
    END IF;
    UPDATE public.server_state s
    SET failures = CASE WHEN NEW.enabled AND NOT OLD.enabled THEN 0 ELSE s.failures END,
        next_refresh_at = CASE
            WHEN NEW.enabled AND NOT OLD.enabled THEN now()
            ELSE least(s.next_refresh_at, s.last_refresh_at + make_interval(secs => NEW.ttl_seconds)) END
    WHERE s.server_type = TG_ARGV[0] AND s.server_ref_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER decide AFTER UPDATE ON system_servers
    FOR EACH ROW WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled OR OLD.pin IS DISTINCT FROM NEW.pin
        OR OLD.ttl_seconds IS DISTINCT FROM NEW.ttl_seconds)
    EXECUTE FUNCTION nexus_server_decide('system');
CREATE OR REPLACE TRIGGER decide AFTER UPDATE ON user_servers
    FOR EACH ROW WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled OR OLD.pin IS DISTINCT FROM NEW.pin
        OR OLD.ttl_seconds IS DISTINCT FROM NEW.ttl_seconds)
    EXECUTE FUNCTION nexus_server_decide('user');

-- A tool was switched, whether its server offers it now or not.
CREATE OR REPLACE FUNCTION nexus_policy_decide() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.tool_cache t SET held = t.held
    FROM (VALUES (OLD.server_type, OLD.server_ref_id, OLD.tool_name),
                 (NEW.server_type, NEW.server_ref_id, NEW.tool_name)) AS c (server_type, server_ref_id, tool_name)
    WHERE t.server_type = c.server_type AND t.server_ref_id = c.server_ref_id AND t.tool_name = c.tool_name;
    RETURN NULL;
END
$$;
-- Not from within the trigger above, which is about to write the tool itself.
CREATE OR REPLACE TRIGGER decide AFTER INSERT OR UPDATE OF enabled OR DELETE ON call_policies
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION nexus_policy_decide();

-- Tools that were switched off by hand before: those that nothing has been decided of yet.
INSERT INTO call_policies AS policy (server_type, server_ref_id, tool_name, enabled)
SELECT t.server_type, t.server_ref_id, t.tool_name, false
FROM tool_cache t
WHERE NOT t.enabled AND t.definition_hash IS NULL AND t.tool_name IS NOT NULL
ON CONFLICT (server_type, server_ref_id, tool_name) DO UPDATE SET enabled = coalesce(policy.enabled, false);

-- What is stored already of servers that were switched off before. Other tools get their hash when they are next written:
-- to hash them all here would hold the table for as long as that takes.
UPDATE tool_cache t SET held = t.held FROM system_servers s WHERE s.id = t.server_ref_id AND NOT s.enabled;
UPDATE tool_cache t SET held = t.held FROM user_servers s WHERE s.id = t.server_ref_id AND NOT s.enabled;
UPDATE resource_cache r SET enabled = r.enabled FROM system_servers s WHERE s.id = r.server_ref_id AND NOT s.enabled;
UPDATE resource_cache r SET enabled = r.enabled FROM user_servers s WHERE s.id = r.server_ref_id AND NOT s.enabled;
UPDATE prompt_cache p SET enabled = p.enabled FROM system_servers s WHERE s.id = p.server_ref_id AND NOT s.enabled;
UPDATE prompt_cache p SET enabled = p.enabled FROM user_servers s WHERE s.id = p.server_ref_id AND NOT s.enabled;

CREATE OR REPLACE TRIGGER notify_switch AFTER UPDATE ON resource_cache
    FOR EACH ROW WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled) EXECUTE FUNCTION nexus_catalog_notify('resources');
CREATE OR REPLACE TRIGGER notify_switch AFTER UPDATE ON prompt_cache
    FOR EACH ROW WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled) EXECUTE FUNCTION nexus_catalog_notify('prompts');

-- As before, and of a server that is switched off or gone it is said: nobody keeps a connection to it.
CREATE OR REPLACE FUNCTION nexus_server_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_notify('nexus_catalog', json_build_object(
        'server_type', TG_ARGV[0], 'server_ref_id', c.server ->> 'id', 'user_id', c.server ->> 'user_id',
        'kinds', CASE WHEN TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR NOT NEW.enabled)
                      THEN '["server", "off"]' ELSE '["server"]' END::json)::text)
    FROM (VALUES (to_jsonb(OLD)), (to_jsonb(NEW))) AS c (server)
    WHERE c.server ->> 'id' IS NOT NULL;
    RETURN NULL;
END
$$;

-- As before, with the switch of prompts too.
CREATE OR REPLACE FUNCTION nexus_own_names(p_kind text, p_user_id uuid) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT namespaced_name FROM tool_cache
    WHERE p_kind = 'tool' AND user_id = p_user_id AND enabled AND namespaced_name IS NOT NULL
    UNION ALL
    SELECT namespaced_name FROM prompt_cache
    WHERE p_kind = 'prompt' AND user_id = p_user_id AND enabled AND namespaced_name IS NOT NULL
$$;

-- Users see only what is offered, whatever else lets them see an entry.
DO $$
DECLARE
    v_table text;
    v_role  text;
BEGIN
    FOREACH v_table IN ARRAY '{tool_cache, resource_cache, prompt_cache}'::text[] LOOP
        FOR v_role IN SELECT r.rolname FROM pg_roles r WHERE r.rolname IN ('nexus_app', 'authenticated') LOOP
            EXECUTE format('DROP POLICY IF EXISTS %I ON %I', v_role || '_offered', v_table);
            EXECUTE format('CREATE POLICY %I ON %I AS RESTRICTIVE FOR SELECT TO %I USING (%s)', v_role || '_offered',
                v_table, v_role, CASE v_role WHEN 'nexus_app' THEN 'enabled OR (SELECT nexus_scope_is_service())'
                    ELSE 'enabled' END);
        END LOOP;
    END LOOP;
END
$$;

ALTER TABLE tool_pins ENABLE ROW LEVEL SECURITY;
ALTER TABLE catalog_changes ENABLE ROW LEVEL SECURITY;
SELECT nexus_revoke_all('tool_pins', 'catalog_changes', 'nexus_definition_hash(uuid, json)', 'nexus_tool_decide()',
    'nexus_entry_decide()', 'nexus_server_decide()', 'nexus_policy_decide()');
SELECT nexus_grant('SELECT, INSERT, UPDATE, DELETE ON tool_pins, catalog_changes', 'nexus_app');
SELECT nexus_grant('EXECUTE ON FUNCTION nexus_definition_hash(uuid, json)', 'nexus_app');
SELECT nexus_service_policy('tool_pins', 'catalog_changes');

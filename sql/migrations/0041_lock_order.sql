-- Whoever changes a server locks its state before its tools, resources and prompts, as a refresh does: in the other order
-- an operator's change and a refresh waited for each other, and one of the two failed.

CREATE OR REPLACE FUNCTION nexus_server_hold() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.server_state s WHERE s.server_type = TG_ARGV[0] AND s.server_ref_id = NEW.id FOR UPDATE;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER hold BEFORE UPDATE ON system_servers
    FOR EACH ROW WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled OR OLD.pin IS DISTINCT FROM NEW.pin)
    EXECUTE FUNCTION nexus_server_hold('system');
CREATE OR REPLACE TRIGGER hold BEFORE UPDATE ON user_servers
    FOR EACH ROW WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled OR OLD.pin IS DISTINCT FROM NEW.pin)
    EXECUTE FUNCTION nexus_server_hold('user');

-- Before a policy is written, since writing it switches the tool.
CREATE OR REPLACE FUNCTION nexus_policy_hold() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.server_state s
    WHERE s.server_type = coalesce(NEW.server_type, OLD.server_type)
      AND s.server_ref_id = coalesce(NEW.server_ref_id, OLD.server_ref_id) FOR UPDATE;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE OR REPLACE TRIGGER hold BEFORE INSERT OR UPDATE OR DELETE ON call_policies
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION nexus_policy_hold();

SELECT nexus_revoke_all('nexus_server_hold()', 'nexus_policy_hold()');

-- Whoever changes a server locks its state before its tools, resources and prompts, as a refresh does: in the other order
-- an operator's change and a refresh waited for each other, and one of the two failed.

CREATE OR REPLACE FUNCTION nexus_server_decide() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.server_state s WHERE s.server_type = TG_ARGV[0] AND s.server_ref_id = NEW.id FOR UPDATE;
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

SELECT nexus_revoke_all('nexus_policy_hold()');

-- A user may not take the name of a system server, as far as the user sees it: the refusal would tell of a hidden one.
-- Where both have the name, the user's own server comes first for that user, as it does for names that operators take.

-- SECURITY DEFINER, since a user may not look into system_servers. Who may not ask for the user's rights sees no reason
-- to be let through.
CREATE OR REPLACE FUNCTION nexus_user_server_check_name() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO 'pg_catalog', 'pg_temp'
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexus.server_name:' || NEW.name, 0));
    IF EXISTS (
        SELECT FROM public.system_servers s
        WHERE s.name = NEW.name
          AND (NOT coalesce(public.nexus_may_ask_for(NEW.user_id), false)
               OR s.id IN (SELECT p.id FROM public.nexus_permissions(NEW.user_id) p
                           WHERE p.target IN ('server', 'tool')))
    ) THEN
        RAISE EXCEPTION 'The name % is taken by another server.', quote_literal(NEW.name)
            USING ERRCODE = '23505', CONSTRAINT = 'server_name_taken';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER check_name BEFORE INSERT OR UPDATE OF name ON user_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_user_server_check_name();
SELECT nexus_revoke_all('nexus_user_server_check_name()');

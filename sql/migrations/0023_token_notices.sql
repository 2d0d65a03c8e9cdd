-- A notice on the channel nexus_tokens when a token that was good may be so no longer: processes trust one for a moment
-- after they have looked it up, and look again after this.
CREATE OR REPLACE FUNCTION nexus_tokens_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_notify('nexus_tokens', '');
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON api_tokens
    FOR EACH ROW
    WHEN (OLD.user_id IS DISTINCT FROM NEW.user_id
        OR OLD.token_hash IS DISTINCT FROM NEW.token_hash
        OR OLD.revoked_at IS DISTINCT FROM NEW.revoked_at
        OR OLD.expires_at IS DISTINCT FROM NEW.expires_at)
    EXECUTE FUNCTION nexus_tokens_notify();
CREATE OR REPLACE TRIGGER notify_delete AFTER DELETE ON api_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_tokens_notify();
CREATE OR REPLACE TRIGGER notify_truncate AFTER TRUNCATE ON api_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_tokens_notify();

SELECT nexus_revoke_all('nexus_tokens_notify()');

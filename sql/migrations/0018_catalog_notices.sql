-- A notice on the channel nexus_catalog when what somebody may list or call has changed: whose server it is of, and the
-- kinds of what changed. Equal notices of one transaction are one. An empty notice: anything may have changed.
CREATE OR REPLACE FUNCTION nexus_catalog_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('nexus_catalog', '');
    ELSIF TG_LEVEL = 'ROW' THEN
        PERFORM pg_notify('nexus_catalog', json_build_object(
            'server_type', c.server_type, 'server_ref_id', c.server_ref_id, 'user_id', c.user_id,
            'kinds', json_build_array(TG_ARGV[0]))::text)
        FROM (VALUES (OLD.server_type, OLD.server_ref_id, OLD.user_id),
                     (NEW.server_type, NEW.server_ref_id, NEW.user_id)) AS c (server_type, server_ref_id, user_id);
    ELSE
        PERFORM pg_notify('nexus_catalog', json_build_object(
            'server_type', c.server_type, 'server_ref_id', c.server_ref_id, 'user_id', c.user_id,
            'kinds', json_build_array(TG_ARGV[0]))::text)
        FROM (SELECT DISTINCT server_type, server_ref_id, user_id FROM changed) AS c;
    END IF;
    RETURN NULL;
END
$$;

-- Likewise of a server's own row; one that changed hands is told of to both.
CREATE OR REPLACE FUNCTION nexus_server_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_notify('nexus_catalog', json_build_object(
        'server_type', TG_ARGV[0], 'server_ref_id', c.server ->> 'id', 'user_id', c.server ->> 'user_id',
        'kinds', json_build_array('server'))::text)
    FROM (VALUES (to_jsonb(OLD)), (to_jsonb(NEW))) AS c (server)
    WHERE c.server ->> 'id' IS NOT NULL;
    RETURN NULL;
END
$$;

-- Not when a refresh finds what it knew: every NOTIFY takes a lock that all of the cluster's commits share.
CREATE OR REPLACE TRIGGER notify_insert AFTER INSERT ON tool_cache REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('tools');
CREATE OR REPLACE TRIGGER notify_delete AFTER DELETE ON tool_cache REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('tools');
CREATE OR REPLACE TRIGGER notify_truncate AFTER TRUNCATE ON tool_cache
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('tools');
CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON tool_cache
    FOR EACH ROW
    WHEN (OLD.server_type IS DISTINCT FROM NEW.server_type
        OR OLD.server_ref_id IS DISTINCT FROM NEW.server_ref_id
        OR OLD.user_id IS DISTINCT FROM NEW.user_id
        OR OLD.tool_name IS DISTINCT FROM NEW.tool_name
        OR OLD.namespaced_name IS DISTINCT FROM NEW.namespaced_name
        OR OLD.enabled IS DISTINCT FROM NEW.enabled
        OR OLD.title IS DISTINCT FROM NEW.title
        OR OLD.description IS DISTINCT FROM NEW.description
        OR OLD.definition::text IS DISTINCT FROM NEW.definition::text)
    EXECUTE FUNCTION nexus_catalog_notify('tools');

CREATE OR REPLACE TRIGGER notify_insert AFTER INSERT ON resource_cache REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('resources');
CREATE OR REPLACE TRIGGER notify_delete AFTER DELETE ON resource_cache REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('resources');
CREATE OR REPLACE TRIGGER notify_truncate AFTER TRUNCATE ON resource_cache
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('resources');
CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON resource_cache
    FOR EACH ROW
    WHEN (OLD.server_type IS DISTINCT FROM NEW.server_type
        OR OLD.server_ref_id IS DISTINCT FROM NEW.server_ref_id
        OR OLD.user_id IS DISTINCT FROM NEW.user_id
        OR OLD.uri IS DISTINCT FROM NEW.uri
        OR OLD.name IS DISTINCT FROM NEW.name
        OR OLD.title IS DISTINCT FROM NEW.title
        OR OLD.description IS DISTINCT FROM NEW.description
        OR OLD.mime_type IS DISTINCT FROM NEW.mime_type
        OR OLD.is_template IS DISTINCT FROM NEW.is_template
        OR OLD.definition::text IS DISTINCT FROM NEW.definition::text)
    EXECUTE FUNCTION nexus_catalog_notify('resources');

CREATE OR REPLACE TRIGGER notify_insert AFTER INSERT ON prompt_cache REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('prompts');
CREATE OR REPLACE TRIGGER notify_delete AFTER DELETE ON prompt_cache REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('prompts');
CREATE OR REPLACE TRIGGER notify_truncate AFTER TRUNCATE ON prompt_cache
    FOR EACH STATEMENT EXECUTE FUNCTION nexus_catalog_notify('prompts');
CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON prompt_cache
    FOR EACH ROW
    WHEN (OLD.server_type IS DISTINCT FROM NEW.server_type
        OR OLD.server_ref_id IS DISTINCT FROM NEW.server_ref_id
        OR OLD.user_id IS DISTINCT FROM NEW.user_id
        OR OLD.prompt_name IS DISTINCT FROM NEW.prompt_name
        OR OLD.namespaced_name IS DISTINCT FROM NEW.namespaced_name
        OR OLD.title IS DISTINCT FROM NEW.title
        OR OLD.description IS DISTINCT FROM NEW.description
        OR OLD.definition::text IS DISTINCT FROM NEW.definition::text)
    EXECUTE FUNCTION nexus_catalog_notify('prompts');

-- Every change of a server but a re-seal makes a new revision.
CREATE OR REPLACE TRIGGER notify_write AFTER INSERT OR DELETE ON system_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_notify('system');
CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON system_servers
    FOR EACH ROW WHEN (OLD.revision IS DISTINCT FROM NEW.revision) EXECUTE FUNCTION nexus_server_notify('system');
CREATE OR REPLACE TRIGGER notify_write AFTER INSERT OR DELETE ON user_servers
    FOR EACH ROW EXECUTE FUNCTION nexus_server_notify('user');
CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON user_servers
    FOR EACH ROW WHEN (OLD.revision IS DISTINCT FROM NEW.revision) EXECUTE FUNCTION nexus_server_notify('user');

-- What a server says of itself.
CREATE OR REPLACE TRIGGER notify_update AFTER UPDATE ON server_state
    FOR EACH ROW
    WHEN (OLD.user_id IS DISTINCT FROM NEW.user_id
        OR OLD.name IS DISTINCT FROM NEW.name
        OR OLD.protocol_version IS DISTINCT FROM NEW.protocol_version
        OR OLD.server_info IS DISTINCT FROM NEW.server_info
        OR OLD.instructions IS DISTINCT FROM NEW.instructions)
    EXECUTE FUNCTION nexus_catalog_notify('server');

SELECT nexus_revoke_all('nexus_catalog_notify()', 'nexus_server_notify()');

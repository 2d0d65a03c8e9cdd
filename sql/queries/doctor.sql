-- What `nexus-hub doctor` asks the database.

-- name: own_role
-- The role that asks, and how many objects of this database, itself included, belong to it: there should be none.
SELECT role.rolname AS name, role.rolsuper OR role.rolbypassrls AS above_policies,
       current_setting('server_version') AS server_version,
       (SELECT count(*)
        FROM pg_shdepend AS owned
        JOIN pg_database AS here ON here.datname = current_database()
        WHERE owned.refclassid = 'pg_authid'::regclass AND owned.refobjid = role.oid AND owned.deptype = 'o'
          AND (owned.dbid = here.oid OR (owned.classid = 'pg_database'::regclass AND owned.objid = here.oid))) AS owns
FROM pg_roles AS role
WHERE role.rolname = current_user;

-- name: unsafe_functions
-- Functions that run with their owner's rights and look for names where others may put some, or that everybody may
-- call; and the schema public, if everybody may make objects there.
SELECT CASE
           WHEN NOT coalesce(function.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp']
               THEN function.oid::regprocedure || ' does not fix its search path'
           WHEN pg_get_userbyid(function.proowner) <> pg_get_userbyid(owner.relowner)
               THEN function.oid::regprocedure || ' is not of the schema''s owner'
           ELSE function.oid::regprocedure || ' may be called by everybody'
       END AS problem
FROM pg_proc AS function
JOIN pg_namespace AS place ON place.oid = function.pronamespace AND place.nspname = 'public'
JOIN pg_class AS owner ON owner.oid = 'public.schema_migrations'::regclass
WHERE function.prosecdef
  AND (NOT coalesce(function.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp']
       OR function.proowner <> owner.relowner
       OR EXISTS (
           SELECT FROM aclexplode(coalesce(function.proacl, acldefault('f', function.proowner))) AS given
           WHERE given.grantee = 0 AND given.privilege_type = 'EXECUTE'
       ))
UNION ALL
SELECT 'everybody may make objects in the schema public'
FROM pg_namespace AS place, aclexplode(coalesce(place.nspacl, acldefault('n', place.nspowner))) AS given
WHERE place.nspname = 'public' AND given.grantee = 0 AND given.privilege_type = 'CREATE';

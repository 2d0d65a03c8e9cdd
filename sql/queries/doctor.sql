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

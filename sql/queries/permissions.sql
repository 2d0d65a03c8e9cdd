-- What users may do with servers, tools and bundles.

-- name: permissions_of
SELECT target, id, tool_name, level, approvers, self_approval FROM nexus_permissions(%(user_id)s::uuid);

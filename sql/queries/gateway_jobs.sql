-- Jobs as the hub's own tools and tasks show them: by the names that a caller knows, and with the time they take.

-- name: call_of_job
-- A job's call: its tool by the name under which it is listed, else by its server's and its own.
SELECT job.id, job.job_type, state.name AS server, tool.namespaced_name,
       CASE job.job_type WHEN 'tool_invoke' THEN job.tool_name WHEN 'prompt_execute' THEN job.params ->> 'name' END AS called,
       job.params_escaped, job.status, job.server_ref_id, job.called_as,
       extract(epoch FROM coalesce(job.completed_at, now()) - coalesce(job.started_at, job.created_at))::float8 AS seconds
FROM job_results AS job
LEFT JOIN server_state AS state
       ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
LEFT JOIN tool_cache AS tool
       ON job.job_type = 'tool_invoke' AND tool.server_type = job.server_type
      AND tool.server_ref_id = job.server_ref_id AND tool.tool_name = job.tool_name
WHERE job.id = %(id)s AND nexus_is_call(job.job_type)
LIMIT 1;

-- name: list_calls
-- Calls, newest first, without what they were given and what they gave.
WITH calls AS (
    SELECT id, job_type, server_type, server_ref_id, tool_name, params, params_escaped, status, error_code, progress,
           called_as, created_at, started_at, completed_at
    FROM job_results
    WHERE (%(all_users)s OR user_id = %(user_id)s::uuid)
      AND nexus_is_call(job_type)
      AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
      AND (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(server_ref_id)s::uuid IS NULL OR server_ref_id = %(server_ref_id)s AND called_as IS NULL)
      AND (%(bundle)s::text IS NULL OR split_part(called_as, '__', 1) = %(bundle)s)
      AND (%(after_created_at)s::timestamptz IS NULL
           OR (created_at, id) < (%(after_created_at)s::timestamptz, %(after_id)s::uuid))
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s
)
SELECT job.id, job.job_type, state.name AS server,
       (SELECT tool.namespaced_name
        FROM tool_cache AS tool
        WHERE job.job_type = 'tool_invoke' AND tool.server_type = job.server_type
          AND tool.server_ref_id = job.server_ref_id AND tool.tool_name = job.tool_name
        LIMIT 1) AS namespaced_name,
       CASE job.job_type WHEN 'tool_invoke' THEN job.tool_name WHEN 'prompt_execute' THEN job.params ->> 'name' END AS called,
       job.params_escaped, job.called_as, job.status, job.error_code, job.progress, job.created_at, job.started_at, job.completed_at,
       extract(epoch FROM coalesce(job.completed_at, now()) - coalesce(job.started_at, job.created_at))::float8 AS seconds
FROM calls AS job
LEFT JOIN server_state AS state
       ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
ORDER BY job.created_at DESC, job.id DESC;

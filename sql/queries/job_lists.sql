-- Lists of jobs: first the places of the jobs that are asked for, newest first, then what is shown of them. Whoever
-- called by a bundle's name is not shown the server and the tool behind it, and finds no job by these names.

-- name: plan_anew
-- What a list is asked for differs from one to the next, and so does its best plan.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: servers_by_name
SELECT server_ref_id FROM server_state WHERE lower(name) = lower(%(name)s) ORDER BY server_ref_id LIMIT %(most)s;

-- name: servers_by_prefix
SELECT server_ref_id
FROM server_state
WHERE starts_with(lower(name), lower(%(text)s))
ORDER BY name, server_ref_id
LIMIT %(most)s;

-- name: tools_by_prefix
-- By the server's own names.
SELECT DISTINCT tool_name
FROM tool_cache
WHERE starts_with(lower(tool_name), lower(%(text)s))
ORDER BY tool_name
LIMIT %(most)s;

-- name: find_jobs
SELECT job.id, job.created_at
FROM job_results AS job
WHERE nexus_job_is_asked(job, %(all_users)s, %(user_id)s::uuid, %(status)s::text, %(job_type)s::text, %(lane)s::text,
                         %(server_ref_id)s::uuid, %(tool_name)s::text, %(error_code)s::text,
                         %(after_created_at)s::timestamptz, %(after_id)s::uuid)
  AND (%(is_operator)s OR job.called_as IS NULL
       OR %(server_ref_id)s::uuid IS NULL
          AND (%(tool_name)s::text IS NULL OR job.tool_name = substr(job.called_as, strpos(job.called_as, '__') + 2)))
ORDER BY job.created_at DESC, job.id DESC
LIMIT %(limit)s;

-- name: find_jobs_of_servers
-- The newest ones of each, of which a list takes the newest ones of all.
SELECT found.id, found.created_at
FROM unnest(%(of_servers)s::uuid[]) AS one (server_ref_id)
CROSS JOIN LATERAL (
    SELECT job.id, job.created_at
    FROM job_results AS job
    WHERE job.server_ref_id = one.server_ref_id
      AND nexus_job_is_asked(job, %(all_users)s, %(user_id)s::uuid, %(status)s::text, %(job_type)s::text,
                             %(lane)s::text, %(server_ref_id)s::uuid, %(tool_name)s::text, NULL,
                             %(after_created_at)s::timestamptz, %(after_id)s::uuid)
      AND (%(is_operator)s OR job.called_as IS NULL)
    ORDER BY job.created_at DESC, job.id DESC
    LIMIT %(limit)s
) AS found;

-- name: find_jobs_of_tools
SELECT found.id, found.created_at
FROM unnest(%(of_tools)s::text[]) AS one (tool_name)
CROSS JOIN LATERAL (
    SELECT job.id, job.created_at
    FROM job_results AS job
    WHERE job.tool_name = one.tool_name
      AND nexus_job_is_asked(job, %(all_users)s, %(user_id)s::uuid, %(status)s::text, %(job_type)s::text,
                             %(lane)s::text, %(server_ref_id)s::uuid, %(tool_name)s::text, NULL,
                             %(after_created_at)s::timestamptz, %(after_id)s::uuid)
      AND (%(is_operator)s OR job.called_as IS NULL
           OR %(server_ref_id)s::uuid IS NULL AND job.tool_name = substr(job.called_as, strpos(job.called_as, '__') + 2))
    ORDER BY job.created_at DESC, job.id DESC
    LIMIT %(limit)s
) AS found;

-- name: find_jobs_by_ids
SELECT job.id, job.created_at
FROM job_results AS job
WHERE job.id = ANY (%(ids)s::uuid[])
  AND nexus_job_is_asked(job, %(all_users)s, %(user_id)s::uuid, %(status)s::text, %(job_type)s::text, %(lane)s::text,
                         %(server_ref_id)s::uuid, %(tool_name)s::text, NULL, %(after_created_at)s::timestamptz,
                         %(after_id)s::uuid)
  AND (%(is_operator)s OR job.called_as IS NULL
       OR %(server_ref_id)s::uuid IS NULL
          AND (%(tool_name)s::text IS NULL OR job.tool_name = substr(job.called_as, strpos(job.called_as, '__') + 2)))
ORDER BY job.created_at DESC, job.id DESC
LIMIT %(limit)s;

-- name: find_jobs_within
-- Those whose ids lie within two.
SELECT job.id, job.created_at
FROM job_results AS job
WHERE job.id BETWEEN %(first_id)s::uuid AND %(last_id)s::uuid
  AND nexus_job_is_asked(job, %(all_users)s, %(user_id)s::uuid, %(status)s::text, %(job_type)s::text, %(lane)s::text,
                         %(server_ref_id)s::uuid, %(tool_name)s::text, NULL, %(after_created_at)s::timestamptz,
                         %(after_id)s::uuid)
  AND (%(is_operator)s OR job.called_as IS NULL
       OR %(server_ref_id)s::uuid IS NULL
          AND (%(tool_name)s::text IS NULL OR job.tool_name = substr(job.called_as, strpos(job.called_as, '__') + 2)))
ORDER BY job.created_at DESC, job.id DESC
LIMIT %(limit)s;

-- name: list_jobs
-- Without the two columns that can be large. Names are there for who sees them: those of users for operators only.
SELECT job.id, job.user_id, users.name AS "user", job.job_type, job.server_id, job.server_type, job.server_ref_id,
       state.name AS server, job.tool_name, job.params_escaped, job.status, job.error, job.error_code, job.attempt,
       job.max_attempts, job.version, job.lane, job.flow_run_id, job.bundle_entry_id, job.called_as, job.created_at, job.available_at, job.started_at,
       job.completed_at,
       (extract(epoch FROM job.completed_at - job.started_at) * 1000)::float8 AS duration_ms
FROM job_results AS job
LEFT JOIN server_state AS state
       ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
LEFT JOIN users ON users.id = job.user_id
WHERE job.id = ANY (%(ids)s::uuid[])
ORDER BY job.created_at DESC, job.id DESC;

-- name: job_times
SELECT job.status, job.attempt, job.lane, job.error_code, job.flow_run_id,
       EXISTS (SELECT FROM shared_runs AS run WHERE run.flow_run_id = job.flow_run_id) AS is_shared,
       job.created_at, job.dispatched_at, job.available_at, job.started_at, job.sent_at, job.handed_at,
       job.cancel_requested_at, job.completed_at
FROM job_results AS job
WHERE job.id = %(id)s;

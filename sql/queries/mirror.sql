-- Runs of the flows that look after the hub, as rows of job_results. They are never leased, and never started from here.
-- `status || ''`: see jobs.sql.

-- name: add_mirror
-- Asked for through the API; the flow run that it is handed to begins it.
INSERT INTO job_results (job_type, server_id, server_type, server_ref_id, params, max_attempts)
VALUES (%(job_type)s, coalesce(%(server_ref_id)s::uuid::text, 'hub'), %(server_type)s, %(server_ref_id)s, %(params)s, 1)
RETURNING id;

-- name: dispatch_mirror
UPDATE job_results
SET flow_run_id = %(flow_run_id)s, dispatched_at = now()
WHERE id = %(id)s AND status || '' = 'pending'
  AND NOT nexus_is_call(job_type);

-- name: resume_mirror
-- A run that begins again, after a time-out or a lost answer, goes on with the row that it left open.
UPDATE job_results SET heartbeat_at = now()
WHERE flow_run_id = %(flow_run_id)s AND job_type = %(job_type)s AND status || '' = 'running'
RETURNING id;

-- name: begin_mirror
UPDATE job_results
SET status = 'running', attempt = 1, flow_run_id = %(flow_run_id)s, dispatched_at = coalesce(dispatched_at, now()),
    heartbeat_at = now(), params = %(params)s
WHERE id = %(id)s AND status || '' = 'pending' AND job_type = %(job_type)s
RETURNING id;

-- name: insert_mirror
INSERT INTO job_results (job_type, server_id, server_type, server_ref_id, params, max_attempts, status, attempt,
                         flow_run_id, dispatched_at, heartbeat_at)
VALUES (%(job_type)s, coalesce(%(server_ref_id)s::uuid::text, 'hub'), %(server_type)s, %(server_ref_id)s, %(params)s, 1,
        'running', 1, %(flow_run_id)s, now(), now())
RETURNING id;

-- name: note_mirror
-- Whoever ends the row elsewhere stops the run: then nothing is touched here.
UPDATE job_results SET progress = %(progress)s, heartbeat_at = now()
WHERE id = %(id)s AND status || '' = 'running'
  AND NOT nexus_is_call(job_type);

-- name: beat_mirror
UPDATE job_results SET heartbeat_at = now()
WHERE id = %(id)s AND status || '' = 'running'
  AND NOT nexus_is_call(job_type);

-- name: end_mirror
UPDATE job_results
SET status = %(status)s, result = %(result)s, error = %(error)s, error_code = %(error_code)s
WHERE id = %(id)s AND nexus_is_live(status || '')
  AND NOT nexus_is_call(job_type)
RETURNING id, job_type, server_ref_id;

-- name: abandon_mirror
-- The run ended without a word of its own.
UPDATE job_results
SET status = %(status)s, error = %(error)s, error_code = %(error_code)s
WHERE flow_run_id = %(flow_run_id)s AND nexus_is_live(status || '')
  AND NOT nexus_is_call(job_type)
RETURNING id, job_type, server_ref_id;

-- name: silent_mirrors
-- Unended runs that have given no sign of life for a while: what does Prefect say of them?
SELECT id, flow_run_id
FROM job_results
WHERE nexus_is_live(status) AND NOT nexus_is_call(job_type)
  AND flow_run_id IS NOT NULL
  -- While the database was away nobody could give one.
  AND pg_postmaster_start_time() NOT BETWEEN now() - make_interval(secs => %(grace)s) AND now()
  AND greatest(heartbeat_at, dispatched_at, created_at) < now() - make_interval(secs => %(grace)s)
LIMIT %(limit)s;

-- name: ended_mirror
-- The stored row has ended, and not by an earlier attempt of this flow run: the run is not wanted any more.
SELECT job.id
FROM job_results AS job
WHERE job.id = %(id)s AND job.job_type = %(job_type)s AND nexus_has_ended(job.status)
  AND (job.status = 'cancelled' OR job.flow_run_id IS DISTINCT FROM %(flow_run_id)s);

-- name: last_rotation_row
-- By the index of the types that are seldom.
SELECT status, progress, result, error, created_at, started_at, completed_at
FROM job_results
WHERE job_type = 'key_rotation' AND job_type || '' <> 'tool_invoke'
ORDER BY created_at DESC, id DESC
LIMIT 1;

-- Clean-up. Batches go by a key (a time and the id), so that none reads again what the ones before have read.

-- name: cutoff
-- As text, which every time survives, infinity too.
SELECT (now() - make_interval(days => %(days)s))::text AS cutoff;

-- name: delete_ended
-- One batch, as what was deleted and the last key of it. A row that somebody holds is skipped. Rows are deleted by
-- their place, which is locked: by their id, the planner might read the whole table to find a batch.
WITH deleted AS (
    DELETE FROM job_results
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM job_results
        WHERE nexus_has_ended(status) AND error_code IS DISTINCT FROM 'orphaned'
          AND completed_at < %(cutoff)s::timestamptz
          AND (completed_at, id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
        ORDER BY completed_at, id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING completed_at, id
)
SELECT count(*) OVER () AS deleted, completed_at::text AS after_at, id AS after_id
FROM deleted
ORDER BY completed_at DESC, id DESC
LIMIT 1;

-- name: delete_orphaned
-- Likewise for jobs that failed as orphans, which have a retention of their own.
WITH deleted AS (
    DELETE FROM job_results
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM job_results
        WHERE nexus_is_orphan(status, error_code)
          AND completed_at < %(cutoff)s::timestamptz
          AND (completed_at, id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
        ORDER BY completed_at, id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING completed_at, id
)
SELECT count(*) OVER () AS deleted, completed_at::text AS after_at, id AS after_id
FROM deleted
ORDER BY completed_at DESC, id DESC
LIMIT 1;

-- name: count_ended
SELECT count(*) AS counted
FROM job_results
WHERE nexus_has_ended(status) AND error_code IS DISTINCT FROM 'orphaned'
  AND completed_at < %(cutoff)s::timestamptz;

-- name: count_orphaned
SELECT count(*) AS counted
FROM job_results
WHERE nexus_is_orphan(status, error_code) AND completed_at < %(cutoff)s::timestamptz;

-- name: silent_running
-- Running and without a lease, which only other programs and the mirrors of other flows are: the rescuer takes back
-- jobs whose lease ran out.
SELECT id, version, flow_run_id, created_at::text AS after_at
FROM job_results AS job
WHERE status = 'running' AND lease_expires_at IS NULL
  AND nexus_last_sign(job) < %(cutoff)s::timestamptz
  AND created_at < %(cutoff)s::timestamptz
  AND (created_at, id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
ORDER BY created_at, id
LIMIT %(limit)s;

-- name: silent_pending
-- Pending, and nothing will start it: marked as dispatched without a flow run; of a type that can't be started, in
-- general or as long as Prefect lacks its deployment; or the mirror of another flow's run. The reconciler dispatches all
-- other jobs, and gives up their flow runs.
SELECT id, version, flow_run_id, created_at::text AS after_at
FROM job_results AS job
WHERE status = 'pending'
  AND nexus_last_sign(job) < %(cutoff)s::timestamptz
  AND created_at < %(cutoff)s::timestamptz
  AND CASE WHEN flow_run_id IS NULL THEN dispatched_at IS NOT NULL OR job_type <> ALL (%(startable)s)
           ELSE NOT nexus_is_call(job_type) END
  AND (created_at, id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
ORDER BY created_at, id
LIMIT %(limit)s;

-- name: fail_orphans
-- Only those that are as they were when they were judged, and that nobody writes at this moment.
WITH silent AS (
    SELECT job.id
    FROM job_results AS job
    JOIN unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS judged (id, version)
      ON judged.id = job.id AND judged.version = job.version
    WHERE nexus_is_live(job.status) AND job.lease_expires_at IS NULL
      AND nexus_last_sign(job) < %(cutoff)s::timestamptz  -- a heartbeat is no new version
    ORDER BY job.id
    FOR UPDATE OF job SKIP LOCKED
)
UPDATE job_results AS job
SET status = 'failed', completed_at = now(), error_code = 'orphaned',
    error = 'The job is orphaned: '
        || CASE job.status WHEN 'running' THEN 'it has no worker' ELSE 'nothing will start it' END
        || ', and its last sign of life was at '
        || to_char(nexus_last_sign(job) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC."')
FROM silent
WHERE job.id = silent.id;

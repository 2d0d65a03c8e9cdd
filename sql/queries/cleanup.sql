-- Clean-up. Batches go by a key (a time and the id), so that none reads again what the ones before have read.

-- name: cutoff
-- As text, which every time survives, infinity too.
SELECT (now() - make_interval(days => %(days)s))::text AS cutoff;

-- name: delete_ended
-- One batch, as what was deleted and the last key of it. A row that somebody holds is skipped. Rows are deleted by
-- their place, which is locked: by their id, the planner might read the whole table to find a batch. Each partition has
-- a row at a place; IS TRUE keeps the comparison of both from becoming a join.
WITH old AS MATERIALIZED (
    SELECT tableoid AS part, ctid AS place
    FROM job_results
    WHERE nexus_has_ended(status) AND error_code IS DISTINCT FROM 'orphaned'
      AND completed_at < %(cutoff)s::timestamptz
      AND (completed_at, id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
    ORDER BY completed_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM job_results
    WHERE ctid = ANY (ARRAY(SELECT place FROM old))
      AND ((tableoid, ctid) IN (SELECT part, place FROM old)) IS TRUE
    RETURNING completed_at, id
)
SELECT count(*) OVER () AS deleted, completed_at::text AS after_at, id AS after_id
FROM deleted
ORDER BY completed_at DESC, id DESC
LIMIT 1;

-- name: delete_orphaned
-- Likewise for jobs that failed as orphans, which have a retention of their own.
WITH old AS MATERIALIZED (
    SELECT tableoid AS part, ctid AS place
    FROM job_results
    WHERE nexus_is_orphan(status, error_code)
      AND completed_at < %(cutoff)s::timestamptz
      AND (completed_at, id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
    ORDER BY completed_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM job_results
    WHERE ctid = ANY (ARRAY(SELECT place FROM old))
      AND ((tableoid, ctid) IN (SELECT part, place FROM old)) IS TRUE
    RETURNING completed_at, id
)
SELECT count(*) OVER () AS deleted, completed_at::text AS after_at, id AS after_id
FROM deleted
ORDER BY completed_at DESC, id DESC
LIMIT 1;

-- name: drop_days
-- Of jobs in partitions, the days of which nothing is kept.
SELECT deleted_completed, deleted_orphaned, busy_days
FROM nexus_drop_job_days(%(days_completed)s, %(days_orphaned)s);

-- name: add_days
-- Of jobs in partitions, those of the days to come; of one table, what a change of its form left behind goes.
SELECT nexus_add_job_days() AS made;

-- name: are_in_days
SELECT nexus_jobs_are_in_days() AS are_in_days;

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
-- Pending, and nothing will start it: of a type that can't be started as long as Prefect lacks its deployment; or the
-- mirror of another flow's run. The reconciler dispatches all other jobs, gives up their flow runs, and sees to it that
-- a shared run comes to those in the queue, however long they wait.
SELECT id, version, flow_run_id, created_at::text AS after_at
FROM job_results AS job
WHERE status = 'pending'
  AND nexus_last_sign(job) < %(cutoff)s::timestamptz
  AND created_at < %(cutoff)s::timestamptz
  AND (NOT nexus_is_call(job_type)
       OR (flow_run_id IS NULL AND dispatched_at IS NULL AND job_type <> ALL (%(startable)s)))
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
    WHERE nexus_is_live(job.status || '') AND job.lease_expires_at IS NULL  -- see jobs.sql
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
WHERE job.id = silent.id
RETURNING job.id, job.job_type, job.server_ref_id;

-- Shared runs and the queue of jobs that wait for one.

-- name: open_run
-- Another run is made if none comes, and unless there is one that takes jobs and is not about to close; under another id
-- if the run of this one has ended, as that of a batch which took long to store.
WITH open AS MATERIALIZED (
    SELECT id
    FROM shared_runs
    WHERE closed_at IS NULL AND (begun_at IS NULL OR lease_expires_at > clock_timestamp())
    LIMIT 1
    FOR KEY SHARE SKIP LOCKED
)
INSERT INTO shared_runs (id)
SELECT CASE WHEN EXISTS (SELECT FROM shared_runs WHERE id = %(id)s) THEN gen_random_uuid() ELSE %(id)s END
WHERE %(one_more)s OR NOT EXISTS (SELECT FROM open)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: note_run
-- Prefect has made it; workers look for it now.
WITH noted AS (
    UPDATE shared_runs SET flow_run_id = %(flow_run_id)s
    WHERE id = %(id)s AND flow_run_id IS DISTINCT FROM %(flow_run_id)s
    RETURNING id
)
SELECT pg_notify('nexus_runs', '') FROM noted;

-- name: take_shared_run
-- For exactly one process, which begins it.
UPDATE shared_runs
SET begun_at = clock_timestamp(), flow_run_id = %(flow_run_id)s,
    lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s AND begun_at IS NULL AND closed_at IS NULL;

-- name: shared_run_was_taken
-- By another process that still lives.
SELECT FROM shared_runs WHERE id = %(id)s AND closed_at IS NULL AND lease_expires_at > clock_timestamp();

-- name: begin_shared_run
-- Taken by this process before, or given to it by Prefect.
UPDATE shared_runs
SET begun_at = coalesce(begun_at, clock_timestamp()), flow_run_id = %(flow_run_id)s,
    lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s AND closed_at IS NULL;

-- name: renew_shared_run
-- No row once it is closed. `replaced`: a younger one takes jobs. `has_others`: there are other workers.
UPDATE shared_runs AS run
SET lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE run.id = %(id)s AND run.closed_at IS NULL
RETURNING EXISTS (SELECT FROM shared_runs AS other
                  WHERE other.closed_at IS NULL AND other.begun_at > run.begun_at
                    AND other.lease_expires_at > clock_timestamp()) AS replaced,
          (SELECT count(*) FROM pg_stat_activity
           WHERE datname = current_database() AND application_name = %(worker)s) > 1 AS has_others;

-- name: hold_shared_run
-- Until the transaction ends nobody joins it; no row while somebody is about to, or if it is closed.
SELECT id FROM shared_runs WHERE id = %(id)s AND closed_at IS NULL FOR UPDATE SKIP LOCKED;

-- name: await_joining
-- As above, once nobody is about to join it any more: whoever hangs in the midst of it is waited for two seconds.
SELECT run.id FROM shared_runs AS run, (SELECT set_config('lock_timeout', '2s', true)) AS bound
WHERE run.id = %(id)s FOR UPDATE OF run;

-- name: close_shared_run
UPDATE shared_runs SET closed_at = clock_timestamp() WHERE id = %(id)s AND closed_at IS NULL;

-- name: close_unmade_run
-- Prefect makes none: nobody joins it any more.
UPDATE shared_runs SET closed_at = clock_timestamp() WHERE flow_run_id IS NULL AND begun_at IS NULL AND closed_at IS NULL;

-- name: leave_queue
-- What waits for a shared run waits for one of its own from now on, unless there is one that takes it.
WITH waiting AS (
    SELECT id
    FROM job_results
    WHERE nexus_is_queued(status, dispatched_at, flow_run_id)
      AND NOT EXISTS (SELECT FROM shared_runs
                      WHERE closed_at IS NULL AND (begun_at IS NULL OR lease_expires_at > clock_timestamp()))
    ORDER BY id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE job_results AS job SET dispatched_at = NULL, batch_id = NULL FROM waiting WHERE job.id = waiting.id;

-- name: forget_closed_runs
DELETE FROM shared_runs
WHERE id IN (SELECT id FROM shared_runs WHERE closed_at < now() - make_interval(days => %(days)s) LIMIT %(limit)s);

-- name: join_run
-- A run that takes jobs, which can't close before this transaction ends; as insert_job does it.
SELECT id
FROM shared_runs
WHERE closed_at IS NULL AND (begun_at IS NULL OR lease_expires_at > clock_timestamp())
ORDER BY begun_at DESC NULLS LAST
LIMIT 1
FOR KEY SHARE SKIP LOCKED;

-- name: waiting_state
-- What there is to dispatch: jobs without a run and not in the queue, at most two; jobs that have been due in the queue
-- for a moment; and the run that comes, if one does. Where many run, each that got a run of its own would take room in a
-- worker from others. Runs whose process is gone are closed on the way.
WITH dead AS (
    UPDATE shared_runs SET closed_at = clock_timestamp()
    WHERE id IN (SELECT id FROM shared_runs
                 WHERE closed_at IS NULL AND lease_expires_at < clock_timestamp()
                 FOR NO KEY UPDATE SKIP LOCKED)
)
SELECT (SELECT count(*)
        FROM (SELECT FROM job_results
              WHERE status = 'pending' AND dispatched_at IS NULL AND available_at <= now()
                AND lost_flow_run_id IS NULL AND nexus_is_call(job_type)
                AND (attempt > 0 OR created_at < now() - make_interval(secs => %(grace)s))
              LIMIT 2) AS job) AS undispatched,
       (SELECT count(*) > %(most_running)s
        FROM (SELECT FROM job_results WHERE status = 'running' AND lane = 'durable'
              LIMIT %(most_running)s + 1) AS running) AS many_run,
       EXISTS (SELECT FROM job_results
               WHERE nexus_is_queued(status, dispatched_at, flow_run_id)
                 AND available_at <= now() - make_interval(secs => %(grace)s / 2.0)) AS queued,
       EXISTS (SELECT FROM shared_runs WHERE closed_at IS NULL AND lease_expires_at >= clock_timestamp()) AS is_open,
       coming.id AS coming_id, coming.flow_run_id AS coming_flow_run_id,
       extract(epoch FROM clock_timestamp() - coming.created_at)::float8 AS coming_age
FROM (VALUES (1)) AS one
LEFT JOIN shared_runs AS coming ON coming.begun_at IS NULL AND coming.closed_at IS NULL;

-- name: queued_jobs
-- The first that wait and are due, of each owner so many, or fewer of many owners: the index is entered once for each.
WITH RECURSIVE owners AS (
    (SELECT nexus_owner(user_id) AS owner, 1 AS number
     FROM job_results
     WHERE nexus_is_queued(status, dispatched_at, flow_run_id)
       AND (%(after)s::uuid IS NULL OR nexus_owner(user_id) > %(after)s::uuid)
     ORDER BY nexus_owner(user_id)
     LIMIT 1)
    UNION ALL
    SELECT (SELECT nexus_owner(job.user_id)
            FROM job_results AS job
            WHERE nexus_is_queued(job.status, job.dispatched_at, job.flow_run_id)
              AND nexus_owner(job.user_id) > owners.owner
            ORDER BY nexus_owner(job.user_id)
            LIMIT 1), owners.number + 1
    FROM owners
    WHERE owners.owner IS NOT NULL AND owners.number < %(most_owners)s
)
SELECT job.id, job.server_id, job.user_id
FROM owners
CROSS JOIN LATERAL (
    SELECT id, server_id, user_id
    FROM job_results
    WHERE nexus_is_queued(status, dispatched_at, flow_run_id) AND nexus_owner(user_id) = owners.owner
      AND available_at <= clock_timestamp() + interval '1 second'
    ORDER BY available_at, id
    LIMIT (SELECT least(%(of_each)s, greatest(%(in_all)s / count(*), 4)) FROM owners AS counted)
) AS job
WHERE owners.owner IS NOT NULL;

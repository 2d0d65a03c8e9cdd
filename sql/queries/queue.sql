-- The queue as people see it: what a job waits for, and how much waits and runs on behalf of each user.

-- name: job_waits
-- Of a job that was pending a moment ago. Its place is among the jobs of its own user, since users share places.
SELECT waits.kind AS "for",
       CASE waits.kind WHEN 'queue' THEN 1 + (
           SELECT count(*)
           FROM (SELECT FROM job_results AS other
                 WHERE nexus_is_queued(other.status, other.dispatched_at, other.flow_run_id)
                   AND nexus_owner(other.user_id) = nexus_owner(job.user_id)
                   AND (other.available_at, other.id) < (job.available_at, job.id)
                 ORDER BY other.available_at, other.id
                 LIMIT %(most_ahead)s) AS ahead) END AS position,
       CASE waits.kind WHEN 'queue' THEN (
           SELECT count(*)
           FROM job_results AS other
           WHERE other.status = 'running' AND nexus_is_call(other.job_type) AND other.lane = 'durable'
             AND nexus_owner(other.user_id) = nexus_owner(job.user_id)) END AS running,
       CASE WHEN waits.kind IN ('time', 'approval') THEN job.available_at END AS until,
       -- What a flow run has had, or the queue, only a rate limit makes wait, or a server that does not answer.
       CASE WHEN waits.kind <> 'time' THEN NULL
            WHEN job.dispatched_at IS NOT NULL AND job.error_code IS DISTINCT FROM 'circuit-open' THEN 'rate-limited'
            ELSE job.error_code END AS reason
FROM job_results AS job
CROSS JOIN LATERAL (
    SELECT CASE WHEN job.available_at > clock_timestamp() AND job.error_code = 'approval-needed' THEN 'approval'
                WHEN job.available_at > clock_timestamp() THEN 'time'
                WHEN nexus_is_queued(job.status, job.dispatched_at, job.flow_run_id) THEN 'queue'
                WHEN job.flow_run_id IS NOT NULL THEN 'flow-run'
                ELSE 'prefect' END AS kind
) AS waits
WHERE job.id = %(id)s;

-- name: queues
-- Of each user with open jobs, the operator first among them: the index is entered once for each of them, and no more
-- than so many of the pending jobs of one are read.
WITH RECURSIVE owners AS (
    SELECT nexus_owner(%(user_id)s::uuid) AS owner, 1 AS number
    UNION ALL
    SELECT (SELECT job.user_id
            FROM job_results AS job
            WHERE nexus_is_live(job.status) AND job.user_id > owners.owner
            ORDER BY job.user_id
            LIMIT 1), owners.number + 1
    FROM owners
    WHERE %(all_users)s AND owners.owner IS NOT NULL AND owners.number < %(most_users)s
),
running AS MATERIALIZED (
    SELECT nexus_owner(user_id) AS owner, count(*) AS jobs
    FROM job_results
    WHERE status = 'running' AND nexus_is_call(job_type) AND (%(all_users)s OR user_id = %(user_id)s::uuid)
    GROUP BY nexus_owner(user_id)
)
SELECT nullif(owners.owner, nexus_owner(NULL)) AS user_id, users.name, pending.waiting,
       extract(epoch FROM clock_timestamp() - least(pending.oldest, queued.oldest))::float8 AS oldest_seconds,
       pending.later, coalesce(running.jobs, 0) AS running, pending.waiting + pending.later >= %(most_jobs)s AS more
FROM owners
LEFT JOIN running ON running.owner = owners.owner
LEFT JOIN users ON users.id = owners.owner
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE job.available_at <= clock_timestamp()) AS waiting,
           count(*) FILTER (WHERE job.available_at > clock_timestamp()) AS later,
           min(job.available_at) FILTER (WHERE job.available_at <= clock_timestamp()) AS oldest
    FROM ((SELECT available_at
           FROM job_results
           WHERE nexus_is_live(status) AND status = 'pending' AND nexus_is_call(job_type) AND user_id = owners.owner
           LIMIT %(most_jobs)s)
          UNION ALL
          (SELECT available_at
           FROM job_results
           WHERE nexus_is_live(status) AND status = 'pending' AND nexus_is_call(job_type) AND user_id IS NULL
             AND owners.owner = nexus_owner(NULL)
           LIMIT %(most_jobs)s)) AS job
) AS pending
-- In the queue the oldest one is known, however many there are.
LEFT JOIN LATERAL (
    SELECT available_at AS oldest
    FROM job_results
    WHERE nexus_is_queued(status, dispatched_at, flow_run_id) AND nexus_owner(user_id) = owners.owner
      AND available_at <= clock_timestamp()
    ORDER BY available_at, id
    LIMIT 1
) AS queued ON true
WHERE owners.owner IS NOT NULL AND (pending.waiting > 0 OR pending.later > 0 OR running.jobs > 0)
ORDER BY oldest_seconds DESC NULLS LAST, pending.waiting DESC, owners.owner;

-- name: open_runs
-- The flow runs that take jobs, or are about to; of a user those that carry one of its jobs.
SELECT run.flow_run_id
FROM shared_runs AS run
WHERE run.closed_at IS NULL AND (run.begun_at IS NULL OR run.lease_expires_at > clock_timestamp())
  AND run.flow_run_id IS NOT NULL
  AND (%(all_users)s OR run.flow_run_id IN (SELECT job.flow_run_id FROM job_results AS job
                                            WHERE job.status = 'running' AND job.user_id = %(user_id)s::uuid))
ORDER BY run.created_at, run.id
LIMIT %(limit)s;

-- Jobs. Every write compares state and claim, so that a late writer touches nothing.
--
-- Where jobs are found by their ids or flow runs, `status || ''` keeps the planner from the small indexes of open jobs:
-- most of the time hardly a job is open, and an index that looks empty seems cheaper than the key of a large table. It
-- is not empty while some transaction is held open: every version of every job since stays in it.

-- name: hold_open_jobs
-- Until the transaction ends, no other one counts the open jobs of this user.
SELECT pg_advisory_xact_lock(hashtextextended('nexus.open_jobs:' || %(user_id)s::text, 0));

-- name: insert_job
-- The first insert under an idempotency key wins; a later one gives no row, nor does one over the user's bound. No index
-- is named, since keys of jobs in partitions are kept by a trigger. The
-- columns are those of get_job, and whether it waits for a shared run, and for one that is there: the run can't close
-- before this transaction ends; one that is about to close is passed over.
WITH run AS MATERIALIZED (
    SELECT id
    FROM shared_runs
    WHERE %(flow_run_id)s::uuid IS NULL AND closed_at IS NULL
      AND (begun_at IS NULL OR lease_expires_at > clock_timestamp())
    ORDER BY begun_at DESC NULLS LAST
    LIMIT 1
    FOR KEY SHARE SKIP LOCKED
)
INSERT INTO job_results (user_id, job_type, server_id, server_type, server_ref_id, tool_name, params, params_escaped,
                         params_sent, timeout_seconds, max_attempts, retry, idempotency_key, request_digest,
                         client_capabilities, trace_context, flow_run_id, dispatched_at, bundle_entry_id, called_as)
SELECT %(user_id)s, %(job_type)s, %(server_ref_id)s::text, %(server_type)s, %(server_ref_id)s, %(tool_name)s,
       %(params)s, true, %(params_sent)s, %(timeout_seconds)s, %(max_attempts)s, %(retry)s, %(idempotency_key)s, %(request_digest)s,
       %(client_capabilities)s, %(trace_context)s, %(flow_run_id)s, CASE WHEN %(flow_run_id)s::uuid IS NOT NULL OR %(queued)s OR EXISTS (SELECT FROM run) THEN now() END,
       %(bundle_entry_id)s::uuid, %(called_as)s
WHERE %(most_open)s::bigint IS NULL
   OR %(most_open)s > (SELECT count(*)
                       FROM (SELECT FROM job_results
                             WHERE user_id = %(user_id)s::uuid AND nexus_is_live(status)
                               AND (lane = 'durable' OR handed_at IS NOT NULL)
                             LIMIT %(most_open)s) AS open)
ON CONFLICT DO NOTHING
RETURNING id, user_id, job_type, server_id, server_type, server_ref_id, tool_name,
          coalesce(params_sent::text, params::text) AS params, params_escaped, params_sent IS NOT NULL AS params_as_sent, status,
          NULL::text AS result, result_escaped, false AS result_as_sent, error, error_code, attempt, max_attempts,
          timeout_seconds, retry, progress, version, lane, handed_at, flow_run_id, bundle_entry_id, called_as, substr(trace_context, 4, 32) AS trace_id,
          created_at, available_at, started_at, completed_at, nexus_is_queued(status, dispatched_at, flow_run_id) AS queued, EXISTS (SELECT FROM run) AS joined;

-- name: insert_jobs
-- As many as one request brings, in one go, into the queue; in the order of their keys, so that two of them don't wait
-- for each other.
INSERT INTO job_results (id, user_id, job_type, server_id, server_type, server_ref_id, tool_name, params, params_escaped,
                         params_sent, timeout_seconds, max_attempts, retry, idempotency_key, request_digest, trace_context,
                         batch_id, dispatched_at, bundle_entry_id, called_as)
SELECT job.id, %(user_id)s, job.job_type, job.server_ref_id::text, job.server_type, job.server_ref_id, job.tool_name,
       job.params, true, sent.params, job.timeout_seconds, job.max_attempts, job.retry, job.idempotency_key,
       job.request_digest, job.trace_context, %(batch_id)s, now(), job.bundle_entry_id,
       job.called_as
FROM jsonb_to_recordset(%(jobs)s) AS job (
    number bigint, id uuid, job_type text, server_type text, server_ref_id uuid, tool_name text, params jsonb,
    timeout_seconds integer, max_attempts integer, retry text, idempotency_key text, request_digest text, trace_context text,
    bundle_entry_id uuid, called_as text)
JOIN unnest(%(params_sent)b::json[]) WITH ORDINALITY AS sent (params, number) USING (number)
WHERE %(most_open)s::bigint IS NULL
   OR %(most_open)s >= (SELECT count(*)
                        FROM (SELECT FROM job_results
                              WHERE user_id = %(user_id)s::uuid AND nexus_is_live(status)
                                AND (lane = 'durable' OR handed_at IS NOT NULL)
                              LIMIT %(most_open)s) AS open)
                     + (SELECT count(DISTINCT coalesce(asked.idempotency_key, asked.id))
                        FROM jsonb_to_recordset(%(jobs)s) AS asked (id text, idempotency_key text)
                        WHERE NOT EXISTS (SELECT FROM job_results AS known
                                          WHERE known.user_id = %(user_id)s::uuid
                                            AND known.idempotency_key = asked.idempotency_key))
ORDER BY job.idempotency_key
ON CONFLICT DO NOTHING
RETURNING id;

-- name: jobs_of_keys
SELECT id, idempotency_key, request_digest
FROM job_results
WHERE idempotency_key = ANY (%(idempotency_keys)s) AND user_id IS NOT DISTINCT FROM %(user_id)s::uuid;

-- name: get_job
-- Params and result as their texts, which nobody on the way needs to read; a result over so many bytes is left out.
SELECT id, user_id, job_type, server_id, server_type, server_ref_id, tool_name,
       coalesce(params_sent::text, params::text) AS params, params_escaped, params_sent IS NOT NULL AS params_as_sent, status,
       CASE WHEN large.is_it THEN NULL ELSE coalesce(result_sent::text, result::text) END AS result,
       result_escaped, result_sent IS NOT NULL AS result_as_sent,
       error, error_code, attempt, max_attempts, timeout_seconds, retry, progress, version, lane, handed_at, flow_run_id,
       bundle_entry_id, called_as, substr(trace_context, 4, 32) AS trace_id, created_at, available_at, started_at, completed_at,
       large.is_it AS is_large
FROM job_results
CROSS JOIN LATERAL (
    SELECT coalesce(octet_length(coalesce(result_sent::text, result::text)) > %(most_bytes)s::bigint, false)
) AS large (is_it)
WHERE id = %(id)s;

-- name: job_names
-- What people call a job's server and user, as far as one sees them, and how long it took.
SELECT state.name AS server, users.name AS "user",
       (extract(epoch FROM job.completed_at - job.started_at) * 1000)::float8 AS duration_ms
FROM job_results AS job
LEFT JOIN server_state AS state
       ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
LEFT JOIN users ON users.id = job.user_id
WHERE job.id = %(id)s;

-- name: is_due
SELECT FROM job_results WHERE id = %(id)s AND status || '' = 'pending' AND available_at <= now();

-- name: job_state
SELECT status, attempt, available_at FROM job_results WHERE id = %(id)s;

-- name: claim_job
-- pending -> running, for exactly one claimant of this attempt.
UPDATE job_results
SET status = 'running', attempt = attempt + 1, claim_id = %(claim_id)s, batch_id = NULL,
    flow_run_id = coalesce(%(flow_run_id)s, flow_run_id), dispatched_at = coalesce(dispatched_at, now()),
    started_at = coalesce(started_at, now()), heartbeat_at = now(), sent_at = NULL, progress = NULL, lost_runs = 0,
    lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s AND status || '' = 'pending' AND attempt = %(attempt)s - 1
  AND available_at <= clock_timestamp() + interval '1 second'
RETURNING id, user_id, job_type, server_type, server_ref_id, tool_name, coalesce(params_sent, params::json) AS params,
          params_escaped, params_sent IS NOT NULL AS params_as_sent, attempt, max_attempts, timeout_seconds, retry, claim_id,
          client_capabilities, trace_context, bundle_entry_id, called_as,
          extract(epoch FROM now() - greatest(created_at, available_at))::float8 * 1000 AS waited_ms,
          extract(epoch FROM now() - created_at)::float8 * 1000 AS age_ms;

-- name: take_run
-- A flow run whose jobs have never begun is that process's from now on, who says so in one of their rows.
WITH first AS (
    SELECT id
    FROM job_results
    WHERE flow_run_id = %(flow_run_id)s AND status || '' = 'pending' AND available_at <= now()
    ORDER BY id
    LIMIT 1
)
UPDATE job_results AS job
SET heartbeat_at = clock_timestamp()
FROM first
WHERE job.id = first.id AND job.flow_run_id = %(flow_run_id)s AND job.status || '' = 'pending' AND job.heartbeat_at IS NULL
  AND NOT EXISTS (SELECT FROM job_results
                  WHERE flow_run_id = %(flow_run_id)s AND (started_at IS NOT NULL OR heartbeat_at IS NOT NULL));

-- name: run_was_taken
-- By another process, and not long ago, and nothing of it has begun.
SELECT FROM job_results
WHERE flow_run_id = %(flow_run_id)s
HAVING bool_and(started_at IS NULL) AND max(heartbeat_at) > clock_timestamp() - make_interval(secs => %(seconds)s);

-- name: claim_queued
-- queued -> running for many, each under a claim of its own; what somebody else is writing is left out.
WITH due AS (
    SELECT id
    FROM job_results
    WHERE id = ANY (%(ids)s::uuid[]) AND nexus_is_queued(status || '', dispatched_at, flow_run_id)
      AND available_at <= clock_timestamp() + interval '1 second'
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
UPDATE job_results AS job
SET status = 'running', attempt = job.attempt + 1, claim_id = gen_random_uuid(), batch_id = NULL, flow_run_id = %(flow_run_id)s,
    started_at = coalesce(job.started_at, now()),
    heartbeat_at = now(), sent_at = NULL, progress = NULL, lost_runs = 0,
    lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
FROM due
WHERE job.id = due.id
RETURNING job.id, job.user_id, job.job_type, job.server_type, job.server_ref_id, job.tool_name,
          coalesce(job.params_sent, job.params::json) AS params, job.params_escaped,
          job.params_sent IS NOT NULL AS params_as_sent, job.attempt, job.max_attempts, job.timeout_seconds, job.retry,
          job.claim_id, job.client_capabilities, job.trace_context, job.bundle_entry_id, job.called_as,
          extract(epoch FROM now() - greatest(job.created_at, job.available_at))::float8 * 1000 AS waited_ms,
          extract(epoch FROM now() - job.created_at)::float8 * 1000 AS age_ms;

-- name: fail_queued
-- Nobody can take it.
UPDATE job_results
SET status = 'failed', error_code = 'internal-error',
    error = 'This job can''t be taken: what is stored of it is not as the hub stores it.'
WHERE id = %(id)s AND nexus_is_queued(status || '', dispatched_at, flow_run_id)
RETURNING id, job_type, server_ref_id;

-- name: renew_leases
-- All that a process holds under these claims; a claim that is gone gives no row. One row that somebody else is writing
-- holds up no other: its claim is there, and is renewed the next time.
WITH held AS (
    SELECT job.id, job.claim_id
    FROM job_results AS job
    JOIN unnest(%(ids)s::uuid[], %(claim_ids)s::uuid[]) AS claim (id, claim_id)
      ON claim.id = job.id AND claim.claim_id = job.claim_id
    WHERE job.status || '' = 'running'
),
free AS (
    SELECT job.id FROM job_results AS job JOIN held ON held.id = job.id AND held.claim_id = job.claim_id
    WHERE job.status || '' = 'running'
    ORDER BY job.id
    FOR UPDATE OF job SKIP LOCKED
),
renewed AS (
    UPDATE job_results AS job
    SET heartbeat_at = now(), lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
    FROM free
    WHERE job.id = free.id
    RETURNING job.id
)
SELECT held.claim_id, renewed.id IS NOT NULL AS renewed FROM held LEFT JOIN renewed ON renewed.id = held.id;

-- name: mark_sent
-- From here on these calls may have had their effect.
WITH held AS (
    SELECT job.id, job.claim_id
    FROM job_results AS job
    JOIN unnest(%(ids)s::uuid[], %(claim_ids)s::uuid[]) AS claim (id, claim_id)
      ON claim.id = job.id AND claim.claim_id = job.claim_id
    WHERE job.status || '' = 'running'
    ORDER BY job.id
    FOR UPDATE OF job
)
UPDATE job_results AS job SET sent_at = now() FROM held WHERE job.id = held.id RETURNING held.claim_id;

-- name: record_progress
-- How far the calls of a process have come; what somebody else is writing gets its note the next time.
WITH held AS (
    SELECT job.id, said.claim_id, said.progress
    FROM job_results AS job
    JOIN jsonb_to_recordset(%(notes)s) AS said (id uuid, claim_id uuid, progress jsonb)
      ON said.id = job.id AND said.claim_id = job.claim_id
    WHERE job.status || '' = 'running'
    ORDER BY job.id
    FOR UPDATE OF job SKIP LOCKED
)
UPDATE job_results AS job SET progress = held.progress FROM held WHERE job.id = held.id RETURNING held.claim_id;

-- name: finish_jobs
-- Each result is a value by itself, checked as one, and kept as it was sent; where jsonb has to have it in another form,
-- that comes along.
WITH ended AS (
    SELECT job.id, said.claim_id, said.status, given.sent, given.storable, said.error, said.error_code, said.progress
    FROM job_results AS job
    JOIN jsonb_to_recordset(%(ends)s) AS said (
             number bigint, id uuid, claim_id uuid, status text, error text, error_code text, progress jsonb)
      ON said.id = job.id AND said.claim_id = job.claim_id
    JOIN unnest(%(results)b::json[], %(storable)b::json[]) WITH ORDINALITY AS given (sent, storable, number)
      USING (number)
    WHERE job.status || '' = 'running'
    ORDER BY job.id
    FOR UPDATE OF job
)
UPDATE job_results AS job
SET status = ended.status, result_sent = ended.sent, result = nexus_to_jsonb(coalesce(ended.storable, ended.sent)),
    result_escaped = true, error = ended.error,
    error_code = ended.error_code, progress = coalesce(ended.progress, job.progress), completed_at = now()
FROM ended
WHERE job.id = ended.id
RETURNING ended.claim_id;

-- name: commit_soon
-- Nobody waits for the disk when this transaction commits: a crash of the database may take it back.
SELECT set_config('synchronous_commit', 'off', true);

-- name: requeue_job
-- running -> pending: another attempt, by another flow run.
UPDATE job_results
SET status = 'pending', available_at = now() + make_interval(secs => %(delay)s), dispatched_at = NULL,
    flow_run_id = NULL, batch_id = NULL, error_code = %(error_code)s
WHERE id = %(id)s AND status || '' = 'running' AND claim_id = %(claim_id)s AND attempt < max_attempts;

-- name: snooze_job
-- running -> pending: the same attempt by the same flow run, later; the code says why, unless it is for a limit.
UPDATE job_results
SET status = 'pending', attempt = attempt - 1, available_at = now() + make_interval(secs => %(delay)s),
    error_code = coalesce(%(error_code)s, nullif(error_code, 'circuit-open'))
WHERE id = %(id)s AND status || '' = 'running' AND claim_id = %(claim_id)s
RETURNING available_at;

-- name: snooze_shared_job
-- running -> queued: the same attempt later, by whichever shared run there is then.
UPDATE job_results
SET status = 'pending', attempt = attempt - 1, available_at = now() + make_interval(secs => %(delay)s),
    dispatched_at = now(), flow_run_id = NULL, batch_id = NULL,
    error_code = coalesce(%(error_code)s, nullif(error_code, 'circuit-open'))
WHERE id = %(id)s AND status || '' = 'running' AND claim_id = %(claim_id)s;

-- name: snooze_waiting_jobs
-- Jobs in the queue that are due and that nobody has taken: each later.
WITH waiting AS (
    SELECT job.id, later.delay
    FROM job_results AS job
    JOIN unnest(%(ids)s::uuid[], %(delays)s::float8[]) AS later (id, delay) ON later.id = job.id
    WHERE nexus_is_queued(job.status || '', job.dispatched_at, job.flow_run_id)
      AND job.available_at <= clock_timestamp() + interval '1 second'
    ORDER BY job.id
    FOR UPDATE OF job SKIP LOCKED
)
UPDATE job_results AS job
SET available_at = now() + make_interval(secs => waiting.delay),
    error_code = coalesce(%(error_code)s, nullif(job.error_code, 'circuit-open'))
FROM waiting
WHERE job.id = waiting.id;

-- name: run_ended
-- How the jobs of a flow run have ended, by server.
SELECT state.name AS server, job.status, job.error_code, count(*) AS jobs,
       sum(extract(epoch FROM job.completed_at - job.started_at))::float8 AS seconds,
       extract(epoch FROM max(job.completed_at) - min(job.started_at))::float8 AS span
FROM job_results AS job
LEFT JOIN server_state AS state
       ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
WHERE job.flow_run_id = %(flow_run_id)s AND nexus_has_ended(job.status)
GROUP BY state.name, job.status, job.error_code
ORDER BY count(*) DESC, state.name, job.status, job.error_code;

-- name: cancel_job
UPDATE job_results
SET status = 'cancelled', cancel_requested_at = now(), completed_at = now(), error_code = 'cancelled'
WHERE id = %(id)s AND nexus_is_live(status || '')
RETURNING id, job_type, server_ref_id,
          CASE WHEN NOT EXISTS (SELECT FROM shared_runs WHERE shared_runs.flow_run_id = job_results.flow_run_id)
               THEN flow_run_id END AS flow_run_id;

-- name: close_cancelled_run
-- A shared run takes no more jobs.
UPDATE shared_runs SET closed_at = clock_timestamp() WHERE flow_run_id = %(flow_run_id)s AND closed_at IS NULL;

-- name: cancel_flow_run
-- What a run carries, and what is left of the batch that it was made for.
WITH jobs_of_runs AS (
    SELECT id
    FROM job_results
    WHERE nexus_is_live(status || '')
      AND (flow_run_id = %(flow_run_id)s
           OR (status || '' = 'pending'
               AND batch_id = (SELECT run.id FROM shared_runs AS run WHERE run.flow_run_id = %(flow_run_id)s)))
    ORDER BY id
    FOR UPDATE
)
UPDATE job_results AS job
SET status = 'cancelled', cancel_requested_at = now(), completed_at = now(), error_code = 'cancelled'
FROM jobs_of_runs
WHERE job.id = jobs_of_runs.id
RETURNING job.id, job.job_type, job.server_ref_id;

-- name: mark_dispatched
UPDATE job_results
SET dispatched_at = now(), flow_run_id = %(flow_run_id)s
WHERE id = %(id)s AND status || '' = 'pending' AND attempt = %(attempt)s - 1 AND lost_runs = %(lost_runs)s
  AND dispatched_at IS NULL;

-- name: queue_waiting
-- What waits for a flow run waits for a shared one from now on.
WITH waiting AS (
    SELECT id
    FROM job_results
    WHERE status = 'pending' AND dispatched_at IS NULL AND available_at <= now()
      AND lost_flow_run_id IS NULL AND nexus_is_call(job_type)
      AND (attempt > 0 OR created_at < now() - make_interval(secs => %(grace)s))
    ORDER BY available_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE job_results AS job
SET dispatched_at = now()
FROM waiting
WHERE job.id = waiting.id;

-- name: snooze_undispatched_job
-- Prefect makes no run for it now: it is tried again later, and holds up no other until then.
UPDATE job_results
SET available_at = now() + make_interval(secs => %(delay)s), error_code = 'prefect-refused'
WHERE id = %(id)s AND status || '' = 'pending' AND attempt = %(attempt)s - 1 AND lost_runs = %(lost_runs)s
  AND dispatched_at IS NULL;

-- name: rescue_lock
-- One rescuer at a time; the lock goes with the transaction, and the transaction with a process that has stopped.
SELECT pg_try_advisory_xact_lock(hashtextextended(%(name)s, 0)) AS taken,
       set_config('idle_in_transaction_session_timeout', %(patience)s, true) AS patience,
       extract(epoch FROM clock_timestamp())::float8 AS now;

-- name: lost_runs
-- Flow runs that jobs have gone on without: what does Prefect say of them?
SELECT DISTINCT lost_flow_run_id
FROM job_results
WHERE status || '' = 'pending' AND lost_flow_run_id IS NOT NULL
LIMIT %(limit)s;

-- name: cancel_lost_run
-- The run was cancelled in Prefect while nobody was there to hear of it.
WITH lost AS (
    SELECT id
    FROM job_results
    WHERE status || '' = 'pending' AND lost_flow_run_id = %(lost_flow_run_id)s
    ORDER BY id
    FOR UPDATE
)
UPDATE job_results AS job
SET status = 'cancelled', cancel_requested_at = now(), completed_at = now(), error_code = 'cancelled'
FROM lost
WHERE job.id = lost.id
RETURNING job.id, job.job_type, job.server_ref_id;

-- name: settle_lost_run
WITH lost AS (
    SELECT id
    FROM job_results
    WHERE status || '' = 'pending' AND lost_flow_run_id = %(lost_flow_run_id)s
    ORDER BY id
    FOR UPDATE
)
UPDATE job_results AS job SET lost_flow_run_id = NULL FROM lost WHERE job.id = lost.id;

-- name: uses_of_runs
-- Of these flow runs: whether they have a job which has not ended, or has only just; else how the one ended that they
-- were made for.
SELECT flow_run_id,
       bool_or(nexus_is_live(status) OR completed_at > now() - make_interval(secs => %(seconds)s)) AS in_use,
       CASE WHEN count(*) = 1
                 AND NOT EXISTS (SELECT FROM shared_runs AS run WHERE run.flow_run_id = job_results.flow_run_id)
            THEN min(status) END AS status
FROM job_results
WHERE flow_run_id = ANY (%(flow_run_ids)s::uuid[])
GROUP BY flow_run_id;

-- name: undispatched_jobs
-- Stored and never handed to Prefect, or due for another attempt. Rows of other types only mirror other flows.
SELECT job.id, job.attempt + 1 AS attempt, job.job_type, job.tool_name, job.params ->> 'name' AS params_name,
       job.params_escaped, job.lost_runs, job.trace_context, job.error_code, state.name AS server
FROM job_results AS job
LEFT JOIN server_state AS state
       ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
WHERE job.status = 'pending' AND job.dispatched_at IS NULL AND job.available_at <= now()
  AND job.lost_flow_run_id IS NULL AND job.job_type = %(job_type)s
  AND (job.attempt > 0 OR job.created_at < now() - make_interval(secs => %(grace)s))
ORDER BY job.available_at
LIMIT %(limit)s;

-- name: undispatched_job
SELECT job.id, job.attempt + 1 AS attempt, job.job_type, job.tool_name, job.params ->> 'name' AS params_name,
       job.params_escaped, job.lost_runs, job.trace_context, job.error_code, state.name AS server
FROM job_results AS job
LEFT JOIN server_state AS state
       ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
WHERE job.id = %(id)s AND job.status || '' = 'pending' AND job.dispatched_at IS NULL AND job.available_at <= now()
  AND job.lost_flow_run_id IS NULL
  AND nexus_is_call(job.job_type);

-- name: unpaused_jobs
-- Jobs that wait for a person's yes and of which Prefect does not know: their runs come paused.
SELECT job.id, job.attempt + 1 AS attempt, job.job_type, job.tool_name, job.params ->> 'name' AS params_name,
       job.params_escaped, job.lost_runs, job.trace_context, job.error_code, state.name AS server
FROM job_results AS job
LEFT JOIN server_state AS state
       ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
WHERE job.status = 'pending' AND job.dispatched_at IS NULL AND job.available_at > now()
  AND job.error_code = 'approval-needed'
  AND job.created_at < now() - make_interval(secs => %(grace)s)
ORDER BY job.available_at
LIMIT %(limit)s;

-- name: unclaimed_jobs
-- Handed to Prefect a while ago, and not claimed since: what does Prefect say of the run?
SELECT job.id, job.attempt, job.flow_run_id, job.dispatched_at
FROM job_results AS job
WHERE job.status = 'pending' AND job.dispatched_at IS NOT NULL AND job.flow_run_id IS NOT NULL
  AND nexus_is_call(job.job_type)
  AND greatest(job.dispatched_at, job.available_at) < now() - make_interval(secs => %(grace)s)
  AND (%(after_at)s::timestamptz IS NULL
       OR (job.dispatched_at, job.id) > (%(after_at)s::timestamptz, %(after_id)s::uuid))
ORDER BY job.dispatched_at, job.id
LIMIT %(limit)s;

-- name: abandon_run
-- The flow run is gone before it took the job: the attempt gets another one. One whose runs are lost over and over,
-- further and further apart, can't be run.
UPDATE job_results
SET status = CASE WHEN lost_runs + 1 < %(most_lost_runs)s THEN 'pending' ELSE 'failed' END,
    lost_runs = lost_runs + 1,
    lost_flow_run_id = flow_run_id,
    flow_run_id = CASE WHEN lost_runs + 1 < %(most_lost_runs)s THEN NULL ELSE flow_run_id END,
    dispatched_at = CASE WHEN lost_runs + 1 < %(most_lost_runs)s THEN NULL ELSE dispatched_at END,
    batch_id = NULL,
    available_at = now() + make_interval(secs => least(lost_runs * lost_runs * 5, 300)),
    error_code = 'run-lost',
    error = CASE WHEN lost_runs + 1 < %(most_lost_runs)s THEN NULL
                 ELSE 'The flow runs of this job were lost before they started, ' || (lost_runs + 1) || ' in a row.' END
WHERE id = %(id)s AND status || '' = 'pending' AND attempt = %(attempt)s AND flow_run_id = %(flow_run_id)s
RETURNING id, job_type, server_ref_id, status;

-- name: rescue_expired_leases
-- The process that ran the job is gone. What may have had its effect is repeated only if that does no harm.
WITH expired AS (
    SELECT job.id,
           job.attempt < job.max_attempts AS has_attempts,
           job.sent_at IS NULL OR job.retry = 'always' OR job.job_type <> 'tool_invoke'
               OR coalesce((tool.definition -> 'annotations' -> 'readOnlyHint')::jsonb = 'true'::jsonb, false)
               OR coalesce((tool.definition -> 'annotations' -> 'idempotentHint')::jsonb = 'true'::jsonb, false) AS repeatable
    FROM job_results AS job
    LEFT JOIN tool_cache AS tool
           ON tool.server_type = job.server_type AND tool.server_ref_id = job.server_ref_id
          AND tool.tool_name = job.tool_name
    WHERE job.status || '' = 'running' AND job.lease_expires_at < now()
      -- While the database was away no lease could be renewed: whoever still lives gets the time to do so.
      -- One that seems to have started later than now has a clock that was set back since.
      AND pg_postmaster_start_time() NOT BETWEEN now() - make_interval(secs => %(lease_seconds)s) AND now()
    LIMIT %(limit)s
    FOR UPDATE OF job SKIP LOCKED
)
UPDATE job_results AS job
SET status = CASE WHEN expired.repeatable AND expired.has_attempts THEN 'pending' ELSE 'failed' END,
    available_at = now(),
    dispatched_at = CASE WHEN expired.repeatable AND expired.has_attempts THEN NULL ELSE job.dispatched_at END,
    flow_run_id = CASE WHEN expired.repeatable AND expired.has_attempts THEN NULL ELSE job.flow_run_id END,
    lost_flow_run_id = job.flow_run_id,
    batch_id = CASE WHEN expired.repeatable AND expired.has_attempts THEN NULL ELSE job.batch_id END,
    error_code = CASE WHEN expired.repeatable THEN 'lease-expired' ELSE 'outcome-unknown' END,
    error = CASE WHEN expired.repeatable AND expired.has_attempts THEN NULL
                 ELSE CASE job.lane WHEN 'direct' THEN 'The API''s process' ELSE 'The worker' END
                     || CASE WHEN expired.repeatable THEN ' was lost, and no attempt is left.'
                             ELSE ' was lost during the call; whether it had its effect is unknown.' END END
FROM expired
WHERE job.id = expired.id
RETURNING job.id, job.status, job.flow_run_id, job.job_type, job.server_ref_id, job.error_code, job.trace_context;

-- name: unended_jobs
-- What a feed of changes begins with: the newest ones, the oldest of them first.
SELECT id, version, status, user_id, job_type, attempt, error_code
FROM (
    SELECT id, version, status, user_id, job_type, attempt, error_code, created_at
    FROM job_results
    WHERE nexus_is_live(status) AND (%(all_users)s OR user_id = %(user_id)s::uuid)
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s
) AS newest
ORDER BY created_at, id;

-- name: ended_jobs
-- A page of what ended within the last seconds; those whose end is said to lie ahead would come again and again. Of
-- direct calls that were over before they had a row nobody has heard.
SELECT id, version, status, user_id, job_type, attempt, error_code, completed_at,
       extract(epoch FROM now() - completed_at)::float8 AS ended_ago
FROM job_results
WHERE nexus_has_ended(status)
  AND completed_at > now() - make_interval(secs => %(seconds)s) AND completed_at <= now()
  AND (lane = 'durable' OR version > 1)
  AND (%(after_completed_at)s::timestamptz IS NULL
       OR (completed_at, id) > (%(after_completed_at)s::timestamptz, %(after_id)s::uuid))
ORDER BY completed_at, id
LIMIT %(limit)s;

-- name: newer_jobs
-- Of these jobs those that have changed since these versions.
SELECT job.id, job.version, job.status, job.user_id, job.job_type, job.attempt, job.error_code
FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS known (id, version)
JOIN job_results AS job ON job.id = known.id
WHERE job.version > known.version;

-- Approvals: calls that wait for a person's yes. The job of each is not due until then; see the table.

-- name: ask
-- Of jobs that were stored in the same transaction: each is due when nobody waits for the yes any more, and in no queue.
WITH asked AS (
    INSERT INTO approvals (job_id, user_id, digest, fixed, approvers, self_approval, expires_at)
    SELECT ask.job_id, %(user_id)s, decode(ask.digest, 'hex'), ask.fixed, ask.approvers, ask.self_approval,
           now() + make_interval(secs => ask.seconds)
    FROM jsonb_to_recordset(%(asks)s) AS ask (
        job_id uuid, digest text, fixed jsonb, approvers uuid[], self_approval boolean, seconds float8)
    RETURNING job_id, expires_at
)
UPDATE job_results AS job
SET available_at = asked.expires_at, error_code = 'approval-needed', batch_id = NULL,
    dispatched_at = CASE WHEN job.flow_run_id IS NOT NULL THEN job.dispatched_at END
FROM asked
WHERE job.id = asked.job_id
RETURNING job.available_at, job.error_code, job.version;

-- name: use_approval
-- A call begins: by the yes to this very call, in its time. Further attempts of the job belong to the same yes.
UPDATE approvals
SET state = 'used', used_at = coalesce(used_at, clock_timestamp())
WHERE job_id = %(job_id)s AND digest = %(digest)s
  AND (state = 'used' OR (state = 'approved' AND expires_at > clock_timestamp()))
RETURNING id;

-- name: approval_state
SELECT state FROM approvals WHERE job_id = %(job_id)s AND digest = %(digest)s;

-- name: list_approvals
-- A page, newest first: of an operator all, of a user what it asks for, and what others ask that it may decide as a
-- member of a group. Who asks is told the server's name as long as the server is seen.
SELECT approval.id, approval.job_id, approval.state, approval.asked_at, approval.expires_at, approval.decided_at,
       approval.decided_via, approval.reason, encode(approval.digest, 'hex') AS digest, approval.self_approval,
       approval.user_id, asking.name AS user_name, approval.decided_by,
       CASE WHEN approval.decided_at IS NOT NULL THEN coalesce(deciding.name, 'operator') END AS decided_by_name,
       job.job_type, job.server_type, job.server_ref_id, job.tool_name,
       CASE WHEN %(all_users)s OR may.decide OR job.server_type = 'user'
                 OR job.server_ref_id IN (SELECT said.id FROM nexus_permissions(%(user_id)s::uuid) AS said
                                          WHERE said.target IN ('server', 'tool'))
            THEN state.name END AS server_name,
       job.params ->> 'name' AS params_name, job.params_escaped, job.called_as,
       ARRAY(SELECT one.name FROM user_groups AS one WHERE one.id = ANY (approval.approvers) ORDER BY one.name) AS approvers,
       approval.state = 'waiting' AND job.status = 'pending' AND approval.expires_at > clock_timestamp() AS is_open,
       %(all_users)s OR may.decide AS may_decide, approval.approvers AS approver_ids, mine.groups AS my_groups,
       job.bundle_entry_id, entry.bundle_id
FROM approvals AS approval
JOIN job_results AS job ON job.id = approval.job_id
LEFT JOIN server_state AS state ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
LEFT JOIN users AS asking ON asking.id = approval.user_id
LEFT JOIN users AS deciding ON deciding.id = approval.decided_by
LEFT JOIN bundle_entries AS entry ON entry.id = job.bundle_entry_id
CROSS JOIN (SELECT ARRAY(SELECT nexus_groups_of(%(user_id)s::uuid)) AS groups) AS mine
CROSS JOIN LATERAL (
    SELECT approval.user_id IS DISTINCT FROM %(user_id)s::uuid AND approval.approvers && mine.groups
           AND (approval.state <> 'waiting'
                OR EXISTS (SELECT FROM access_grants AS named
                           WHERE named.approvers = ANY (approval.approvers) AND named.approvers = ANY (mine.groups)
                             AND CASE WHEN job.bundle_entry_id IS NULL THEN named.server_ref_id = job.server_ref_id
                                      ELSE named.bundle_id = entry.bundle_id END)) AS decide
) AS may
WHERE (%(all_users)s OR may.decide OR approval.user_id = %(user_id)s::uuid)
  AND (%(state)s::text IS NULL OR approval.state = %(state)s)
  AND (%(id)s::uuid IS NULL OR approval.id = %(id)s)
  AND (%(after_asked_at)s::timestamptz IS NULL
       OR (approval.asked_at, approval.id) < (%(after_asked_at)s, %(after_id)s::uuid))
ORDER BY approval.asked_at DESC, approval.id DESC
LIMIT %(limit)s;

-- name: asked_params
-- The arguments of the call, as the job has them.
SELECT approval.fixed, coalesce(job.params_sent, job.params::json) AS params, job.params_escaped, job.params_sent IS NOT NULL AS params_as_sent
FROM approvals AS approval
JOIN job_results AS job ON job.id = approval.job_id
WHERE approval.id = %(id)s;

-- name: decide
-- Once, while it waits: a yes makes the job due, and is good for as long as was waited for it; a no ends the job. Both
-- rows are held first, so that a job that is cancelled at this moment gets no answer.
WITH open AS (
    SELECT approval.id
    FROM approvals AS approval
    JOIN job_results AS job ON job.id = approval.job_id
    WHERE approval.id = %(id)s AND approval.state = 'waiting' AND approval.expires_at > clock_timestamp()
      AND approval.digest = decode(%(digest)s, 'hex') AND job.status || '' = 'pending'
    FOR UPDATE
), decided AS (
    UPDATE approvals AS approval
    SET state = CASE WHEN %(approve)s THEN 'approved' ELSE 'denied' END, decided_at = now(), decided_by = %(decided_by)s,
        decided_via = %(decided_via)s, reason = %(reason)s,
        expires_at = CASE WHEN %(approve)s THEN now() + (approval.expires_at - approval.asked_at) ELSE approval.expires_at END
    FROM open
    WHERE approval.id = open.id
    RETURNING approval.job_id
)
UPDATE job_results AS job
SET available_at = now(),
    status = CASE WHEN %(approve)s THEN 'pending' ELSE 'failed' END,
    error_code = CASE WHEN %(approve)s THEN NULL ELSE 'approval-denied' END,
    error = CASE WHEN %(approve)s THEN NULL ELSE %(error)s END
FROM decided
WHERE job.id = decided.job_id
RETURNING job.id, job.job_type, job.server_ref_id, job.flow_run_id;

-- name: expire
-- The time is over, of a yes that was not used too: the job ends. A job that has ended otherwise waits for nothing.
WITH over AS (
    SELECT approval.id, approval.job_id, job.status
    FROM approvals AS approval
    LEFT JOIN job_results AS job ON job.id = approval.job_id
    WHERE approval.state IN ('waiting', 'approved')
      AND (job.id IS NULL OR nexus_has_ended(job.status)
           OR (job.status = 'pending' AND approval.expires_at <= clock_timestamp()))
    ORDER BY approval.id
    LIMIT %(limit)s
    FOR UPDATE OF approval SKIP LOCKED
), expired AS (
    UPDATE approvals AS approval SET state = 'expired' FROM over WHERE approval.id = over.id
)
UPDATE job_results AS job
SET status = 'failed', error_code = 'approval-expired', error = %(error)s
FROM over
WHERE job.id = over.job_id AND job.status || '' = 'pending'
RETURNING job.id, job.job_type, job.server_ref_id, job.flow_run_id;

-- name: forget_approvals
-- Of jobs that a clean-up has taken away.
DELETE FROM approvals AS approval
WHERE approval.asked_at < now() - interval '1 day'
  AND NOT EXISTS (SELECT FROM job_results AS job WHERE job.id = approval.job_id);

-- name: untold
-- Calls that wait and that the webhook has not heard of, the first first.
SELECT approval.id, approval.asked_at, approval.expires_at, users.name AS "user", state.name AS server_name, job.tool_name,
       job.params ->> 'name' AS params_name, job.params_escaped, job.job_type, job.called_as
FROM approvals AS approval
JOIN job_results AS job ON job.id = approval.job_id AND job.status || '' = 'pending'
LEFT JOIN users ON users.id = approval.user_id
LEFT JOIN server_state AS state ON state.server_type = job.server_type AND state.server_ref_id = job.server_ref_id
WHERE approval.state = 'waiting' AND approval.told_at IS NULL
ORDER BY approval.asked_at, approval.id
LIMIT %(limit)s;

-- name: note_told
UPDATE approvals SET told_at = now() WHERE id = %(id)s;

-- name: count_waiting
SELECT count(*) FROM (SELECT FROM approvals WHERE state = 'waiting' AND expires_at > now() LIMIT %(most)s) AS waiting;

-- name: count_mine
-- Those that wait for a yes which this user may give; an operator may give each.
SELECT count(*)
FROM (SELECT FROM approvals AS approval
      CROSS JOIN (SELECT ARRAY(SELECT nexus_groups_of(%(user_id)s::uuid)) AS groups) AS mine
      WHERE approval.state = 'waiting' AND approval.expires_at > now()
        AND (%(all_users)s
             OR CASE WHEN approval.user_id = %(user_id)s::uuid THEN approval.self_approval
                     ELSE approval.approvers && mine.groups END)
      LIMIT %(most)s) AS mine;

-- name: waiting_of_job
-- The question of a job that waits: for whom.
SELECT approval.id, encode(approval.digest, 'hex') AS digest,
       ARRAY(SELECT one.name FROM user_groups AS one WHERE one.id = ANY (approval.approvers) ORDER BY one.name) AS approvers,
       approval.self_approval
FROM approvals AS approval
WHERE approval.job_id = %(job_id)s AND approval.state = 'waiting';

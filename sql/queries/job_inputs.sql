-- Questions in the middle of jobs, and their answers. Each is also a change of the job, by which others hear of it:
-- `available_at` of a job that runs means nothing else.

-- name: ask
-- No question stands for a day: what is older was left by a worker that died.
WITH old AS (
    DELETE FROM job_inputs WHERE asked_at < now() - interval '1 day'
), held AS (
    UPDATE job_results
    SET available_at = clock_timestamp()
    WHERE id = %(id)s AND status || '' = 'running' AND claim_id = %(claim_id)s
    RETURNING id, claim_id
)
INSERT INTO job_inputs (job_id, claim_id, method, params)
SELECT id, claim_id, %(method)s, %(params)s FROM held
RETURNING id;

-- name: open_inputs
-- What waits for an answer, the oldest first; what a former attempt asked is nothing to anybody.
SELECT input.id, input.method, input.params::text AS params
FROM job_inputs AS input
JOIN job_results AS job ON job.id = input.job_id AND job.claim_id = input.claim_id
WHERE input.job_id = %(id)s AND input.response IS NULL AND job.status || '' = 'running'
ORDER BY input.asked_at, input.id;

-- name: answer
-- Answers to questions that wait for them; to others they mean nothing.
WITH given AS (
    SELECT id, response
    FROM unnest(%(ids)s::uuid[], %(responses)b::json[]) AS given (id, response)
), answered AS (
    UPDATE job_inputs AS input
    SET response = given.response, answered_at = clock_timestamp()
    FROM given, job_results AS job
    WHERE input.id = given.id AND input.job_id = %(id)s AND input.response IS NULL
      AND job.id = input.job_id AND job.claim_id = input.claim_id AND job.status || '' = 'running'
    RETURNING input.id
)
UPDATE job_results
SET available_at = clock_timestamp()
WHERE id = %(id)s AND status || '' = 'running' AND EXISTS (SELECT FROM answered);

-- name: take_answer
DELETE FROM job_inputs WHERE id = %(id)s AND response IS NOT NULL RETURNING response::text AS response;

-- name: withdraw
-- The question is asked no more.
WITH withdrawn AS (
    DELETE FROM job_inputs WHERE id = %(id)s RETURNING job_id
)
UPDATE job_results AS job
SET available_at = clock_timestamp()
FROM withdrawn
WHERE job.id = withdrawn.job_id AND job.status || '' = 'running';

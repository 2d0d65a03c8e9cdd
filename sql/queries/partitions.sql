-- The change of job_results into partitions by day, step by step, as its owner.

-- name: are_in_days
SELECT nexus_jobs_are_in_days() AS are_in_days;

-- name: hurdles
SELECT hurdle FROM nexus_partition_hurdles() AS hurdle ORDER BY hurdle;

-- name: wait_shortly
-- Who waits for a table keeps all others from it: better to come again.
SELECT set_config('lock_timeout', '2s', true);

-- name: prepare_partitions
SELECT nexus_prepare_partitions();

-- name: take_back
SELECT nexus_take_back_partitions();

-- name: copy_keys
-- A page of idempotency keys, and the last of it. Nobody deletes a job whose key is being copied. A key that is there
-- already may have been reserved for a job that was not stored, since it met this one.
WITH page AS MATERIALIZED (
    SELECT idempotency_key, user_id, id, nexus_owner(user_id) AS owner
    FROM job_results
    WHERE idempotency_key IS NOT NULL AND idempotency_key >= %(after_key)s
      AND (idempotency_key > %(after_key)s OR nexus_owner(user_id) > %(after_owner)s::uuid)
    ORDER BY idempotency_key, nexus_owner(user_id)
    LIMIT %(limit)s
    FOR KEY SHARE
), copied AS (
    INSERT INTO job_keys (idempotency_key, user_id, job_id)
    SELECT idempotency_key, user_id, id FROM page
    ON CONFLICT (idempotency_key, user_id) DO UPDATE SET job_id = EXCLUDED.job_id
)
SELECT idempotency_key AS after_key, owner AS after_owner
FROM page
ORDER BY idempotency_key DESC, owner DESC
LIMIT 1;

-- name: constraints_to_validate
-- Those that hold for new rows only: a partition has to keep what the whole table promises.
SELECT format('ALTER TABLE job_results VALIDATE CONSTRAINT %%I', conname) AS statement
FROM pg_constraint
WHERE conrelid = 'public.job_results'::regclass AND NOT convalidated
ORDER BY conname;

-- name: partition_jobs
SELECT nexus_partition_jobs();

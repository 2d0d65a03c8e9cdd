-- Calls of the direct lane as rows of job_results.

-- name: insert_calls
-- Calls that are under way, under their claims, and calls that have ended. Of what nobody was promised nobody waits for
-- the disk: a crash of the database may take the last moments of it. One that is written twice, since its first write may have
-- been lost, stands there once.
INSERT INTO job_results (id, user_id, job_type, server_id, server_type, server_ref_id, tool_name, params, params_escaped,
                         params_sent, timeout_seconds, max_attempts, lane, status, attempt, claim_id, lease_expires_at,
                         heartbeat_at, sent_at, created_at, available_at, started_at, completed_at, result_sent, result,
                         result_escaped, error, error_code, progress, trace_context, bundle_entry_id, called_as)
SELECT call.id, call.user_id, call.job_type, call.server_ref_id::text, call.server_type, call.server_ref_id,
       call.tool_name, coalesce(call.params, nexus_to_jsonb(given.params), '{}'), true, given.params,
       call.timeout_seconds, call.max_attempts, 'direct', call.status, 1, call.claim_id,
       CASE WHEN call.status = 'running' THEN now() + make_interval(secs => %(lease_seconds)s) END,
       now(), now() - make_interval(secs => call.age), now() - make_interval(secs => call.age),
       now() - make_interval(secs => call.age), now() - make_interval(secs => call.age),
       CASE WHEN call.status <> 'running' THEN now() - make_interval(secs => call.age - call.seconds) END,
       given.result, nexus_to_jsonb(coalesce(given.storable, given.result)), true, call.error, call.error_code,
       call.progress, call.trace_context, call.bundle_entry_id, call.called_as
FROM (SELECT set_config('synchronous_commit', CASE WHEN %(soon)s THEN 'off' ELSE current_setting('synchronous_commit') END,
                        true)) AS commits
CROSS JOIN jsonb_to_recordset(%(calls)s) AS call (
    number bigint, id uuid, user_id uuid, job_type text, server_type text, server_ref_id uuid, tool_name text,
    params jsonb, timeout_seconds integer, max_attempts integer, status text, claim_id uuid, age float8, seconds float8,
    error text, error_code text, progress jsonb, trace_context text, bundle_entry_id uuid, called_as text)
JOIN unnest(%(params)b::json[], %(results)b::json[], %(storable)b::json[]) WITH ORDINALITY
         AS given (params, result, storable, number)
  ON given.number = call.number
ON CONFLICT DO NOTHING;

-- name: hand_over_call
-- A caller is promised this row: it is one of the user's open jobs from now on, unless there are too many.
UPDATE job_results
SET handed_at = now()
WHERE id = %(id)s AND status || '' = 'running' AND claim_id = %(claim_id)s
  AND (%(most_open)s::bigint IS NULL
       OR %(most_open)s > (SELECT count(*)
                           FROM (SELECT FROM job_results
                                 WHERE user_id = %(user_id)s::uuid AND nexus_is_live(status)
                                   AND (lane = 'durable' OR handed_at IS NOT NULL)
                                 LIMIT %(most_open)s) AS open));

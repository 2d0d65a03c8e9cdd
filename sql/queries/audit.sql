-- The audit.

-- name: insert_entries
-- Entries with the age that each has by now. One that is there already was written before, by a write whose answer was
-- lost. Names are those of this moment, unless the entry has one.
INSERT INTO audit_log (
    id, at, actor, actor_id, client, address, action, target, server, server_ref_id, tool, job_id, outcome, code,
    digest, trace_id, times, called_as
)
SELECT entry.id, now() - make_interval(secs => entry.age),
       coalesce((SELECT users.name FROM users WHERE users.id = entry.actor_id), entry.actor),
       entry.actor_id, entry.client, entry.address, entry.action, entry.target,
       coalesce(
           entry.server,
           (SELECT state.name FROM server_state AS state WHERE state.server_ref_id = entry.server_ref_id LIMIT 1)
       ),
       entry.server_ref_id, entry.tool, entry.job_id, entry.outcome, entry.code, entry.digest, entry.trace_id,
       entry.times, entry.called_as
FROM jsonb_to_recordset(%(entries)s) AS entry (
    id uuid, age float8, actor text, actor_id uuid, client text, address text, action text, target text, server text,
    server_ref_id uuid, tool text, job_id uuid, outcome text, code text, digest text, trace_id text, times integer,
    called_as text
)
ON CONFLICT (id) DO NOTHING;

-- name: list_entries
-- Newest first, after the place that a cursor names. An action that ends in a dot stands for all that begin with it.
-- Who called by a bundle's name is not shown the server and the tool behind it, and finds nothing by these names; nor
-- by that of a server that was not there for who asked.
SELECT id, at, actor, actor_id, client, address, action, target, server, tool, job_id, outcome, code, digest,
       trace_id, times, called_as
FROM (
    SELECT entry.id, entry.at, entry.actor, entry.actor_id, entry.client, entry.address, entry.action, entry.target,
           entry.job_id, entry.outcome, entry.code, entry.digest, entry.trace_id, entry.times, entry.called_as,
           CASE WHEN %(is_operator)s THEN entry.server
                WHEN entry.called_as IS NOT NULL THEN split_part(entry.called_as, '__', 1)
                WHEN entry.code IS DISTINCT FROM 'not-found'
                     OR entry.server_ref_id IN (SELECT state.server_ref_id FROM server_state AS state)
                THEN entry.server END AS server,
           CASE WHEN NOT %(is_operator)s AND entry.called_as IS NOT NULL AND entry.tool IS NOT NULL
                THEN substr(entry.called_as, strpos(entry.called_as, '__') + 2) ELSE entry.tool END AS tool,
           CASE WHEN %(is_operator)s OR entry.called_as IS NULL THEN entry.server_ref_id END AS server_ref_id
    FROM audit_log AS entry
) AS shown
WHERE (%(since)s::timestamptz IS NULL OR at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
  AND (%(actor_id)s::uuid IS NULL OR actor_id = %(actor_id)s)
  AND (%(actor)s::text IS NULL OR actor = %(actor)s)
  AND (%(action)s::text IS NULL OR action = %(action)s
       OR right(%(action)s, 1) = '.' AND starts_with(action, %(action)s))
  AND (%(server)s::text IS NULL OR server = %(server)s OR server_ref_id::text = lower(%(server)s))
  AND (%(search)s::text IS NULL OR strpos(
          lower(concat_ws(' ', target, server, tool, job_id, code, client, address, actor, digest, trace_id)),
          lower(%(search)s)
      ) > 0)
  AND (%(after_at)s::timestamptz IS NULL OR (at, id) < (%(after_at)s, %(after_id)s::uuid))
ORDER BY at DESC, id DESC
LIMIT %(limit)s;

-- name: purge
SELECT nexus_purge_audit(%(days)s) AS purged;

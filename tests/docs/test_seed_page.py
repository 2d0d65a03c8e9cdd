"""The page on the seed has a row for each of its names, and what a row refers to is there."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.fixtures.upstreams import ROOT

PAGE = ROOT / "docs" / "seed.md"
HEADING = "| the seed's name | here | where | test |"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"`([^`]+)`")

NAMES = """
lib/vault.ts lib/job_queue.ts lib/cache.ts lib/rate_limiter.ts lib/vault_rotation.ts nexus-hub/index.ts
hooks/useJobStatus.ts scripts/rotate-vault-key.ts
YYYYMMDDHHMMSS_job_queue_pg_net.sql YYYYMMDDHHMMSS_cache_ttl.sql YYYYMMDDHHMMSS_vault_key_rotation.sql
YYYYMMDDHHMMSS_job_cleanup.sql
jsr:@std/crypto jsr:@supabase/supabase-js@2 npm:@supabase/supabase-js@2 jsr:@supabase/functions-js/edge react
@/lib/supabase-client

crypto.subtle.importKey crypto.subtle.encrypt crypto.subtle.decrypt crypto.getRandomValues
VAULT_KEY_ENV ALGORITHM IV_LENGTH TAG_LENGTH AES-GCM
getVaultKey encryptToken decryptToken encryptConfig decryptConfig

user_servers user_servers.id user_servers.user_id user_servers.config_encrypted user_servers.config
job_results job_results.id job_results.user_id job_results.job_type job_results.server_id job_results.tool_name
job_results.params job_results.status job_results.result job_results.error job_results.created_at
job_results.started_at job_results.completed_at
tool_cache tool_cache.server_ref_id tool_cache.server_type tool_cache.user_id tool_cache.namespaced_name
tool_cache.enabled tool_cache.expires_at
resource_cache resource_cache.server_ref_id resource_cache.server_type resource_cache.user_id
resource_cache.expires_at
prompt_cache prompt_cache.server_ref_id prompt_cache.server_type prompt_cache.user_id prompt_cache.expires_at
rate_limit_tracking rate_limit_tracking.server_id rate_limit_tracking.user_id rate_limit_tracking.window_start
rate_limit_tracking.request_count
pending running completed failed cancelled tool_invoke resource_fetch prompt_execute

idx_tool_cache_expires idx_resource_cache_expires idx_prompt_cache_expires idx_rate_limit_window
idx_job_results_cleanup idx_job_results_orphaned

execute_job_via_pg_net refresh_expired_cache_entries check_rate_limit rotate_vault_key cleanup_old_job_results
cleanup_job_results_manual p_server_id p_user_id p_limit_per_minute p_days_completed p_days_orphaned
rotate_vault_key().servers_updated rotate_vault_key().errors
cleanup_job_results_manual().deleted_completed cleanup_job_results_manual().deleted_orphaned
cleanup_job_results_manual().total_deleted
pg_net pg_cron net.http_post cron.schedule cleanup-old-job-results service_role
app.edge_function_url app.service_role_key app.vault_old_key app.vault_new_key

JobParams JobParams.userId JobParams.jobType JobParams.serverId JobParams.toolName JobParams.params
JobResult JobResult.id JobResult.status JobResult.result JobResult.error JobResult.completed_at
createClient createJob getJobStatus executeJob executeToolInvocation serve
getCachedTools refreshExpiredCache refreshCacheForServer refreshToolCache refreshResourceCache refreshPromptCache
useJobStatus useState useEffect setJob setChannel RealtimeChannel postgres_changes payload.new
checkRateLimit rotateVaultKey rotateKeys supabase.functions.invoke rotate_vault_key old_key_hex new_key_hex
OLD_VAULT_KEY NEW_VAULT_KEY Deno.env.set Deno.env.get Deno.exit

/internal/job-executor /internal/cleanup-jobs /functions/v1/nexus-hub/internal/vault-rotate
job_id job_type server_id tool_name params user_id body.days_completed body.days_orphaned
VAULT_ENCRYPTION_KEY VAULT_OLD_KEY VAULT_NEW_KEY SUPABASE_URL SUPABASE_SERVICE_ROLE_KEY

total_jobs completed failed pending running older_than_7_days table_size row_count
"""
"""Whole words of the first column; local variables have no row."""

TEXTS = """
1. Dangling Execution Risk → pg_net Background Jobs
2. Cache Invalidation → TTL + Manual Refresh
3. Schema Consistency → Polymorphic References
4. Router LLM Context Compression → Metadata-based Filtering
5. Realtime Job Subscriptions → Supabase Realtime
6. Rate Limiting → Per-Server Limits
IV (12 bytes) + Ciphertext + Tag (16 bytes)
VAULT_ENCRYPTION_KEY not found in environment
openssl rand -hex 32
supabase secrets set VAULT_ENCRYPTION_KEY=<generated_hex_key>
supabase secrets set VAULT_ENCRYPTION_KEY=<new_key>
ALTER TABLE user_servers
CREATE EXTENSION IF NOT EXISTS pg_net
CREATE EXTENSION IF NOT EXISTS pg_cron
LANGUAGE plpgsql SECURITY DEFINER
ALTER DATABASE postgres SET
execute_job_via_pg_net(job_id uuid) RETURNS void
Job % not found
Failed to create job:
Failed to trigger job execution:
Failed to get job status:
Failed to get cached tools:
Failed to get expired cache entries:
Failed to fetch servers:
Rate limit check failed:
Unknown error
401 {"error": "Unauthorized"}
{ success: true }
timestamptz DEFAULT (now() + interval '24 hours')
refresh_expired_cache_entries() RETURNS TABLE(server_ref_id uuid, server_type text, user_id uuid)
.or(`user_id.eq.${userId},user_id.is.null`)
.eq('enabled', true)
.gte('expires_at', new Date().toISOString())
.order('namespaced_name')
"Sync Tools" button
supabase.channel(`job:${jobId}`)
event: 'UPDATE'
schema: 'public'
table: 'job_results'
filter: `id=eq.${jobId}`
.subscribe()
ch.unsubscribe()
PRIMARY KEY (server_id, user_id, window_start)
INDEX idx_rate_limit_window (server_id, user_id, window_start)
check_rate_limit(p_server_id text, p_user_id uuid, p_limit_per_minute integer) RETURNS boolean
date_trunc('minute', now())
fail open
rotate_vault_key() RETURNS TABLE(servers_updated integer, errors text[])
Both app.vault_old_key and app.vault_new_key must be set for rotation
Server %s: %s
Body: { old_key_hex: string, new_key_hex: string }
{ updated, errors }
#!/usr/bin/env deno run --allow-net --allow-env
deno run --allow-net --allow-env scripts/rotate-vault-key.ts <new_key_hex>
1. Backs up all encrypted configs
2. Decrypts with old key
3. Re-encrypts with new key
4. Updates database
5. Verifies all records
Error: VAULT_OLD_KEY and VAULT_NEW_KEY must be set
{ action: 'rotate_vault_key', old_key_hex, new_key_hex }
Starting vault key rotation...
Rotation failed:
Rotation complete: ${data.updated} servers updated
Updating Supabase secret...
Vault key rotation completed successfully!
cleanup_old_job_results() RETURNS integer
interval '7 days'
interval '1 day'
'0 2 * * *'
$$SELECT cleanup_old_job_results()$$
WHERE status IN ('completed', 'failed', 'cancelled')
WHERE status IN ('pending', 'running')
cleanup_job_results_manual(p_days_completed integer DEFAULT 7, p_days_orphaned integer DEFAULT 1)
GRANT EXECUTE ON FUNCTION cleanup_job_results_manual TO service_role
COUNT(*) as total_jobs
COUNT(*) FILTER (WHERE created_at < now() - interval '7 days') as older_than_7_days
pg_size_pretty(pg_total_relation_size('job_results')) as table_size
CASE WHEN COUNT(*) > 1000000
ALERT: job_results table exceeds 1M rows
COUNT(*) as row_count
1. Generate new 32-byte hex key: `openssl rand -hex 32`
2. Backup database (snapshot)
3. Test rotation script on staging environment
4. Schedule maintenance window
5. Notify users (if maintenance affects availability)
6. Set `VAULT_OLD_KEY` and `VAULT_NEW_KEY` environment variables
7. Run rotation script
8. Verify all servers updated successfully
9. Update Supabase secret: `supabase secrets set VAULT_ENCRYPTION_KEY=<new_key>`
10. Restart Edge Functions (to pick up new key)
11. Verify Edge Functions can decrypt configs
12. Test server operations (add server, invoke tool)
13. Monitor error logs for decryption failures
14. Remove old key from environment variables
15. Document rotation date for compliance
1. pg_net Background Jobs - Jobs survive Edge Function termination
2. Cache TTL - Automatic expiration + manual refresh
3. Schema Consistency - Polymorphic references (via ref_id)
4. Context Compression - Metadata-based filtering (implement in hub.ts)
5. Realtime Subscriptions - No polling needed
6. Rate Limiting - Per-server limits enforced
7. Vault Key Rotation - Secure key rotation process
8. Job Cleanup - Automatic cleanup via pg_cron
""".strip().splitlines()
"""Parts of the first column, letter by letter."""


def rows() -> list[list[str]]:
    """The rows of all tables of the page, each as its cells."""
    tables = PAGE.read_text().split(f"{HEADING}\n|---|---|---|---|\n")[1:]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for table in tables
        for line in table.partition("\n\n")[0].splitlines()
    ]


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the tests in a file, without parameters."""
    tree = ast.parse(path.read_text() if path.is_file() else "")
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def places(where: str) -> Iterator[Path]:
    """The files that the third column of a row names: paths from the root, and links from the page."""
    yield from (ROOT / path for path in _CODE.findall(where))
    yield from (PAGE.parent / path for path in _LINK.findall(where))


def test_each_row_has_four_cells_and_none_is_empty() -> None:
    assert len(rows()) > 200
    assert [row for row in rows() if len(row) != 4 or not all(row)] == []


def test_each_name_of_the_seed_has_a_row() -> None:
    first = "\n".join(row[0] for row in rows())
    assert [name for name in NAMES.split() if not re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", first)] == []


def test_each_text_of_the_seed_has_a_row() -> None:
    assert [text for text in TEXTS if not any(text in row[0] for row in rows())] == []


def test_each_file_of_a_row_exists() -> None:
    found = {row[0]: list(places(row[2])) for row in rows()}
    assert [name for name, paths in found.items() if not paths] == []
    assert {path for paths in found.values() for path in paths if not path.is_file()} == set()


def test_each_test_of_a_row_exists() -> None:
    found = {row[3]: _TEST.findall(row[3]) for row in rows()}
    assert [cell for cell, ids in found.items() if ", ".join(f"`{path}::{test}`" for path, test in ids) != cell] == []
    ids = {one for some in found.values() for one in some}
    assert {(path, test) for path, test in ids if test not in names_in(ROOT / path)} == set()

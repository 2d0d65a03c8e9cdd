"""The seed's TypeScript, as far as its defects need it: the lines in question, with JavaScript's meaning.

Transliterated for the tests beside this file; nothing else uses it. Each piece names its file of the seed.
"""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

T = TypeVar("T")
KEY = "VAULT_ENCRYPTION_KEY"
MOST_ROWS = 1000
"""As many rows as PostgREST gives to one request, unless it is told otherwise."""
_HEX = re.compile(r"\s*([+-]?)(?:0[xX])?([0-9a-fA-F]+)")


def parse_int_16(text: str) -> int | None:
    """`parseInt(text, 16)`: the digits in front, whatever follows; None is NaN."""
    found = _HEX.match(text)
    return int(found[1] + found[2], 16) if found else None


def vault_key(text: str) -> bytes:
    """lib/vault.ts, getVaultKey: 32 pairs of characters; a missing or odd one is NaN, which a Uint8Array keeps as 0."""
    pairs = (text[2 * place : 2 * place + 2] for place in range(32))
    return bytes((parse_int_16(pair) or 0) & 0xFF for pair in pairs)


def seal(key: str, token: str) -> bytes:
    """lib/vault.ts, encryptToken: no associated data."""
    iv = secrets.token_bytes(12)
    return iv + AESGCM(vault_key(key)).encrypt(iv, token.encode(), None)


def unseal(key: str, sealed: bytes) -> str:
    """lib/vault.ts, decryptToken."""
    return AESGCM(vault_key(key)).decrypt(sealed[:12], sealed[12:], None).decode()


def as_json(sealed: bytes) -> str:
    """`JSON.stringify` of a Uint8Array, which is how supabase-js sends one."""
    return json.dumps({str(place): byte for place, byte in enumerate(sealed)}, separators=(",", ":"))


class Rows(dict[int, bytes]):
    """`user_servers` as supabase-js reaches it: id -> config_encrypted."""

    async def select(self) -> list[tuple[int, bytes]]:
        """One request, one page."""
        await asyncio.sleep(0)
        return list(self.items())[:MOST_ROWS]

    async def update(self, row_id: int, sealed: bytes) -> None:  # type: ignore[override]
        """`.update(...).eq('id', id)`: whatever the row holds by now."""
        await asyncio.sleep(0)
        self[row_id] = sealed


class EdgeFunction:
    """The process of the edge function: all of its requests share one environment."""

    def __init__(self, key: str) -> None:
        self.environment = {KEY: key}

    async def encrypt_token(self, token: str) -> bytes:
        """The key is read when the call begins; the rest is awaited."""
        key = self.environment[KEY]
        await asyncio.sleep(0)
        return seal(key, token)

    async def decrypt_token(self, sealed: bytes) -> str:
        """Likewise."""
        key = self.environment[KEY]
        await asyncio.sleep(0)
        return unseal(key, sealed)

    async def rotate_vault_key(self, rows: Rows, old: str, new: str) -> tuple[int, list[str]]:
        """lib/vault_rotation.ts, rotateVaultKey: how many were updated, and a line for each that was not."""
        updated, errors = 0, []
        original = self.environment[KEY]
        try:
            for row_id, sealed in await rows.select():
                try:
                    self.environment[KEY] = old
                    config = await self.decrypt_token(sealed)
                    self.environment[KEY] = new
                    await rows.update(row_id, await self.encrypt_token(config))
                    updated += 1
                except InvalidTag as error:
                    errors.append(f"Server {row_id}: {type(error).__name__}")
            return updated, errors
        finally:
            self.environment[KEY] = original


def rotation_script(updated: int, errors: list[str]) -> tuple[int, list[str]]:
    """scripts/rotate-vault-key.ts, after its request: its exit code, and what it prints."""
    printed = [f"Rotation complete: {updated} servers updated"]
    if errors:
        printed.append(f"Errors: {errors}")
    return 0, [*printed, "Vault key rotation completed successfully!"]


def authorized(header: str, environment: Mapping[str, str]) -> bool:
    """index.ts: the template literal writes a missing variable as `undefined`."""
    return header == f"Bearer {environment.get('SUPABASE_SERVICE_ROLE_KEY', 'undefined')}"


def execute_job(
    connection: psycopg.Connection[Any], body: Mapping[str, Any], invoke: Callable[[Any, Any], Any]
) -> None:
    """lib/job_queue.ts, executeJob: nobody looks at how many rows were updated; params and user are the body's."""
    connection.execute(
        "UPDATE job_results SET status = 'running', started_at = now() WHERE id = %s AND status = 'pending'",
        (body["job_id"],),
    )
    result = invoke(body["params"], body["user_id"])
    connection.execute(
        "UPDATE job_results SET status = 'completed', result = %s, completed_at = now() WHERE id = %s",
        (json.dumps(result), body["job_id"]),
    )


def tools_filter(user_id: str) -> str:
    """lib/cache.ts, getCachedTools: the argument of `.or(...)`."""
    return f"user_id.eq.{user_id},user_id.is.null"


def where(conditions: str) -> str:
    """What PostgREST makes of it: conditions between commas, each a column, an operator and a value."""
    operators = {"eq": "= '{}'", "is": "IS {}", "not.is": "IS NOT {}"}
    parts = (re.fullmatch(r"(\w+)\.(eq|is|not\.is)\.(.*)", one) for one in conditions.split(","))
    return " OR ".join(f"{part[1]} {operators[part[2]].format(part[3])}" for part in parts if part)


async def refresh_expired_cache(expired: Iterable[T], refresh_tools: Callable[[T], Awaitable[object]]) -> None:
    """lib/cache.ts, refreshExpiredCache: tools only, one after the other, up to the first that fails."""
    for entry in expired:
        await refresh_tools(entry)


def check_rate_limit(connection: psycopg.Connection[Any], server: str, user: object, limit: int) -> bool:
    """lib/rate_limiter.ts, checkRateLimit: on error, allow request (fail open)."""
    try:
        row = connection.execute("SELECT check_rate_limit(%s, %s, %s) AS allowed", (server, user, limit)).fetchone()
    except psycopg.Error:
        return True
    return row is not None and row["allowed"] is True


def days_completed(body: Mapping[str, Any]) -> int:
    """index.ts, /internal/cleanup-jobs: `body.days_completed || 7`."""
    return body.get("days_completed") or 7


class JobStatus:
    """hooks/useJobStatus.ts: fetches the row, subscribes, and shows whatever it is told last."""

    def __init__(self, fetch: Callable[[], str], subscribe: Callable[[Callable[[str], None]], None]) -> None:
        self.shown = fetch()
        subscribe(self._show)

    def _show(self, status: str) -> None:
        self.shown = status

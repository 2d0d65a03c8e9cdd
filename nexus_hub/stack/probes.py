"""Probes, by which the supervisor learns that a service works, and which of its loops fail."""

import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg

# Probes stay on this machine; the default reads a bundle of authorities each time, which costs more than the probe.
WITHOUT_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
MAX_AGE_SECONDS = 15.0
"""Three heartbeats of a worker."""


@dataclass(frozen=True, slots=True)
class Sign:
    """The answer to a probe: a service may be alive and not healthy, as PostgreSQL is in its crash recovery."""

    healthy: bool
    alive: bool
    failing: tuple[str, ...] = ()
    """The loops of the service that failed lately."""


HEALTHY, BUSY, SILENT = Sign(True, True), Sign(False, True), Sign(False, False)
Probe = Callable[[], Awaitable[Sign]]


def http(url: str, *, auth: str | None = None) -> Probe:
    """Healthy when a GET of the URL succeeds, alive with any answer; `auth` is `user:password`."""
    user, _, password = (auth or "").partition(":")

    async def probe() -> Sign:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5, verify=WITHOUT_AUTHORITIES) as client:
                answer = await client.get(url, auth=(user, password) if auth else None)
        except (httpx.HTTPError, OSError):
            return SILENT
        return Sign(True, True, read_failing(answer.content)) if answer.is_success else BUSY

    return probe


def postgres(url: str) -> Probe:
    """Healthy when a connection can be had, alive when the server itself refuses it."""

    async def probe() -> Sign:
        try:
            async with await psycopg.AsyncConnection.connect(url, connect_timeout=5):
                return HEALTHY
        except (psycopg.Error, OSError) as error:
            return BUSY if "FATAL:" in str(error) else SILENT

    return probe


def heartbeat(path: Path, *, max_age: float = MAX_AGE_SECONDS, clock: Callable[[], float] = time.monotonic) -> Probe:
    """Healthy when the file was touched lately, by this process's own clock: that of the machine may be set."""
    seen: int | None = None
    since = clock()

    async def probe() -> Sign:
        nonlocal seen, since
        try:
            touched = path.stat().st_mtime_ns  # noqa: ASYNC240
            if touched != seen:
                seen, since = touched, clock()
            return SILENT if clock() - since > max_age else Sign(True, True, read_failing(path.read_bytes()))  # noqa: ASYNC240
        except OSError:
            return SILENT

    return probe


def read_failing(document: bytes) -> tuple[str, ...]:
    """Read the names of the loops that fail from what a service says of itself; none where it says nothing of it."""
    try:
        said = json.loads(document)
        return tuple(str(name) for name in said.get("failing") or ())
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ()

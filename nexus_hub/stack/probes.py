"""Probes, by which the supervisor learns that a service works."""

import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import psycopg

# Probes stay on this machine; the default reads a bundle of authorities each time, which costs more than the probe.
WITHOUT_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
Probe = Callable[[], Awaitable[bool]]


def http(url: str, *, auth: str | None = None) -> Probe:
    """Healthy when a GET of the URL succeeds; `auth` is `user:password`."""
    user, _, password = (auth or "").partition(":")

    async def probe() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5, verify=WITHOUT_AUTHORITIES) as client:
                return (await client.get(url, auth=(user, password) if auth else None)).is_success
        except (httpx.HTTPError, OSError):
            return False

    return probe


def postgres(url: str) -> Probe:
    """Healthy when a connection can be had."""

    async def probe() -> bool:
        try:
            async with await psycopg.AsyncConnection.connect(url, connect_timeout=5):
                return True
        except (psycopg.Error, OSError):
            return False

    return probe


def heartbeat(path: Path, *, max_age: float = 30) -> Probe:
    """Healthy when the file was written lately."""

    async def probe() -> bool:
        try:
            return time.time() - path.stat().st_mtime <= max_age  # noqa: ASYNC240
        except OSError:
            return False

    return probe

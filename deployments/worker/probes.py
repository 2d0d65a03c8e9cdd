"""Probes of a worker, on the port of its metrics: `/healthz` and `/readyz`, in the form of the API's."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from starlette.responses import JSONResponse, Response

from nexus_hub import __version__
from nexus_hub.calls.cache import Cached
from nexus_hub.db.schema_version import SchemaVersion, read_schema_version
from nexus_hub.errors import DatabaseUnavailable
from nexus_hub.runtime import Runtime
from nexus_hub.telemetry.exposition import Probes

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 2.0
Phase = Literal["starting", "ready", "draining"]
"""A worker starts until it is connected with Prefect and polls, and drains from the first signal on."""


def make_probes(runtime: Runtime, phase: Callable[[], Phase]) -> Probes:
    """Make the probes of a worker.

    It lives if it answers, whatever is away. It is ready if it takes runs: Prefect may be away again after the start.
    """

    async def look() -> SchemaVersion | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await read_schema_version(runtime.database)
        except (DatabaseUnavailable, TimeoutError):
            return None

    version = Cached(look, LOOK_SECONDS)

    async def answer_health() -> Response:
        return JSONResponse({"status": "ok", "version": __version__, "failing": runtime.failing.names()})

    async def answer_readiness() -> Response:
        found = None if phase() == "draining" else await version.get()
        obstacle = _find_obstacle(phase(), found)
        said: dict[str, Any] = {"status": obstacle or "ok"}
        if found is not None:
            said |= {"migration": found.found, "needed": found.needed}
        return JSONResponse(said, 503 if obstacle else 200)

    return {"/healthz": answer_health, "/readyz": answer_readiness}


def _find_obstacle(phase: Phase, version: SchemaVersion | None) -> str | None:
    if phase == "draining":
        return phase
    if version is None:
        return DatabaseUnavailable.code
    if version.is_too_old:
        return "schema-too-old"
    return None if phase == "ready" else phase

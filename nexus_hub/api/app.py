"""The API: checks, stores and answers; work that takes long is a job."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI

from nexus_hub import __version__
from nexus_hub.access.tokens import Authenticator, service_key
from nexus_hub.api import catalog, events, internal, jobs, middleware, problems, servers, serving, users, vault
from nexus_hub.api.access import Lanes, RuntimeOf
from nexus_hub.api.answers import EVERYWHERE, PROBLEM, answers
from nexus_hub.api.connections import ServingLimits
from nexus_hub.api.queries import refuse_unknown
from nexus_hub.db.pool import Database
from nexus_hub.runtime import open_runtime
from nexus_hub.settings import Settings
from nexus_hub.telemetry.logs import configure_logging
from nexus_hub.vault.keyring import keyring_source

TOKEN_CONNECTIONS = 2
"""Connections that only look up tokens: whoever uses up the others still finds out who asks."""


def create_app(settings: Settings) -> FastAPI:
    """Make the API as an ASGI application.

    Raises:
        NotConfigured: there is no service key or no vault key.
        InvalidKey: the vault key is refused.
    """
    key = service_key(settings)
    keyring_source(settings).current()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_runtime(settings, "api") as runtime,
            Database(runtime.database.url, name="nexus-hub tokens", max_size=TOKEN_CONNECTIONS) as tokens,
        ):
            app.state.runtime = runtime
            app.state.authenticator = Authenticator(tokens, key)
            app.state.lanes = Lanes.of(settings)
            gc.freeze()  # else each collection, of which a large body brings many, goes through all modules again
            yield

    app = Api(
        title="nexus-hub",
        version=__version__,
        lifespan=lifespan,
        default_response_class=problems.Json,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    middleware.install(
        app,
        max_body_bytes=settings.max_body_bytes,
        body_seconds=settings.body_seconds,
        user_requests=settings.user_requests,
    )
    routers = (module.router for module in (events, jobs, catalog, servers, users, vault, internal))
    for router in (*routers, jobs.batches, internal.edge):
        app.include_router(router, dependencies=[Depends(refuse_unknown)], responses=answers(*EVERYWHERE))
    app.add_api_route("/healthz", _answer_health, tags=["health"])
    app.add_api_route("/readyz", _answer_readiness, tags=["health"], responses=answers(500, 503))
    return app


class Api(FastAPI):
    """The application; its OpenAPI document describes problems once."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document."""
        document = super().openapi()
        document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
        return document


async def _answer_health(runtime: RuntimeOf) -> dict[str, Any]:
    """Say that the process answers, and which of its loops failed lately."""
    return {"status": "ok", "version": __version__, "failing": runtime.failing.names()}


async def _answer_readiness(runtime: RuntimeOf) -> dict[str, Any]:
    """Say that the database answers, so that jobs are taken; Prefect may be away."""
    await runtime.database.ping()
    return {"status": "ok"}


def serve(settings: Settings) -> None:
    """Run the API until it is told to stop."""
    configure_logging(settings.log_format, settings.log_level)
    limits = ServingLimits.from_settings(settings)
    serving.serve(create_app(settings), settings.host, settings.port, limits)

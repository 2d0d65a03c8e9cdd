"""The API: checks, stores and answers; work that takes long is a job."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response

from nexus_hub import __version__, memory
from nexus_hub.access.console import ConsoleSessions
from nexus_hub.access.tokens import Authenticator, service_key
from nexus_hub.api import (
    approvals,
    bundles,
    catalog,
    changes,
    configuration,
    credentials,
    events,
    grants,
    groups,
    health,
    identities,
    internal,
    jobs,
    logins,
    metadata,
    metrics,
    middleware,
    problems,
    queue,
    server_imports,
    servers,
    serving,
    users,
    vault,
)
from nexus_hub.api.access import Lanes, RuntimeOf, check_scopes
from nexus_hub.api.admission import is_still_allowed
from nexus_hub.api.answers import EVERYWHERE, PROBLEM, answers
from nexus_hub.api.audit import router as audit_router
from nexus_hub.api.connections import ServingLimits
from nexus_hub.api.metrics import MetricsPages
from nexus_hub.api.oauth import make_client_routes
from nexus_hub.api.queries import refuse_unknown
from nexus_hub.api.readiness import Readiness
from nexus_hub.api.session import router as session_router
from nexus_hub.api.verifiers import make_authorization_server, make_verifiers
from nexus_hub.api.web import make_console_routes
from nexus_hub.audit.entries import digest_key
from nexus_hub.audit.writer import AuditWriter
from nexus_hub.db.pool import Database
from nexus_hub.gateway.endpoint import Endpoint, Sources
from nexus_hub.runtime import open_runtime
from nexus_hub.settings import Settings
from nexus_hub.telemetry.logs import configure_logging
from nexus_hub.vault.keyring import keyring_source

TOKEN_CONNECTIONS = 3
"""Connections that only look up tokens and note their use: whoever uses up the others still finds out who asks."""


def create_app(settings: Settings) -> FastAPI:
    """Make the API as an ASGI application.

    Raises:
        NotConfigured: there is no service key or no vault key.
        InvalidKey: the vault key is refused.
    """
    key = service_key(settings)
    keyring_source(settings).current()
    endpoint = Endpoint()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_runtime(settings, "api") as runtime,
            Database(runtime.database.url, name="nexus-hub tokens", max_size=TOKEN_CONNECTIONS) as tokens,
            AsyncExitStack() as stack,
        ):
            app.state.runtime = runtime
            app.state.readiness = Readiness(tokens, runtime.scheduler_watch)
            app.state.authenticator = authenticator = Authenticator(
                tokens, key, verifiers=make_verifiers(runtime, tokens)
            )
            stack.push_async_callback(authenticator.close)
            app.state.sessions = ConsoleSessions(tokens, key, authenticator, settings.session_hours * 3600)
            runtime.token_listeners.append(authenticator.notice)
            app.state.authorization = make_authorization_server(runtime, authenticator)
            app.state.lanes = lanes = Lanes.of(settings)
            app.state.metrics = MetricsPages.from_settings(runtime, key)
            async with (
                AuditWriter(runtime.database, digest_key(key)) as audit,
                endpoint.run(runtime, lanes.streams, lanes.heavy, is_still_allowed, audit) as gateway,
            ):
                app.state.audit = audit
                app.state.gateway = gateway
                memory.keep_started()
                async with metrics.serve_apart(runtime):
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
    app.state.sources = Sources.from_settings(settings)
    app.state.public_url, app.state.draining = settings.public_url, False
    problems.install(app)
    middleware.install(
        app,
        max_body_bytes=settings.max_body_bytes,
        max_body_values=settings.max_body_values,
        body_seconds=settings.body_seconds,
        user_requests=settings.user_requests,
        user_calls=settings.user_calls,
        origins=settings.origins,
    )
    _add_routes(app, endpoint, settings)
    return app


def _add_routes(app: FastAPI, endpoint: Endpoint, settings: Settings) -> None:
    routers = (
        module.router
        for module in (
            events,
            jobs,
            queue,
            approvals,
            catalog,
            changes,
            bundles,
            configuration,
            servers,
            users,
            grants,
            identities,
            vault,
            health,
            internal,
        )
    )
    added = (
        jobs.batches,
        server_imports.router,
        logins.router,
        session_router,
        audit_router,
        internal.edge,
        groups.router,
    )
    for router in (*routers, *added, credentials.router):
        app.include_router(
            router, dependencies=[Depends(check_scopes), Depends(refuse_unknown)], responses=answers(*EVERYWHERE)
        )
    app.router.routes[:0] = endpoint.routes  # the first of all: the others are tried one by one
    app.router.routes += make_console_routes(settings)
    if settings.has_built_in_login:
        app.router.routes += make_client_routes()
    app.include_router(metrics.router)
    app.include_router(metadata.router)
    app.include_router(logins.public)
    app.add_api_route("/healthz", _answer_health, tags=["health"])
    app.add_api_route("/readyz", _answer_readiness, tags=["health"], responses=answers(500, 503))


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


async def _answer_readiness(request: Request) -> Response:
    """Say that this process takes work: its database answers, has the schema, and nobody has told it to stop."""
    readiness: Readiness = request.app.state.readiness
    return await readiness.answer(is_draining=request.app.state.draining)


def serve(settings: Settings) -> None:
    """Run the API until it is told to stop."""
    configure_logging(settings.log_format, settings.log_level)
    limits = ServingLimits.from_settings(settings)
    serving.serve(create_app(settings), settings.host, settings.port, limits)

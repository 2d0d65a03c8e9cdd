"""The addresses `/mcp` and `/mcp/<server>`: who asks, from where, and for which view."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from nexus_hub.access.turns import Turns
from nexus_hub.audit.writer import AuditWriter
from nexus_hub.errors import HubError, InsufficientScope, InvalidRequest, NotAllowed
from nexus_hub.gateway.asked import BODY, SPLICE, VIEW, WISHES
from nexus_hub.gateway.needs import admit_body
from nexus_hub.gateway.server import Gateway, scope_of_request
from nexus_hub.gateway.sessions import Sessions
from nexus_hub.gateway.shared_sessions import SharedSessions
from nexus_hub.gateway.splice import Splice
from nexus_hub.gateway.subscriptions import IsAllowed
from nexus_hub.gateway.views import Mode, View
from nexus_hub.gateway.wishes import Wishes
from nexus_hub.models import Principal
from nexus_hub.orchestration.metrics_report import SESSIONS
from nexus_hub.runtime import Runtime
from nexus_hub.settings import Settings

PATH = "/mcp"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_ODD_NUMBER = re.compile(rb"[0-9][.eE]|-0(?![0-9])|[0-9]{4001}")


class Endpoint:
    """The ASGI application of `/mcp`; sessions of the older era are bound to the caller that opened them."""

    def __init__(self) -> None:
        self.routes = [Route(path, endpoint=self) for path in (PATH, f"{PATH}/{{server}}")]
        self._serving: _Serving | None = None

    @asynccontextmanager
    async def run(
        self, runtime: Runtime, streams: Turns, searches: Turns, is_allowed: IsAllowed, audit: AuditWriter
    ) -> AsyncIterator[Gateway]:
        """Serve on a process's runtime as long as the block runs, with the turns of event streams and of searches."""
        settings, gateway = runtime.settings, Gateway(runtime, streams, searches, is_allowed, audit)
        shared = SharedSessions(runtime.database)
        sessions = Sessions(
            gateway.server, shared, max_body_bytes=settings.max_body_bytes, max_sessions=settings.max_sessions
        )
        runtime.session_listeners.append(shared.note)
        runtime.report.add_gauge(SESSIONS, lambda: sessions.open)
        runtime.catalog_listeners.append(gateway.notice_catalog)
        runtime.permission_listeners.append(gateway.notice_permissions)
        runtime.listeners.append(gateway.subscriptions.followers.notice_job)
        try:
            async with sessions.run(), gateway.calls.inputs:
                self._serving = _Serving(gateway, sessions, Sources.from_settings(settings), settings)
                yield gateway
        finally:
            self._serving = None
            runtime.session_listeners.remove(shared.note)
            runtime.listeners.remove(gateway.subscriptions.followers.notice_job)
            runtime.permission_listeners.remove(gateway.notice_permissions)
            runtime.catalog_listeners.remove(gateway.notice_catalog)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self.routes["server" in scope["path_params"]]
        if self._serving is None:
            await PlainTextResponse("The hub starts or stops.", status_code=503)(scope, receive, send)
            return
        try:
            self._serving.sources.check(Headers(scope=scope))
            scope[WISHES] = Wishes.read(QueryParams(scope["query_string"]), self._serving.settings)
            scope[VIEW] = view = await self._serving.find_view(scope)
            if scope["method"] == "POST":
                receive = await admit_body(scope["state"]["principal"], receive, view.mode)
            await self._serving.answer(scope, receive, send)
        except InsufficientScope:
            raise  # the API says by which token a client can go on
        except HubError as error:  # before anything was sent
            await _refusal(error)(scope, receive, send)


@dataclass(frozen=True)
class _Serving:
    gateway: Gateway
    sessions: Sessions
    sources: "Sources"
    settings: Settings

    async def find_view(self, scope: Scope) -> View:
        """Find what the caller may see at this address."""
        principal: Principal = scope["state"]["principal"]
        mode = QueryParams(scope["query_string"]).get("tools", "all")
        if mode not in {"all", "search"}:
            raise InvalidRequest(f"tools is {mode[:50]!r}; it must be all or search.")
        chosen: Mode = "search" if mode == "search" else "all"
        return await self.gateway.views.view(principal, scope["path_params"].get("server"), chosen)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the SDK answer, with the caller's view at hand; nothing that lasts longer keeps that."""
        splice = Splice()
        scope.update({"user": _user(scope["state"]["principal"]), SPLICE: splice})
        token = scope_of_request.set(scope)
        try:
            app, send = self.sessions.route(scope), self.sessions.wrap(send)
            if scope["method"] == "POST":
                await app(scope, _note_odd_numbers(scope, receive), splice.wrap(send))
            else:
                await self.gateway.subscriptions.serve_legacy(app, scope, receive, send)
        finally:
            scope_of_request.reset(token)
            scope.pop(VIEW, None)


@dataclass(frozen=True)
class Sources:
    """Hosts that the hub goes by, None for any, and origins of pages that may use it."""

    hosts: frozenset[str] | None
    origins: frozenset[str]

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Take the loopback names, and what the settings add; for others to reach, with no host added, any."""
        added = frozenset(settings.hosts)
        loopback = settings.host in LOOPBACK
        own = {settings.host, _host_name(settings.public_base)}
        hosts = LOOPBACK | added | own if loopback or added else None
        return cls(hosts, frozenset(settings.origins))

    def check(self, headers: Headers) -> None:
        """Refuse what a page of another site may have sent.

        Raises:
            NotAllowed: the host is none of the hub's, or the origin is not allowed.
        """
        host = self.check_host(headers)
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and _host_name(origin) not in (self.hosts or {host}):
            raise NotAllowed("Pages of this origin may not use the hub; add it to NEXUS_ALLOWED_ORIGINS.")

    def check_host(self, headers: Headers) -> str:
        """Give the name under which the hub is asked.

        Raises:
            NotAllowed: it is none of the hub's.
        """
        host = _host_name(f"//{headers.get('host', '')}")
        if self.hosts is not None and host not in self.hosts:
            raise NotAllowed("The header Host names no host of this hub; add it to NEXUS_ALLOWED_HOSTS.")
        return host


def _host_name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _user(principal: Principal) -> AuthenticatedUser:
    """Name the caller to the SDK, which lets nobody else use the caller's sessions."""
    name = str(principal.user_id or "operator")
    return AuthenticatedUser(AccessToken(token="", client_id=name, scopes=[], subject=name))


def _refusal(error: HubError) -> JSONResponse:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": error.message}}
    return JSONResponse(body, status_code=error.status)


def _note_odd_numbers(scope: Scope, receive: Receive) -> Receive:
    """Keep a body whose numbers may lose their form when they are read as floats."""
    parts: list[bytes] = []

    async def receive_noted() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                body = b"".join(parts)
                parts.clear()
                if _ODD_NUMBER.search(body):
                    scope[BODY] = body
        return message

    return receive_noted

"""Requests of clients, as the gateway's parts need them."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp_types import LOG_LEVEL_META_KEY
from starlette.requests import Request
from starlette.types import Scope

from nexus_hub.gateway.answers import complete, is_modern
from nexus_hub.gateway.entries import Offers
from nexus_hub.gateway.places import CallPlace
from nexus_hub.gateway.shared_sessions import SessionUse
from nexus_hub.gateway.splice import Splice
from nexus_hub.gateway.views import View
from nexus_hub.gateway.wishes import Wishes
from nexus_hub.json_object import JsonObject
from nexus_hub.json_text import read
from nexus_hub.models import Principal
from nexus_hub.upstream.requests import OnProgress

Context = ServerRequestContext[Any, Request]
FIRST_LOG_LEVEL = "info"
"""The level of log messages that a session of the older era hears until it chooses one."""
_LOG_LEVEL = "nexus_hub.log_level"
VIEW, SPLICE, BODY, WISHES = "nexus_hub.view", "nexus_hub.splice", "nexus_hub.body", "nexus_hub.wishes"
"""Members of a request's scope: what the caller may see, the texts of results, a body with odd numbers, and wishes."""
SESSION = "nexus_hub.session"
"""The same, of a request in a session of the older era: that session."""


@dataclass(frozen=True)
class Asked:
    """A client's request: who asks, through which view, in which version, and the way back."""

    context: Context
    view: View
    splice: Splice

    @classmethod
    def of(cls, context: Context) -> "Asked":
        """Make it of the SDK's context; the endpoint has put view and splice into the request's scope."""
        scope = _scope_of(context)
        return cls(context, scope[VIEW], scope[SPLICE])

    @property
    def principal(self) -> Principal:
        """The caller, as this request's token has it; the view may have been made for another of the same user."""
        principal: Principal = _scope_of(self.context)["state"]["principal"]
        return principal

    @property
    def place(self) -> CallPlace:
        """The address at which the request came: that of all servers, of one, or of a bundle."""
        return self.view.place

    @property
    def wishes(self) -> Wishes:
        """The client's wishes for long calls and large results."""
        wishes: Wishes = _scope_of(self.context)[WISHES]
        return wishes

    @property
    def session(self) -> SessionUse | None:
        """The session of the older era that the request is of; None also for one that opens a session."""
        session: SessionUse | None = _scope_of(self.context).get(SESSION)
        return session

    @property
    def version(self) -> str:
        """The protocol version that the client speaks."""
        return self.context.protocol_version

    @property
    def is_modern(self) -> bool:
        """True if the client speaks the era without sessions."""
        return is_modern(self.version)

    @property
    def params(self) -> Mapping[str, Any]:
        """The request's parameters."""
        return self.context.params or {}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments; numbers keep the form in which they were sent."""
        body = _scope_of(self.context).get(BODY)
        params = read(body)["params"] if body else self.params
        return params.get("arguments") or {}

    @property
    def meta(self) -> dict[str, Any] | None:
        """The caller's own words on the request; those of the protocol are not passed on, but for the log level.

        The newer era names that with each request, the older one for a session.
        """
        meta = self.params.get("_meta")
        given = dict(meta) if isinstance(meta, Mapping) else {}
        if not self.is_modern:
            given[LOG_LEVEL_META_KEY] = self.context.session._connection.state.get(_LOG_LEVEL, FIRST_LOG_LEVEL)
        return given or None

    def set_log_level(self, level: str) -> None:
        """Set the lowest level of log messages that a session of the older era hears of its calls."""
        self.context.session._connection.state[_LOG_LEVEL] = level

    @property
    def on_progress(self) -> OnProgress | None:
        """Reports progress to the client, if it asked for that."""
        meta = self.params.get("_meta")
        if not isinstance(meta, Mapping) or meta.get("progressToken") is None:
            return None
        session = self.context.session

        async def report(progress: float, total: float | None, message: str | None) -> None:
            with suppress(Exception):  # whoever does not listen any more costs the call nothing
                await session.report_progress(progress, total, message)

        return report

    def without_view(self) -> "Asked":
        """Give the request without a hold on the catalog as it was when it came."""
        _scope_of(self.context).pop(VIEW, None)
        return replace(self, view=View(self.principal, Offers(), Offers(), permissions=self.view.permissions))

    def of_tool(self, name: str, arguments: dict[str, Any]) -> "Asked":
        """Give the request as one for another tool, which its arguments name."""
        _scope_of(self.context).pop(BODY, None)
        return replace(
            self, context=replace(self.context, params={**self.params, "name": name, "arguments": arguments})
        )

    def answer(self, result: JsonObject) -> dict[str, Any]:
        """Give a result to the SDK, in whose place its text is sent."""
        return self.splice.hold(complete(result, self.version))


def _scope_of(context: Context) -> Scope:
    if context.request is None:
        raise RuntimeError("The gateway is served over HTTP.")
    return context.request.scope

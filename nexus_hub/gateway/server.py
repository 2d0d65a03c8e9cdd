"""The hub as an MCP server: the methods that it answers, in both eras of the protocol."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.models import InitializationOptions
from mcp_types import methods
from pydantic import ValidationError
from starlette.types import Scope

from nexus_hub import __version__
from nexus_hub.access.scopes import require
from nexus_hub.access.turns import Turns
from nexus_hub.audit.writer import AuditWriter
from nexus_hub.errors import HubError, InternalError
from nexus_hub.gateway import own_tools
from nexus_hub.gateway.answers import to_rpc_error, tool_error
from nexus_hub.gateway.asked import VIEW, Asked, Context
from nexus_hub.gateway.audited import CallAudit
from nexus_hub.gateway.calls import Calls
from nexus_hub.gateway.entries import Catalog
from nexus_hub.gateway.followers import TASK, TASK_STATUS
from nexus_hub.gateway.lists import list_page
from nexus_hub.gateway.long_calls import LongCalls, list_tool
from nexus_hub.gateway.needs import find_need
from nexus_hub.gateway.search import CALL, NAMES, Search, definitions, resolve_call
from nexus_hub.gateway.subscriptions import IsAllowed, Subscriptions
from nexus_hub.gateway.task_states import EXTENSION
from nexus_hub.gateway.tasks import CORE_CAPABILITY, CORE_VERSION, Tasks, declares_tasks, missing_capability
from nexus_hub.gateway.traces import answer_traced
from nexus_hub.gateway.views import View, Views
from nexus_hub.gateway.watching import ResourceWatcher
from nexus_hub.json_object import JsonObject
from nexus_hub.live.listener import CatalogChange
from nexus_hub.runtime import Runtime
from nexus_hub.telemetry.bus import report_defect

Answer = Callable[[Asked], Awaitable[dict[str, Any]]]
INTRODUCTION = (
    "One hub for all MCP servers of a team. Tools are named <server>__<tool>. A call that takes long is answered with "
    "a job id: then call hub__job_wait with it."
)
scope_of_request: ContextVar[Scope] = ContextVar("scope_of_request")
"""The scope with the caller's view while the SDK checks a request's headers, before the gateway has it."""


class Gateway:
    """Answers the protocol's methods for callers by their views; the SDK keeps sessions, streams and versions."""

    def __init__(
        self, runtime: Runtime, streams: Turns, searches: Turns, is_allowed: IsAllowed, audit: AuditWriter
    ) -> None:
        self.catalog = Catalog(runtime.database)
        self.views = Views(self.catalog, runtime.permissions, runtime.execution.bundles)
        self.tasks = Tasks(runtime)
        self.calls = Calls(runtime, LongCalls(runtime, self.tasks))
        self.search = Search(runtime.finder, searches, runtime.bundle_finder)
        self._audit = CallAudit(audit)
        watcher = ResourceWatcher(runtime.servers, runtime.connections)
        tasks = {TASK: self.tasks.show, TASK_STATUS: self.tasks.show_core}
        self.subscriptions = Subscriptions(self.views, streams, is_allowed, watcher.watch, tasks)
        self.tasks.on_core_task = self.subscriptions.follow_task
        self._answers: dict[str, Answer] = {
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
            "prompts/list": self._list_prompts,
            "prompts/get": self.calls.get_prompt,
            "resources/list": self._list_resources,
            "resources/templates/list": self._list_templates,
            "resources/read": self.calls.read_resource,
            "completion/complete": self.calls.complete,
            "subscriptions/listen": self._listen,
            "resources/subscribe": self.subscriptions.subscribe,
            "resources/unsubscribe": self.subscriptions.unsubscribe,
            "logging/setLevel": _set_log_level,
        }
        self.methods = {*self._answers, *self.tasks.methods, "initialize", "ping", "server/discover"}
        self.server = self._make_server()

    def notice_catalog(self, change: CatalogChange | None) -> None:
        """Forget what was read of an owner's servers, since it has changed; None: of all. Then tell the clients."""
        if change is None:
            self.catalog.forget_all()
        else:
            self.catalog.forget(change.user_id)
        self.views.forget()
        self.subscriptions.followers.notice(change)
        self.calls.logins.notice(change)

    def notice_permissions(self) -> None:
        """Keep no view of before, since what users may do may have changed, and tell those for whom it has."""
        self.views.forget()
        self.subscriptions.followers.doubt()

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer a request, or leave it to the SDK; this is the server's middleware."""
        answer = partial(self._answer, ctx, call_next)
        return await self._audit.follow(ctx, partial(answer_traced, ctx, self.methods, answer))

    async def _answer(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        _check_scopes(ctx)
        if ctx.method in self.tasks.methods:
            return await self.tasks.answer(Asked.of(ctx))
        answer = self._answers.get(ctx.method)
        if answer is None:
            return await self._pass_on(ctx, call_next)
        try:
            methods.validate_client_request(ctx.method, ctx.protocol_version, ctx.params)
        except KeyError:
            return await call_next(ctx)  # which says that this version has no such method
        try:
            return await answer(Asked.of(ctx))
        except HubError as error:
            refusal = to_rpc_error(error)
        raise refusal

    async def _pass_on(self, context: Context, call_next: CallNext) -> HandlerResult:
        """Let the SDK answer; a description of the hub gets what the view's server tells models."""
        result = await call_next(context)
        if context.method == "initialize" and isinstance(result, dict) and result["protocolVersion"] == CORE_VERSION:
            result["capabilities"] = {**result["capabilities"], "tasks": CORE_CAPABILITY}
        if context.method in {"initialize", "server/discover"} and isinstance(result, dict):
            view = Asked.of(context).view
            if view.bundle is not None:
                result["instructions"] = view.bundle.instructions or f"Tools of {view.bundle.name!r}, by nexus-hub."
            if view.server is not None:
                told = view.server.instructions or f"The MCP server {view.server.name!r}, through nexus-hub."
                result["instructions"] = told
        return result

    async def _list_tools(self, asked: Asked) -> dict[str, Any]:
        if asked.view.mode == "search":
            return list_page(asked, "tool", [*own_tools.definitions(), *definitions(asked.view)], only_own=True)
        return list_page(asked, "tool", own_tools.definitions(), show=list_tool)

    async def _call_tool(self, asked: Asked) -> dict[str, Any]:
        """Call a tool, which in search mode may be one of that mode or stand in the arguments of one."""
        name = asked.params["name"]
        if asked.view.mode != "search" or name not in NAMES:
            return await self.calls.call_tool(asked)
        try:
            if name != CALL:
                return asked.answer(await self.search.answer(asked.view, name, asked.arguments))
            asked = asked.of_tool(*resolve_call(asked.view, asked.arguments))
        except HubError as error:
            return asked.answer(tool_error(error))
        return await self.calls.call_tool(asked)

    async def _listen(self, asked: Asked) -> dict[str, Any]:
        if asked.params["notifications"].get("taskIds") is not None and not declares_tasks(asked):
            raise missing_capability()
        return await self.subscriptions.listen(asked)

    async def _list_prompts(self, asked: Asked) -> dict[str, Any]:
        return list_page(asked, "prompt")

    async def _list_resources(self, asked: Asked) -> dict[str, Any]:
        return list_page(asked, "resource")

    async def _list_templates(self, asked: Asked) -> dict[str, Any]:
        return list_page(asked, "template")

    def _make_server(self) -> Server[Any]:
        server = _Server(
            "nexus-hub",
            version=__version__,
            title="nexus-hub",
            instructions=INTRODUCTION,
            cache_hints={"server/discover": CacheHint(ttl_ms=60_000, scope="private")},
            get_tool_input_schema=_input_schema,
            on_list_tools=_never,
            on_call_tool=_never,
            on_list_prompts=_never,
            on_get_prompt=_never,
            on_list_resources=_never,
            on_list_resource_templates=_never,
            on_read_resource=_never,
            on_completion=_never,
            on_subscriptions_listen=_never,
            on_subscribe_resource=_never,
            on_unsubscribe_resource=_never,
        )
        server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, _never)
        server.middleware[:] = [_report_defects, self]
        server.extensions[EXTENSION] = {}
        return server


class _Server(Server[Any]):
    """The SDK's server, which says to both eras that it tells of changed lists."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Describe the hub to a client of the older era."""
        told = notification_options or NotificationOptions(True, True, True)
        return super().create_initialization_options(told, experimental_capabilities, extensions)


async def _report_defects(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Tell the log of an error that nobody expected, and the client only that there was one.

    The SDK does not log it, and in the older era would answer with its message.
    """
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        raise
    except Exception as error:
        report_defect(error)
    raise MCPError(types.INTERNAL_ERROR, InternalError().message)


def _check_scopes(ctx: Context) -> None:
    """Refuse a request that the token is not good for, however its body was written."""
    scope = {} if ctx.request is None else ctx.request.scope
    view: View | None = scope.get(VIEW)
    if view is None:
        return
    try:
        require(scope["state"]["principal"], find_need(ctx.method, ctx.params, view.mode))
    except HubError as error:
        refusal = to_rpc_error(error)
    else:
        return
    raise refusal


async def _set_log_level(asked: Asked) -> dict[str, Any]:
    """Set the level of the log messages that a session of the older era hears of its calls."""
    asked.set_log_level(asked.params["level"])
    return asked.answer(JsonObject.of({}))


def _input_schema(name: str) -> Mapping[str, Any] | None:
    """Give a tool's input schema, against whose marks the SDK holds the headers of a call."""
    view: View = scope_of_request.get()[VIEW]
    entry = None if view.mode == "search" and name in NAMES else view.find("tool", name)
    schema = None if entry is None else entry.definition.get("inputSchema")
    return schema if isinstance(schema, Mapping) else None


async def _never(context: Context, params: Any) -> Any:
    """Stand for a method that the middleware answers: the SDK reads off its handlers what a server can do."""
    raise MCPError(types.INTERNAL_ERROR, f"{context.method} has no handler.")

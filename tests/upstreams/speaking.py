"""An MCP server of both protocol eras on the SDK that says things unasked; over stdio, or HTTP with --port.

With --legacy it knows 2025-11-25 and older alone over HTTP; --ttl is the time to live of its lists in milliseconds;
--restless says after each listing that its tools changed.
"""

import argparse
import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Context = Any
TOOLS = ["log", "later", "say", "grow", "seen", "echo"]
CHANGES: dict[str, ServerEvent] = {
    "tools": ToolsListChanged(),
    "resources": ResourcesListChanged(),
    "prompts": PromptsListChanged(),
}


def meta_of(ctx: Context) -> dict[str, Any]:
    """The metadata of a request as it came."""
    return dict((ctx.params or {}).get("_meta") or {})


class Speaking:
    """What the server knows, says, and has been asked."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.tools = list(TOOLS)
        self.bus = InMemorySubscriptionBus()
        self.listen = ListenHandler(self.bus)
        self.asked: Counter[str] = Counter()
        self.subscribed: list[str] = []
        self.waiting: dict[str, asyncio.Event] = {}

    async def on_listen(self, ctx: Context, params: types.SubscriptionsListenRequestParams) -> Any:
        wanted = params.notifications
        self.asked["listen"] += 1
        self.asked["listening"] += 1
        self.subscribed += [f"+{uri}" for uri in wanted.resource_subscriptions or ()]
        try:
            return await self.listen(ctx, params)
        finally:
            self.asked["listening"] -= 1
            self.subscribed += [f"-{uri}" for uri in wanted.resource_subscriptions or ()]

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        given = params.arguments or {}
        self.asked[params.name] += 1
        match params.name:
            case "log":
                for text in given["texts"]:
                    await self.log(ctx, text, given)
            case "later":
                Path(given["folder"], f"began-{given['text']}").touch()
                while not Path(given["folder"], given.get("until", "go")).exists():
                    await asyncio.sleep(0.02)
                await self.log(ctx, given["text"], given)
            case "say":
                for _ in range(given.get("times", 1)):
                    await self.say(ctx, given["what"], given.get("uri", ""))
            case "grow":
                self.tools.append(f"grown-{len(self.tools)}")
                await self.say(ctx, "tools", "")
        seen = {"asked": dict(self.asked), "subscribed": self.subscribed, "meta": meta_of(ctx)}
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=json.dumps(seen))], structured_content=seen
        )

    async def log(self, ctx: Context, text: str, given: dict[str, Any]) -> None:
        related = None if given.get("alone") else ctx.request_id
        await ctx.session.send_log_message(given.get("level", "info"), text, "speaking", related)

    async def say(self, ctx: Context, what: str, uri: str) -> None:
        if what == "end":
            self.listen.close()
        elif ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            await self.bus.publish(ResourceUpdated(uri) if what == "updated" else CHANGES[what])
        elif what == "updated":
            await ctx.session.send_resource_updated(uri)
        else:
            await getattr(ctx.session, f"send_{what.removesuffix('s')}_list_changed")()

    async def list_tools(self, ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        del params
        self.asked["tools/list"] += 1
        if self.options.restless:
            await self.say(ctx, "tools", "")
        tools = [types.Tool(name=name, input_schema={"type": "object"}) for name in self.tools]
        return types.ListToolsResult(tools=tools)

    async def list_resources(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        del ctx, params
        return types.ListResourcesResult(resources=[types.Resource(name="a", uri="speak://a")])

    async def list_templates(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        del ctx, params
        template = types.ResourceTemplate(name="any", uri_template="speak://{name}")
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        seen = json.dumps(meta_of(ctx))
        return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text=seen)])

    async def list_prompts(self, ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        del ctx, params
        return types.ListPromptsResult(prompts=[types.Prompt(name="p")])

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        del ctx
        self.subscribed.append(f"+{params.uri}")
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        del ctx
        self.subscribed.append(f"-{params.uri}")
        return types.EmptyResult()

    async def complete(self, ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        given = params.context.arguments if params.context else None
        words = [params.ref.type, params.argument.name, params.argument.value, json.dumps(given)]
        words.append(json.dumps(meta_of(ctx)))
        return types.CompleteResult(completion=types.Completion(values=words, total=len(words), has_more=False))

    async def set_level(self, ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        del ctx
        self.asked[f"level {params.level}"] += 1
        return types.EmptyResult()


class Legacy:
    """Knows nothing of the newer era."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"").decode()
        if version not in MODERN_PROTOCOL_VERSIONS:
            await self.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"Bad Request: Unsupported protocol version"})


async def over_stdio(server: Server[Any]) -> None:
    options = server.create_initialization_options(NotificationOptions(True, True, True))
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, options)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--ttl", type=int)
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--restless", action="store_true")
    options = parser.parse_args()
    speaking = Speaking(options)
    hints = {} if options.ttl is None else {"tools/list": CacheHint(ttl_ms=options.ttl)}
    server: Server[Any] = Server(
        "speaking",
        version="1",
        cache_hints=hints,  # type: ignore[arg-type]
        on_call_tool=speaking.call_tool,
        on_list_tools=speaking.list_tools,
        on_list_resources=speaking.list_resources,
        on_list_resource_templates=speaking.list_templates,
        on_list_prompts=speaking.list_prompts,
        on_read_resource=speaking.read,
        on_subscribe_resource=speaking.subscribe,
        on_unsubscribe_resource=speaking.unsubscribe,
        on_subscriptions_listen=speaking.on_listen,
        on_completion=speaking.complete,
        on_set_logging_level=speaking.set_level,
    )
    if options.port is None:
        asyncio.run(over_stdio(server))
    else:
        app: Any = server.streamable_http_app()
        uvicorn.run(Legacy(app) if options.legacy else app, host="127.0.0.1", port=options.port, log_level="error")


if __name__ == "__main__":
    main()

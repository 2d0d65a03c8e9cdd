"""An MCP server that speaks while it works, in both eras: over stdio, or HTTP with --port.

There `--legacy` and `--modern` leave it one era. It reports progress, asks its client, adds a tool and says so, and
writes into a folder when a call begins and ends.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.responses import JSONResponse

Context = Any
Answer = types.CallToolResult | types.InputRequiredResult
QUESTION = "Which colour?"
COLOUR = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}


def tool(name: str, description: str, /, **properties: Any) -> types.Tool:
    schema = {"type": "object", "properties": properties}
    return types.Tool(name=name, description=description, input_schema=schema)


NUMBER, TEXT = {"type": "number"}, {"type": "string"}
TOOLS = (
    tool("echo", "Say the same again.", text=TEXT),
    tool("steps", "Report some steps.", count=NUMBER),
    tool("wait", "Wait for some seconds; a tag names the files that tell of it.", seconds=NUMBER, tag=TEXT),
    tool("ask", "Ask for a colour."),
    tool("ask_back", "Ask for a colour in the middle of the call, as servers did that know the older era only."),
    tool("grow", "Add a tool of this name.", name=TEXT),
)


def text(words: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=words)])


class Announcing(Server[Any]):
    """Says in the older era, too, that it tells of changes."""

    def get_capabilities(self, *args: Any, **more: Any) -> types.ServerCapabilities:
        return super().get_capabilities(NotificationOptions(tools_changed=True), *args[1:], **more)


class Lively:
    """The handlers, and what has become of the list of tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = list(TOOLS)
        self.bus = InMemorySubscriptionBus()

    async def list_tools(self, _ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self.tools)

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> Answer:
        arguments = params.arguments or {}
        match params.name:
            case "echo":
                return text(str(arguments.get("text")))
            case "steps":
                return await self.steps(ctx, int(arguments.get("count", 3)))
            case "wait":
                return await self.wait(float(arguments["seconds"]), str(arguments.get("tag", "wait")))
            case "ask":
                return await self.ask(ctx, params)
            case "ask_back":
                given = await ctx.session.elicit_form(QUESTION, COLOUR, related_request_id=ctx.request_id)
                return text(f"{given.action}: {(given.content or {}).get('colour')}")
            case "grow":
                return await self.grow(ctx, str(arguments.get("name", "grown")))
        if params.name in {one.name for one in self.tools}:
            return text("grown")
        raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown tool: {params.name}")

    async def steps(self, ctx: Context, count: int) -> types.CallToolResult:
        for step in range(1, count + 1):
            await ctx.session.report_progress(step, count, f"step {step}")
            await asyncio.sleep(0.05)
        return text(f"{count} steps")

    async def wait(self, seconds: float, tag: str) -> types.CallToolResult:
        (self.folder / f"{tag}.begun").touch()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            (self.folder / f"{tag}.cancelled").touch()
            raise
        (self.folder / f"{tag}.ended").touch()
        return text(f"waited {seconds} s")

    async def ask(self, ctx: Context, params: types.CallToolRequestParams) -> Answer:
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            given = (params.input_responses or {}).get("colour")
            if given is None:
                question = types.ElicitRequestFormParams(message=QUESTION, requested_schema=COLOUR)
                return types.InputRequiredResult(
                    input_requests={"colour": types.ElicitRequest(params=question)}, request_state="asked once"
                )
        else:
            given = await ctx.session.elicit_form(QUESTION, COLOUR, related_request_id=ctx.request_id)
        assert isinstance(given, types.ElicitResult)
        return text(f"{given.action}: {(given.content or {}).get('colour')}")

    async def grow(self, ctx: Context, name: str) -> types.CallToolResult:
        self.tools.append(tool(name, "Was not there before."))
        await self.bus.publish(ToolsListChanged())
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            await ctx.session.send_tool_list_changed()
        return text(f"{name} is there")

    def server(self) -> Server[Any]:
        return Announcing(
            "lively",
            version="1",
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_subscriptions_listen=ListenHandler(self.bus),
        )


class OneEra:
    """Refuses the other era, as a server does that has never heard of it."""

    def __init__(self, app: Any, modern: bool) -> None:
        self.app = app
        self.modern = modern

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"").decode()
        if scope["type"] == "http" and (version in MODERN_PROTOCOL_VERSIONS) != self.modern:
            error = {"code": types.INVALID_REQUEST, "message": "Bad Request: Unsupported protocol version"}
            await JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def over_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--modern", action="store_true")
    options = parser.parse_args()
    server = Lively(options.folder).server()
    if options.port is None:
        asyncio.run(over_stdio(server))
    else:
        app = server.streamable_http_app()
        alone = OneEra(app, options.modern) if options.legacy or options.modern else app
        uvicorn.run(alone, host="127.0.0.1", port=options.port, log_level="error")


if __name__ == "__main__":
    main()

"""An MCP server of both protocol eras on the SDK, with one tool per habit; over stdio, or HTTP with --port."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

Context = Any
PAGE = 2


def tool(name: str, **properties: Any) -> types.Tool:
    return types.Tool(name=name, input_schema={"type": "object", "properties": properties})


TOOLS = [
    tool("echo"),
    tool("die"),
    tool("hang"),
    tool("fail"),
    tool("steps"),
    tool("wait"),
    tool("region", region={"type": "string", "x-mcp-header": "Region"}),
]


async def call_tool(
    ctx: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    arguments = params.arguments or {}
    match params.name:
        case "die":
            os._exit(3)
        case "hang":
            await hang(Path(arguments["folder"]))
        case "fail":
            raise MCPError(code=-32050, message=f"no: {arguments.get('why', '')}")
        case "steps":
            await steps(ctx, arguments.get("count", 3), arguments.get("seconds", 0))
        case "ask":
            question = types.ElicitRequestFormParams(
                message="who?", requested_schema={"type": "object", "properties": {}}
            )
            return types.InputRequiredResult(input_requests={"q": types.ElicitRequest(params=question)})
        case "wait":
            await asyncio.sleep(arguments["seconds"])
    return result(ctx, arguments)


async def steps(ctx: Context, count: int, seconds: float) -> None:
    for step in range(1, count + 1):
        await asyncio.sleep(seconds / count)
        await ctx.session.report_progress(step, count, f"step {step}")


async def hang(folder: Path) -> None:
    (folder / "began").touch()
    try:
        await asyncio.Event().wait()
    finally:
        (folder / "cancelled").touch()


def result(ctx: Context, arguments: dict[str, Any]) -> types.CallToolResult:
    headers = dict(ctx.request.headers) if ctx.request is not None else {}
    seen = {"arguments": arguments, "headers": headers, "version": ctx.protocol_version, "pid": os.getpid()}
    if ctx.request is not None:
        seen["methods"] = ctx.request.scope["methods"]
    return types.CallToolResult(
        content=[types.TextContent(type="text", text="done")],
        structured_content=seen,
        _meta={"example.org/kept": True},
    )


def pages(circle: bool) -> Any:
    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        del ctx
        start = int((params.cursor if params else None) or 0)
        end = start + PAGE
        cursor = str(0 if circle and end >= len(TOOLS) else end) if circle or end < len(TOOLS) else None
        return types.ListToolsResult(tools=TOOLS[start:end], next_cursor=cursor)

    return list_tools


async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    del ctx, params
    return types.ListPromptsResult(prompts=[types.Prompt(name="greet")])


class Counting:
    """Notes the method of every request of the newer era."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.methods: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.methods += [value.decode() for name, value in scope["headers"] if name == b"mcp-method"]
            scope["methods"] = self.methods
        await self.app(scope, receive, send)


async def over_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--circle", action="store_true")
    options = parser.parse_args()
    server: Server[Any] = Server(
        "habits",
        version="1",
        instructions="Be kind.",
        on_call_tool=call_tool,
        on_list_tools=pages(options.circle),
        on_list_prompts=list_prompts,
    )
    if options.port is None:
        asyncio.run(over_stdio(server))
    else:
        app = Counting(server.streamable_http_app())
        uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="error")


if __name__ == "__main__":
    main()

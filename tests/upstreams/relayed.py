"""An MCP server of both eras over HTTP that talks back, with questions, progress and notices. It stands for a hub."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged

Context = Any
BUS = InMemorySubscriptionBus()
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
MARKED = {"region": {"type": "string", "x-mcp-header": "Region"}}


def tool(name: str, **properties: Any) -> types.Tool:
    return types.Tool(name=name, input_schema={"type": "object", "properties": properties})


TOOLS = [*map(tool, ("echo", "ask", "steps", "hang", "change", "level")), tool("region", **MARKED)]
level: list[str] = []


async def list_tools(_ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=TOOLS)


async def call_tool(
    ctx: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    arguments = params.arguments or {}
    match params.name:
        case "ask":
            return await ask(ctx, params)
        case "steps":
            for step in (1, 2, 3):
                await ctx.session.report_progress(step, 3, f"step {step}")
        case "hang":
            folder = Path(arguments["folder"])
            (folder / "began").touch()
            try:
                await asyncio.Event().wait()
            finally:
                (folder / "cancelled").touch()
        case "change":
            await BUS.publish(ToolsListChanged())
            await ctx.session.send_tool_list_changed()
        case "level":
            return text(level[-1] if level else "none")
    return text(str(arguments.get("say", "done")), headers=dict(ctx.request.headers), version=ctx.protocol_version)


async def ask(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
    given: Any
    if ctx.protocol_version < "2026":
        given = await ctx.session.elicit_form("who?", SCHEMA)
        return text(f"{given.action} {(given.content or {}).get('name')}")
    given = (params.input_responses or {}).get("q")
    if given is None:
        question = types.ElicitRequestFormParams(message="who?", requested_schema=SCHEMA)
        return types.InputRequiredResult(input_requests={"q": types.ElicitRequest(params=question)})
    return text(f"{given.action} {(given.content or {}).get('name')}")


def text(words: str, **seen: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=words)], structured_content=seen)


async def set_level(_ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    level.append(params.level)
    return types.EmptyResult()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    port: int = parser.parse_args().port
    server: Server[Any] = Server(
        "relayed",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_set_logging_level=set_level,
        on_subscriptions_listen=ListenHandler(BUS),
        get_tool_input_schema={one.name: one.input_schema for one in TOOLS}.get,
    )
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main()

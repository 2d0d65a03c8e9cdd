"""An MCP server over HTTP: one tool answers at once with what it was sent, another one after so many seconds."""

import asyncio
import sys
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server

PARAMETERS = {"echo": {"n": {"type": "integer"}}, "wait": {"seconds": {"type": "number"}}}
TOOLS = [
    types.Tool(name=name, input_schema={"type": "object", "properties": properties})
    for name, properties in PARAMETERS.items()
]


async def call_tool(_ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name == "wait":
        await asyncio.sleep((params.arguments or {})["seconds"])
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(params.arguments))])


async def list_tools(_ctx: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=TOOLS)


if __name__ == "__main__":
    server: Server[Any] = Server("echo", on_call_tool=call_tool, on_list_tools=list_tools)
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")

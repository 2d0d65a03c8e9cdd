"""An MCP server over stdio that repeats what it is given wherever it can: results, errors, standard error."""

import os
import sys
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


async def list_tools(_ctx: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    names = ("say", "fail", "raise", "die")
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=SCHEMA) for name in names])


async def call_tool(_ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    text = (params.arguments or {})["text"]
    sys.stderr.write(f"stderr of the upstream: {text} {os.environ['TOKEN']}\n")
    if params.name == "die":
        os._exit(3)
    if params.name == "raise":
        raise MCPError(code=-32050, message="refused: " + text)
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=f"{text} {os.environ['TOKEN']}")]
    return types.CallToolResult(content=content, is_error=params.name == "fail")


async def main() -> None:
    server: Server[Any] = Server("echo", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


anyio.run(main)

"""An MCP server over HTTP with so many tools. Started with a port and a number."""

import sys
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server

PAGE = 1000
SCHEMA = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "description": "Words to look for, in any order."},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
    },
    "required": ["query"],
}
ABOUT = "Look up records of kind {n} by words, and give the best ones with their titles, addresses and dates."


async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(params.arguments))])


def main() -> None:
    tools = [
        types.Tool(name=f"look_up_{n:04}", description=ABOUT.format(n=n), input_schema=SCHEMA)
        for n in range(int(sys.argv[2]))
    ]

    async def list_tools(_context: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        start = int((params.cursor if params else None) or 0)
        end = start + PAGE
        return types.ListToolsResult(tools=tools[start:end], next_cursor=str(end) if end < len(tools) else None)

    server: Server[Any] = Server("many-tools", on_call_tool=call_tool, on_list_tools=list_tools)
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")


if __name__ == "__main__":
    main()

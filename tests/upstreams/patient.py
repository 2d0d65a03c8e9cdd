"""An MCP server whose tools take as many seconds as they are told: `wait` may be called again, `wait_once` may not.

Both are marked for tasks.
"""

import argparse
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server

SCHEMA = {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]}


async def list_tools(_ctx: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    again = types.ToolAnnotations(read_only_hint=True)
    once = types.ToolAnnotations(read_only_hint=False, idempotent_hint=False)
    tools = [("wait", again), ("wait_once", once)]
    return types.ListToolsResult(
        tools=[types.Tool(name=name, input_schema=SCHEMA, annotations=hints) for name, hints in tools]
    )


async def mark_tools(ctx: Any, call_next: Any) -> Any:
    """List the tools with their marks, which the SDK has no place for in the newer era."""
    answer = await call_next(ctx)
    if ctx.method == "tools/list":
        answer["tools"] = [tool | {"execution": {"taskSupport": "optional"}} for tool in answer["tools"]]
    return answer


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    seconds = float((params.arguments or {})["seconds"])
    for second in range(int(seconds)):
        await ctx.session.report_progress(second, seconds, f"second {second}")
        await anyio.sleep(1)
    await anyio.sleep(seconds % 1)
    return types.CallToolResult(content=[types.TextContent(type="text", text=f"waited {seconds:g} s")])


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, required=True)
    server: Server[Any] = Server("patient", on_list_tools=list_tools, on_call_tool=call_tool)
    server.middleware.append(mark_tools)
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=options.parse_args().port, log_level="warning")


if __name__ == "__main__":
    main()

"""The least that a gateway on the SDK can be: it takes a call, makes it on one shared client, and answers with that.

No caller is known, nothing is limited, recorded or listed. Started with a port and the URL of an upstream server.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server

PREFIX = "bench__"


class PassThrough:
    """Handlers that know one upstream server, whose client is open while the server runs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None

    @asynccontextmanager
    async def connected(self, _server: Server[Any]) -> AsyncIterator[None]:
        """Open the client; sessions of the older era come and go with it open."""
        if self._client is not None:
            yield
            return
        async with (
            httpx2.AsyncClient(timeout=60) as http,
            Client(streamable_http_client(self._url, http_client=http), cache=None) as client,
        ):
            self._client = client
            yield

    async def call_tool(self, _context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Call the tool without the prefix, and give back what it gives."""
        assert self._client is not None
        own = types.CallToolRequestParams(name=params.name.removeprefix(PREFIX), arguments=params.arguments)
        return await self._client.session.send_request(types.CallToolRequest(params=own), types.CallToolResult)

    async def list_tools(self, _context: Any, _params: Any) -> types.ListToolsResult:
        """List one tool that takes anything."""
        return types.ListToolsResult(tools=[types.Tool(name=f"{PREFIX}echo", input_schema={"type": "object"})])


def main() -> None:
    passing = PassThrough(sys.argv[2])
    server: Server[Any] = Server(
        "pass-through",
        on_call_tool=passing.call_tool,
        on_list_tools=passing.list_tools,
        get_tool_input_schema=lambda _: {"type": "object"},
    )
    app = server.streamable_http_app(json_response=True)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(served: Any) -> AsyncIterator[None]:
        async with passing.connected(server), inner(served):
            yield

    app.router.lifespan_context = lifespan
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")


if __name__ == "__main__":
    main()

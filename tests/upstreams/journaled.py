"""An MCP server that writes down every execution: over stdio, or HTTP with --port.

The journal is opened with O_APPEND and each line is one write, so that several processes may share it and a process
that is killed leaves whole lines. Its clock is CLOCK_MONOTONIC, which is the same for all processes of a machine.
"""

import argparse
import asyncio
import itertools
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

Context = Any
TICK_SECONDS = 0.2
SCHEMA = {
    "type": "object",
    "properties": {"tag": {"type": "string"}, "seconds": {"type": "number"}},
    "required": ["tag", "seconds"],
    "additionalProperties": False,
}
HINTS = {
    "plain": None,
    "failing": None,
    "reading": types.ToolAnnotations(read_only_hint=True),
    "idempotent": types.ToolAnnotations(idempotent_hint=True),
}


class Journal:
    """Appends a line for each begin, tick and end of an execution."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._numbers = itertools.count(1)

    def write(self, **line: object) -> None:
        os.write(self._file, json.dumps(line | {"at": time.monotonic()}).encode() + b"\n")

    @contextmanager
    def execution(self, tag: str) -> Iterator[str]:
        """One execution; its name, which no other of any process has."""
        name = f"{os.getpid()}-{next(self._numbers)}"
        self.write(event="begin", tag=tag, execution=name)
        how = "done"
        try:
            yield name
        except BaseException as error:
            how = type(error).__name__
            raise
        finally:
            self.write(event="end", execution=name, how=how)


class Journaled:
    """The handlers: whatever is asked for takes the seconds that the request says, and comes back with its tag."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def list_tools(self, _ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        tools = [types.Tool(name=name, input_schema=SCHEMA, annotations=hints) for name, hints in HINTS.items()]
        return types.ListToolsResult(tools=tools)

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = params.arguments or {}
        text = await self._work(arguments["tag"], float(arguments["seconds"]), ctx.session.report_progress)
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=text)]
        return types.CallToolResult(content=content, is_error=params.name == "failing")

    async def read_resource(self, _ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        query = parse_qs(urlsplit(params.uri).query)
        text = await self._work(query["tag"][0], float(query["seconds"][0]))
        return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text=text)])

    async def list_prompts(
        self, _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        arguments = [types.PromptArgument(name=name, required=True) for name in ("tag", "seconds")]
        return types.ListPromptsResult(prompts=[types.Prompt(name="prompt", arguments=arguments)])

    async def get_prompt(self, _ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        arguments = params.arguments or {}
        text = await self._work(arguments["tag"], float(arguments["seconds"]))
        said = types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))
        return types.GetPromptResult(messages=[said])

    async def _work(
        self, tag: str, seconds: float, progress: Callable[[float, float], Awaitable[None]] | None = None
    ) -> str:
        with self._journal.execution(tag) as name:
            began = time.monotonic()
            while (left := began + seconds - time.monotonic()) > 0:
                await asyncio.sleep(min(TICK_SECONDS, left))
                self._journal.write(event="tick", execution=name)
                if progress is not None and left > TICK_SECONDS:
                    await progress(time.monotonic() - began, seconds)
            return json.dumps({"tag": tag, "execution": name})


async def over_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    journaled = Journaled(Journal(options.journal))
    server: Server[Any] = Server(
        "journaled",
        on_list_tools=journaled.list_tools,
        on_call_tool=journaled.call_tool,
        on_read_resource=journaled.read_resource,
        on_list_prompts=journaled.list_prompts,
        on_get_prompt=journaled.get_prompt,
    )
    if options.port is None:
        asyncio.run(over_stdio(server))
    else:
        application = server.streamable_http_app(host=options.host)
        uvicorn.run(application, host=options.host, port=options.port, log_level="error")


if __name__ == "__main__":
    main()

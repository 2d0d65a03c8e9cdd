"""A street of MCP servers in one process: a good one, and others that go bad when they are told to.

Writes the URLs as a JSON object, one line; `bad` on standard input changes the moods, `well` changes them back.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from tests.fixtures.moody import Moody, moody

BAD: dict[str, dict[str, Any]] = {
    "dead-1": {"mood": "stopped"},
    "dead-2": {"mood": "stopped"},
    "silent-1": {"mood": "silent"},
    "silent-2": {"mood": "silent", "modern": True},
    "hanging-1": {"mood": "silent", "only_calls": True},
    "hanging-2": {"mood": "silent", "only_calls": True, "modern": True},
    "busy": {"mood": "busy"},
    "broken": {"mood": "broken"},
    "dropping-1": {"mood": "dropping"},
    "dropping-2": {"mood": "dropping", "only_calls": True},
    "limited": {"mood": "limited", "only_calls": True},
    "refusing": {"mood": "refused"},
    "chatty-1": {"mood": "chatty"},
    "chatty-2": {"mood": "chatty", "modern": True},
    "large": {"mood": "well", "tools": 5000},
    "changing": {"mood": "well", "changes": True},
}
"""Sixteen neighbours over HTTP; three commands come beside them."""


async def change(servers: dict[str, Moody], word: str) -> None:
    """Change the moods of all servers."""
    for name, habits in BAD.items():
        server, goes_bad = servers[name], word == "bad"
        server.only_calls = goes_bad and bool(habits.get("only_calls"))
        server.changes_tools = goes_bad and bool(habits.get("changes"))
        if habits["mood"] == "stopped":
            await (server.stop() if goes_bad else server.start())
        else:
            server.mood = str(habits["mood"]) if goes_bad else "well"


async def main() -> None:
    async with AsyncExitStack() as stack:
        servers = {"good": await stack.enter_async_context(moody(modern=True))}
        for name, habits in BAD.items():
            options = {key: habits[key] for key in ("modern", "tools") if key in habits}
            servers[name] = await stack.enter_async_context(moody(**options))
        sys.stdout.write(json.dumps({name: server.config.url for name, server in servers.items()}) + "\n")
        sys.stdout.flush()
        while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await change(servers, word)
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())

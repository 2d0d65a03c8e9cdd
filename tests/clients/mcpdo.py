"""The inspector's `mcpdo`, in the era that the first argument names: commands on a connection that its daemon keeps.

It shows no progress, and has no command for changes of lists.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.clients import features

PROGRAM = ("clients", "mcpdo", "build", "mcp-bin.js")
CONNECTION = "hub"
NOTICE_SECONDS = 10
"""For a cancellation to reach the server."""
TRIES = 5
SLOW_DAEMON = (b"daemon_start_timeout", b"daemon_timeout")
"""Errors of its own, before anything is sent: on a busy machine its daemon takes longer than it waits for that."""


class Seen:
    """The commands of one connection."""

    def __init__(self, place: features.Place, era: str, home: str) -> None:
        self.place = place
        self.era = era
        program = Path(os.environ["CLIENT_INSPECTOR"]).parents[3].joinpath(*PROGRAM)
        self.program = [os.environ["CLIENT_NODE"], str(program), "--format", "json"]
        own = {"HOME": home, "MCP_INSPECTOR_DAEMON_DIR": f"{home}/daemon", "MCP_INSPECTOR_DAEMON_TOKEN": "t" * 43}
        self.environment = os.environ | own | {"MCP_INSPECTOR_SECRET_STORE": "file"}

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.program,
            *words,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str) -> Any:
        for _ in range(TRIES):
            process = await self.start(*words)
            out, err = await process.communicate()
            if not any(word in err for word in SLOW_DAEMON):
                break
        try:
            return json.loads(out)
        except ValueError:
            raise AssertionError((err or out).decode(errors="replace").strip()[-300:]) from None

    async def ask(self, *words: str) -> Any:
        return await self.run("--connection", CONNECTION, *words)

    async def connect(self) -> None:
        header = f"Authorization: {self.place.headers['Authorization']}"
        target = ("--server-url", self.place.url, "--transport", "http", "--header", header, "--era", self.era)
        await self.run("--connection", CONNECTION, "connect", *target)

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return self.text(await self.ask("tools/call", "--tool-name", name, "--tool-args-json", json.dumps(arguments)))

    def text(self, answer: Any) -> str:
        result = answer.get("result", answer)
        return "\n".join(part.get("text", "") for part in result["content"])

    async def list_tools(self) -> str:
        answer = await self.ask("tools/list")
        return features.listed([tool["name"] for tool in answer.get("result", answer)["tools"]])

    async def echo(self) -> str:
        return await self.call("lively__echo", {"text": "hello"})

    async def elicitation(self) -> str:
        pending = await self.ask("tools/call", "--tool-name", "lively__ask", "--tool-args-json", "{}")
        ident = pending["elicitationPending"]["elicitationId"]
        said = self.text(await self.ask("elicitation/respond", ident, json.dumps({"colour": features.COLOUR})))
        assert said == f"accept: {features.COLOUR}", said
        return "asked, answered"

    async def cancelled(self) -> str:
        arguments = json.dumps({"seconds": 45, "tag": self.place.tag})
        words = ("tools/call", "--tool-name", "lively__wait", "--tool-args-json", arguments)
        process = await self.start("--connection", CONNECTION, *words)
        await self.place.file("begun")
        process.send_signal(signal.SIGINT)
        await process.communicate()
        with suppress(TimeoutError):
            async with asyncio.timeout(NOTICE_SECONDS):
                await self.place.file("cancelled")
            return "the server's call too"
        return "its daemon goes on with the call"

    async def observe(self) -> dict[str, str]:
        try:
            await self.connect()
            return await features.observe(
                {
                    "list": self.list_tools,
                    "call": self.echo,
                    "elicitation": self.elicitation,
                    "long call": lambda: features.long_call(self.place, self.call),
                    "cancel": self.cancelled,
                }
            )
        finally:
            await (await self.start("daemon", "stop")).communicate()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        features.tell(asyncio.run(Seen(features.Place.of_environment(), sys.argv[1], made).observe()))

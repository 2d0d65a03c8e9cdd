"""The inspector's command line, in the era that the first argument names: a command for each request."""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from contextlib import suppress
from typing import Any

import httpx

from tests.clients import features
from tests.fixtures.people import HubUser
from tests.fixtures.upstreams import free_port

NOTICE_SECONDS = 10
"""For a cancellation to reach the server."""
_PAGE = re.compile(r"https?://\S+/oauth/authorize\?\S+")


class Seen:
    """The commands of one client."""

    def __init__(self, place: features.Place, era: str, home: str) -> None:
        self.place = place
        self.era = era
        self.home = home

    async def start(self, method: str, *options: str) -> asyncio.subprocess.Process:
        header = f"Authorization: {self.place.headers['Authorization']}"
        return await self._run("--header", header, "--method", method, *options)

    async def _run(self, *options: str, **environment: str) -> asyncio.subprocess.Process:
        home = {"HOME": self.home, "MCP_INSPECTOR_SECRET_STORE": "memory"}
        return await asyncio.create_subprocess_exec(
            os.environ["CLIENT_NODE"],
            os.environ["CLIENT_INSPECTOR"],
            *("--cli", self.place.url, "--transport", "http"),
            *("--protocol-era", self.era, "--format", "json", *options),
            env=os.environ | home | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def log_in(self) -> str:
        """List the tools from the address alone: it prints where to log in, and waits for the browser to come back."""
        callback = f"http://127.0.0.1:{free_port()}/oauth/callback"
        process = await self._run("--callback-url", callback, "--method", "tools/list", MCP_AUTO_OPEN_ENABLED="true")
        assert process.stderr is not None
        said = ""
        while (page := _PAGE.search(said)) is None:
            line = (await process.stderr.readline()).decode()
            assert line, said
            said += line
        async with httpx.AsyncClient() as browser:
            hub = self.place.url.removesuffix("/mcp")
            back = await HubUser(browser, hub, self.place.token).approve(page[0])
            assert back.startswith(callback), back
            assert (await browser.get(back)).is_success
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()[-200:]
        return features.listed([tool["name"] for tool in json.loads(out)["result"]["tools"]])

    async def ask(self, method: str, *options: str) -> Any:
        out, err = await (await self.start(method, *options)).communicate()
        try:
            return json.loads(out)["result"]
        except (ValueError, KeyError):
            raise AssertionError((err or out).decode(errors="replace").strip()[-200:]) from None

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        result = await self.ask("tools/call", "--tool-name", name, "--tool-args-json", json.dumps(arguments))
        return "\n".join(part.get("text", "") for part in result["content"])

    async def list_tools(self) -> str:
        return features.listed([tool["name"] for tool in (await self.ask("tools/list"))["tools"]])

    async def echo(self) -> str:
        return await self.call("lively__echo", {"text": "hello"})

    async def cancelled(self) -> str:
        arguments = json.dumps({"seconds": 45, "tag": self.place.tag})
        process = await self.start("tools/call", "--tool-name", "lively__wait", "--tool-args-json", arguments)
        await self.place.file("begun")
        process.send_signal(signal.SIGINT)
        await process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(NOTICE_SECONDS):
                await self.place.file("cancelled")
            return "the server's call too"
        return "it leaves without a word: the call goes on"

    async def observe(self) -> dict[str, str]:
        return await features.observe(
            {
                "list": self.list_tools,
                "call": self.echo,
                "log in": self.log_in,
                "cancel": self.cancelled,
                "long call": lambda: features.long_call(self.place, self.call),
            }
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        features.tell(asyncio.run(Seen(features.Place.of_environment(), sys.argv[1], made).observe()))

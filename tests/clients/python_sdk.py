"""The client of the Python SDK, in the era that the first argument names: `legacy` or a revision."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.clients import features
from tests.fixtures.people import HubUser
from tests.fixtures.sdk_login import Kept, sdk_client

LEGACY = "legacy"
CALL_SECONDS = 60


class Seen:
    """A client, and what it is sent."""

    def __init__(self, place: features.Place, mode: str) -> None:
        self.place = place
        self.mode = mode
        self.changed = asyncio.Event()
        self.client: Client

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Seen"]:
        async with httpx2.AsyncClient(headers=self.place.headers, timeout=CALL_SECONDS) as http:
            answer: Any = self.answer
            transport = streamable_http_client(self.place.url, http_client=http)
            self.client = Client(
                transport,
                mode=self.mode,
                cache=None,
                elicitation_callback=answer,
                message_handler=self.note,
            )
            async with self.client:
                yield self

    async def answer(self, _context: Any, _params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"colour": features.COLOUR})

    async def note(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.changed.set()

    async def call(self, name: str, arguments: dict[str, Any], **more: Any) -> str:
        result = await self.client.call_tool(name, arguments, **more)
        return "\n".join(part.text for part in result.content if isinstance(part, types.TextContent))

    async def names(self) -> list[str]:
        found, cursor = [], None
        while True:
            page = await self.client.list_tools(cursor=cursor)
            found += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def list(self) -> str:
        return features.listed(await self.names())

    async def echo(self) -> str:
        return await self.call("lively__echo", {"text": "hello"})

    async def log_in(self) -> str:
        """List the tools from the address alone."""
        async with httpx.AsyncClient() as browser:
            person = HubUser(browser, self.place.url.removesuffix("/mcp"), self.place.token)
            async with sdk_client(self.place.url, Kept(person), self.mode) as client:
                return features.listed([tool.name for tool in (await client.list_tools()).tools])

    async def progress(self) -> str:
        told: list[float] = []

        async def note(progress: float, _total: float | None, _message: str | None) -> None:
            told.append(progress)

        await self.call("lively__steps", {"count": 3}, progress_callback=note)
        assert told == [1, 2, 3], told
        return "3 of 3 steps"

    async def elicitation(self) -> str:
        answer = await self.call("lively__ask", {})
        assert answer == f"accept: {features.COLOUR}", answer
        return "asked, answered"

    async def list_changed(self) -> str:
        if self.mode == LEGACY:
            await self.grow(self.changed.wait())
        else:
            async with self.client.listen(tools_list_changed=True) as changes:
                await self.grow(anext(aiter(changes)))
        return "told, listed"

    async def grow(self, told: Any) -> None:
        name = f"grown-{self.place.tag}"
        await self.call("lively__grow", {"name": name})
        await told
        assert f"lively__{name}" in await self.names()

    def looks(self) -> dict[str, Any]:
        """What can be tried, by the names of the table."""
        return {
            "list": self.list,
            "call": self.echo,
            "log in": self.log_in,
            "progress": self.progress,
            "cancel": lambda: features.cancelled(self.place, self.call),
            "elicitation": self.elicitation,
            "list_changed": self.list_changed,
            "long call": lambda: features.long_call(self.place, self.call),
        }


async def main(mode: str) -> None:
    async with Seen(features.Place.of_environment(), mode).open() as seen:
        features.tell(await features.observe(seen.looks()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

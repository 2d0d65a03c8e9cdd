"""The client of `fastmcp`, in an environment of its own, in the era that the first argument names.

In the newer era it does not listen to changes of lists.
"""

import asyncio
import sys
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from tests.clients import features


class Seen:
    """A client, and what it is sent."""

    def __init__(self, place: features.Place, mode: str) -> None:
        self.place = place
        self.mode = mode
        self.changed = asyncio.Event()
        transport = StreamableHttpTransport(place.url, headers=place.headers)
        self.client: Any = Client(transport, mode=mode, elicitation_handler=self.answer, message_handler=self.note)

    async def answer(self, _message: str, response_type: Any, *_more: Any) -> Any:
        return response_type(colour=features.COLOUR)

    async def note(self, message: Any) -> None:
        if getattr(getattr(message, "root", message), "method", "") == "notifications/tools/list_changed":
            self.changed.set()

    async def call(self, name: str, arguments: dict[str, Any], **more: Any) -> str:
        result = await self.client.call_tool(name, arguments, **more)
        texts: list[str] = [getattr(part, "text", "") for part in result.content]
        return "\n".join(texts)

    async def names(self) -> list[str]:
        return [tool.name for tool in await self.client.list_tools()]

    async def list_tools(self) -> str:
        return features.listed(await self.names())

    async def echo(self) -> str:
        return await self.call("lively__echo", {"text": "hello"})

    async def progress(self) -> str:
        told: list[float] = []

        async def step(progress: float, _total: float | None, _message: str | None) -> None:
            told.append(progress)

        await self.call("lively__steps", {"count": 3}, progress_handler=step)
        assert told == [1, 2, 3], told
        return "3 of 3 steps"

    async def elicitation(self) -> str:
        said = await self.call("lively__ask", {})
        assert said == f"accept: {features.COLOUR}", said
        return "asked, answered"

    async def list_changed(self) -> str:
        name = f"grown-{self.place.tag}"
        await self.call("lively__grow", {"name": name})
        await self.changed.wait()
        assert f"lively__{name}" in await self.names()
        return "told, listed"

    async def observe(self) -> dict[str, str]:
        looks: dict[str, Any] = {
            "list": self.list_tools,
            "call": self.echo,
            "progress": self.progress,
            "cancel": lambda: features.cancelled(self.place, self.call),
            "elicitation": self.elicitation,
            "long call": lambda: features.long_call(self.place, self.call),
        }
        if self.mode == "legacy":
            looks["list_changed"] = self.list_changed
        async with self.client:
            return await features.observe(looks)


features.tell(asyncio.run(Seen(features.Place.of_environment(), sys.argv[1]).observe()))

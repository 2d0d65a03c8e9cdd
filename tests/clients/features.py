"""The things that a client may see through the hub, as all clients in Python try them; standard library only.

The server behind the hub is `tests/upstreams/lively.py`, registered as `lively`. A client is told by its environment
where the hub is, and which folder that server writes into.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60
LOOK_SECONDS = 0.05
LONG_SECONDS = 8
"""Longer than the hub waits for a call in this test."""
COLOUR = "blue"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Call = Callable[[str, dict[str, Any]], Awaitable[str]]


@dataclass(frozen=True)
class Place:
    """Where the hub is, and which names and files are this client's."""

    url: str
    token: str
    folder: Path
    tag: str
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", {"Authorization": f"Bearer {self.token}"})

    @classmethod
    def of_environment(cls) -> "Place":
        names = ("CLIENT_URL", "CLIENT_TOKEN", "CLIENT_FOLDER", "CLIENT_TAG")
        url, token, folder, tag = (os.environ[name] for name in names)
        return cls(url, token, Path(folder), tag)

    async def file(self, ending: str) -> None:
        """Wait until the server has written a file of this client's call."""
        while not (self.folder / f"{self.tag}.{ending}").exists():
            await asyncio.sleep(LOOK_SECONDS)


async def observe(looks: dict[str, Callable[[], Awaitable[str]]]) -> dict[str, str]:
    """Try one thing after the other; what was seen of each."""
    seen = {}
    for name, look in looks.items():
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                seen[name] = await look()
        except Exception as error:
            seen[name] = f"failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return seen


def listed(names: list[str]) -> str:
    """What a list of tools shows."""
    assert {"lively__echo", "hub__job_wait"} <= set(names), names
    return f"{len(names)} tools"


async def cancelled(place: Place, call: Call) -> str:
    """Begin a call, cancel it, and wait until the server has noticed."""
    waiting = asyncio.ensure_future(call("lively__wait", {"seconds": 45, "tag": place.tag}))
    await place.file("begun")
    waiting.cancel()
    await place.file("cancelled")
    await asyncio.gather(waiting, return_exceptions=True)
    return "the server's call too"


async def long_call(place: Place, call: Call) -> str:
    """Make a call that outlives the hub's patience, and fetch its result."""
    handle = await call("lively__wait", {"seconds": LONG_SECONDS, "tag": f"{place.tag}-long"})
    if f"waited {float(LONG_SECONDS)} s" in handle:
        return "result: a task, for which it waited itself"
    found = UUID.search(handle)
    assert found is not None, f"no handle: {handle[:200]}"
    result = handle
    while "still runs" in result:
        result = await call("hub__job_wait", {"id": found[0], "seconds": 30})
    assert f"waited {float(LONG_SECONDS)} s" in result, result[:200]
    return "handle, wait, result"


def tell(seen: dict[str, str]) -> None:
    """Write what was seen, for `run.py`."""
    sys.stdout.write(json.dumps(seen) + "\n")

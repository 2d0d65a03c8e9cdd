"""Listening: the streams on which a server of 2026-07-28 tells of changes, kept open and opened anew."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from random import random

from mcp import ClientSession, MCPError
from mcp.client.subscriptions import Subscription, SubscriptionLost, listen
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_REQUIRED_CLIENT_CAPABILITY, ServerCapabilities
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.upstream.backoff import ConnectBackoff

LONGEST_PAUSE_SECONDS = 300.0
CALM_SECONDS = 60.0
"""A stream that was open for so long is opened again after the shortest pause."""
NOT_OFFERED = {METHOD_NOT_FOUND, INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY}
"""Codes with which a server refuses a stream for good."""


def is_modern(session: ClientSession) -> bool:
    """Tell if a session speaks the protocol of 2026-07-28 or later."""
    return session.protocol_version in MODERN_PROTOCOL_VERSIONS


@asynccontextmanager
async def listening(session: ClientSession, on_change: Callable[[], None]) -> AsyncGenerator[None]:
    """Listen for changes of a server's lists beside whatever else is done, if it is one that has to be asked for them.

    What is told is taken from the session's streams: see nexus_hub.upstream.notices. `on_change` is called once a
    stream was opened again, since changes may have been missed in between.
    """
    kinds = _list_changing(session.server_capabilities) if is_modern(session) else set()
    if not kinds:
        yield
        return
    task = asyncio.create_task(_listen(session, kinds, on_change), name="upstream-listen")
    try:
        yield
    finally:
        await cancel_and_wait(task)


def _list_changing(capabilities: ServerCapabilities | None) -> set[str]:
    """Name the lists whose changes a server tells of."""
    offered = ((kind, getattr(capabilities, kind, None)) for kind in ("tools", "resources", "prompts"))
    return {kind for kind, offer in offered if offer is not None and offer.list_changed}


async def _listen(session: ClientSession, kinds: set[str], on_change: Callable[[], None]) -> None:
    backoff = ConnectBackoff(time.monotonic, random, longest=LONGEST_PAUSE_SECONDS)
    opened_before = False
    while True:
        opened_at = time.monotonic()
        try:
            async with listen(
                session,
                tools_list_changed="tools" in kinds,
                resources_list_changed="resources" in kinds,
                prompts_list_changed="prompts" in kinds,
            ) as stream:
                if opened_before:
                    on_change()
                opened_before = True
                await wait_end(stream)
        except MCPError as error:
            if error.code in NOT_OFFERED:
                return
        except SubscriptionLost:
            pass
        if time.monotonic() - opened_at >= CALM_SECONDS:
            backoff.succeed()
        backoff.fail()
        await asyncio.sleep(backoff.seconds_left)


async def wait_end(stream: Subscription) -> None:
    """Wait until a server ends a stream, in whatever way."""
    try:
        async for _ in stream:
            pass
    except SubscriptionLost:
        pass

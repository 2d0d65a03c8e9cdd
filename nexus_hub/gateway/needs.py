"""Scopes that messages to `/mcp` need, found before the SDK sees them: HTTP's 403 is what clients act on."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Receive

from nexus_hub.access.scopes import LOOKING, METHODS, OWN_TOOLS, SUBSCRIPTIONS, Need, require
from nexus_hub.gateway.search import CALL, NAMES
from nexus_hub.gateway.views import OWN_PREFIX, Mode
from nexus_hub.json_text import read
from nexus_hub.models import Principal

_NOTHING: Need = frozenset()


def find_need(method: str, params: object, mode: Mode) -> Need:
    """Find what a request needs, by its method and by what it names."""
    given = params if isinstance(params, Mapping) else {}
    match method:
        case "tools/call":
            return _find_tool_need(given, mode)
        case "subscriptions/listen":
            return _find_stream_need(given.get("notifications"))
        case _:
            return METHODS.get(method, _NOTHING)


def _find_tool_need(params: Mapping[str, Any], mode: Mode) -> Need:
    name = params.get("name")
    if not isinstance(name, str):
        return METHODS["tools/call"]
    if mode == "search" and name == CALL:
        arguments = params.get("arguments")
        name = arguments.get("name") if isinstance(arguments, Mapping) else None
    elif mode == "search" and name in NAMES:
        return LOOKING
    return OWN_TOOLS if str(name).startswith(OWN_PREFIX) else METHODS["tools/call"]


def _find_stream_need(wanted: object) -> Need:
    """Find the need of a stream: a subscription to what it names, or to the changes of lists."""
    filters = wanted if isinstance(wanted, Mapping) else {}
    named = [need for name, need in SUBSCRIPTIONS.items() if filters.get(name) is not None]
    lists = METHODS["subscriptions/listen"] if len(filters) > len(named) or not named else _NOTHING
    return _NOTHING.union(lists, *named)


async def admit_body(principal: Principal, receive: Receive, mode: Mode) -> Receive:
    """Read a message of a caller whose token is not good for everything, and give it to be read once more.

    Of what is no message nothing is needed: the SDK refuses it.

    Raises:
        InsufficientScope: the token is not good for a request in it.
    """
    if principal.scopes is None:
        return receive
    parts, more = list[bytes](), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return _repeat(message, receive)
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    require(principal, _find_body_need(body, mode))
    return _repeat({"type": "http.request", "body": body, "more_body": False}, receive)


def _find_body_need(body: bytes, mode: Mode) -> Need:
    try:
        found = read(body)
    except (ValueError, RecursionError):
        return _NOTHING
    messages = [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]
    needs = [find_need(str(one["method"]), one.get("params"), mode) for one in messages if "method" in one]
    return _NOTHING.union(*needs)


def _repeat(message: Message, receive: Receive) -> Receive:
    """Give a message that was read already, then what follows."""
    left = [message]

    async def receive_again() -> Message:
        return left.pop() if left else await receive()

    return receive_again

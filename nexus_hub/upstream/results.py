"""Places at which a result breaks the protocol, in words that hold nothing of it.

What the protocol says of members that the hub does not read, such as annotations, is not checked: they pass through.
"""

from collections.abc import Iterator
from typing import Any, assert_never

from nexus_hub.upstream.requests import Completion, PromptGet, ResourceRead, ToolCall, UpstreamRequest

_JSON_NAMES: dict[type, str] = {str: "a string", dict: "an object", list: "an array"}
_BLOCKS: dict[str, dict[str, type]] = {
    "text": {"text": str},
    "image": {"data": str, "mimeType": str},
    "audio": {"data": str, "mimeType": str},
    "resource_link": {"name": str, "uri": str},
    "resource": {"resource": dict},
}
_ROLES = ("user", "assistant")
_BODIES = ("text", "blob")


def find_fault(request: UpstreamRequest, result: dict[str, Any], *, modern: bool) -> str | None:
    """Find the first place at which a result is not what the protocol asks for; `modern`: since 2026-07-28."""
    return next(_find_faults(request, result, modern=modern), None)


def _find_faults(request: UpstreamRequest, result: dict[str, Any], *, modern: bool) -> Iterator[str]:
    if modern and result.get("resultType") is not None:
        yield from _check(result, "", {"resultType": str})
        if result["resultType"] != "complete":
            return
    if result.get("_meta") is not None:
        yield from _check(result, "", {"_meta": dict})
    match request:
        case ToolCall():
            yield from _check_tool_result(result, modern=modern)
        case ResourceRead():
            yield from _check_list(result, "contents", _check_contents)
        case PromptGet():
            yield from _check_list(result, "messages", _check_prompt_message)
        case Completion():
            yield from _check(result, "", {"completion": dict})
            yield from _check_values(result["completion"])
        case _:
            assert_never(request)


def _check_tool_result(result: dict[str, Any], *, modern: bool) -> Iterator[str]:
    yield from _check_list(result, "content", _check_block)
    if not modern and result.get("structuredContent") is not None:
        yield from _check(result, "", {"structuredContent": dict})
    if not isinstance(result.get("isError"), bool | str | int | None):
        yield "isError: must be true or false"


def _check_values(completion: dict[str, Any]) -> Iterator[str]:
    yield from _check(completion, "completion", {"values": list})
    for number, value in enumerate(completion["values"]):
        if not isinstance(value, str):
            yield f"completion.values[{number}]: must be a string"


def _check_list(result: dict[str, Any], member: str, check: Any) -> Iterator[str]:
    yield from _check(result, "", {member: list})
    entries = result.get(member)
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        place = f"{member}[{number}]"
        if isinstance(entry, dict):
            yield from check(entry, place)
        else:
            yield f"{place}: must be an object"


def _check_block(block: dict[str, Any], place: str) -> Iterator[str]:
    yield from _check(block, place, {"type": str})
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in _BLOCKS:
        yield f"{place}.type: must be one of {', '.join(_BLOCKS)}"
        return
    yield from _check(block, place, _BLOCKS[kind])
    if kind == "resource":
        yield from _check_contents(block["resource"], f"{place}.resource")


def _check_contents(contents: dict[str, Any], place: str) -> Iterator[str]:
    yield from _check(contents, place, {"uri": str})
    if not any(isinstance(contents.get(body), str) for body in _BODIES):
        yield f"{place}: must have a text or a blob"


def _check_prompt_message(message: dict[str, Any], place: str) -> Iterator[str]:
    if message.get("role") not in _ROLES:
        yield f"{place}.role: must be user or assistant"
    yield from _check(message, place, {"content": dict})
    yield from _check_block(message["content"], f"{place}.content")


def _check(value: dict[str, Any], place: str, members: dict[str, type]) -> Iterator[str]:
    for member, kind in members.items():
        where = f"{place}.{member}" if place else member
        if member not in value:
            yield f"{where}: is missing"
        elif not isinstance(value[member], kind):
            yield f"{where}: must be {_JSON_NAMES[kind]}"

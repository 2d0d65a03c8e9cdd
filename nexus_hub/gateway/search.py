"""Search mode: three tools in place of all, so that a model is shown the few that it asks for."""

import heapq
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from itertools import islice
from typing import Any

from nexus_hub.access.turns import Turns
from nexus_hub.calls.arguments import check_tool_arguments
from nexus_hub.calls.schemas import Schema
from nexus_hub.catalog.brief import cut_to_line
from nexus_hub.catalog.bundles import Bundle
from nexus_hub.catalog.read import ToolFilters
from nexus_hub.errors import NotFound
from nexus_hub.gateway.entries import Entry
from nexus_hub.gateway.views import OWN_PREFIX, View
from nexus_hub.json_object import JsonObject
from nexus_hub.live.bundle_finder import BundleFinder
from nexus_hub.live.tool_finder import ToolFinder

SEARCH, DESCRIBE, CALL = "search_tools", "describe_tool", "call_tool"
NAMES = frozenset({SEARCH, DESCRIBE, CALL})
FOUND, MOST_FOUND = 10, 50
"""Tools that a search gives if nobody says how many, and at most."""
LONGEST_NAME = 200
MOST_NAMED = 20
"""Servers that an error names."""
MOST_NEAREST = 3
_NOTHING = "Nothing speaks of that: try other words."
_MOST_COMPARED, _MOST_GUESSED = 30, 1000
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_DESCRIBED = {"title": str, "description": str, "inputSchema": dict, "outputSchema": dict, "annotations": dict}
_TOOL_NAME = {"type": "string", "minLength": 1, "description": f"The tool's name, as {SEARCH} gives it."}
_READS = {"readOnlyHint": True, "openWorldHint": False}


def _object(required: Iterable[str], properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), **more}


_ONE_FOUND = _object(
    ["name", "description"],
    {"name": {"type": "string"}, "description": {"type": "string", "description": "One line."}},
    additionalProperties=False,
)
_QUERY = {
    "query": {"type": "string", "description": "What the tool is to do, in words; or a part of its name."},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_FOUND, "default": FOUND},
}
_SERVER = {"server": {"type": "string", "description": "Only tools of the server of this name."}}
_NAME_INPUT = _object(["name"], {"name": _TOOL_NAME}, additionalProperties=False)
_CALL_INPUT = _object(
    ["name"],
    {
        "name": _TOOL_NAME,
        "arguments": {
            "type": "object",
            "default": {},
            "description": f"The tool's arguments; they must fit the inputSchema that {DESCRIBE} gives.",
        },
    },
    additionalProperties=False,
)


def definitions(view: View) -> list[dict[str, Any]]:
    """Define the tools of search mode, as a list has them; those of one server's view ask for no server."""
    return [_CALL_TOOL, _DESCRIBE_TOOL, _choose_definition(view)]


def _choose_definition(view: View) -> dict[str, Any]:
    return _SEARCH_TOOL if view.server is None and view.bundle is None else _SEARCH_ONE_SERVER


def _define_search(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": SEARCH,
        "title": "Search tools",
        "description": "Find tools by what they do: their names, each with one line, the best first. "
        f"Then read one's schema with {DESCRIBE}, and call it with {CALL}.",
        "inputSchema": _object(["query"], properties, additionalProperties=False),
        "outputSchema": _object(
            ["tools", "more"],
            {
                "tools": {"type": "array", "items": _ONE_FOUND},
                "more": {"type": "boolean", "description": "True if there are further ones."},
            },
            additionalProperties=False,
        ),
        "annotations": _READS,
    }


_SEARCH_TOOL, _SEARCH_ONE_SERVER = _define_search({**_QUERY, **_SERVER}), _define_search(_QUERY)
_DESCRIBE_TOOL = {
    "name": DESCRIBE,
    "title": "Describe a tool",
    "description": "Give a tool's description and the schema of its arguments.",
    "inputSchema": _NAME_INPUT,
    "outputSchema": _object(
        ["name", "inputSchema"],
        {
            "name": {"type": "string"},
            "title": {"type": "string"},
            "description": {"type": "string"},
            "inputSchema": {"type": "object"},
            "outputSchema": {"type": "object"},
            "annotations": {"type": "object"},
        },
    ),
    "annotations": _READS,
}
_CALL_TOOL = {
    "name": CALL,
    "title": "Call a tool",
    "description": f"Call a tool that {SEARCH} has found. The result is the tool's own.",
    "inputSchema": _CALL_INPUT,
}
_SCHEMAS = {tool["name"]: Schema(tool["inputSchema"]) for tool in (_DESCRIBE_TOOL, _CALL_TOOL)}


class NoSuchTool(NotFound):
    """The caller may call no tool of that name: the nearest names are said."""

    def __init__(self, name: str, view: View) -> None:
        super().__init__("tool", name)
        near = find_nearest(name, view.entries("tool"))
        if name.startswith(OWN_PREFIX) or name in NAMES:
            hint = f"The hub's own tools are called by themselves, without {CALL}."
        else:
            hint = (f"Nearest: {', '.join(near)}. " if near else "") + f"Find others with {SEARCH}."
        self.args = (f"{self.message} {hint}",)


class NoSuchServer(NotFound):
    """The caller sees no server of that name: the first of those that there are are said."""

    def __init__(self, name: str, view: View) -> None:
        super().__init__("server", name)
        self.args = (f"{self.message} {_servers(view)}",)


@dataclass(frozen=True)
class Search:
    """Answers the tools of search mode."""

    finder: ToolFinder
    turns: Turns
    bundles: BundleFinder

    async def answer(self, view: View, name: str, arguments: dict[str, Any]) -> JsonObject:
        """Answer `search_tools` or `describe_tool`.

        Raises:
            InvalidArguments: the arguments break the schema.
            NotFound: the caller sees no such tool or server.
            TooMany, TookTooLong, DatabaseUnavailable: the catalog could not be searched.
        """
        return await self._search(view, arguments) if name == SEARCH else _describe(view, arguments)

    async def _search(self, view: View, arguments: dict[str, Any]) -> JsonObject:
        check_tool_arguments(SEARCH, _choose_definition(view)["inputSchema"], arguments)
        query, limit = _to_plain(arguments["query"]), int(arguments.get("limit", FOUND))
        if view.bundle is not None:
            return await self._search_bundle(view, view.bundle, query, limit)
        filters = ToolFilters(_choose_server(view, arguments.get("server")), own=not view.principal.is_operator)
        async with self.turns.turn(view.principal):
            page = await self.finder.find_tools(view.principal, filters, query=query, limit=limit, compact=True)
        names = _names_in(view, [one.name for one in page.items])
        found = [{"name": names[one.name], "description": one.description} for one in page.items if one.name in names]
        value = {"tools": found, "more": page.next_cursor is not None}
        return _result(value) if found else _result(value, f"{_NOTHING} {_servers(view)}")

    async def _search_bundle(self, view: View, bundle: Bundle, query: str, limit: int) -> JsonObject:
        entries = view.entries("tool")
        async with self.turns.turn(view.principal):
            names = await self.bundles.rank(bundle.id, list(entries.items()), query, limit + 1) if query else [*entries]
        texts = {name: entries[name].definition for name in names[:limit]}
        found = [
            {"name": name, "description": cut_to_line(str(said.get("description") or said.get("title") or ""))}
            for name, said in texts.items()
        ]
        value = {"tools": found, "more": len(names) > limit}
        return _result(value) if found else _result(value, _NOTHING)


def resolve_call(view: View, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give the name and the arguments of the tool that `call_tool` is to call, which then is called as any other.

    Raises:
        InvalidArguments: the arguments of `call_tool` itself break its schema.
        NotFound: the caller may call no such tool.
    """
    check_tool_arguments(CALL, _SCHEMAS[CALL], arguments)
    name: str = arguments["name"]
    if view.find("tool", name) is None:
        raise NoSuchTool(name, view)
    return name, arguments.get("arguments") or {}


def find_nearest(name: str, names: Collection[str]) -> list[str]:
    """Find the names that are most like one that there is not: those that share most of its words, then letters."""
    name = name[:LONGEST_NAME]
    words = {word.lower() for word in _WORD.findall(name)}
    shared = ((sum(word in one.lower() for word in words), one) for one in names)
    likely = heapq.nlargest(_MOST_COMPARED, (pair for pair in shared if pair[0]), key=lambda pair: pair[0])
    if not likely:
        return get_close_matches(name, islice(names, _MOST_GUESSED), MOST_NEAREST)
    ranked = sorted(likely, key=lambda pair: (-pair[0], -SequenceMatcher(None, name, pair[1]).ratio(), pair[1]))
    return [one for _, one in ranked[:MOST_NEAREST]]


def _to_plain(text: str) -> str:
    """Leave out of a text what PostgreSQL knows no text with: U+0000 and lone surrogates."""
    return text.replace("\x00", " ").encode("utf-8", "ignore").decode().strip()


def _describe(view: View, arguments: dict[str, Any]) -> JsonObject:
    check_tool_arguments(DESCRIBE, _SCHEMAS[DESCRIBE], arguments)
    name: str = arguments["name"]
    entry = view.find("tool", name)
    if entry is None:
        raise NoSuchTool(name, view)
    return _result({"name": name, **_shown(entry)})


def _shown(entry: Entry) -> dict[str, Any]:
    """Show what a model needs of a tool's definition."""
    found = {member: entry.definition.get(member) for member in _DESCRIBED}
    shown = {member: value for member, value in found.items() if isinstance(value, _DESCRIBED[member])}
    return {"inputSchema": {"type": "object"}, **shown}


def _choose_server(view: View, name: str | None) -> str | None:
    """Choose the server whose tools are looked through, by its id; None for all."""
    if view.server is not None:
        return str(view.server.server_ref_id)
    if not name:
        return None
    server = view.servers.get(name)
    if server is None:
        raise NoSuchServer(name, view)
    return str(server.server_ref_id)


def _servers(view: View) -> str:
    """Name the servers that the caller sees, or the first of them."""
    known = [view.server.name] if view.server else sorted(view.servers)
    rest = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"The servers are: {', '.join(known[:MOST_NAMED]) or 'none'}{rest}."


def _names_in(view: View, found: Iterable[str]) -> dict[str, str]:
    """Give the names by which the caller calls those of the tools that the view has, by the hub's."""
    if view.server is None:
        return {name: name for name in found if view.find("tool", name)}
    return {entry.public: name for name, entry in view.entries("tool").items()}


def _result(value: dict[str, Any], *notes: str) -> JsonObject:
    texts = (json.dumps(value, ensure_ascii=False, separators=(",", ":")), *notes)
    return JsonObject.of(
        {"content": [{"type": "text", "text": text} for text in texts], "structuredContent": value, "isError": False}
    )

"""Small MCP servers over stdio that do real work in a directory: `office.py NAME DIRECTORY`."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

TEXT, NUMBER = {"type": "string"}, {"type": "number"}
MILES_PER_KILOMETRE = 0.621371
PEOPLE = {
    "Ann": {"email": "ann@example.org", "phone": "+49 30 1234"},
    "Bob": {"email": "bob@example.org", "phone": "+44 20 9876"},
}
Act = Callable[[Path, dict[str, Any]], Any]


def _load(place: Path, name: str, empty: Any) -> Any:
    file = place / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else empty


def _keep(place: Path, name: str, value: Any) -> str:
    (place / f"{name}.json").write_text(json.dumps(value))
    return "done"


def _add_note(place: Path, said: dict[str, Any]) -> str:
    return _keep(place, "notes", _load(place, "notes", {}) | {said["title"]: said["text"]})


def _find_notes(place: Path, said: dict[str, Any]) -> dict[str, str]:
    word = said["word"].lower()
    return {title: text for title, text in _load(place, "notes", {}).items() if word in f"{title} {text}".lower()}


def _delete_note(place: Path, said: dict[str, Any]) -> str:
    return _keep(place, "notes", {t: text for t, text in _load(place, "notes", {}).items() if t != said["title"]})


def _write_file(place: Path, said: dict[str, Any]) -> str:
    (place / Path(said["path"]).name).write_text(said["content"])
    return "written"


def _send(place: Path, said: dict[str, Any]) -> str:
    return _keep(place, "outbox", [*_load(place, "outbox", []), said])


def _order(place: Path, said: dict[str, Any]) -> str:
    return _keep(place, "orders", [*_load(place, "orders", []), said])


Tool = tuple[str, dict[str, Any], Act]
SERVERS: dict[str, dict[str, Tool]] = {
    "notes": {
        "add_note": ("Add a note with a title and a text.", {"title": TEXT, "text": TEXT}, _add_note),
        "find_notes": ("Search notes for a word.", {"word": TEXT}, _find_notes),
        "delete_note": ("Delete the note with a title.", {"title": TEXT}, _delete_note),
    },
    "files": {
        "write_file": ("Create a file, or overwrite one.", {"path": TEXT, "content": TEXT}, _write_file),
        "read_file": (
            "Read the complete contents of a file.",
            {"path": TEXT},
            lambda place, said: (place / Path(said["path"]).name).read_text(),
        ),
        "list_directory": (
            "List the files in a directory.",
            {"path": TEXT},
            lambda place, _: sorted(one.name for one in place.iterdir()),
        ),
    },
    "sums": {
        "add_numbers": ("Add two numbers.", {"a": NUMBER, "b": NUMBER}, lambda _, said: said["a"] + said["b"]),
        "mean": (
            "Compute the arithmetic mean of a list of numbers.",
            {"numbers": {"type": "array", "items": NUMBER}},
            lambda _, said: sum(said["numbers"]) / len(said["numbers"]),
        ),
        "convert_units": (
            "Convert a length from one unit to another, such as km to mi.",
            {"value": NUMBER, "unit": TEXT, "target": TEXT},
            lambda _, said: round(said["value"] * MILES_PER_KILOMETRE, 3),
        ),
    },
    "people": {
        "look_up_person": (
            "Look up a contact: e-mail address and telephone.",
            {"name": TEXT},
            lambda _, said: PEOPLE.get(said["name"], {}),
        ),
        "list_people": ("List all contacts.", {}, lambda _place, _said: sorted(PEOPLE)),
    },
    "mail": {
        "send_message": ("Send an e-mail.", {"to": TEXT, "subject": TEXT, "body": TEXT}, _send),
    },
    "stock": {
        "get_stock_level": (
            "Get the number of units of an item in the warehouse.",
            {"item": TEXT},
            lambda _, said: {"item": said["item"], "units": 7},
        ),
        "place_order": ("Order units of an item from the supplier.", {"item": TEXT, "units": NUMBER}, _order),
    },
}


def _define(name: str, tool: Tool) -> types.Tool:
    description, properties, _ = tool
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return types.Tool(name=name, description=description, input_schema=schema)


async def main() -> None:
    tools, place = SERVERS[sys.argv[1]], Path(sys.argv[2])

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_define(name, tool) for name, tool in tools.items()])

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        answer = tools[params.name][2](place, dict(params.arguments or {}))
        return types.CallToolResult(content=[types.TextContent(type="text", text=json.dumps(answer))])

    server: Server[Any] = Server(sys.argv[1], on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())

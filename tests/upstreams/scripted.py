"""An MCP server that gives the answers of an era well but for one, which it spoils as a script says.

A script is a JSON object: `method` names the request whose answer is spoiled ("tools/call"), `edits` puts values in
places of that answer, and `wire` says what becomes of its bytes. Standard library only, since a run of tests starts it
thousands of times; over stdio here, the same answers over HTTP in `served_script.py`.
"""

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
TOOL = {"name": "echo", "description": "Echo", "inputSchema": {"type": "object"}}
GONE = "\x00gone"
"""In the place of a value: the member or the item is left out."""


def answer(message: Json, script: Json) -> bytes | None:
    """The answer to a message as bytes, spoiled if the script says so; None for a message that wants none."""
    if "id" not in message or "method" not in message:
        return None
    reply: Any = {"jsonrpc": "2.0", "id": message["id"], **_outcome(message, script["modern"])}
    spoiled = message["method"] == script["method"]
    for way, value in script["edits"] if spoiled else []:
        reply = edited(reply, way, value)
    data = json.dumps(reply).encode()
    return on_the_wire(data, script["wire"]) if spoiled else data


def _outcome(message: Json, modern: bool) -> Json:
    described: Json = {"capabilities": {"tools": {}}, "serverInfo": {"name": "scripted", "version": "1"}}
    common: Json = {"resultType": "complete"} if modern else {}
    match message["method"]:
        case "server/discover" if modern:
            return {
                "result": {
                    **common,
                    "supportedVersions": ["2026-07-28"],
                    **described,
                    "ttlMs": 0,
                    "cacheScope": "private",
                }
            }
        case "initialize" if not modern:
            return {"result": {"protocolVersion": "2025-11-25", **described}}
        case "tools/list":
            listed = {"ttlMs": 0, "cacheScope": "private"} if modern else {}
            return {"result": {**common, **listed, "tools": [TOOL]}}
        case "tools/call":
            return {
                "result": {
                    **common,
                    "content": [{"type": "text", "text": "secret-of-the-answer"}],
                    "structuredContent": {"secret-of-the-answer": 1},
                }
            }
    return {"error": {"code": -32601, "message": "Method not found"}}


def edited(value: Any, way: list[int], new: Any) -> Any:
    """Put a value in the place that a way of numbers leads to: each picks a member, modulo how many there are."""
    if not way or not isinstance(value, dict | list) or not value:
        return new
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[way[0] % len(keys)]
    inner = edited(value[key], way[1:], new)
    changed = value.copy()
    if inner == GONE:
        del changed[key]
    else:
        changed[key] = inner
    return changed


def on_the_wire(data: bytes, wire: list[Json]) -> bytes | None:
    """What is sent in the place of an answer's bytes; None for silence."""
    for change in wire:
        if change["do"] == "silence":
            return None
        data = CHANGES[change["do"]](data, change)
    return data


def pretty(data: bytes, change: Json) -> bytes:
    """Over many lines, where it is JSON still."""
    del change
    try:
        return json.dumps(json.loads(data), indent=2).encode()
    except ValueError:
        return data


CHANGES: dict[str, Callable[[bytes, Json], bytes]] = {
    "cut": lambda data, change: data[: len(data) * change["at"] // 100],
    "before": lambda data, change: base64.b64decode(change["bytes"]) + data,
    "after": lambda data, change: data + base64.b64decode(change["bytes"]),
    "replace": lambda data, change: base64.b64decode(change["bytes"]),
    "twice": lambda data, change: data + b"\n" + data,
    "deep": lambda data, change: data.replace(
        b'"text":', b'"x":' + b"[" * change["levels"] + b"]" * change["levels"] + b',"text":', 1
    ),
    "number": lambda data, change: data.replace(b"1}", change["text"].encode() + b"}", 1),
    "surrogate": lambda data, change: data.replace(b"secret-of", b"\\ud800secret-of", 1),
    "pretty": pretty,
}


def main() -> None:
    script = json.loads(sys.argv[1])
    for line in sys.stdin.buffer:
        message = json.loads(line)
        sent = answer(message, script)
        if sent is not None:
            sys.stdout.buffer.write(
                sent + (b"" if script["no_newline"] and message["method"] == script["method"] else b"\n")
            )
            sys.stdout.buffer.flush()
        if script["exits"] and message.get("method") == script["method"]:
            return


if __name__ == "__main__":
    main()

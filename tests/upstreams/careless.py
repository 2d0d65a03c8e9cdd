"""An MCP server of 2025-11-25 over stdio that answers a call with the very bytes that its arguments ask for.

`raw` is those bytes as Latin-1, in which $id stands for the id of the call; `once` are bytes for the first process
only, told by a file in the folder that the command line names; `exit` ends the process after them; `size` makes a line
of so many bytes; `hold` leaves the call without an answer. Standard library only.
"""

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
RESULTS: dict[str, Any] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "careless", "version": "1"},
    },
    "tools/list": {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]},
}


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def answer(ident: object, **outcome: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", "id": ident, **outcome}).encode() + b"\n")


def note_start() -> int:
    """Count the processes that were started in the folder."""
    starts = FOLDER / "starts"
    with starts.open("ab") as file:
        file.write(b".")
    return starts.stat().st_size


def call(message: dict[str, Any], start: int) -> None:
    arguments = message["params"].get("arguments") or {}
    with (FOLDER / "calls").open("ab") as file:
        file.write(b".")
    raw = arguments.get("once") if start == 1 and "once" in arguments else arguments.get("raw")
    if "size" in arguments:
        write(b"x" * arguments["size"])
    if "hold" in arguments:
        return
    if raw is None:
        answer(message["id"], result={"content": [], "structuredContent": {"arguments": arguments, "start": start}})
    else:
        write(raw.encode("latin-1").replace(b"$id", str(message["id"]).encode()))
    if "exit" in arguments:
        sys.exit(0)


def main() -> None:
    start = note_start()
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method")
        if "id" not in message or method is None:
            continue
        if method == "tools/call":
            call(message, start)
        elif method in RESULTS:
            answer(message["id"], result=RESULTS[method])
        else:
            answer(message["id"], error={"code": -32601, "message": "Method not found"})


main()

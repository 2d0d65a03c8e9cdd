"""An MCP server of 2025-11-25 over stdio that ends by itself, as one does that was written as a script.

Arguments: a file in which each call is noted with the id of the process; the way to end; the number of answers that it
ends after. Ways: exit (status 0), fail (status 3), error (its answers are errors), each (answers to listings count,
too), close (its output is closed, but it lives on), initialize (it ends after that), never.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

Message = dict[str, Any]
RESULTS: Message = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "mortal", "version": "1"},
    },
    "tools/list": {"tools": [{"name": "note", "inputSchema": {"type": "object"}}]},
    "ping": {},
}


def end(way: str) -> None:
    if way == "close":
        os.close(sys.stdout.fileno())
        sys.stdin.read()
    os._exit(3 if way == "fail" else 0)


def call(message: Message, log: Path, way: str) -> Message:
    text = message["params"]["arguments"]["text"]
    with log.open("a") as notes:
        notes.write(f"{text} {os.getpid()}\n")
    if text == "hang":
        time.sleep(60)
    if way == "error":
        return {"error": {"code": -32050, "message": text}}
    return {"result": {"content": [{"type": "text", "text": text}]}}


def main() -> None:
    log, way, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method")
        if "id" not in message:
            continue
        if method == "tools/call":
            body = call(message, log, way)
        elif method in RESULTS:
            body = {"result": RESULTS[method]}
        else:
            body = {"error": {"code": -32601, "message": "Method not found"}}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}) + "\n")
        sys.stdout.flush()
        left -= method == "tools/call" or (way == "each" and method == "tools/list")
        if (left == 0 and way != "never") or (way == "initialize" and method == "initialize"):
            end(way)


if __name__ == "__main__":
    main()

"""An MCP server of 2025-11-25 over stdio that does not end when its standard input does, and has a child of its own.

With `--deaf` it ignores SIGTERM, and so does that child; with `--gentle` both end. Standard library only.
"""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

if "--deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
CHILD = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
RESULTS: dict[str, Any] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "stubborn", "version": "1"},
    },
    "tools/list": {"tools": [{"name": "pids", "inputSchema": {"type": "object"}}]},
    "tools/call": {"content": [], "structuredContent": {"pids": [os.getpid(), CHILD.pid]}},
}


def main() -> None:
    """Answer each request, and stay when no more come."""
    for line in sys.stdin:
        request = json.loads(line)
        known = RESULTS.get(request.get("method"))
        outcome = {"error": {"code": -32601, "message": "no"}} if known is None else {"result": known}
        if "id" in request:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **outcome}) + "\n")
            sys.stdout.flush()
    if "--gentle" in sys.argv:
        CHILD.kill()
        return
    while True:
        time.sleep(1000)


if __name__ == "__main__":
    main()

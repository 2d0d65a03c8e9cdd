"""An MCP server of 2025-11-25 over stdio, written by hand: clumsy in what it lists, or when it is opened.

The first argument is the habit: exit-on-discover, silent-on-discover, exit-after-call, or nothing; the second a file
with a JSON object from a method to its answers, one after the other: results, or {"error": ...}. The last one stays.
"""

import json
import sys
from pathlib import Path
from typing import Any

Message = dict[str, Any]
CAPABILITIES: Message = {"tools": {}, "resources": {}, "prompts": {}}
KNOWN: Message = {
    "initialize": [
        {
            "protocolVersion": "2025-11-25",
            "capabilities": CAPABILITIES,
            "serverInfo": {"name": "clumsy", "version": "1"},
        }
    ],
    "tools/list": [{"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}],
    "resources/list": [{"resources": []}],
    "resources/templates/list": [{"resourceTemplates": []}],
    "prompts/list": [{"prompts": []}],
    "tools/call": [{"content": []}],
}


def main() -> None:
    habit, script = sys.argv[1], Path(sys.argv[2])
    asked: dict[str, int] = {}
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method")
        with script.with_suffix(".log").open("a") as log:
            log.write(f"{method}\n")
        if "id" not in message or (method == "server/discover" and habit == "silent-on-discover"):
            continue
        if method == "server/discover" and habit == "exit-on-discover":
            sys.exit(1)
        answers = (KNOWN | json.loads(script.read_text())).get(
            method, [{"error": {"code": -32601, "message": "Method not found"}}]
        )
        answer = answers[min(asked.get(method, 0), len(answers) - 1)]
        asked[method] = asked.get(method, 0) + 1
        if answer == "silent":
            continue
        body = answer if set(answer) == {"error"} else {"result": answer}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

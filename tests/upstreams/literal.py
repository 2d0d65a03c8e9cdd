"""An MCP server of 2025-11-25 whose tool `say` answers with the very JSON text that it is given as a result.

Over stdio, or HTTP with --port: /mcp answers in JSON, /events in a stream of events.
"""

import argparse
import json
import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "literal", "version": "1"},
}
TOOL = (
    '{"name":"say","title":"t","inputSchema":{"type":"object","properties":{"z":{"type":"string"},'
    '"text":{"type":"string"},"a":{"type":"number"}},"required":["text"]},"description":"d"}'
)


def answer(message: dict[str, Any]) -> str:
    match message["method"]:
        case "initialize":
            result = json.dumps(INITIALIZED)
        case "tools/list":
            result = f'{{"tools":[{TOOL}]}}'
        case "tools/call":
            result = message["params"]["arguments"]["text"]
            if result == "arguments":
                result = json.dumps({"content": [], "structuredContent": message["params"]["arguments"]})
        case _:
            return json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}})
    return f'{{"jsonrpc":"2.0","id":{message["id"]},"result":{result}}}'


async def post(request: Request) -> Response:
    message = await request.json()
    if "id" not in message:
        return Response(status_code=202)
    text = answer(message).encode("utf-8", "surrogatepass")
    if request.url.path == "/events":
        return Response(b"event: message\r\ndata: " + text + b"\r\n\r\n", media_type="text/event-stream")
    return Response(text, media_type="application/json")


def over_stdio() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            sys.stdout.buffer.write(answer(message).encode("utf-8", "surrogatepass") + b"\n")
            sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.port is None:
        over_stdio()
        return
    app = Starlette(routes=[Route("/mcp", post, methods=["POST"]), Route("/events", post, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="critical")


if __name__ == "__main__":
    main()

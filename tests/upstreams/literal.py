"""An MCP server of 2025-11-25 whose tool `say` answers with the very JSON text that it is given as a result.

Instead of one, `arguments` stands for those of the call, and `message` for the call's message as it came.
Over stdio, or HTTP with --port: /mcp answers in JSON, /events in a stream of events. A query such as tools/list=100
puts so many spaces into the answers to this method, or with `endless` spaces without end.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "literal", "version": "1"},
}
TOOL = (
    '{"name":"say","title":"t","inputSchema":{"type":"object","properties":{"z":{"type":"string"},'
    '"text":{"type":"string"},"a":{"type":"number","default":1E5,"maximum":1e400,"examples":[-0,-0.0,1.10,'
    '0.1000000000000000055,12345678901234567890123,1e-400]}},"required":["text"]},"description":"1.0"}'
)


def answer(message: dict[str, Any], raw: bytes) -> str:
    match message["method"]:
        case "initialize":
            result = json.dumps(INITIALIZED)
        case "tools/list":
            result = f'{{"tools":[{TOOL}]}}'
        case "tools/call":
            result = message["params"]["arguments"]["text"]
            if result == "message":
                result = json.dumps({"content": [{"type": "text", "text": raw.decode().strip()}]})
            if result == "arguments":
                result = json.dumps({"content": [], "structuredContent": message["params"]["arguments"]})
        case _:
            return json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}})
    return f'{{"jsonrpc":"2.0","id":{message["id"]},"result":{result}}}'


async def post(request: Request) -> Response:
    message = await request.json()
    if "id" not in message:
        return Response(status_code=202)
    text = answer(message, await request.body()).encode("utf-8", "surrogatepass")
    is_stream = request.url.path == "/events"
    kind = "text/event-stream" if is_stream else "application/json"
    padding = request.query_params.get(message["method"], "0")
    if padding == "endless":
        return StreamingResponse(endless(b"data: " if is_stream else b""), media_type=kind)
    text = text[:1] + b" " * int(padding) + text[1:]
    return Response(b"event: message\r\ndata: " + text + b"\r\n\r\n" if is_stream else text, media_type=kind)


async def endless(head: bytes) -> AsyncIterator[bytes]:
    yield head
    while True:
        yield b" " * 1000
        await asyncio.sleep(0)


def over_stdio() -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message:
            sys.stdout.buffer.write(answer(message, line).encode("utf-8", "surrogatepass") + b"\n")
            sys.stdout.flush()


def main() -> None:
    sys.set_int_max_str_digits(0)
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

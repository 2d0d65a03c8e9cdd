"""An MCP server of 2025-11-25 written by hand, without the SDK: its faults are beyond what the SDK would do.

Over stdio, or HTTP with --port, where the path is the habit: /mcp works, /status/401 always answers that,
/redirect leads elsewhere, /silent never answers, /drop closes the connection in a call, /huge answers without end,
/forgetful knows a session for one call only, /busy answers calls with the status that it is asked for.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

Message = dict[str, Any]
INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}, "resources": {}},
    "serverInfo": {"name": "handmade", "version": "1"},
}


def error(message: Message, code: int, text: str) -> Message:
    return {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": code, "message": text}}


def answer(message: Message) -> Message:
    match message["method"]:
        case "initialize":
            result: Message = INITIALIZED
        case "tools/call":
            result = called(message["params"])
        case "tools/list":
            result = {"tools": [{"name": "echo", "inputSchema": {"type": "object"}, "x-own": 1}]}
        case _:
            return error(message, -32601, "Method not found")
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def called(params: Message) -> Message:
    if params["name"] == "malformed":
        return {"content": "not a list, but secret-of-the-result"}
    return {"content": [], "structuredContent": {"arguments": params["arguments"]}, "x-own": {"kept": [1, None]}}


def note_cancellation(message: Message, folder: str) -> None:
    if message.get("method") == "notifications/cancelled" and folder:
        (Path(folder) / "cancelled").touch()


class Habits:
    """The HTTP side."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sessions: dict[str, int] = {}

    async def post(self, request: Request) -> Response:
        habit = request.path_params.get("habit", "mcp")
        message = await request.json()
        note_cancellation(message, self.folder)
        match habit:
            case "silent":
                await asyncio.Event().wait()
            case "redirect":
                return RedirectResponse(
                    request.query_params["to"], status_code=int(request.query_params.get("code", 307))
                )
            case "status":
                return refusal(message, request.query_params)
        if message.get("method") == "server/discover":
            return JSONResponse(error(message, -32600, "Bad Request: no session"), status_code=400)
        if "id" not in message:
            return Response(status_code=202)
        return await self.respond(habit, request, message)

    async def respond(self, habit: str, request: Request, message: Message) -> Response:
        session = request.headers.get("mcp-session-id", f"session-{len(self.sessions)}")
        if message["method"] == "initialize":
            self.sessions[session] = 0
        elif "mcp-session-id" not in request.headers:
            return JSONResponse(error(message, -32600, "Bad Request: not initialized"), status_code=400)
        elif session not in self.sessions or (habit == "forgetful" and self.sessions[session] > 0):
            return JSONResponse(error(message, -32600, "Session not found"), status_code=404)
        else:
            self.sessions[session] += 1
            if habit == "drop":
                return StreamingResponse(broken(), media_type="application/json", headers={"content-length": "100"})
            if habit == "busy" and message["method"] == "tools/call":
                return refusal(message, request.query_params)
            if habit == "huge":
                return StreamingResponse(endless(), media_type="application/json")
            if message.get("params", {}).get("name") == "hang":
                (Path(self.folder) / "began").touch()
                await asyncio.Event().wait()
        return JSONResponse(answer(message), headers={"mcp-session-id": session})


def refusal(message: Message, wanted: Any) -> Response:
    headers = {"retry-after": wanted["after"]} if "after" in wanted else None
    status = int(wanted["code"])
    if "rpc" in wanted:
        return JSONResponse(error(message, -32000, "not now"), status_code=status, headers=headers)
    return Response(status_code=status, headers=headers)


async def broken() -> Any:
    yield b'{"jsonrpc"'
    raise ConnectionResetError


async def endless() -> Any:
    while True:
        yield b" " * 65536
        await asyncio.sleep(0)


def over_stdio(folder: str, brief: bool) -> None:
    print("a word on standard error", file=sys.stderr, flush=True)  # noqa: T201
    for line in sys.stdin:
        message = json.loads(line)
        note_cancellation(message, folder)
        if message.get("params", {}).get("name") == "hang":
            (Path(folder) / "began").touch()
        elif message.get("params", {}).get("name") == "die":
            sys.exit(3)
        elif "id" in message:
            sys.stdout.write(json.dumps(answer(message)) + "\n")
            sys.stdout.flush()
            if brief:
                return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--folder", default="")
    parser.add_argument("--brief", action="store_true", help="end after the first answer")
    options = parser.parse_args()
    if options.port is None:
        over_stdio(options.folder, options.brief)
        return
    app = Starlette(routes=[Route("/{habit}", Habits(options.folder).post, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="critical")


if __name__ == "__main__":
    main()

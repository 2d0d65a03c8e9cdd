"""An MCP server that asks its client in the middle of calls; over stdio, or HTTP with --port.

With --legacy it speaks the era with sessions only, and asks by requests; without, it asks by results too. With --loose
its requests over HTTP come on the standalone stream. `who` in the arguments comes back in question and answer.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared.message import ServerMessageMetadata
from mcp_types import INTERNAL_ERROR, METHOD_NOT_FOUND, URL_ELICITATION_REQUIRED

Context = Any
TOOLS = ("name", "url", "sample", "roots", "two", "url-error", "capabilities", "forever", "idle", "twins", "after")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
PAGE = "https://example.org/confirm"
IDENT = "elicitation-1"


def form(who: str) -> types.ElicitRequest:
    params = types.ElicitRequestFormParams(message=f"Name of {who}?", requested_schema=SCHEMA)
    return types.ElicitRequest(params=params)


def page(who: str, *, ident: str | None) -> types.ElicitRequest:
    params: dict[str, Any] = {"mode": "url", "message": f"Confirm, {who}.", "url": PAGE}
    if ident is not None:
        params["elicitationId"] = ident
    return types.ElicitRequest(params=types.ElicitRequestURLParams.model_validate(params))


def sampling(who: str) -> types.CreateMessageRequest:
    said = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=f"Greet {who}."))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[said], max_tokens=10))


def text(value: Any, *, failed: bool = False) -> types.CallToolResult:
    said = value if isinstance(value, str) else json.dumps(value)
    return types.CallToolResult(content=[types.TextContent(type="text", text=said)], is_error=failed)


def write(answer: Any) -> str:
    """What the client answered, in short."""
    plain = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
    return json.dumps({key: value for key, value in plain.items() if key != "_meta"}, sort_keys=True)


class Asking:
    """The tools, in both eras."""

    def __init__(self, *, loose: bool, folder: Path | None) -> None:
        self.loose = loose
        self.folder = folder
        self.later: set[asyncio.Task[None]] = set()

    async def call_tool(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        who = str((params.arguments or {}).get("who", "you"))
        if params.name == "capabilities":
            declared = ctx.session.client_capabilities
            seen = None if declared is None else declared.model_dump(by_alias=True, mode="json", exclude_none=True)
            return text({"capabilities": seen, "pid": os.getpid()})
        if params.name == "url-error":
            return self._demand_url(who, params)
        if ctx.session.can_send_request:
            return await self._ask_by_request(ctx, params.name, who)
        return self._ask_by_result(params, params.name, who)

    async def read_resource(
        self, ctx: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | types.InputRequiredResult:
        if ctx.session.can_send_request:
            said = write(await self._send(ctx, form("reader"), types.ElicitResult))
        elif not params.input_responses:
            return types.InputRequiredResult(input_requests={"q": form("reader")}, request_state="reading")
        else:
            said = write(params.input_responses["q"])
        return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text=said)])

    async def get_prompt(
        self, ctx: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        if ctx.session.can_send_request:
            said = write(await self._send(ctx, form("prompter"), types.ElicitResult))
        elif not params.input_responses:
            return types.InputRequiredResult(input_requests={"q": form("prompter")}, request_state="prompting")
        else:
            said = write(params.input_responses["q"])
        content = types.TextContent(type="text", text=said)
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content)])

    async def _ask_by_request(self, ctx: Context, name: str, who: str) -> types.CallToolResult:
        self._note("asked", who)
        try:
            match name:
                case "two":
                    first = await self._send(ctx, form(who), types.ElicitResult)
                    second = await self._send(ctx, form(f"{who} again"), types.ElicitResult)
                    return text([write(first), write(second)])
                case "twins":
                    both = (self._send(ctx, form(f"{who} {n}"), types.ElicitResult) for n in (1, 2))
                    return text([write(one) for one in await asyncio.gather(*both)])
                case "url":
                    said = await self._send(ctx, page(who, ident=IDENT), types.ElicitResult)
                    self._soon(lambda: ctx.session.send_elicit_complete(IDENT))
                case "sample":
                    said = await self._send(ctx, sampling(who), types.CreateMessageResult)
                case "roots":
                    said = await self._send(ctx, types.ListRootsRequest(), types.ListRootsResult)
                case "after":
                    self._soon(lambda: self._ask_later(ctx, who))
                    return text("later")
                case _:
                    said = await self._send(ctx, form(who), types.ElicitResult)
        except MCPError as error:
            return text(f"refused: {error.error.message}", failed=True)
        return text(write(said))

    async def _ask_later(self, ctx: Context, who: str) -> None:
        """Ask after the call has been answered, once the file `go` is there."""
        assert self.folder is not None
        while not (self.folder / "go").exists():
            await asyncio.sleep(0.02)
        try:
            said = write(await ctx.session.send_request(form(who), types.ElicitResult))
        except MCPError as error:
            said = f"refused: {error.error.message}"
        (self.folder / "later.part").write_text(said)
        (self.folder / "later.part").rename(self.folder / "later")

    def _soon(self, work: Callable[[], Awaitable[Any]]) -> None:
        async def run() -> None:
            with suppress(Exception):
                await work()

        task = asyncio.create_task(run())
        self.later.add(task)
        task.add_done_callback(self.later.discard)

    def _note(self, event: str, who: str) -> None:
        if self.folder is not None:
            (self.folder / f"{event}-{who}").touch()

    async def _send(self, ctx: Context, request: Any, kind: Any) -> Any:
        related = None if self.loose else ServerMessageMetadata(related_request_id=ctx.request_id)
        return await ctx.session.send_request(request, kind, metadata=related)

    def _ask_by_result(
        self, params: types.CallToolRequestParams, name: str, who: str
    ) -> types.CallToolResult | types.InputRequiredResult:
        answers, state = params.input_responses or {}, params.request_state
        if state is not None and not state.startswith(f"state of {who}"):
            raise MCPError(INTERNAL_ERROR, f"not my state: {state}")
        if name == "forever":
            return types.InputRequiredResult(input_requests={"q": form(who)}, request_state=f"state of {who}")
        if name == "idle" and state != f"state of {who}..":
            return types.InputRequiredResult(request_state=f"{state or f'state of {who}'}.")
        if name == "idle":
            return text("waited")
        if name == "two" and state == f"state of {who}":
            return types.InputRequiredResult(
                input_requests={"second": form(f"{who} again")}, request_state=f"state of {who}: {write(answers['q'])}"
            )
        if name == "two" and state is not None:
            return text([state.partition(": ")[2], write(answers["second"])])
        if not answers:
            return types.InputRequiredResult(input_requests=self._requests(name, who), request_state=f"state of {who}")
        said = [write(answers[key]) for key in sorted(answers)]
        return text(said if name == "twins" else said[0])

    def _requests(self, name: str, who: str) -> dict[str, Any]:
        match name:
            case "url":
                return {"q": page(who, ident=None)}
            case "sample":
                return {"q": sampling(who)}
            case "roots":
                return {"q": types.ListRootsRequest()}
            case "twins":
                return {f"q{n}": form(f"{who} {n}") for n in (1, 2)}
            case _:
                return {"q": form(who)}

    def _demand_url(self, who: str, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Demand a visit to a page by an error, once for each `who`; the page is the file that the client makes."""
        assert self.folder is not None
        if (self.folder / f"visited-{who}").exists():
            return text("visited")
        elicitation = {"mode": "url", "message": f"Confirm, {who}.", "url": PAGE, "elicitationId": IDENT}
        raise MCPError(URL_ELICITATION_REQUIRED, "Visit the page first.", {"elicitations": [elicitation], "own": 1})


async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    del ctx, params
    schema = {"type": "object", "properties": {"who": {"type": "string"}}}
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=schema) for name in TOOLS])


async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    del ctx, params
    return types.ListResourcesResult(resources=[types.Resource(name="asking", uri="asking://resource")])


async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    del ctx, params
    return types.ListPromptsResult(prompts=[types.Prompt(name="asking")])


async def refuse_modern(ctx: Context, call_next: Any) -> Any:
    if ctx.method == "server/discover":
        raise MCPError(METHOD_NOT_FOUND, "Method not found")
    return await call_next(ctx)


async def over_stdio(server: Server[Any], *, legacy: bool) -> None:
    async with stdio_server() as (reading, writing):
        if legacy:
            await serve_loop(server, reading, writing, lifespan_state={})
        else:
            await server.run(reading, writing, server.create_initialization_options())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--loose", action="store_true")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    asking = Asking(loose=options.loose, folder=options.folder)
    server: Server[Any] = Server(
        "asking",
        version="1",
        on_call_tool=asking.call_tool,
        on_list_tools=list_tools,
        on_read_resource=asking.read_resource,
        on_list_resources=list_resources,
        on_get_prompt=asking.get_prompt,
        on_list_prompts=list_prompts,
    )
    if options.legacy:
        server.middleware.append(refuse_modern)
    if options.port is None:
        asyncio.run(over_stdio(server, legacy=options.legacy))
    else:
        uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=options.port, log_level="error")


if __name__ == "__main__":
    main()

"""An MCP server of both protocol eras whose tools are marked for tasks, as the official conformance suite wants them.

Some ask their client something: by the result of the call in the newer era, in the middle of it in the older one.
Over stdio, or HTTP with --port. `test_tool_with_task` takes --seconds after it was told a name.
"""

import argparse
import asyncio
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

Context = Any
FORM: dict[str, Any] = {"type": "object", "properties": {"confirm": {"type": "boolean"}, "name": {"type": "string"}}}
TOOLS: dict[str, tuple[dict[str, Any], str | None]] = {
    "greet": ({"name": {"type": "string"}}, None),
    "slow_compute": (
        {"seconds": {"type": "number"}, "label": {"type": "string"}, "steps": {"type": "integer"}},
        "optional",
    ),
    "failing_job": ({}, "required"),
    "protocol_error_job": ({}, "optional"),
    "confirm_delete": ({"filename": {"type": "string"}}, "optional"),
    "multi_input": ({}, "optional"),
    "typed_compute": ({"seconds": {"type": "number"}}, None),
    "never_a_task": ({}, "forbidden"),
    "test_tool_with_task": ({}, None),
}
TYPED: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
QUESTIONS = {
    "confirm_delete": {"confirm": "Delete it?"},
    "multi_input": {"first": "The first?", "second": "The second?"},
    "test_tool_with_task": {"user_name": "What is your name?"},
}


class Tools:
    """The tools, and the time that one of them takes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def call(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        arguments = params.arguments or {}
        answers = await ask(ctx, params, QUESTIONS.get(params.name, {}))
        if isinstance(answers, types.InputRequiredResult):
            return answers
        match params.name:
            case "greet":
                return text(f"Hello, {arguments.get('name')}!")
            case "slow_compute":
                await compute(ctx, float(arguments.get("seconds", 0)), int(arguments.get("steps", 0)))
                return text(f"computed {arguments.get('label', '')}")
            case "typed_compute":
                await asyncio.sleep(float(arguments.get("seconds", 0)))
                return types.CallToolResult(content=[], structured_content={"answer": 42})
            case "failing_job":
                return text("It failed.", is_error=True)
            case "protocol_error_job":
                raise MCPError(code=-32050, message="The job broke the protocol.")
            case "test_tool_with_task":
                await asyncio.sleep(self.seconds)
                return text(f"Hello, {answers['user_name']['content']['name']}!")
            case _:
                return text(" ".join(f"{key}={answer['action']}" for key, answer in sorted(answers.items())) or "done")


async def compute(ctx: Context, seconds: float, steps: int) -> None:
    """Take so many seconds, and report so many steps in between."""
    for step in range(1, steps + 1):
        await asyncio.sleep(seconds / (steps + 1))
        await ctx.session.report_progress(step, steps, f"step {step}")
    await asyncio.sleep(seconds / (steps + 1))


async def ask(
    ctx: Context, params: types.CallToolRequestParams, questions: dict[str, str]
) -> dict[str, Any] | types.InputRequiredResult:
    """The answers to all questions, or the wish for them."""
    if ctx.protocol_version < "2026":
        found = [
            await ctx.session.elicit_form(message, FORM, related_request_id=ctx.request_id)
            for message in questions.values()
        ]
        return {key: one.model_dump(mode="json") for key, one in zip(questions, found, strict=True)}
    given = {
        key: answer if isinstance(answer, dict) else answer.model_dump(mode="json", by_alias=True)
        for key, answer in (params.input_responses or {}).items()
    }
    if questions.keys() <= given.keys():
        return given
    requests = {
        key: types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=FORM))
        for key, message in questions.items()
        if key not in given
    }
    return types.InputRequiredResult(input_requests=requests, request_state="state")


def text(words: str, *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=words)], is_error=is_error)


async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    del ctx, params
    return types.ListToolsResult(tools=[])


async def mark_tools(ctx: Context, call_next: Any) -> Any:
    """List the tools with their marks, which the SDK has no place for in the newer era."""
    answer = await call_next(ctx)
    if ctx.method == "tools/list":
        answer["tools"] = [
            {"name": name, "inputSchema": {"type": "object", "properties": properties}}
            | ({} if support is None else {"execution": {"taskSupport": support}})
            | ({"outputSchema": TYPED} if name == "typed_compute" else {})
            | ({"annotations": {"readOnlyHint": True}} if name == "slow_compute" else {})
            for name, (properties, support) in TOOLS.items()
        ]
    return answer


async def over_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    server: Server[Any] = Server(
        "tasks", version="1", on_call_tool=Tools(options.seconds).call, on_list_tools=list_tools
    )
    server.middleware.append(mark_tools)
    if options.port is None:
        asyncio.run(over_stdio(server))
    else:
        uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=options.port, log_level="error")


if __name__ == "__main__":
    main()

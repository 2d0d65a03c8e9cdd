"""An MCP server with tools as people know them, for the console's pages and pictures; over stdio, or HTTP with --port.

Its first argument says which: `weather` answers and draws, `reports` takes its time, `rooms` refuses.
"""

import argparse
import asyncio
import base64
import struct
import zlib
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

Context = Any
TEMPERATURES = (11, 12, 14, 17, 19, 18, 15, 13, 12, 14, 18, 21)
WIDTH, HEIGHT, FOOT = 480, 200, 24


def tool(name: str, title: str, description: str, required: list[str], **properties: Any) -> types.Tool:
    schema = {"type": "object", "properties": properties, "required": required}
    return types.Tool(name=name, title=title, description=description, input_schema=schema)


CITY = {"type": "string", "description": "A city's name.", "examples": ["Berlin"]}
OFFERS = {
    "weather": [
        tool(
            "get_forecast",
            "Get the forecast",
            "Temperatures and rain of the next days.",
            ["city"],
            city=CITY,
            days={"type": "integer", "minimum": 1, "maximum": 7, "default": 3},
            units={"enum": ["metric", "imperial"], "default": "metric"},
        ),
        tool("draw_chart", "Draw a chart", "The temperatures of a day, as a picture.", ["city"], city=CITY),
    ],
    "reports": [
        tool(
            "build_report",
            "Build a report",
            "Collects figures of a quarter, which takes a while.",
            [],
            quarter={"type": "string", "pattern": "^20[0-9]{2}-Q[1-4]$", "default": "2026-Q3"},
            seconds={"type": "number", "minimum": 0, "maximum": 600, "default": 2},
            options={
                "type": "object",
                "properties": {
                    "charts": {"type": "boolean", "default": True},
                    "recipients": {"type": "array", "items": {"type": "string"}},
                },
            },
        )
    ],
    "rooms": [
        tool(
            "book_room",
            "Book a room",
            "Books a meeting room.",
            ["room", "from", "to"],
            room={"enum": ["Blue", "Green", "Attic"]},
            to={"type": "string"},
            **{"from": {"type": "string"}},
        )
    ],
}


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    given = params.arguments or {}
    match params.name:
        case "get_forecast":
            return forecast(given)
        case "draw_chart":
            picture = types.ImageContent(type="image", data=base64.b64encode(chart()).decode(), mime_type="image/png")
            text = types.TextContent(type="text", text=f"The temperatures of today in {given['city']}.")
            return types.CallToolResult(content=[text, picture])
        case "build_report":
            return await report(ctx, given)
        case _:
            refusal = f"The room {given.get('room')} is taken from {given.get('from')} until {given.get('to')}."
            raise MCPError(code=-32050, message=refusal)


def forecast(given: dict[str, Any]) -> types.CallToolResult:
    days = [
        {"day": day + 1, "low": TEMPERATURES[day] - 4, "high": TEMPERATURES[day] + 3, "rain": day % 3 == 1}
        for day in range(given.get("days", 3))
    ]
    text = f"{given['city']}: {days[0]['low']} to {days[0]['high']} degrees tomorrow."
    structured = {"city": given["city"], "units": given.get("units", "metric"), "days": days}
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=structured)


async def report(ctx: Context, given: dict[str, Any]) -> types.CallToolResult:
    seconds, chapters = given.get("seconds", 2), ("sales", "costs", "staff", "outlook")
    for number, chapter in enumerate(chapters, 1):
        await ctx.session.report_progress(number, len(chapters), f"chapter {number}: {chapter}")
        await asyncio.sleep(seconds / len(chapters))
    figures = {"quarter": given.get("quarter", "2026-Q3"), "chapters": list(chapters), "pages": 42}
    text = types.TextContent(type="text", text=f"The report of {figures['quarter']} has 42 pages.")
    return types.CallToolResult(content=[text], structured_content=figures)


def chart() -> bytes:
    """Draw columns as a PNG."""
    column, gap = WIDTH // len(TEMPERATURES), 8
    rows = bytearray()
    for y in range(HEIGHT):
        rows.append(0)
        for x in range(WIDTH):
            top = HEIGHT - FOOT - TEMPERATURES[min(x // column, len(TEMPERATURES) - 1)] * 7
            inside = gap // 2 <= x % column < column - gap // 2 and top <= y < HEIGHT - FOOT
            rows += b"\x3b\x6f\xd8" if inside else b"\xf4\xf6\xf9" if y < HEIGHT - FOOT else b"\xdd\xe2\xea"
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


async def over_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("offer", choices=OFFERS)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()

    async def list_tools(_ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=OFFERS[options.offer])

    server: Server[Any] = Server(options.offer, version="1.4.0", on_call_tool=call_tool, on_list_tools=list_tools)
    if options.port is None:
        asyncio.run(over_stdio(server))
    else:
        uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=options.port, log_level="error")


if __name__ == "__main__":
    main()

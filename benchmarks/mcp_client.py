"""A client of `/mcp` without a library between, so that what it costs is small and the same in every round."""

import asyncio
import json
from typing import Any

import httpx

MODERN, LEGACY = "2026-07-28", "2025-11-25"
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
}
_INITIALIZE = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}


class McpCaller:
    """Calls tools at one address, in either era; every method tells if there was a good answer."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url
        self._count = 0

    async def call(self, tool: str, arguments: dict[str, Any]) -> bool:
        """Call a tool in the era without sessions."""
        params = {"name": tool, "arguments": arguments, "_meta": _META}
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
        return _is_good(await self._post("tools/call", params, headers))

    async def open(self) -> str:
        """Open a session of the older era; its id."""
        answer = await self._post("initialize", _INITIALIZE, {})
        session = answer.headers["mcp-session-id"]
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await self._http.post(self._url, json=body, headers=_in_session(session))
        return session

    async def call_in(self, session: str, tool: str, arguments: dict[str, Any]) -> bool:
        """Call a tool in a session."""
        return _is_good(await self._post("tools/call", {"name": tool, "arguments": arguments}, _in_session(session)))

    async def close(self, session: str) -> None:
        """Close a session."""
        await self._http.delete(self._url, headers=_in_session(session))

    async def _post(self, method: str, params: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        self._count += 1
        body = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": params}
        return await self._http.post(self._url, json=body, headers=headers)


def caller_client(key: str) -> httpx.AsyncClient:
    """The HTTP client of a caller with this key."""
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"}
    return httpx.AsyncClient(headers=headers, timeout=120, limits=httpx.Limits(max_connections=None))


def _in_session(session: str) -> dict[str, str]:
    return {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY}


def _is_good(answer: httpx.Response) -> bool:
    if answer.status_code != 200:
        return False
    text = answer.text
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        text = [line[6:] for line in text.splitlines() if line.startswith("data: {")][-1]
    result = json.loads(text).get("result")
    return isinstance(result, dict) and not result.get("isError")


async def at_once(count: int, places: int, work: Any) -> list[Any]:
    """Do a piece of work so many times, so many of them at the same time; what each returned."""
    numbers = iter(range(count))
    found: list[Any] = []

    async def worker() -> None:
        for number in numbers:
            found.append(await work(number))  # noqa: PERF401

    await asyncio.gather(*(worker() for _ in range(places)))
    return found

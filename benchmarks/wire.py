"""MCP over HTTP by hand, over a connection that stays open: the caller costs the same whatever server it asks."""

import itertools
import json
from types import TracebackType
from typing import Any, Self

import httpx

MODERN, LEGACY = "2026-07-28", "2025-11-25"
ERAS = (MODERN, LEGACY)
_ABOUT = {"name": "benchmark", "version": "1"}
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": _ABOUT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Refused(Exception):
    """An answer that is no result."""


class Caller:
    """A client of one server in one era, with one connection."""

    def __init__(self, url: str, era: str, token: str | None = None) -> None:
        self._era, self._ids = era, itertools.count(1)
        headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._url = url
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        self._http = httpx.AsyncClient(headers=headers, timeout=60, limits=limits)

    async def __aenter__(self) -> Self:
        if self._era == LEGACY:
            params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _ABOUT}
            answer = await self._post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
            _result(answer)
            self._http.headers["mcp-protocol-version"] = LEGACY
            self._http.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._era == LEGACY:
            await self._http.delete(self._url)
        await self._http.aclose()

    def present(self, token: str) -> None:
        """Send another token from now on."""
        self._http.headers["authorization"] = f"Bearer {token}"

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request; its result."""
        headers = {}
        if self._era == MODERN:
            headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
            if "name" in params:
                headers["mcp-name"] = params["name"]
            params["_meta"] = _META
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        return _result(await self._post(body, headers))

    async def call(self, tool: str, **arguments: Any) -> str:
        """Call a tool; the text of its result."""
        result = await self.request("tools/call", name=tool, arguments=arguments)
        if result.get("isError"):
            raise Refused(result)
        return str(result["content"][0]["text"])

    async def _post(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
        answer = await self._http.post(self._url, content=json.dumps(body).encode(), headers=headers)
        if not answer.is_success:
            raise Refused(f"{answer.status_code} {answer.text[:200]}")
        return answer


def _result(answer: httpx.Response) -> dict[str, Any]:
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = next(line[5:] for line in reversed(text.splitlines()) if line.startswith("data:"))
    message = json.loads(text)
    if "result" not in message:
        raise Refused(message)
    result: dict[str, Any] = message["result"]
    return result

"""An MCP server that takes tokens, and the authorization server that gives them: it rotates refresh tokens and counts.

`whoami` tells whose the token is. A refresh token that comes a second time ends all of its family, unless it is the one
before the newest and `grace_seconds` have not passed. `POST /control` takes

- `users`: names that log in; the answer has the tokens of each;
- `expire`: every access token of until now is refused;
- `fail_share`: the part of exchanges that is answered with 500, before anything happened;
- `answer_ms`: the time between an exchange and its answer; `access_seconds`, `grace_seconds`.

Its answer has `exchanges` (by user), `failed`, `reused`, `again` (a token taken once more within the grace time) and
`calls` (by user), as they are so far.
"""

import argparse
import asyncio
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.lowlevel import Server
from pydantic import AnyHttpUrl
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass
class Family:
    """The tokens of one login."""

    user: str
    live: str
    before: str = ""
    before_until: float = 0
    is_over: bool = False


class Issuer:
    """The authorization server."""

    def __init__(self) -> None:
        self.knobs: dict[str, Any] = {"fail_share": 0.0, "answer_ms": 0, "access_seconds": 3600, "grace_seconds": 0}
        self.exchanges, self.calls, self.counts = Counter[str](), Counter[str](), Counter[str]()
        self._families: dict[str, Family] = {}
        self._access: dict[str, tuple[str, float]] = {}
        self._chance = random.Random(15)

    async def control(self, request: Request) -> JSONResponse:
        asked = await request.json()
        if asked.pop("expire", False):
            self._access.clear()
        users = asked.pop("users", [])
        self.knobs |= asked
        logged_in = {}
        for user in users:
            family = Family(user, "")
            logged_in[user] = self._issue(family)
        counted = {"exchanges": dict(self.exchanges), "calls": dict(self.calls), **self.counts}
        return JSONResponse({"users": logged_in, "failed": 0, "reused": 0, "again": 0, **counted})

    async def exchange(self, request: Request) -> JSONResponse:
        form = await request.form()
        sent = str(form.get("refresh_token"))
        if self._chance.random() < self.knobs["fail_share"]:
            self.counts["failed"] += 1
            return JSONResponse({"error": "server_error"}, 500)
        family = self._families.get(sent)
        if family is None or family.is_over:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if sent != family.live:
            if sent != family.before or time.monotonic() > family.before_until:
                family.is_over = True
                self.counts["reused"] += 1
                return JSONResponse({"error": "invalid_grant"}, 400)
            self.counts["again"] += 1
        self.exchanges[family.user] += 1
        issued = self._issue(family)
        await asyncio.sleep(self.knobs["answer_ms"] / 1000)
        return JSONResponse({"token_type": "Bearer", **issued})

    def _issue(self, family: Family) -> dict[str, Any]:
        if family.live:
            family.before, family.before_until = family.live, time.monotonic() + self.knobs["grace_seconds"]
        family.live, access = f"refresh-{secrets.token_hex(16)}", f"access-{secrets.token_hex(16)}"
        self._families[family.live] = family
        self._access[access] = (family.user, time.time() + self.knobs["access_seconds"])
        seconds = self.knobs["access_seconds"]
        return {"access_token": access, "refresh_token": family.live, "expires_in": seconds}

    async def verify_token(self, token: str) -> AccessToken | None:
        user, ends_at = self._access.get(token, ("", 0.0))
        if ends_at < time.time():
            return None
        return AccessToken(token=token, client_id="hub", scopes=["read"], expires_at=int(ends_at) + 1, subject=user)


def make_server(issuer: Issuer) -> Server[Any]:
    """Make the MCP server."""

    async def list_tools(_ctx: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="whoami", input_schema=SCHEMA)])

    async def call_tool(_ctx: Any, _params: types.CallToolRequestParams) -> types.CallToolResult:
        token = get_access_token()
        assert token is not None
        issuer.calls[str(token.subject)] += 1
        return types.CallToolResult(content=[types.TextContent(type="text", text=str(token.subject))])

    return Server("rotating", on_list_tools=list_tools, on_call_tool=call_tool)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, required=True)
    port = options.parse_args().port
    base, issuer = f"http://127.0.0.1:{port}", Issuer()
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(base),
        resource_server_url=AnyHttpUrl(f"{base}/mcp"),
        required_scopes=[],
        validate_token_resource=False,
    )
    routes = [
        Route("/token", issuer.exchange, methods=["POST"]),
        Route("/control", issuer.control, methods=["POST"]),
    ]
    app = make_server(issuer).streamable_http_app(
        auth=auth, token_verifier=issuer, custom_starlette_routes=routes, max_sessions=None
    )
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", backlog=2048)


if __name__ == "__main__":
    main()

"""An MCP server that wants a login, and its authorization server, which repeats what it is sent wherever it can.

Its codes and tokens hold the word that `--word` gives. `GET /told` lists all secrets that it was sent or made;
`POST /control` takes `refuse` (exchanges are refused, with what was sent in the reason) and `expire` (no access token
of until now is good any more).
"""

import argparse
import itertools
import json
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.lowlevel import Server
from pydantic import AnyHttpUrl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


class Telltale:
    """The authorization server, and what it knows."""

    def __init__(self, base: str, word: str) -> None:
        self._base, self._word = base, word
        self._numbers = itertools.count(1)
        self._good: set[str] = set()
        self._told: set[str] = set()
        self._refuses = False

    async def describe(self, _request: Request) -> Response:
        """Describe the authorization server."""
        endpoints = {f"{name}_endpoint": f"{self._base}/{name}" for name in ("authorization", "token", "revocation")}
        methods = {"code_challenge_methods_supported": ["S256"], "response_types_supported": ["code"]}
        return JSONResponse({"issuer": self._base, **endpoints, **methods, "scopes_supported": ["read"]})

    async def exchange(self, request: Request) -> Response:
        """Exchange a code or a refresh token, or refuse it and repeat all that was sent."""
        form = {name: str(value) for name, value in (await request.form()).items()}
        sent = {**form, "header": request.headers.get("authorization", "")}
        self._told |= {sent[name] for name in ("code", "code_verifier", "refresh_token") if name in sent}
        if self._refuses:
            return JSONResponse({"error": "invalid_grant", "error_description": json.dumps(sent), **sent}, 400)
        number = next(self._numbers)
        access, refresh = f"{self._word}-access-{number}", f"{self._word}-refresh-{number}"
        self._good.add(access)
        self._told |= {access, refresh}
        issued = {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 3600}
        return JSONResponse({**issued, "scope": "read"})

    async def revoke(self, request: Request) -> Response:
        """Refuse a revocation, and repeat it."""
        return JSONResponse({"error": (await request.body()).decode()}, 400)

    async def control(self, request: Request) -> Response:
        """Do what is asked."""
        asked = await request.json()
        self._refuses = asked.get("refuse", self._refuses)
        if asked.get("expire"):
            self._good.clear()
        return JSONResponse({})

    async def tell(self, _request: Request) -> Response:
        """List the secrets."""
        return JSONResponse(sorted(self._told))

    async def verify_token(self, token: str) -> AccessToken | None:
        """Take the tokens that are good."""
        return AccessToken(token=token, client_id="hub", scopes=["read"]) if token in self._good else None


def make_server() -> Server[Any]:
    """Make the MCP server."""

    async def list_tools(_ctx: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="look", input_schema=SCHEMA)])

    async def call_tool(_ctx: Any, _params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text="seen")])

    return Server("telltale", on_list_tools=list_tools, on_call_tool=call_tool)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--word", required=True)
    asked = options.parse_args()
    base = f"http://127.0.0.1:{asked.port}"
    told = Telltale(base, asked.word)
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(base),
        resource_server_url=AnyHttpUrl(f"{base}/mcp"),
        required_scopes=[],
        validate_token_resource=False,
    )
    routes = [
        Route("/.well-known/oauth-authorization-server", told.describe),
        Route("/token", told.exchange, methods=["POST"]),
        Route("/revocation", told.revoke, methods=["POST"]),
        Route("/control", told.control, methods=["POST"]),
        Route("/told", told.tell),
    ]
    app = make_server().streamable_http_app(auth=auth, token_verifier=told, custom_starlette_routes=routes)
    uvicorn.run(app, host="127.0.0.1", port=asked.port, log_level="warning")


if __name__ == "__main__":
    main()

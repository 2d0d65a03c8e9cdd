"""An MCP server that demands its issuer's tokens: `whoami` tells whose the token is, `write` wants one more scope."""

import argparse
import json
from typing import Any

import anyio.to_thread
import jwt
import mcp_types as types
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.lowlevel import Server
from pydantic import AnyHttpUrl
from starlette.responses import JSONResponse

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


class Verifier:
    """Takes JWTs of the issuer that are for this server."""

    def __init__(self, issuer: str, resource: str) -> None:
        self._issuer, self._resource = issuer, resource
        self._keys = jwt.PyJWKClient(f"{issuer}/jwks")

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            key = await anyio.to_thread.run_sync(self._keys.get_signing_key_from_jwt, token)
            said = jwt.decode(
                token, key, ["RS256", "ES256", "EdDSA"], audience=self._resource, issuer=self._issuer, leeway=0
            )
        except jwt.PyJWTError:
            return None
        return AccessToken(
            token=token,
            client_id=said["client_id"],
            scopes=said.get("scope", "").split(),
            expires_at=said["exp"],
            resource=self._resource,
            subject=said["sub"],
        )


async def list_tools(_ctx: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=SCHEMA) for name in ("whoami", "write")])


async def call_tool(_ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    token = get_access_token()
    assert token is not None
    text = str(token.subject) if params.name == "whoami" else "written"
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


class WantsMore:
    """Refuses calls of `write` with 403 where the token lacks its scope."""

    def __init__(self, app: Any, verifier: Verifier, metadata: str) -> None:
        self._app, self._verifier, self._metadata = app, verifier, metadata

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        body = b"".join(message.get("body", b"") for message in messages)
        if await self._lacks(scope, body):
            said = f'Bearer error="insufficient_scope", scope="read write", resource_metadata="{self._metadata}"'
            answer = JSONResponse({"error": "insufficient_scope"}, 403, {"WWW-Authenticate": said})
            await answer(scope, receive, send)
            return

        async def again() -> Any:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)

    async def _lacks(self, scope: Any, body: bytes) -> bool:
        asked = json.loads(body or b"{}")
        if asked.get("method") != "tools/call" or asked["params"]["name"] != "write":
            return False
        sent = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        token = await self._verifier.verify_token(sent)
        return token is not None and "write" not in token.scopes


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--issuer", required=True)
    given = options.parse_args()
    base = f"http://127.0.0.1:{given.port}"
    verifier = Verifier(given.issuer, f"{base}/mcp")
    server: Server[Any] = Server("guarded", on_list_tools=list_tools, on_call_tool=call_tool)
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(given.issuer),
        resource_server_url=AnyHttpUrl(f"{base}/mcp"),
        required_scopes=["read"],
        validate_token_resource=True,
    )
    app = server.streamable_http_app(auth=auth, token_verifier=verifier)
    metadata = f"{base}/.well-known/oauth-protected-resource/mcp"
    uvicorn.run(WantsMore(app, verifier, metadata), host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()

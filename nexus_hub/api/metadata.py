"""Metadata of the hub as a protected resource (RFC 9728): clients find by it where to get a token, and for what."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response

from nexus_hub.access.scopes import OFFERED, SCOPES
from nexus_hub.api.base import base_of
from nexus_hub.api.challenges import METADATA_PATH

router = APIRouter(prefix=METADATA_PATH, include_in_schema=False)
_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "*",
    "Cache-Control": "public, max-age=300",
}
"""Pages of every site may read it: nothing in it is secret."""
ServerName = Annotated[str, Path(max_length=64)]


@router.get("")
async def describe_api(request: Request, response: Response) -> Any:
    """Describe the API."""
    return _describe(request, response, "", SCOPES)


@router.get("/mcp")
async def describe_gateway(request: Request, response: Response) -> Any:
    """Describe `/mcp`."""
    return _describe(request, response, "/mcp", OFFERED)


@router.get("/mcp/{server}")
async def describe_server(server: ServerName, request: Request, response: Response) -> Any:
    """Describe `/mcp/<server>`, whatever servers there are."""
    return _describe(request, response, f"/mcp/{quote(server, safe='')}", OFFERED)


@router.options("/{path:path}", status_code=204)
@router.options("", status_code=204)
async def answer_preflight(response: Response) -> None:
    """Let pages of other sites ask with headers of their own, such as that of the protocol's version."""
    response.headers.update(_HEADERS)


def _describe(request: Request, response: Response, path: str, scopes: tuple[str, ...]) -> dict[str, Any]:
    base = base_of(request)
    response.headers.update(_HEADERS)
    return {
        "resource": f"{base}{path}",
        "authorization_servers": find_issuers(request, base),
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
        "resource_name": "nexus-hub",
    }


def find_issuers(request: Request, base: str) -> list[str]:
    """Find who makes tokens for the hub: the issuer that it was told of, else the hub itself; or nobody."""
    settings = request.app.state.runtime.settings
    if settings.issuer is not None:
        return [settings.issuer]
    return [base] if settings.has_built_in_login else []

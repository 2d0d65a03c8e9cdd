"""Challenges: the header of an answer that asks for a token, or for one that is good for more (RFC 6750, RFC 9728)."""

import re
from urllib.parse import quote

from starlette.requests import HTTPConnection

from nexus_hub.access.scopes import OFFERED
from nexus_hub.api.base import base_of
from nexus_hub.errors import HubError, InsufficientScope, NotAllowed, NotAuthenticated

METADATA_PATH = "/.well-known/oauth-protected-resource"
_UNQUOTABLE = re.compile(r'[^\x20-\x7e]|["\\]')


def read_token(connection: HTTPConnection) -> str | None:
    """Read a request's bearer token."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def make_challenge(error: HubError, connection: HTTPConnection) -> str | None:
    """Make the value of WWW-Authenticate for an error; None if it asks for no other token."""
    if isinstance(error, InsufficientScope):
        members = {"error": "insufficient_scope", "error_description": error.message, "scope": " ".join(error.scopes)}
    elif isinstance(error, NotAuthenticated):
        members = {"scope": " ".join(OFFERED)}
        if read_token(connection) is not None:
            reason = error.reason or "The token is not known, was revoked, or its time is over."
            members |= {"error": "invalid_token", "error_description": reason}
    else:
        return None
    if (url := _find_metadata(connection)) is not None:
        members = {"resource_metadata": url, **members}
    return "Bearer " + ", ".join(f'{name}="{_UNQUOTABLE.sub("?", value)}"' for name, value in members.items())


def resource_path(path: str) -> str:
    """Give the path of the resource that a path lies in: that of `/mcp`, of a server there, or "" for the API."""
    steps = path.split("/")[1:3]
    return "".join(f"/{quote(step, safe='')}" for step in steps if step) if steps[:1] == ["mcp"] else ""


def _find_metadata(connection: HTTPConnection) -> str | None:
    try:
        return f"{base_of(connection)}{METADATA_PATH}{resource_path(connection.scope['path'])}"
    except NotAllowed:
        return None

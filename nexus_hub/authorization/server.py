"""The built-in authorization server: for places that have no issuer of their own.

Requests of clients go to the SDK's handlers, put into the form that these read. What they lack is done here and in
`consent`: metadata with client id documents, credentials in the header Authorization, hashed secrets.
"""

import asyncio
import base64
import binascii
import ipaddress
import json
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote_plus, urlencode

from mcp.server.auth.handlers.register import RegistrationHandler
from mcp.server.auth.handlers.revoke import RevocationHandler
from mcp.server.auth.handlers.token import TokenHandler
from mcp.server.auth.middleware.client_auth import ClientAuthenticator
from mcp.server.auth.provider import TokenError
from mcp.server.auth.settings import ClientRegistrationOptions
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message

from nexus_hub.access.scopes import SCOPES
from nexus_hub.access.turns import Turns
from nexus_hub.authorization.clients import Clients
from nexus_hub.authorization.consent import ConsentRequests
from nexus_hub.authorization.grants import REFRESH, Grants
from nexus_hub.authorization.provider import OneRequest, hash_secret
from nexus_hub.db.pool import Database
from nexus_hub.errors import RequestTimedOut, TooLarge

METADATA = "/.well-known/oauth-authorization-server"
AUTHORIZE, TOKEN, REGISTER, REVOKE = "/oauth/authorize", "/oauth/token", "/oauth/register", "/oauth/revoke"
PUBLIC = frozenset({METADATA, AUTHORIZE, TOKEN, REGISTER, REVOKE})
"""Paths that are answered before anybody is known."""
MOST_BYTES = 64 * 1024
"""The size of a request's body; it is read before anybody is known."""
BODY_SECONDS = 5.0
_FORM = "application/x-www-form-urlencoded"
_METHODS = ["none", "client_secret_post", "client_secret_basic"]
_GRANT_TYPES = ("authorization_code", REFRESH)
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class AuthorizationServer:
    """The parts of the server, on one database and the operator's key."""

    def __init__(self, database: Database, key: str, on_end: Callable[[], None], *, allow_private: bool) -> None:
        self.clients = Clients(database, allow_private=allow_private)
        self.grants = Grants(database, key, on_end)
        self.requests = ConsentRequests(database, self.clients, self.grants)
        self._turns = Turns("requests of OAuth clients", per_user=8, in_all=16, user="address")

    async def token(self, request: Request, base: str, address: str) -> Response:
        """Answer the token endpoint."""
        return await self._answer_form(request, base, address, TokenHandler)

    async def revoke(self, request: Request, base: str, address: str) -> Response:
        """Answer the revocation endpoint."""
        return await self._answer_form(request, base, address, RevocationHandler)

    async def register(self, request: Request, base: str, address: str) -> Response:
        """Answer the registration endpoint."""
        body = await _read_body(request)
        async with self._turns.turn_of(network_of(address)):
            provider = OneRequest(self.clients, self.grants, _read_object(body), base, network_of(address))
            handler = RegistrationHandler(provider, ClientRegistrationOptions(enabled=True))
            response = await handler.handle(_with_body(request, body, "application/json"))
        response.headers.update(NO_STORE)
        return response

    async def _answer_form(
        self,
        request: Request,
        base: str,
        address: str,
        kind: type[TokenHandler | RevocationHandler],
    ) -> Response:
        body = await _read_body(request)  # before a turn, of which a sender that dawdles would take others theirs
        async with self._turns.turn_of(network_of(address)):
            try:
                form = _read_form(request, body)
                if kind is TokenHandler and form.get("grant_type", "authorization_code") not in _GRANT_TYPES:
                    raise TokenError("unsupported_grant_type", f"grant_type must be {' or '.join(_GRANT_TYPES)}")
                provider = OneRequest(self.clients, self.grants, form, base, network_of(address))
                handler = kind(provider, ClientAuthenticator(provider))
                return await handler.handle(_with_body(request, urlencode(form).encode(), _FORM))
            except TokenError as error:
                told = {"error": error.error, "error_description": error.error_description}
                return JSONResponse(told, status_code=400, headers=NO_STORE)


def describe_server(base: str) -> dict[str, object]:
    """Describe the server at a base URL, which is the issuer, letter by letter (RFC 8414)."""
    return {
        "issuer": base,
        "authorization_endpoint": f"{base}{AUTHORIZE}",
        "token_endpoint": f"{base}{TOKEN}",
        "registration_endpoint": f"{base}{REGISTER}",
        "revocation_endpoint": f"{base}{REVOKE}",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(_GRANT_TYPES),
        "token_endpoint_auth_methods_supported": _METHODS,
        "revocation_endpoint_auth_methods_supported": _METHODS,
        "code_challenge_methods_supported": ["S256"],
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
    }


def network_of(address: str) -> str:
    """Give the address by which a sender is counted: of IPv6 its network, of which one has all addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise TooLarge("The body of a request", len(body), MOST_BYTES)
    except TimeoutError:
        raise RequestTimedOut("body", BODY_SECONDS) from None
    return bytes(body)


def _read_object(body: bytes) -> dict[str, object]:
    """Read a JSON object, as much as our own look at it needs: the handler says what is wrong with another one."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_form(request: Request, body: bytes) -> dict[str, str]:
    """Read a form, with the credentials of the header Authorization in it, and the hash in place of the secret.

    Raises:
        TokenError: it is no form, or says something twice.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise TokenError("invalid_request", f"send a form, as {_FORM}")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise TokenError("invalid_request", "the form can't be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise TokenError("invalid_request", "a parameter is there twice")
    if (credentials := _read_basic(request.headers.get("authorization", ""))) is not None:
        if "client_secret" in form or form.get("client_id", credentials[0]) != credentials[0]:
            raise TokenError("invalid_request", "the client names itself twice")
        form["client_id"], form["client_secret"] = credentials
    secret = form.get("client_secret", "")
    return form | {"client_secret": hash_secret(secret) if secret else ""}


def _read_basic(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        name, colon, secret = "", "", ""
    if not colon:
        raise TokenError("invalid_request", "the header Authorization can't be read")
    return unquote_plus(name), unquote_plus(secret)


def _with_body(request: Request, body: bytes, media_type: str) -> Request:
    """Make a request of a body that was read already."""
    scope = {**request.scope, "headers": [(b"content-type", media_type.encode())]}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)

"""Search for the authorization server of an MCP server: RFC 9728, then RFC 8414 or OpenID Connect Discovery.

Both sides may lie. A server may ask for logins only at its own address, an authorization server may speak only for the
issuer that was asked for, and no request leaves the login's reach.
"""

import re
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls as metadata_urls,
)
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls as resource_urls,
)
from mcp.client.auth.utils import (
    extract_field_from_www_auth,
    get_client_metadata_scopes,
    issuers_match,
    union_scopes,
)
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from mcp_types import LATEST_PROTOCOL_VERSION
from pydantic import BaseModel

from nexus_hub.errors import InvalidConfig, LoginFailed, UpstreamUnavailable
from nexus_hub.telemetry.text import printable
from nexus_hub.upstream.config import LONGEST_SCOPE, SCOPE, HttpConfig, OAuthLogin
from nexus_hub.upstream.documents import Document, origin_of
from nexus_hub.upstream.oauth import Reach

M = TypeVar("M", bound=BaseModel)
_ACCEPT = {"accept": "application/json, text/event-stream"}
_PROBE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": LATEST_PROTOCOL_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "nexus-hub", "version": "1"},
    },
}


@dataclass(frozen=True, slots=True)
class Challenge:
    """Words of a server that refuses a request for want of a login (RFC 6750, RFC 9728)."""

    resource_metadata: str | None = None
    scope: str | None = None

    @classmethod
    def read(cls, www_authenticate: str | None) -> Self | None:
        """Read a header WWW-Authenticate; None if it asks for no bearer token."""
        if not re.search(r"\bbearer\b", www_authenticate or "", re.IGNORECASE):
            return None
        # The SDK's reader takes a response, and reads the first of several challenges.
        response = httpx2.Response(401, headers={"www-authenticate": (www_authenticate or "")[:8192]})
        scope = extract_field_from_www_auth(response, "scope")
        usable = scope is not None and len(scope) <= LONGEST_SCOPE and re.fullmatch(SCOPE, scope)
        return cls(extract_field_from_www_auth(response, "resource_metadata"), scope if usable else None)


@dataclass(frozen=True, slots=True)
class Discovered:
    """An authorization server, the resource that its tokens are to be for, and the scopes to ask for."""

    issuer: str
    metadata: OAuthMetadata
    resource: str
    scope: str | None

    def endpoint(self, name: str) -> str | None:
        """Give an endpoint's URL, if there is one."""
        value = getattr(self.metadata, f"{name}_endpoint")
        return None if value is None else str(value)


async def discover(config: HttpConfig, reach: Reach, challenge: Challenge | None = None) -> Discovered:
    """Find out where to log in at a server; `challenge` is what it refused a request with, asked for if None.

    Raises:
        LoginFailed: it offers no login by OAuth, or one that can't be trusted.
        UpstreamUnavailable: it, or its authorization server, gives no answer.
    """
    search = _Search(reach)
    challenge = challenge or await _provoke(config, search) or Challenge()
    login = config.login if isinstance(config.login, OAuthLogin) else OAuthLogin()
    described = await search.find_resource(config.url, challenge)
    if login.issuer is not None or described is None:
        metadata = await search.find_metadata(login.issuer or origin_of(config.url), legacy=login.issuer is None)
    else:
        metadata = await search.find_metadata(str(described.authorization_servers[0]), legacy=False)
    _check_page(metadata, reach)
    own = resource_url_from_server_url(urlsplit(config.url)._replace(query="").geturl())  # a query may be a secret
    return Discovered(
        str(metadata.issuer),
        metadata,
        own if described is None else str(described.resource),
        _choose_scope(login, challenge, described, metadata),
    )


class _Search:
    """Reads documents at addresses that others name, one after the other until one will do.

    Servers answer for addresses they don't know in all ways: what is no document is passed over, and told of only
    where none is found.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._failure: LoginFailed | UpstreamUnavailable | None = None

    async def ask(self, url: str, **options: Any) -> Document | None:
        """Send a request; None if there is no answer that says anything."""
        try:
            answer = await self._reach.exchange(url, **options)
        except (LoginFailed, UpstreamUnavailable) as failure:
            self._note(failure)
            return None
        if answer.status >= 500 or answer.status == 429:
            said = f"The host {answer.host} answers the search for the login with {answer.status}; try it again."
            self._note(UpstreamUnavailable(self._reach.server, said))
            return None
        return answer

    def _note(self, failure: LoginFailed | UpstreamUnavailable) -> None:
        """Keep the failure to tell of: rather one that may pass."""
        if not isinstance(self._failure, UpstreamUnavailable):
            self._failure = failure

    async def _read(self, urls: list[str], kind: type[M]) -> M | None:
        self._failure = None
        for url in urls:
            answer = await self.ask(url, headers={"mcp-protocol-version": LATEST_PROTOCOL_VERSION})
            if answer is None or answer.status != 200:
                continue
            try:
                return kind.model_validate_json(answer.body)
            except ValueError:
                continue
        if isinstance(self._failure, UpstreamUnavailable):
            raise self._failure
        return None

    async def find_resource(self, url: str, challenge: Challenge) -> ProtectedResourceMetadata | None:
        """Find what a server says of itself as a resource; None: nothing, as before 2025-06-18.

        Raises:
            LoginFailed: it speaks of another resource.
            UpstreamUnavailable: a host fails, which doesn't say that there is nothing.
        """
        described = await self._read(resource_urls(challenge.resource_metadata, url), ProtectedResourceMetadata)
        if described and not check_resource_allowed(resource_url_from_server_url(url), str(described.resource)):
            named = _show(str(described.resource))
            raise LoginFailed(self._reach.server, f"it asks for a login at {named}, which is not its own address")
        return described

    async def find_metadata(self, issuer: str, *, legacy: bool) -> OAuthMetadata:
        """Find what an authorization server says of itself; `legacy`: it is looked for beside the server.

        Raises:
            LoginFailed: there is nothing, or it speaks of another issuer.
            UpstreamUnavailable: a host fails.
        """
        server = self._reach.server
        metadata = await self._read(metadata_urls(None if legacy else issuer, issuer), OAuthMetadata)
        if metadata is None and self._failure is not None:
            raise self._failure
        if metadata is None and legacy:
            raise LoginFailed(server, "it names no authorization server; give its credential as a header instead")
        if metadata is None:
            raise LoginFailed(server, f"the authorization server {_show(issuer)} does not describe itself")
        if not issuers_match(str(metadata.issuer), issuer):
            said = f"the authorization server {_show(issuer)} says that it is {_show(str(metadata.issuer))}"
            raise LoginFailed(server, said)
        return metadata


async def _provoke(config: HttpConfig, search: _Search) -> Challenge | None:
    """Ask the server something without a login; its challenge, if it has one to give."""
    headers = {name: value.get_secret_value() for name, value in config.headers.items()}
    answer = await search.ask(config.url, json=_PROBE, headers=headers | _ACCEPT)
    refused = answer is not None and answer.status in {401, 403}
    return Challenge.read(answer.headers.get("www-authenticate")) if answer and refused else None


def _check_page(metadata: OAuthMetadata, reach: Reach) -> None:
    """Refuse a page for people that is not safe to open; the others are judged when they are asked."""
    url = str(metadata.authorization_endpoint)
    try:
        origin = origin_of(url)
    except InvalidConfig:
        origin = ""
    if not (origin.startswith("https://") or reach.allow_private or origin in reach.private) or urlsplit(url).fragment:
        raise LoginFailed(reach.server, f"the authorization server's page {_show(url)} is not one to open")


def _choose_scope(
    login: OAuthLogin, challenge: Challenge, described: ProtectedResourceMetadata | None, metadata: OAuthMetadata
) -> str | None:
    """Choose the scopes: those asked for, else the resource's; and that for refresh tokens where there is one.

    All that an authorization server knows is more than a login should be good for.
    """
    offline = [scope for scope in metadata.scopes_supported or [] if scope == "offline_access"]
    narrow = metadata.model_copy(update={"scopes_supported": offline or None})
    grants: list[str] = [login.grant, "refresh_token"] if login.grant == "authorization_code" else [login.grant]
    scope = get_client_metadata_scopes(
        login.scope or challenge.scope, described, narrow if grants[1:] else None, grants
    )
    return scope if scope and len(scope) <= LONGEST_SCOPE and re.fullmatch(SCOPE, scope) else None


def join_scopes(*scopes: str | None) -> str | None:
    """Join scopes in their order, without repeats; None if there is none."""
    return reduce(union_scopes, scopes, None) or None


def _show(url: str) -> str:
    """Show an address that somebody else named: where it is, without what it may carry."""
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.hostname}{parts.path}", longest=200)

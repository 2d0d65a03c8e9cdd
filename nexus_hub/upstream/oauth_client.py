"""The hub as an OAuth client of an upstream server's authorization server: logins of people and of machines.

A login of a person has two halves that may run in different processes, minutes apart: `begin` gives the address to
open and what is kept of it, `finish` takes the code that the browser brings back.
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import httpx2
from mcp.client.auth import OAuthRegistrationError
from mcp.client.auth.oauth2 import PKCEParameters, check_registration_usable
from mcp.client.auth.utils import should_use_client_metadata_url
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from pydantic import AnyUrl

from nexus_hub.address import is_loopback
from nexus_hub.errors import ExchangeFailed, LoginFailed, UpstreamUnavailable
from nexus_hub.upstream.config import OAuthLogin
from nexus_hub.upstream.discovery import Discovered
from nexus_hub.upstream.documents import Document, origin_of
from nexus_hub.upstream.oauth import AuthMethod, ClientRegistration, Reach, TokenSet
from nexus_hub.upstream.token_endpoint import ask_for_tokens

CLIENT_NAME = "nexus-hub"
CLIENT_METADATA_PATH = "/oauth/client-metadata.json"
CALLBACK_PATH = "/oauth/callback"
LOOPBACK_CALLBACKS = ("http://127.0.0.1/callback", "http://localhost/callback")
"""Redirects of the command line; their port is whatever is free at the time (RFC 8252, 7.3)."""
_WITH_SECRET: tuple[AuthMethod, ...] = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """A login that waits for a person; `url` is the page to open, and `state` comes back from it."""

    url: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str
    wants_issuer: bool
    """True if the answer must name the issuer (RFC 9207)."""
    tokens: TokenSet
    """All of the later token set but the tokens themselves."""

    def to_json(self) -> dict[str, Any]:
        """Give the JSON object with everything in the clear: for sealing only."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "BegunLogin":
        """Read what `to_json` gave.

        Raises:
            ValueError: it is none of ours; the message repeats nothing of it.
        """
        try:
            return cls(**{**value, "tokens": TokenSet.from_json(value["tokens"])})
        except (KeyError, TypeError):
            raise ValueError("this is no login that was begun") from None


def describe_client(public_url: str) -> dict[str, Any]:
    """Describe the hub as a client, for authorization servers that read it at the address that is its id."""
    return {
        "client_id": public_url + CLIENT_METADATA_PATH,
        "client_name": CLIENT_NAME,
        "client_uri": public_url,
        "application_type": "native",  # which may have both kinds of redirects
        "redirect_uris": [public_url + CALLBACK_PATH, *LOOPBACK_CALLBACKS],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }


async def begin(
    found: Discovered, login: OAuthLogin, reach: Reach, redirect_uri: str, *, public_url: str | None = None
) -> BegunLogin:
    """Begin a login of a person; `public_url` is the hub's address that others can read, if it has one.

    Raises:
        LoginFailed: the authorization server has no safe way for this client.
        UpstreamUnavailable: it gives no answer.
    """
    if "S256" not in (found.metadata.code_challenge_methods_supported or []):
        raise LoginFailed(reach.server, "the authorization server does not say that it knows PKCE with S256")
    client = await _become_client(found, login, reach, redirect_uri, public_url)
    pkce, state = PKCEParameters.generate(), secrets.token_urlsafe(32)
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": pkce.code_challenge,
        "code_challenge_method": "S256",
        "resource": found.resource,
    }
    if found.scope:
        query["scope"] = found.scope
        if "offline_access" in found.scope.split():
            query["prompt"] = "consent"  # OpenID Connect Core, 11
    url = httpx2.URL(str(found.metadata.authorization_endpoint)).copy_merge_params(query)
    wants_issuer = found.metadata.authorization_response_iss_parameter_supported is True
    return BegunLogin(str(url), state, pkce.code_verifier, redirect_uri, wants_issuer, _without_tokens(found, client))


async def finish(begun: BegunLogin, code: str, issuer: str | None, reach: Reach) -> TokenSet:
    """Finish a login with the code that the browser brought back, and the issuer that it named, if any.

    Raises:
        LoginFailed: the answer is another authorization server's, or the code is refused.
        UpstreamUnavailable: no answer; the login has to be begun anew.
    """
    check_issuer(begun, issuer, reach)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": begun.redirect_uri,
        "code_verifier": begun.verifier,
    }
    return await ask_for_tokens(begun.tokens, form, reach)


def check_issuer(begun: BegunLogin, issuer: str | None, reach: Reach) -> None:
    """Check who sent the browser back (RFC 9207), by comparing the issuers as strings.

    Raises:
        LoginFailed: it was another authorization server.
    """
    if issuer is None and begun.wants_issuer:
        raise LoginFailed(reach.server, "the answer does not name its authorization server, which this one always does")
    if issuer not in {None, begun.tokens.issuer}:
        raise LoginFailed(reach.server, "the answer is not from the authorization server at which the login began")


async def log_in_as_client(found: Discovered, login: OAuthLogin, reach: Reach) -> TokenSet:
    """Log in with the client's own credentials (RFC 6749, 4.4): no person is needed.

    Raises:
        LoginFailed: they are refused.
        UpstreamUnavailable: no answer.
    """
    before = replace(_without_tokens(found, _configured(found, login, reach)), grant="client_credentials")
    form = {"grant_type": "client_credentials"} | ({"scope": found.scope} if found.scope else {})
    return await ask_for_tokens(before, form, reach)


def _without_tokens(found: Discovered, client: ClientRegistration) -> TokenSet:
    revocation = found.metadata.revocation_endpoint
    return TokenSet(
        access_token="",
        client=client,
        issuer=found.issuer,
        token_endpoint=str(found.metadata.token_endpoint),
        scope=found.scope,
        revocation_endpoint=None if revocation is None else str(revocation),
        resource=found.resource,
    )


async def _become_client(
    found: Discovered, login: OAuthLogin, reach: Reach, redirect_uri: str, public_url: str | None
) -> ClientRegistration:
    """Be the client that is configured, else the one whose document is ours, else a new one (2025-11-25 and later)."""
    if login.client_id is not None:
        return _configured(found, login, reach)
    own_id = public_url + CLIENT_METADATA_PATH if public_url and public_url.startswith("https://") else None
    if should_use_client_metadata_url(found.metadata, own_id):
        return ClientRegistration(str(own_id), found.issuer)
    if found.metadata.registration_endpoint is None:
        raise LoginFailed(
            reach.server,
            f"the authorization server {found.issuer} registers no clients by itself; register one there with the "
            f"redirect URI {redirect_uri}, and give its client_id",
        )
    return await _register(found, reach, redirect_uri)


def _configured(found: Discovered, login: OAuthLogin, reach: Reach) -> ClientRegistration:
    """Give the configured client; its secret is for the issuer that the configuration names, or the server's own."""
    if login.client_id is None:
        raise LoginFailed(reach.server, "a login by client_credentials needs a client_id and a client_secret")
    if login.client_secret is None:
        return ClientRegistration(login.client_id, found.issuer)
    if login.issuer is None and origin_of(found.issuer) != origin_of(found.resource):
        raise LoginFailed(
            reach.server,
            f"it names {found.issuer} as its authorization server; if the client is registered there, give that as "
            "the login's issuer: a client's secret is sent to no other",
        )
    secret, method = login.client_secret.get_secret_value(), _choose_method(found, _WITH_SECRET)
    return ClientRegistration(login.client_id, found.issuer, secret, method)


def _choose_method(found: Discovered, known: tuple[AuthMethod, ...]) -> AuthMethod:
    """Choose a way to prove who the client is: the first that the authorization server knows too."""
    supported = found.metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]  # RFC 8414, 2
    return next((method for method in known if method in supported), known[0])


async def _register(found: Discovered, reach: Reach, redirect_uri: str) -> ClientRegistration:
    """Register as a new client (RFC 7591)."""
    supported = found.metadata.scopes_supported
    scopes = [scope for scope in (found.scope or "").split() if supported is None or scope in supported]
    asked = OAuthClientMetadata(
        redirect_uris=[AnyUrl(redirect_uri)],
        token_endpoint_auth_method=_choose_method(found, ("none", *_WITH_SECRET)),
        client_name=CLIENT_NAME,
        scope=" ".join(scopes) or None,
    )
    # "native" as the SDK has it, for a port of one's own machine; what says nothing is a client of the web.
    left_out = set() if is_loopback(redirect_uri) else {"application_type"}
    body = asked.model_dump(mode="json", exclude_none=True, exclude=left_out) | {"redirect_uris": [redirect_uri]}
    answer = await reach.exchange(str(found.metadata.registration_endpoint), json=body)
    return _read_registration(answer, found, reach.server)


def _read_registration(answer: Document, found: Discovered, server: str) -> ClientRegistration:
    if answer.status >= 500 or answer.status == 429:
        said = f"The authorization server of {server!r} answers the registration with {answer.status}; try it again."
        raise UpstreamUnavailable(server, said)
    if answer.status not in {200, 201}:
        said = f"the authorization server refuses to register the hub as a client (HTTP {answer.status})"
        raise LoginFailed(server, f"{said}; register one there, and give its client_id")
    given = _read_client(answer)
    if given is None:
        raise LoginFailed(server, "the authorization server registers the hub as a client that can't be used")
    method = given.token_endpoint_auth_method or ("client_secret_basic" if given.client_secret else "none")
    secret = None if method == "none" else given.client_secret
    return ClientRegistration(given.client_id, found.issuer, secret, cast("AuthMethod", method))


def _read_client(answer: Document) -> OAuthClientInformationFull | None:
    """Read a registration; None if it is of no use. The errors of that repeat its secret."""
    try:
        given = OAuthClientInformationFull.model_validate({**answer.json_object(), "issuer": None})
        check_registration_usable(given)
    except (ExchangeFailed, ValueError, OAuthRegistrationError):
        return None
    return given

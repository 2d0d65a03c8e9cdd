"""Requests for consent: checked in full before a person is asked, answered once by whoever is signed in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from mcp.server.auth.provider import AuthorizeError

from nexus_hub.access.scopes import LABELS
from nexus_hub.authorization import redirects
from nexus_hub.authorization.clients import OAUTH, Clients, OAuthClient, host_of
from nexus_hub.authorization.grants import Grants
from nexus_hub.authorization.resources import offer_scopes, read_resource, read_scopes
from nexus_hub.db.pool import Database
from nexus_hub.errors import InvalidRequest, NotFound
from nexus_hub.models import Principal, Scope

CONSENT_PAGE = "/oauth/consent"
REQUEST_SECONDS = 600
MOST_OF_ADDRESS = 200
MOST_IN_ALL = 20_000
"""Requests that wait for consent: one more takes the place of the oldest."""
_STATE = re.compile(r"[ -~]{1,2000}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """A request that waits for a person."""

    id: UUID
    client_id: str
    client_name: str
    is_document: bool
    redirect_uri: str
    state: str
    scopes: list[str]
    resource: str
    issuer: str
    expires_at: datetime

    def offer(self, principal: Principal) -> list[Scope]:
        """Give the scopes that a person may grant of those that are asked for."""
        return offer_scopes(cast("list[Scope]", self.scopes), principal)

    def show(self, principal: Principal) -> dict[str, object]:
        """Describe it for the page that asks."""
        redirect_host = redirects.describe(self.redirect_uri)
        host = host_of(self.client_id) if self.is_document else None
        return {
            "client": {
                "name": self.client_name,
                "id": self.client_id,
                "host": host,
                "verified": host is not None and host == redirect_host,
            },
            "redirect_host": redirect_host,
            "scopes": [{"scope": scope, "label": LABELS[scope]} for scope in self.offer(principal)],
            "resource": f"{self.issuer}{self.resource}",
            "expires_at": self.expires_at,
        }

    def answer(self, **parameters: str) -> str:
        """Give the address to which the browser goes with an answer."""
        return redirects.add_parameters(self.redirect_uri, **parameters, state=self.state, iss=self.issuer)


class ConsentRequests:
    """Takes requests of clients, and the answers of people."""

    def __init__(self, database: Database, clients: Clients, grants: Grants) -> None:
        self._database = database
        self._clients = clients
        self._grants = grants

    async def begin(self, parameters: Sequence[tuple[str, str]], issuer: str, address: str) -> str:
        """Take a request, and give the address to which the browser goes: the page that asks, or back with an error.

        Raises:
            InvalidRequest: it can't be used. Without a person's consent, the browser is sent back only to this machine
                or to a client that somebody has consented to before: anybody may register an address.
            TooMany: too many clients are new.
        """
        given = dict(parameters)
        if len(given) != len(parameters):
            raise InvalidRequest("A parameter of the request is there twice.")
        if not (client_id := given.get("client_id")):
            raise InvalidRequest("The parameter client_id is missing.")
        client = await self._clients.find_or_read(client_id, address)
        redirect_uri = choose_redirect(client, given.get("redirect_uri"))
        try:
            request_id = await self._store(client, redirect_uri, given, issuer, address)
        except AuthorizeError as error:
            if not (client.is_used or redirect_uri.startswith("http:")):
                raise InvalidRequest(f"The client's request can't be used: {error.error_description}.") from None
            told = {"error": error.error, "error_description": error.error_description}
            return redirects.add_parameters(redirect_uri, **told, state=given.get("state"), iss=issuer)
        return f"{CONSENT_PAGE}?request={request_id}"

    async def find(self, request_id: UUID) -> ConsentRequest:
        """Find a request that waits.

        Raises:
            NotFound: there is none, it was answered, or its time is over.
        """
        async with self._database.transaction() as transaction:
            request = await transaction.one(OAUTH["find_request"], ConsentRequest, request_id=request_id)
        if request is None:
            raise NotFound("request for consent", request_id)
        return request

    async def approve(self, request: ConsentRequest, principal: Principal, scopes: Sequence[str] | None) -> str:
        """Grant a request, or of its scopes only these; the address to which the browser goes with the code.

        Raises:
            InvalidRequest: there is no scope, or one that may not be granted.
            NotFound: it was answered meanwhile.
        """
        offered = request.offer(principal)
        granted = offered if scopes is None else list(scopes)
        if not granted or not set(granted) <= set(offered):
            raise InvalidRequest(f"Grant some of the scopes {', '.join(offered) or '(none)'}, and no others.")
        code = await self._grants.grant(request.id, principal, granted)
        if code is None:
            raise NotFound("request for consent", request.id)
        return request.answer(code=code)

    async def deny(self, request: ConsentRequest) -> str:
        """Refuse a request; the address to which the browser goes.

        Raises:
            NotFound: it was answered meanwhile.
        """
        async with self._database.transaction() as transaction:
            if not await transaction.run(OAUTH["drop_request"], request_id=request.id):
                raise NotFound("request for consent", request.id)
        return request.answer(error="access_denied", error_description="The user refused")

    async def _store(
        self, client: OAuthClient, redirect_uri: str, given: dict[str, str], issuer: str, address: str
    ) -> UUID:
        checked = check_parameters(given, issuer)
        async with self._database.transaction() as transaction:
            return await transaction.only(
                OAUTH["add_request"],
                UUID,
                client_id=client.id,
                redirect_uri=redirect_uri,
                redirect_given="redirect_uri" in given,
                issuer=issuer,
                address=address,
                seconds=REQUEST_SECONDS,
                most=MOST_OF_ADDRESS,
                most_in_all=MOST_IN_ALL,
                **checked,
            )


def choose_redirect(client: OAuthClient, given: str | None) -> str:
    """Choose where the browser goes back to: what the request names, or the only address of its client.

    Raises:
        InvalidRequest: that is not one of the client's.
    """
    if given is None and len(client.redirect_uris) == 1:
        return client.redirect_uris[0]
    if given is None or not redirects.is_registered(given, client.redirect_uris) or redirects.find_fault(given):
        raise InvalidRequest("The redirect_uri is none that the client has registered; it was not opened.")
    return given


def check_parameters(given: dict[str, str], issuer: str) -> dict[str, object]:
    """Check all that a request says besides its client, and give what is kept of it.

    Raises:
        AuthorizeError: something is missing, or can't be done.
    """
    if given.get("response_type") != "code":
        raise AuthorizeError("unsupported_response_type", "response_type must be code")
    if not _STATE.fullmatch(given.get("state", "")):
        raise AuthorizeError("invalid_request", "state is missing, or is no printable ASCII of at most 2000 characters")
    challenge = given.get("code_challenge", "")
    if given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise AuthorizeError("invalid_request", "code_challenge is needed, with the code_challenge_method S256 (PKCE)")
    resource = read_resource(given.get("resource"), issuer)
    if resource is None:
        raise AuthorizeError("invalid_target", f"resource must be {issuer}/mcp, one below it, or {issuer}")
    scopes = read_scopes(given.get("scope"))
    if not scopes:
        raise AuthorizeError("invalid_scope", f"scope names none of {' '.join(LABELS)}")
    return {"state": given["state"], "code_challenge": challenge, "resource": resource, "scopes": scopes}

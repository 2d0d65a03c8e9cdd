"""Provider for the SDK's handlers of an authorization server: one request's view of clients, codes and tokens."""

import math
from collections.abc import Mapping

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyUrl

from nexus_hub.access.tokens import hash_token
from nexus_hub.authorization.clients import Clients, OAuthClient, keep_grant_types, name_client
from nexus_hub.authorization.grants import ACCESS_SECONDS, REFRESH, Grants, HeldToken, IssuedTokens
from nexus_hub.authorization.resources import read_resource
from nexus_hub.telemetry.trail import note

ByClient = OAuthClientInformationFull
_GONE = "the code or token is good no more; ask for a new consent"


def hash_secret(secret: str) -> str:
    """Hash a client's secret, as it is kept and as the handlers compare it."""
    return hash_token(secret).hex()


class OneRequest(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """A request to an endpoint of clients: the form or JSON that was sent, from an address to a base URL."""

    def __init__(self, clients: Clients, grants: Grants, sent: Mapping[str, object], base: str, address: str) -> None:
        self._clients = clients
        self._grants = grants
        self._sent = sent
        self._base = base
        self._address = address

    async def get_client(self, client_id: str) -> ByClient | None:
        """Find a client; its secret is the hash of it, and so is what the request holds."""
        client = await self._clients.find(client_id)
        if client is None:
            return None
        return ByClient(
            client_id=client.id,
            client_secret=client.secret_hash,
            token_endpoint_auth_method="client_secret_post" if client.secret_hash else "none",
            grant_types=client.grant_types,
        )

    async def register_client(self, client_info: ByClient) -> None:
        """Keep a client that registers itself, with the redirect addresses just as it has written them."""
        given = self._sent.get("redirect_uris")
        uris = [str(uri) for uri in given] if isinstance(given, list) else []
        secret = client_info.client_secret
        client = OAuthClient(
            client_info.client_id,
            name_client(client_info.client_name, "a client without a name"),
            uris,
            keep_grant_types(client_info.grant_types),
            hash_secret(secret) if secret else None,
        )
        await self._clients.register(client, self._address)

    async def authorize(self, client: ByClient, params: AuthorizationParams) -> str:
        """Refuse: the request for consent is not made here."""
        raise NotImplementedError

    async def load_authorization_code(self, client: ByClient, authorization_code: str) -> AuthorizationCode | None:
        """Find a client's code; one that was used before ends all that it gave."""
        held = await self._grants.find_code(authorization_code, client.client_id)
        if held is None:
            return None
        self._check_resource(held)
        return AuthorizationCode(
            code=authorization_code,
            scopes=held.scopes,
            expires_at=math.inf,  # judged by the database's clock
            client_id=held.client_id,
            code_challenge=held.code_challenge or "",
            redirect_uri=AnyUrl(held.redirect_uri or ""),
            redirect_uri_provided_explicitly=bool(held.redirect_given),
        )

    async def exchange_authorization_code(self, client: ByClient, authorization_code: AuthorizationCode) -> OAuthToken:
        """Exchange a code for tokens."""
        refreshable = REFRESH in client.grant_types
        return _answer(await self._grants.exchange(authorization_code.code, refreshable=refreshable))

    async def load_refresh_token(self, client: ByClient, refresh_token: str) -> RefreshToken | None:
        """Find a client's refresh token, also one that was used."""
        held = await self._grants.find(refresh_token)
        if held is None or held.kind != "refresh" or held.is_over or held.client_id != client.client_id:
            return None
        self._check_resource(held)
        return RefreshToken(token=refresh_token, client_id=held.client_id, scopes=held.scopes)

    async def exchange_refresh_token(
        self, client: ByClient, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        """Exchange a refresh token for new tokens."""
        del client
        return _answer(await self._grants.refresh(refresh_token.token, scopes))

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Find an access token, for its revocation."""
        held = await self._grants.find(token)
        if held is None or held.kind != "access":
            return None
        return AccessToken(token=token, client_id=held.client_id, scopes=held.scopes)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        """End the grant that a token came of."""
        held = await self._grants.find(token.token)
        if held is not None:
            note(target=str(held.grant_id))
            await self._grants.end_family(held.grant_id)

    def _check_resource(self, held: HeldToken) -> None:
        """Refuse a resource other than the one that was granted.

        Raises:
            TokenError: it is another one.
        """
        named = self._sent.get("resource")
        if named is not None and read_resource(str(named), self._base) != held.resource:
            raise TokenError("invalid_target", "resource is not the one that was granted")


def _answer(tokens: IssuedTokens | None) -> OAuthToken:
    if tokens is None:
        raise TokenError("invalid_grant", _GONE)
    return OAuthToken(
        access_token=tokens.access_token,
        expires_in=ACCESS_SECONDS,
        scope=" ".join(tokens.scopes),
        refresh_token=tokens.refresh_token,
    )

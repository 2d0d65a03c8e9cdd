"""Tokens and clients of OAuth, as they are kept of a login at an upstream server's authorization server."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nexus_hub.errors import ExchangeFailed, LoginFailed, UpstreamUnavailable
from nexus_hub.models import ServerType
from nexus_hub.upstream.config import HttpConfig, OAuthLogin
from nexus_hub.upstream.documents import NOT_HTTPS, NOT_PUBLIC, Document, fetch, origin_of

Grant = Literal["authorization_code", "client_credentials"]
AuthMethod = Literal["none", "client_secret_post", "client_secret_basic"]
"""Ways of a client to prove to an authorization server who it is."""


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """The hub as a client of one authorization server; its credentials are sent to no other `issuer`."""

    client_id: str
    issuer: str
    client_secret: str | None = field(default=None, repr=False)
    auth_method: AuthMethod = "none"


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The tokens of a login, with all that renewing or revoking them takes.

    `expires_at` is in seconds of the epoch by this machine's clock, None where the authorization server names no time;
    `scope` was granted, or asked for where the answer names none; `resource` is the server's own (RFC 8707).
    """

    access_token: str = field(repr=False)
    client: ClientRegistration
    issuer: str
    token_endpoint: str
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    scope: str | None = None
    revocation_endpoint: str | None = None
    resource: str | None = None
    grant: Grant = "authorization_code"

    @property
    def is_renewable(self) -> bool:
        """True if `refresh` can get other tokens without a person."""
        return self.refresh_token is not None or self.grant == "client_credentials"

    def to_json(self) -> dict[str, Any]:
        """Give the JSON object with everything in the clear: for sealing only."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TokenSet":
        """Read what `to_json` gave.

        Raises:
            ValueError: it is none of ours; the message repeats nothing of it.
        """
        try:
            return cls(**{**value, "client": ClientRegistration(**value["client"])})
        except (KeyError, TypeError):
            raise ValueError("these are no tokens of a login") from None


@dataclass(frozen=True, slots=True)
class Reach:
    """Addresses to which the requests of a server's login may go, and the server's name for errors.

    All of the public internet by https; beyond it only the origins in `private`, or all of them if `allow_private`.
    """

    server: str
    private: frozenset[str] = frozenset()
    allow_private: bool = False

    @classmethod
    def for_server(cls, name: str, config: HttpConfig, server_type: ServerType, *, allow_private: bool) -> "Reach":
        """Find the reach of a server's login: a user can't widen it by naming an issuer, an operator can.

        Raises:
            InvalidConfig: an address of the configuration can't be used.
        """
        if server_type == "user":
            return cls(name, allow_private=allow_private)
        issuer = config.login.issuer if isinstance(config.login, OAuthLogin) else None
        urls = [config.url, *([issuer] if issuer else [])]
        return cls(name, frozenset(origin_of(url) for url in urls), allow_private)

    async def exchange(
        self,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        """Send one request, and read its answer, whatever its status.

        Raises:
            LoginFailed: the address is out of reach, or the answer can't be used.
            UpstreamUnavailable: no whole answer came.
        """
        try:
            return await fetch(
                url, form=form, json=json, headers=headers, private=self.private, allow_private=self.allow_private
            )
        except ExchangeFailed as failed:
            said, may_pass = f"the exchange with {failed.host} failed: {failed.reason}", failed.may_pass
            if failed.reason in {NOT_HTTPS, NOT_PUBLIC}:
                said += "; if it is meant, an operator registers the server with --issuer"
        if may_pass:  # raised here, so that no error leads to the request, which may hold tokens
            raise UpstreamUnavailable(self.server, f"The authorization server of {self.server!r} is away: {said}.")
        raise LoginFailed(self.server, said)

"""The credential that a request to an upstream server carries: made, renewed, or found wanting."""

from collections.abc import Mapping
from typing import Protocol


class CredentialSource(Protocol):
    """Gives the headers that log a connection's requests in at its server.

    Each method raises LoginNeeded when only a person can go on, and UpstreamUnavailable when the authorization server
    can't be reached; in either case nothing was sent to the server.
    """

    async def headers(self) -> Mapping[str, str]:
        """Give the headers for a request that is about to be sent; a token that is about to expire is renewed first."""
        ...

    async def renew(self, refused: Mapping[str, str]) -> Mapping[str, str]:
        """Give other headers in place of those that the server has refused with 401."""
        ...

    async def ask_for(self, scope: str) -> None:
        """Take note that the server wants more scopes (403, insufficient_scope), and raise LoginNeeded."""
        ...

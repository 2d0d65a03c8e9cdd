"""The HTTP client for a server that wants a login: each request carries the credential of the moment."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import httpx2
from mcp.client.auth.utils import extract_field_from_www_auth, extract_scope_from_www_auth

from nexus_hub.errors import HubError, LoginNeeded
from nexus_hub.upstream import words
from nexus_hub.upstream.credentials import CredentialSource
from nexus_hub.upstream.faults import TransportFailure
from nexus_hub.upstream.http import ContainedClient

RENEWALS = 2
"""Times that a request is sent again: with what another process had renewed before, and that may be refused too."""
REFUSED_AGAIN = "it refuses the login even after it was renewed"
_SCOPE = re.compile(r"[A-Za-z0-9 ._~:/-]{1,1000}")


class LoggedInClient(ContainedClient):
    """A contained client that takes its requests' headers from a source, and says if that has none to give.

    A refusal with 401 renews the credential, and the request is sent again: the server has not executed it.
    """

    def __init__(self, credentials: CredentialSource, *, hidden: Iterable[str] = (), **options: Any) -> None:
        super().__init__(hidden=hidden, **options)
        self._credentials = credentials
        self._plain_hidden = self.hidden
        self._sent: Mapping[str, str] = {}

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send with the credential of the moment, and turn every failure into an answer."""
        try:
            return await super().send(request, **options)
        except LoginNeeded as error:
            failure = TransportFailure("login", error.reason, words=error.link or "", answer=error.is_yours)
        except HubError as error:
            failure = TransportFailure("unready", error.message, getattr(error, "retry_after", None))
        return self._answer(request, failure)

    async def _exchange(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        sent = self._note(await self._credentials.headers())
        response = await self._exchange_with(sent, request, options)
        for _ in range(RENEWALS):
            if response.status_code == 401:
                await response.aclose()
                sent = self._note(await self._credentials.renew(sent))
                response = await self._exchange_with(sent, request, options)
        if response.status_code == 401:
            await response.aclose()
            raise LoginNeeded("", REFUSED_AGAIN)  # its name is known where the answer is read
        if (scope := _find_missing_scope(response)) is not None:
            await response.aclose()
            await self._credentials.ask_for(scope)
        return response

    async def _exchange_with(
        self, headers: Mapping[str, str], request: httpx2.Request, options: dict[str, Any]
    ) -> httpx2.Response:
        request.headers.update(headers)
        return await super()._exchange(request, **options)

    def _note(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Keep what a server must not repeat: the credential, and the one before it, of calls under way."""
        if headers != self._sent:
            self.hidden = self._plain_hidden + words.split_secrets((*headers.values(), *self._sent.values()))
            self._sent = headers
        return headers


def _find_missing_scope(response: httpx2.Response) -> str | None:
    """Find the scopes without which a server refused a request; empty if it names none, None if that is not why.

    Source: RFC 6750, 3.1; MCP 2025-11-25, basic/authorization, Scope Challenge Handling.
    """
    if response.status_code != 403 or extract_field_from_www_auth(response, "error") != "insufficient_scope":
        return None
    scope = extract_scope_from_www_auth(response) or ""
    return scope if _SCOPE.fullmatch(scope) else ""

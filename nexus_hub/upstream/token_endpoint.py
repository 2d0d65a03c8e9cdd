"""Requests to the token endpoint of an authorization server: tokens for a code, other tokens for old ones, no more.

Nothing of what the authorization server says gets into an error but the code of OAuth: its words may repeat a secret.
"""

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from math import isnan
from typing import Any
from urllib.parse import quote

from mcp.shared.auth import OAuthToken

from nexus_hub.errors import ExchangeFailed, LoginFailed, RefreshRefused, UpstreamUnavailable
from nexus_hub.upstream.config import LONGEST_SCOPE, SCOPE
from nexus_hub.upstream.documents import Document
from nexus_hub.upstream.oauth import ClientRegistration, Reach, TokenSet

LONGEST_TOKEN = 16 * 1024
LONGEST_LIFE_SECONDS = 10 * 365 * 86_400
_ACCESS_TOKEN = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_TOKEN}}}")
_REFRESH_TOKEN = re.compile(rf"[\x20-\x7e]{{1,{LONGEST_TOKEN}}}")
_CODE = re.compile(r"[a-z][a-z_]{1,40}")
_LATER = frozenset({408, 425, 429})
_PASSING = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
"""Codes of OAuth by which an authorization server says that it can't just now."""


async def refresh(tokens: TokenSet, reach: Reach) -> TokenSet:
    """Get other tokens in place of a login's; the refresh token of `tokens` may be good no more then.

    Raises:
        RefreshRefused: a person has to log in anew.
        UpstreamUnavailable: no answer that says anything of the login; the same tokens may be tried again.
    """
    if tokens.grant == "client_credentials":
        form = {"grant_type": "client_credentials"} | ({"scope": tokens.scope} if tokens.scope else {})
    elif tokens.refresh_token is not None:
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
    else:
        raise RefreshRefused(reach.server, "the tokens have expired, and there is no refresh token to get others with")
    asked_at = time.time()
    try:
        answer = await _post(tokens.token_endpoint, form, tokens, reach)
    except LoginFailed as failed:  # a redirect, or a flood: nothing is said of the login
        raise UpstreamUnavailable(reach.server, failed.message) from None
    try:
        return _read_tokens(answer, tokens, reach.server, asked_at)
    except LoginFailed as failed:
        raise RefreshRefused(reach.server, failed.reason) from None


async def ask_for_tokens(before: TokenSet, form: Mapping[str, str], reach: Reach) -> TokenSet:
    """Send a request for tokens; those of the answer, with what it leaves out taken from `before`.

    Raises:
        LoginFailed: the authorization server refuses.
        UpstreamUnavailable: no answer, or none of OAuth.
    """
    asked_at = time.time()
    answer = await _post(before.token_endpoint, dict(form), before, reach)
    return _read_tokens(answer, before, reach.server, asked_at)


async def revoke(tokens: TokenSet, reach: Reach) -> bool:
    """Tell the authorization server that a login is over; True if it takes note."""
    if tokens.revocation_endpoint is None:
        return False
    kind = "access_token" if tokens.refresh_token is None else "refresh_token"
    form = {"token": tokens.refresh_token or tokens.access_token, "token_type_hint": kind}
    try:
        answer = await _post(tokens.revocation_endpoint, form, replace(tokens, resource=None), reach)
    except (LoginFailed, UpstreamUnavailable):
        return False
    return answer.status == 200


async def _post(url: str, form: dict[str, str], tokens: TokenSet, reach: Reach) -> Document:
    headers = _prove(tokens.client, form)
    if tokens.resource is not None:
        form["resource"] = tokens.resource
    return await reach.exchange(url, form=form, headers=headers)


def _prove(client: ClientRegistration, form: dict[str, str]) -> dict[str, str]:
    """Put who the client is into the form, or into the headers that are returned (RFC 6749, 2.3.1)."""
    if client.auth_method == "client_secret_basic" and client.client_secret is not None:
        pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    form["client_id"] = client.client_id
    if client.auth_method == "client_secret_post" and client.client_secret is not None:
        form["client_secret"] = client.client_secret
    return {}


def _read_tokens(answer: Document, before: TokenSet, server: str, asked_at: float) -> TokenSet:
    try:
        content = answer.json_object()
    except ExchangeFailed:
        content = {}
    if answer.status == 200 and "access_token" in content:
        return _take(content, before, server, asked_at)
    code = content.get("error")
    later = answer.status >= 500 or answer.status in _LATER
    if later or not isinstance(code, str) or code in _PASSING:
        raise UpstreamUnavailable(
            server, f"The authorization server of {server!r} gives no tokens now: it answers with {answer.status}."
        )
    known = code if _CODE.fullmatch(code) else "an error of its own"
    raise LoginFailed(server, f"the authorization server refuses ({known})")


def _take(content: dict[str, Any], before: TokenSet, server: str, asked_at: float) -> TokenSet:
    """Take the tokens of an answer; a kind of token that the hub can't send is no failure that passes."""
    kind = content.get("token_type")
    if isinstance(kind, str) and kind.lower() != "bearer":
        raise LoginFailed(server, "the authorization server gives tokens of a kind that the hub can't send")
    try:
        given = OAuthToken.model_validate({**content, "expires_in": None})
    except ValueError:  # its message repeats the tokens
        given = None
    if given is None or not _ACCESS_TOKEN.fullmatch(given.access_token):
        raise UpstreamUnavailable(server, f"The authorization server of {server!r} gives tokens that can't be used.")
    renewed = given.refresh_token if _REFRESH_TOKEN.fullmatch(given.refresh_token or "") else None
    life = _read_life(content.get("expires_in"))
    return replace(
        before,
        access_token=given.access_token,
        refresh_token=renewed or before.refresh_token,
        expires_at=None if life is None else asked_at + life,
        scope=given.scope if _is_scope(given.scope) else before.scope,
    )


def _read_life(said: Any) -> float | None:
    """Read the life of a token in seconds, within bounds; None if it is no number: the server says when it ends."""
    try:
        life = float(said)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if isnan(life) else min(max(life, 0.0), LONGEST_LIFE_SECONDS)


def _is_scope(scope: str | None) -> bool:
    return scope is not None and len(scope) <= LONGEST_SCOPE and re.fullmatch(SCOPE, scope) is not None

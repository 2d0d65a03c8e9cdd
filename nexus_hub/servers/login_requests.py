"""Logins at upstream servers from their beginning to their end; between the two, any process may take them on."""

import asyncio
import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from nexus_hub.access.permissions import read_permissions
from nexus_hub.address import is_loopback
from nexus_hub.db.pool import Database
from nexus_hub.db.queries import load
from nexus_hub.errors import (
    CannotOpen,
    Conflict,
    InvalidRequest,
    LoginFailed,
    NotAllowed,
    NotFound,
    UpstreamUnavailable,
)
from nexus_hub.models import Principal, ServerRef, ServerType
from nexus_hub.servers.login_rows import LoginKey
from nexus_hub.servers.logins import Logins
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream.config import HttpConfig, OAuthLogin
from nexus_hub.upstream.discovery import discover, join_scopes
from nexus_hub.upstream.oauth import Reach, TokenSet
from nexus_hub.upstream.oauth_client import BegunLogin, begin, check_issuer, finish, log_in_as_client
from nexus_hub.upstream.token_endpoint import revoke
from nexus_hub.vault.sealing import SealContext, Vault

REQUESTS = load("login_requests")
REQUEST_SECONDS = 600.0
"""The time that a person has for a login."""
LONGEST_SECONDS = 30.0
MOST_REQUESTS = 20
"""Logins that one person has begun: one more ends the oldest."""
_CODE = re.compile(r"[a-z_]{1,40}")
_LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\]):\d{1,5}/[A-Za-z0-9._/-]{0,100}")


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A login that waits for a person: the page to open, and until when."""

    url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Redirected:
    """Words that a browser brings back from an authorization server."""

    state: str = field(repr=False)
    code: str | None = field(default=None, repr=False)
    issuer: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    """A login that was begun, as its row has it."""

    id: UUID
    server_type: ServerType
    server_ref_id: UUID
    user_id: UUID | None
    began_by: UUID | None
    sealed: bytes = field(repr=False)
    key_id: str
    seconds: float

    @property
    def key(self) -> LoginKey:
        """The login that it is to become."""
        return LoginKey(ServerRef(self.server_type, self.server_ref_id), self.user_id)


@dataclass(frozen=True, slots=True)
class _Site:
    """A server at which somebody logs in."""

    key: LoginKey
    config: HttpConfig
    reach: Reach


class LoginRequests:
    """Begins and finishes logins; who finishes one must be who began it, and it is stored as that person's."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        servers: Servers,
        logins: Logins,
        *,
        public_url: str | None = None,
        allow_private: bool = False,
    ) -> None:
        self._database = database
        self._vault = vault
        self._servers = servers
        self._logins = logins
        self._public_url = public_url
        self._allow_private = allow_private

    async def begin(
        self, principal: Principal, ref: ServerRef, redirect_uri: str, scope: str | None = None
    ) -> PendingLogin | None:
        """Begin a login; None if no person is needed for it, and it is done.

        Raises:
            NotFound: there is no such server.
            NotAllowed: its login is not this principal's.
            Conflict: it has no login by OAuth.
            LoginFailed, UpstreamUnavailable: its authorization server offers no way, or gives no answer.
        """
        site = await self.open_own(principal, ref)
        login = site.config.login or OAuthLogin()
        if not isinstance(login, OAuthLogin):
            name = site.reach.server
            raise Conflict(f"The server {name!r} takes a header; set it with: nexus-hub credential set {name}")
        wanted = join_scopes(login.scope, await self._known_scope(principal, site.key), scope)
        begun = await self._begin_at(site, login.model_copy(update={"scope": wanted}), redirect_uri)
        if isinstance(begun, TokenSet):
            await self._logins.store(site.key, begun)
            return None
        return PendingLogin(begun.url, await self._keep(site.key, principal, begun, REQUEST_SECONDS))

    async def _begin_at(self, site: _Site, login: OAuthLogin, redirect_uri: str) -> BegunLogin | TokenSet:
        """Ask a server and its authorization server, which are several exchanges, within a time for all of them."""
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                found = await discover(site.config.model_copy(update={"login": login}), site.reach)
                if login.grant == "client_credentials":
                    return await log_in_as_client(found, login, site.reach)
                return await begin(found, login, site.reach, redirect_uri, public_url=self._public_url)
        except TimeoutError:
            said = f"The search for the login at {site.reach.server!r} took longer than {LONGEST_SECONDS:g} s."
        raise UpstreamUnavailable(site.reach.server, said)

    async def finish(self, principal: Principal, redirected: Redirected) -> ServerRef:
        """Finish a login with what the browser brought back; its server, which is logged in at then.

        Raises:
            Conflict: no such login was begun, its time is over, or it was finished.
            NotAllowed: somebody else began it; it is over then.
            LoginFailed: the authorization server refuses it.
            UpstreamUnavailable: it gives no answer; the same may be sent again.
        """
        request = await self._take(redirected.state)
        if request.began_by != principal.user_id:
            raise NotAllowed("Somebody else began this login, so that you can't finish it; begin one of your own.")
        site = await self.open_own(principal, request.key.ref)
        begun = self._open(request)
        check_issuer(begun, redirected.issuer, site.reach)
        if redirected.error == "invalid_scope":  # whatever the server has asked for: no further login is to
            await self._logins.rows.forget_scope(site.key)
        try:
            tokens = await finish(begun, _read_code(redirected, site.reach), redirected.issuer, site.reach)
        except UpstreamUnavailable:
            await self._keep(request.key, principal, begun, request.seconds)
            raise
        await self._logins.store(site.key, tokens)
        return site.key.ref

    async def end(self, principal: Principal, ref: ServerRef) -> None:
        """Remove a login, and tell the authorization server, as far as it listens.

        Raises:
            NotFound: there is no such server, or no login.
            NotAllowed: its login is not this principal's.
        """
        site = await self.open_own(principal, ref, removes=True)
        removed = await self._logins.remove(site.key)
        if removed is None:
            raise NotFound("login at the server", site.reach.server)
        if isinstance(removed, TokenSet):
            await revoke(removed, site.reach)

    async def open_own(self, principal: Principal, ref: ServerRef, *, removes: bool = False) -> _Site:
        """Open a server, and tell whose the login is that a principal gives there.

        Raises:
            NotFound: there is no such server.
            NotAllowed: its login is not this principal's.
            Conflict: it is a command.
        """
        if not (await read_permissions(self._database, principal.user_id)).sees_server(ref):
            raise NotFound("server", ref)
        target, row = await self._servers.open(ref)
        if not principal.is_operator and row.user_id not in {None, principal.user_id}:
            raise NotFound("server", ref)
        if not isinstance(target.config, HttpConfig):
            raise Conflict(f"The server {target.name!r} runs as a command; there is no login at it.")
        if principal.is_operator and row.user_id is not None and not removes:
            raise NotAllowed(f"The server {target.name!r} is a user's own; its owner alone can log in at it.")
        if not principal.is_operator and row.user_id is None and target.config.credentials == "shared":
            raise NotAllowed(f"One login at {target.name!r} serves everybody; only an operator can give or end it.")
        user_id = principal.user_id if row.user_id is None else None
        reach = Reach.for_server(target.name, target.config, ref.server_type, allow_private=self._allow_private)
        return _Site(LoginKey(ref, user_id), target.config, reach)

    async def _known_scope(self, principal: Principal, key: LoginKey) -> str | None:
        """Find the scopes that a login has, and those that its server has asked for since."""
        states = await self._logins.rows.list_states(principal, key.ref.server_ref_id)
        return next((state.scope for state in states if state.user_id == key.user_id and state.kind == "oauth"), None)

    async def _keep(self, key: LoginKey, principal: Principal, begun: BegunLogin, seconds: float) -> datetime:
        request_id = uuid4()
        content = {**begun.to_json(), "bound": _bind(key, principal.user_id)}
        sealed = self._vault.seal_config(SealContext.for_login_request(request_id, key.user_id), content)
        async with self._database.transaction() as transaction:
            expires_at = await transaction.one(
                REQUESTS["begin_login"],
                datetime,
                id=request_id,
                state_hash=_hash(begun.state),
                server_type=key.ref.server_type,
                server_ref_id=key.ref.server_ref_id,
                user_id=key.user_id,
                began_by=principal.user_id,
                sealed=sealed.data,
                key_id=sealed.key_id,
                seconds=seconds,
                most=MOST_REQUESTS,
            )
        assert expires_at is not None  # noqa: S101 - an INSERT gives its row
        return expires_at

    async def _take(self, state: str) -> _Request:
        async with self._database.transaction() as transaction:
            request = await transaction.one(REQUESTS["take_login"], _Request, state_hash=_hash(state))
        if request is None:
            raise Conflict("This login was finished already, or its time is over; begin it anew.")
        return request

    def _open(self, request: _Request) -> BegunLogin:
        context = SealContext.for_login_request(request.id, request.user_id)
        with suppress(CannotOpen, ValueError):  # sealed with a key that is gone, or by another release
            opened = self._vault.open_config(context, request.sealed, request.key_id, unbound=False)
            if opened.pop("bound", None) == _bind(request.key, request.began_by):
                return BegunLogin.from_json(opened)
        raise Conflict("This login can't be finished any more; begin it anew.")


def _bind(key: LoginKey, began_by: UUID | None) -> str:
    """Name what a login that waits is bound to: who can change its row can't make it another server's."""
    return f"{key.ref} {key.user_id} {began_by}"


def check_redirect(redirect_uri: str) -> str:
    """Check the address to which a command line wants the browser back.

    Raises:
        InvalidRequest: it is not on the machine of the browser.
    """
    if not _LOOPBACK.fullmatch(redirect_uri) or not is_loopback(redirect_uri):
        raise InvalidRequest("redirect_uri must be http://127.0.0.1:PORT/PATH, or be left out for the hub's own page.")
    return redirect_uri


def _read_code(redirected: Redirected, reach: Reach) -> str:
    if redirected.error is not None:
        known = redirected.error if _CODE.fullmatch(redirected.error) else "an error of its own"
        raise LoginFailed(reach.server, f"the authorization server says no ({known}); begin the login anew")
    if not redirected.code:
        raise LoginFailed(reach.server, "the authorization server sent no code; begin the login anew")
    return redirected.code


def _hash(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).digest()

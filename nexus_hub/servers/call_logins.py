"""Logins that calls of servers take: the server's one for all, or the caller's own."""

from dataclasses import asdict, replace
from uuid import UUID

from nexus_hub.errors import LoginNeeded, UpstreamRejected
from nexus_hub.servers.login_rows import LoginKey
from nexus_hub.servers.login_sites import LoginSites
from nexus_hub.servers.logins import NOT_THERE, Logins
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.omissions import Omission
from nexus_hub.upstream.snapshot import READ_SECONDS, Snapshot

NOBODY = UUID(int=0)
"""Owner of the connections that read servers at which nobody has logged in."""


class CallLogins:
    """Chooses the logins of calls."""

    def __init__(self, logins: Logins, sites: LoginSites) -> None:
        self._logins = logins
        self._sites = sites

    def add(self, target: Target, user_id: UUID | None) -> Target:
        """Give a server with the login that a user's calls take (None: the operator's); unchanged if it wants none."""
        config = target.config
        if not isinstance(config, HttpConfig) or config.login is None:
            return target
        owner = user_id if config.credentials == "per-user" else None
        return self._add(target, LoginKey(target.ref, owner), is_yours=_is_own(target, owner, user_id))

    def need(self, target: Target, user_id: UUID | None, reason: str) -> LoginNeeded:
        """Make the error that says that a server wants a login, in the words for a user."""
        return self._sites.site_of(target, is_yours=_is_own(target, target.login_of, user_id)).need(reason)

    async def inspect(self, connections: Connections, target: Target, timeout: float | None = READ_SECONDS) -> Snapshot:
        """Read what a server offers, with the login of whoever used it last, or with none where nobody has one.

        Raises:
            LoginNeeded: it says nothing without.
            UpstreamError: see `Connections.inspect`.
        """
        if not isinstance(target.config, HttpConfig) or target.config.login is None:
            return await connections.inspect(target, timeout=timeout)
        key = await self._logins.rows.choose_for_catalog(target.ref)
        if key is not None:
            seen = await connections.inspect(self._add(target, key), timeout=timeout)
            return seen if key.user_id is None else _leave_out_own(seen)
        try:
            return await connections.inspect(replace(target, login_of=NOBODY), timeout=timeout)
        except UpstreamRejected as error:
            if error.challenge is None:
                raise
        raise self._sites.site_of(target).need(NOT_THERE)

    def _add(self, target: Target, key: LoginKey, *, is_yours: bool = True) -> Target:
        site = self._sites.site_of(target, is_yours=is_yours)
        return replace(target, credentials=self._logins.source(key, site), login_of=key.user_id)


def _is_own(target: Target, owner: UUID | None, user_id: UUID | None) -> bool:
    """Tell if a login is the one that its user gives: an own one, or of an operator the one for all."""
    return owner == user_id or target.ref.server_type == "user"


def _leave_out_own(seen: Snapshot) -> Snapshot:
    """Leave out what may be of one user's account alone, since all who may use the server see its catalog."""
    if not seen.resources:
        return seen
    left_out = asdict(Omission("resources", "they are of the account of one user, with whose login it was read"))
    return replace(seen, resources=[], omitted=[*seen.omitted, left_out])

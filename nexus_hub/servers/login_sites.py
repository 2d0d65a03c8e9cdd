"""Servers that want a login, as the refresh of one needs them: whom it may ask, and where people log in."""

from functools import partial
from typing import Protocol

from nexus_hub.errors import NotFound
from nexus_hub.models import ServerRef
from nexus_hub.servers.login_refresh import LoginSite
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Target
from nexus_hub.upstream.oauth import Reach, TokenSet
from nexus_hub.upstream.token_endpoint import refresh


class OpensServers(Protocol):
    """Opens a server's configuration."""

    async def open(self, ref: ServerRef) -> tuple[Target, object]: ...  # noqa: D102


class LoginSites:
    """Makes the sites of logins; `base` is the address of the hub's pages."""

    def __init__(self, servers: OpensServers, *, allow_private: bool, base: str) -> None:
        self._servers = servers
        self._allow_private = allow_private
        self._base = base

    def site_of(self, target: Target, *, is_yours: bool = True) -> LoginSite:
        """Make the site of a server that is open, for somebody whose login it is or is not.

        Raises:
            NotFound: it wants no login, since it is a command.
        """
        if not isinstance(target.config, HttpConfig):
            raise NotFound("login at server", target.ref)
        ref = target.ref
        link = f"{self._base}/servers/{ref.server_type}/{ref.server_ref_id}?connect=1" if is_yours else None
        return LoginSite(target.name, partial(self._refresh, target, target.config), link, is_yours)

    async def _refresh(self, target: Target, config: HttpConfig, tokens: TokenSet) -> TokenSet:
        """Refresh tokens; where they may go is reckoned only here, since every call makes a site."""
        reach = Reach.for_server(target.name, config, target.ref.server_type, allow_private=self._allow_private)
        return await refresh(tokens, reach)

    async def find(self, ref: ServerRef) -> LoginSite:
        """Open a server that nobody is calling just now.

        Raises:
            NotFound: it was removed, is switched off, or wants no login.
            CannotOpen: its configuration can't be opened.
        """
        return self.site_of((await self._servers.open(ref))[0])

"""Offers of a login: servers that want one before they say anything, and the way to it that they name."""

from contextlib import suppress
from dataclasses import replace

from nexus_hub.errors import InvalidConfig, LoginFailed, UpstreamRejected, UpstreamUnavailable
from nexus_hub.upstream.config import HttpConfig, OAuthLogin, StdioConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.discovery import Challenge, discover
from nexus_hub.upstream.oauth import Reach
from nexus_hub.upstream.snapshot import Snapshot


async def try_server(
    connections: Connections, target: Target, *, allow_private: bool
) -> tuple[Target, Snapshot | None]:
    """Read what a new server offers; None if it wants a login first, which the target that is given then names.

    Raises:
        UpstreamError: it does not answer as an MCP server, or wants a login that it offers no way to.
        InvalidConfig: each user is to log in, and it wants no login.
    """
    try:
        seen = await connections.inspect(target)
    except UpstreamRejected as error:
        refusal = error
    else:
        _refuse_idle_logins(target.config)
        return target, seen
    finally:
        await connections.forget(target.ref)
    return await _with_login(target, refusal, allow_private), None


async def _with_login(target: Target, refusal: UpstreamRejected, allow_private: bool) -> Target:
    """Give a server that has refused us with the login that it wants."""
    config = target.config
    if refusal.challenge is None or not isinstance(config, HttpConfig):
        raise refusal
    if config.login is not None:
        return target
    if any(name.lower() == "authorization" for name in config.headers):
        raise refusal
    reach = Reach.for_server(target.name, config, target.ref.server_type, allow_private=allow_private)
    found = None
    with suppress(LoginFailed, UpstreamUnavailable):
        found = await discover(config, reach, Challenge.read(refusal.challenge))
    if found is None:
        raise refusal
    return replace(target, config=config.model_copy(update={"login": OAuthLogin()}))


def _refuse_idle_logins(config: HttpConfig | StdioConfig) -> None:
    if isinstance(config, HttpConfig) and config.login is None and config.credentials == "per-user":
        raise InvalidConfig("The server asks for no login: leave out credentials, or say how its users log in.")


def check_own_login(config: HttpConfig | StdioConfig) -> None:
    """Check the login of a user's server.

    Raises:
        InvalidConfig: it is to have a login for each user.
    """
    if isinstance(config, HttpConfig) and config.credentials == "per-user":
        raise InvalidConfig("A user's server has one user: leave out credentials.")


def describe_login(config: HttpConfig | StdioConfig) -> tuple[str | None, str]:
    """Give the kind of a server's login, and whose it is."""
    if isinstance(config, StdioConfig):
        return None, "shared"
    return None if config.login is None else config.login.kind, config.credentials


def is_found_login(stored: HttpConfig | StdioConfig, given: HttpConfig | StdioConfig) -> bool:
    """Tell if what is stored is what is given, with a login that was found out when it was tried."""
    if not isinstance(stored, HttpConfig) or not isinstance(given, HttpConfig) or given.login is not None:
        return False
    return stored.login == OAuthLogin() and stored.model_copy(update={"login": None}) == given

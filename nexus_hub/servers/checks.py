"""Checks of servers that need neither the database nor the server: names, limits, and what users may not have."""

from uuid import UUID

from nexus_hub.catalog.names import check_server_name
from nexus_hub.errors import InvalidConfig
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.servers.login_offers import check_own_login
from nexus_hub.upstream.config import HttpConfig, StdioConfig, check_sendable

HIGHEST_LIMIT = 1_000_000


def check_server(name: str, config: HttpConfig | StdioConfig, owner: UUID | None, limits: Limits) -> None:
    """Check a server that is to be registered.

    Raises:
        InvalidName, InvalidConfig: it can't be like this.
    """
    check_server_name(name)
    check_sendable(config)
    if owner is not None:
        check_transport(config)
        check_own_login(config)
    check_limits(limits, of_user=owner is not None)


def check_limits(limits: Limits, *, of_user: bool) -> None:
    """Check the limits of a server.

    Raises:
        InvalidConfig: one is outside its range, or a user's server has one for each user.
    """
    if of_user and limits.per_user is not None:
        raise InvalidConfig("A user's server has one user: give limit_per_minute, and no user_limit_per_minute.")
    _check_limit("limit_per_minute", limits.per_minute)
    _check_limit("user_limit_per_minute", limits.per_user)


def _check_limit(name: str, limit: int | None) -> None:
    if limit is not None and not 1 <= limit <= HIGHEST_LIMIT:
        raise InvalidConfig(f"{name} is {limit}; it must lie within 1 and {HIGHEST_LIMIT}, or be absent for no limit.")


def check_transport(config: HttpConfig | StdioConfig) -> None:
    """Refuse a command, which would run as the hub's own user."""
    if config.transport == "stdio":
        raise InvalidConfig("A user's server is reached by HTTP; only operators register servers that run a command.")

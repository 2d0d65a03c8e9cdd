"""Guard of the addresses that a user's server may have: only those of the public internet.

Addresses are judged after name resolution, and the connection goes to the very address that was judged, so that a
name which resolves differently a moment later (DNS rebinding) gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from nexus_hub.errors import ForbiddenAddress, InvalidConfig

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host and port; raises OSError when there is none."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
"""Special-purpose blocks of the IANA registries that `ipaddress` of Python 3.11 calls global."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def resolve(host: str, port: int) -> list[str]:
    """Resolve a host as the system does, without repeats."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise InvalidConfig("The host of the server's url is no host name.") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Tell if an IP address is one of the public internet, looking into embedded IPv4 addresses as well."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if getattr(parsed, "scope_id", None) is not None:
        return False
    return all(_is_plainly_public(each) for each in (parsed, *_embedded_addresses(parsed)))


def _is_plainly_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address in _NAT64):
        return True
    special = address.is_multicast or address.is_reserved or address.is_loopback or address.is_link_local
    return address.is_global and not special and not any(address in network for network in _NOT_PUBLIC)


def _embedded_addresses(address: _Address) -> list[_Address]:
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)] if address in _NAT64 else []


def split_url(url: str) -> tuple[str, int]:
    """Split an upstream's URL into its host and port.

    Raises InvalidConfig when it isn't http or https, has no host, or holds a user name or password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidConfig("The server's url can't be read; write it as https://host/path.") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise InvalidConfig("The server's url must be http:// or https:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise InvalidConfig("The server's url holds a user name or password; send it as a header instead.")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise InvalidConfig("The server's url holds white space or control characters; percent-encode them.")
    return host, port or (443 if parts.scheme == "https" else 80)


async def check_url(url: str, *, allow_private: bool, resolve: Resolve = resolve) -> None:
    """Refuse a URL that a user's server may not have.

    Raises InvalidConfig for one that can't be used, ForbiddenAddress when any address of its host isn't public. A
    host that can't be resolved now passes: it is judged again whenever a connection is made.
    """
    host, port = split_url(url)
    if allow_private:
        return
    try:
        await resolve_public(host, port, resolve)
    except OSError:
        return


async def resolve_public(host: str, port: int, resolve: Resolve = resolve) -> list[str]:
    """Resolve a host; raises ForbiddenAddress if an address of it isn't public, OSError if there is none."""
    addresses = await resolve(host, port)
    if not all(is_public(address) for address in addresses):
        raise ForbiddenAddress(host)
    return addresses

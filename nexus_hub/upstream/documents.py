"""A bounded HTTP exchange with a host that somebody else named: metadata, keys, and the requests of an OAuth client.

The address is judged like that of a user's server, redirects aren't followed, and neither time nor size can get out of
hand. Of what went wrong an error says no more than the host: addresses and bodies may hold codes and tokens.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from json import loads
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx2

from nexus_hub.address import is_loopback
from nexus_hub.errors import ExchangeFailed, ForbiddenAddress, InvalidConfig
from nexus_hub.upstream.addresses import Resolve, resolve, split_url
from nexus_hub.upstream.http import GuardedTransport
from nexus_hub.upstream.tls import shared_context

MOST_BYTES = 64 * 1024
"""The size of an answer, where nothing else is asked for."""
NOT_HTTPS = "its address is not https://"
NOT_PUBLIC = "it is not a host of the public internet"
MOST_SECONDS = 10.0
"""The time from the look at the name to the answer's last byte, where nothing else is asked for."""


@dataclass(frozen=True)
class Document:
    """The answer of an exchange, whatever its status but a redirect; the body may hold tokens."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    host: str

    def json_object(self) -> dict[str, Any]:
        """Read the body as a JSON object.

        Raises:
            ExchangeFailed: it is none.
        """
        try:
            content = loads(self.body)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise ExchangeFailed(self.host, "the answer is no JSON object")
        return content


def origin_of(url: str) -> str:
    """Give the origin of a URL: its scheme and host in small letters, and its port unless it is the usual one.

    Raises:
        InvalidConfig: it is no URL of http or https, or holds a user name or password.
    """
    host, port = split_url(url)
    scheme = urlsplit(url).scheme
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" + ("" if port == {"http": 80, "https": 443}[scheme] else f":{port}")


async def fetch(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    json: Any = None,
    headers: Mapping[str, str] | None = None,
    private: frozenset[str] = frozenset(),
    allow_private: bool = False,
    most_bytes: int = MOST_BYTES,
    seconds: float = MOST_SECONDS,
    resolve: Resolve = resolve,
) -> Document:
    """Send one request, a GET unless there is a form or JSON to POST, and read its answer.

    The host must be one of the public internet, reached by https; but for the origins in `private` (see origin_of), or
    all if `allow_private`.

    Raises:
        ExchangeFailed: the URL can't be used or must not be, or no whole answer came.
    """
    free = _check(url, private, allow_private)
    host = split_url(url)[0]
    sent = {"accept": "application/json", **(headers or {}), "accept-encoding": "identity"}
    method = "GET" if form is None and json is None else "POST"
    try:
        async with (
            asyncio.timeout(seconds),
            _make_client(url, free, seconds, resolve) as client,
            client.stream(method, url, data=form, json=json, headers=sent) as response,
        ):
            return await _read(response, host, most_bytes)
    except TimeoutError:
        failed = ExchangeFailed(host, f"no whole answer came within {seconds:g} s", may_pass=True)
    except (ForbiddenAddress, InvalidConfig):
        failed = ExchangeFailed(host, NOT_PUBLIC)
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError) as error:
        failed = ExchangeFailed(host, f"it can't be reached ({type(error).__name__})", may_pass=True)
    raise failed  # here, so that no error with the request in it is its context


def _check(url: str, private: frozenset[str], allow_private: bool) -> bool:
    """Refuse a URL that can't be used; tell if its host may be any."""
    try:
        origin = origin_of(url)
    except InvalidConfig:
        raise ExchangeFailed("named", "its address is no https:// URL without a user name") from None
    free = allow_private or origin in private
    if not free and not origin.startswith("https://"):
        raise ExchangeFailed(split_url(url)[0], NOT_HTTPS)
    return free


def _make_client(url: str, free: bool, seconds: float, resolve: Resolve) -> httpx2.AsyncClient:
    """Make a client for one exchange; through a proxy goes only what may reach any host."""
    transport: httpx2.AsyncBaseTransport | None = None
    if not free or is_loopback(url) or not getproxies():
        transport = httpx2.AsyncHTTPTransport(verify=shared_context())
    if not free and transport is not None:
        transport = GuardedTransport(transport, resolve, time.monotonic)
    return httpx2.AsyncClient(transport=transport, verify=shared_context(), timeout=seconds, follow_redirects=False)


async def _read(response: httpx2.Response, host: str, most_bytes: int) -> Document:
    """Read an answer up to its limit; one that is compressed unasked could be of any size."""
    if 300 <= response.status_code < 400:
        raise ExchangeFailed(host, "it answers with a redirect, which is not followed")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ExchangeFailed(host, "its answer is compressed, which was not asked for")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most_bytes:
            raise ExchangeFailed(host, f"its answer is over the limit of {most_bytes} bytes")
    return Document(response.status_code, dict(response.headers), bytes(body), host)

"""The console's cookie: a browser sends it by itself, so it counts only where the console's own page asks."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response

from nexus_hub.access.console import LONGEST_SECONDS, ConsoleSession, ConsoleSessions
from nexus_hub.errors import NotAllowed, NotAuthenticated
from nexus_hub.gateway.endpoint import Sources

PREFIX = "/v1/"
"""Paths at which a cookie counts; never at `/mcp`, of which any page on this machine may know the address."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN = "A page of another site asked for this; only the hub's own console may use its log-in."


def cookie_name(connection: HTTPConnection) -> str:
    """Name the cookie by the port that the browser knows: it keeps the cookies of a host together, whatever the port.

    Behind a proxy that is the proxy's, so that all processes know each other's log-ins.
    """
    known = connection.app.state.public_url or f"{connection.scope['scheme']}://{connection.headers.get('host')}"
    try:
        port = urlsplit(known).port
    except ValueError:  # of a host that is refused anyway
        port = None
    return f"nexus_session_{port or (443 if known.startswith('https:') else 80)}"


def read_cookie(connection: HTTPConnection) -> str:
    """Read the cookie of a request's session, which may be good no more."""
    return connection.cookies.get(cookie_name(connection), "")


async def find_session(connection: HTTPConnection) -> ConsoleSession:
    """Find the session of a request's cookie.

    Raises:
        NotAuthenticated: there is no cookie, its session has ended, or it does not count at this path.
        NotAllowed: a page of another site may have asked.
    """
    state, headers = connection.app.state, connection.headers
    cookie = read_cookie(connection)
    if not cookie or not connection.scope["path"].startswith(PREFIX):
        raise NotAuthenticated
    require_own_page(connection.scope["method"], headers, state.sources)
    sessions: ConsoleSessions = state.sessions
    return await sessions.find(cookie, address_of(connection))


def require_own_page(method: str, headers: Headers, sources: Sources, *, is_login: bool = False) -> None:
    """Let only the console's own page through, or for a log-in also a program that is no browser.

    A browser says from where a page asks (Sec-Fetch-Site); an older one at least says its origin with all that changes
    something.

    Raises:
        NotAllowed: another page asks, or the hub is asked under a name that is none of its own.
    """
    sources.check(headers)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        own = site == "same-origin" or (site == "none" and method in _SAFE)
    elif origin is not None:
        own = urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    else:
        own = method in _SAFE or is_login
    if not own:
        raise NotAllowed(_FOREIGN)


def set_cookie(connection: HTTPConnection, answer: Response, value: str) -> None:
    """Have the browser keep a session; by https it is never sent without it."""
    secure = "https" in {connection.url.scheme, urlsplit(connection.headers.get("origin", "")).scheme}
    answer.set_cookie(
        cookie_name(connection),
        value,
        max_age=LONGEST_SECONDS if value else 0,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def address_of(connection: HTTPConnection) -> str:
    """Give the address from which a request comes."""
    return connection.client.host if connection.client else ""

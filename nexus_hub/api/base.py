"""Base URL of the hub, as its clients know it: tokens are made for what lies under it, and metadata names it."""

from starlette.requests import HTTPConnection

from nexus_hub.address import read_origin
from nexus_hub.errors import NotAllowed
from nexus_hub.gateway.endpoint import Sources


def base_of(connection: HTTPConnection) -> str:
    """Give the base URL of a request: NEXUS_PUBLIC_URL, else as the request names the hub; no slash at its end.

    Raises:
        NotAllowed: the request names no host of this hub.
    """
    state = connection.app.state
    public_url: str | None = state.public_url
    if public_url is not None:
        return public_url
    sources: Sources = state.sources
    sources.check_host(connection.headers)
    base = read_origin(f"{connection.scope['scheme']}://{connection.headers.get('host', '')}")
    if base is None:
        raise NotAllowed("The header Host is no name of a host.")
    return base

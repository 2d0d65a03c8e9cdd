"""Watches of resources: their servers tell of updates for as long as any client wants to hear of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from nexus_hub.models import Principal, ServerRef
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream.connections import Connections


class ResourceWatcher:
    """Subscribes to resources at their servers, over the process's own connections."""

    def __init__(self, servers: Servers, connections: Connections) -> None:
        self._servers = servers
        self._connections = connections

    @asynccontextmanager
    async def watch(
        self, ref: ServerRef, uri: str, principal: Principal, on_update: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Have a function called at each update of a resource, or of what lies below it, as long as the block runs.

        Raises:
            NotFound: the server is gone.
            UpstreamError: it can't be reached, or takes no such subscription.
        """

        def note(_: str) -> None:
            on_update()

        target, _ = await self._servers.open(ref)
        target = self._servers.log_in(target, principal.user_id)
        await self._connections.subscribe(target, uri, note)
        try:
            yield
        finally:
            self._connections.unsubscribe(target, uri, note)

"""Places of the parts: an address and a port for each."""

import random
import socket
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace

from nexus_hub.errors import StartFailed
from nexus_hub.stack.process import Command

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below those that the system gives to connections, so that a part finds its port free when it starts again."""


@dataclass(frozen=True, slots=True)
class Site:
    """Address of a part; `namespace` is the file of its network namespace, None where it is the machine's own."""

    host: str
    port: int
    namespace: str | None = None

    @property
    def address(self) -> str:
        """The address and the port, as URLs have them."""
        return f"{self.host}:{self.port}"

    def inside(self, command: Command) -> Command:
        """Make the command one that runs in this place's network.

        The namespace is entered before another user is, who may not; both keep the process id and the parent.
        """
        if self.namespace is None:
            return command
        entering = ("nsenter", f"--net={self.namespace}", "--", *command.launch_line())
        return replace(command, arguments=entering, account=None)


def on_loopback(names: Iterable[str]) -> dict[str, Site]:
    """Give each part a free port of this machine."""
    places: dict[str, Site] = {}
    for name in names:
        taken = {place.port for place in places.values()}
        places[name] = Site(LOOPBACK, _free_port(LOOPBACK, taken))
    return places


def _free_port(host: str, taken: set[int]) -> int:
    for port in random.sample(PORTS, 200):  # several fleets may look at the same moment
        if port not in taken and _is_free(host, port):
            return port
    raise StartFailed("fleet", f"{host} has no free port between {PORTS.start} and {PORTS.stop}")


def _is_free(host: str, port: int) -> bool:
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True

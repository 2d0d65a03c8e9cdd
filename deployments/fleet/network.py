"""A network for a fleet: a namespace for each part, on one bridge, so that a part can be cut off from all others.

Neighbours are known for good: a part that is cut off looks like a machine behind a router that lost the way to it, to
which packets go and from which nothing comes, not even that there is no such host.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from deployments.fleet.places import Site
from nexus_hub.errors import NotAllowed, StartFailed

NETWORKS = range(1, 255)
"""Numbers of the networks 10.217.<number>.0/24; a fleet holds the lock of its own while it lives."""
LOCKS = Path("/run")
NAMES = Path("/run/netns")
PORT = 8080
FIRST_HOST = 10


class Network:
    """The network of one fleet; `close` removes it, and so does the next fleet with its number after a crash."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise NotAllowed(
                "Network namespaces are made by root: run as root, or make the fleet without isolated=True."
            )
        self.number, self._lock = _take_number()
        self.bridge = f"nf{self.number}"
        self._ports: dict[str, str] = {}
        self._namespaces: list[int] = []
        """Handles, by which parts find theirs: the names in /run/netns go when somebody unmounts what is there."""
        _remove(self.number)

    @property
    def addresses(self) -> str:
        """The addresses of all parts."""
        return f"10.217.{self.number}.0/24"

    @property
    def gateway(self) -> str:
        """The address of the machine itself, at which parts reach what runs outside of the fleet."""
        return self._address(1)

    def places(self, names: Sequence[str], beside: Mapping[str, str]) -> dict[str, Site]:
        """Make a namespace for each name, and a port in that of another one for each name of `beside`.

        Raises:
            StartFailed: the system can't.
        """
        self._make_bridge()
        hosts = {name: FIRST_HOST + index for index, name in enumerate(names)}
        places = {name: self._make_namespace(name, host, hosts.values()) for name, host in hosts.items()}
        for index, (name, owner) in enumerate(beside.items(), start=1):
            places[name] = Site(places[owner].host, PORT + index, places[owner].namespace)
        return places

    def cut(self, place: Site) -> None:
        """Let nothing through to a part, nor from it."""
        _ip([f"link set {self._ports[place.host]} down"])

    def restore(self, place: Site) -> None:
        """Let all through again."""
        _ip([f"link set {self._ports[place.host]} up"])

    def close(self) -> None:
        """Remove all of it."""
        _remove(self.number)
        for handle in (*self._namespaces, self._lock):
            with suppress(OSError):
                os.close(handle)

    def _make_bridge(self) -> None:
        _ip(
            [
                f"link add {self.bridge} address {self._hardware(1)} type bridge",
                f"address add {self.gateway}/24 dev {self.bridge}",
                f"link set {self.bridge} up",
            ]
        )

    def _make_namespace(self, name: str, host: int, hosts: Iterable[int]) -> Site:
        namespace, port = _namespace(self.number, name), f"{self.bridge}-{host}"
        address = self._address(host)
        self._ports[address] = port
        _ip(
            [
                f"netns add {namespace}",
                f"link add {port} type veth peer name eth0 address {self._hardware(host)} netns {namespace}",
                f"link set {port} master {self.bridge} up",
                f"neighbour replace {address} lladdr {self._hardware(host)} dev {self.bridge} nud permanent",
            ]
        )
        others = [other for other in (1, *hosts) if other != host]
        known = (
            f"neighbour replace {self._address(other)} lladdr {self._hardware(other)} dev eth0 nud permanent"
            for other in others
        )
        _ip(["link set lo up", f"address add {address}/24 dev eth0", "link set eth0 up", *known], namespace)
        self._namespaces.append(os.open(NAMES / namespace, os.O_RDONLY | os.O_CLOEXEC))
        return Site(address, PORT, f"/proc/{os.getpid()}/fd/{self._namespaces[-1]}")

    def _address(self, host: int) -> str:
        return f"10.217.{self.number}.{host}"

    def _hardware(self, host: int) -> str:
        return f"02:0a:d9:00:{self.number:02x}:{host:02x}"


def _namespace(number: int, name: str) -> str:
    return f"nexus-fleet-{number}-{name}"


def _take_number() -> tuple[int, int]:
    """Take a number that no living fleet has, with the handle of its lock."""
    for number in NETWORKS:
        handle = os.open(LOCKS / f"nexus-fleet-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            return number, handle
    raise StartFailed("network", "all networks for fleets are taken")


def _remove(number: int) -> None:
    """Remove a network, also what is left of one whose fleet was killed."""
    left = NAMES.glob(_namespace(number, "*"))
    _ip([f"netns delete {path.name}" for path in left], force=True)
    # A namespace that a process is still in goes with it; the links go now.
    links = sorted(path.name for path in Path("/sys/class/net").glob(f"nf{number}-*"))
    bridges = [path.name for path in Path("/sys/class/net").glob(f"nf{number}")]
    _ip([f"link delete {name}" for name in (*links, *bridges)], force=True)


def _ip(lines: Sequence[str], namespace: str | None = None, *, force: bool = False) -> None:
    """Run commands of `ip`; with force those that fail are passed over."""
    if not lines:
        return
    where = ["-netns", namespace] if namespace else []
    ended = subprocess.run(
        ["ip", *where, *(["-force"] if force else []), "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0 and not force:
        raise StartFailed("network", ended.stderr.strip() or f"ip ended with exit code {ended.returncode}")

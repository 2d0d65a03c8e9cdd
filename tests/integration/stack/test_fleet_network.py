"""Networks of fleets: a part that is cut off hears and says nothing, and nothing is left of a network."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.fleet.network import Network
from deployments.fleet.places import Site

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nsenter") is None or shutil.which("ip", path="/usr/sbin:/sbin:/bin") is None,
    reason="network namespaces need root, iproute2 and util-linux",
)
SERVE = (
    "import socket; s = socket.create_server(('', 9000)); print(flush=True)\nwhile True: s.accept()[0].sendall(b'here')"
)
ASK = "import socket, sys; s = socket.create_connection((sys.argv[1], 9000), 1); s.settimeout(1); print(s.recv(9))"
LEAVE = """import time
from deployments.fleet.network import Network

network = Network()
network.places(["a"], {})
print(network.number, flush=True)
time.sleep(600)
"""


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


def entering(place: Site) -> list[str]:
    return ["nsenter", f"--net={place.namespace}", "--"]


def ask(host: str, *, start: list[str]) -> str:
    """What the server at a host says, or the error."""
    command = [*start, sys.executable, "-I", "-S", "-c", ASK, host]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout.strip() or ended.stderr.splitlines()[-1]


def test_a_part_that_is_cut_off_hears_and_says_nothing(network: Network) -> None:
    places = network.places(["server", "client"], beside={"second": "server"})
    server, client = places["server"], places["client"]
    assert (places["second"].host, places["second"].namespace) == (server.host, server.namespace)
    command = [*entering(server), sys.executable, "-I", "-S", "-c", SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as serving:
        assert serving.stdout is not None
        serving.stdout.readline()
        ways: list[list[str]] = [entering(client), []]
        assert [ask(server.host, start=way) for way in ways] == ["b'here'"] * 2
        network.cut(server)
        # No word comes back, as one would from a machine that is there, or from a router that knows of it.
        assert [ask(server.host, start=way) for way in ways] == ["TimeoutError: timed out"] * 2
        assert ask(client.host, start=entering(server)) == "TimeoutError: timed out"
        network.restore(server)
        assert [ask(server.host, start=way) for way in ways] == ["b'here'"] * 2
        serving.kill()


def test_two_networks_are_two() -> None:
    first, second = Network(), Network()
    try:
        assert first.number != second.number
    finally:
        first.close()
        second.close()


def test_what_a_killed_fleet_left_is_removed_by_the_next_one() -> None:
    with subprocess.Popen([sys.executable, "-c", LEAVE], stdout=subprocess.PIPE, text=True) as left:
        assert left.stdout is not None
        number = int(left.stdout.readline())
        left.send_signal(signal.SIGKILL)
    assert left_of(number)
    networks: list[Network] = []
    try:
        while number not in {network.number for network in networks}:
            networks.append(Network())
        assert not left_of(number)
    finally:
        for network in networks:
            network.close()


def left_of(number: int) -> list[str]:
    """Names of what there is of a network."""
    links = Path("/sys/class/net")
    named = [
        *Path("/run/netns").glob(f"nexus-fleet-{number}-*"),
        *links.glob(f"nf{number}"),
        *links.glob(f"nf{number}-*"),
    ]
    return [path.name for path in named]

"""The proxy of a fleet: the configuration that ships, with the addresses of this fleet in it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from deployments.fleet.places import Site
from nexus_hub.home.files import write_private

CONFIG = Path(__file__).parents[1] / "haproxy" / "haproxy.cfg"
BINDS = {"hub": "proxy", "prefect": "proxy-prefect"}
"""Frontend -> the place that it listens on."""
KINDS = {"hub": "api", "hub_by_caller": "api", "hub_alive": "api", "prefect": "prefect"}
"""Backend -> the kind of its servers."""


def write_config(shipped: Path, config: Path, places: Mapping[str, Site]) -> None:
    """Write the configuration with these places instead of the examples."""
    lines = shipped.read_text(encoding="utf-8").splitlines()
    write_private(config, "\n".join(_replaced(lines, places)) + "\n")


def _replaced(lines: list[str], places: Mapping[str, Site]) -> Iterator[str]:
    section = name = ""
    for line in [*lines, ""]:
        words = line.split()
        if words and not line.startswith((" ", "#")):
            section, name = words[0], words[-1]
        if words[:1] == ["bind"]:
            yield " ".join(("   ", "bind", places[BINDS[name]].address, *words[2:]))
        elif words[:1] == ["server"]:
            continue
        else:
            yield line
        if section == "backend" and words[:1] == ["option"]:
            yield from _servers(KINDS[name], places)


def _servers(kind: str, places: Mapping[str, Site]) -> Iterator[str]:
    for name, place in places.items():
        if name.startswith(f"{kind}-"):
            yield f"    server {name} {place.address}"

"""Start a fleet and keep it until Ctrl-C: `python -m deployments.fleet`."""

import argparse
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic

from deployments.fleet.fleet import Fleet
from deployments.fleet.part import Part
from nexus_hub.errors import HubError

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end it; a script's shell lets what it starts in the background ignore the first."""


def main() -> None:
    """Start a fleet, show it, and end it when told to."""
    options = parse()
    began = monotonic()
    for number in ENDINGS:
        signal.signal(number, stop)
    try:
        with Fleet(
            options.directory,
            api=options.api,
            workers=options.workers,
            prefect=options.prefect,
            services=options.services,
            standby=options.standby,
            isolated=options.isolated,
            report=say,
        ) as fleet:
            say(f"ready after {monotonic() - began:.0f} s\n")
            say(describe(fleet))
            signal.pause()
    except HubError as error:
        sys.exit(error.message)


def stop(*_: object) -> None:
    """End the fleet; a second signal does not disturb that."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m deployments.fleet", description=__doc__)
    parser.add_argument("--directory", type=Path, help="a missing or empty directory for it; it is removed at the end")
    parser.add_argument("--api", type=int, default=2, help="API processes")
    parser.add_argument("--workers", type=int, default=3, help="workers")
    parser.add_argument("--prefect", type=int, default=2, help="Prefect's API servers")
    parser.add_argument("--services", type=int, default=2, help="processes of Prefect's services")
    parser.add_argument("--isolated", action="store_true", help="a network namespace for each part (as root)")
    parser.add_argument("--standby", action="store_true", help="a standby of PostgreSQL")
    return parser.parse_args()


def describe(fleet: Fleet) -> str:
    """Write the table of parts, how to reach the fleet, and what to try."""
    rows = [f"  {part.name:<12} {listening(part):<22} pid {part.pid}" for part in fleet.parts]
    struck = next((part for part in fleet.parts if part.kind == "api"), fleet.parts[0])
    path = shlex.quote(str(Path(sys.executable).parent))
    home = shlex.quote(str(fleet.directory))
    lines = (
        "",
        f"The hub       {fleet.url}   (console: {fleet.url}/console)",
        f"Prefect       {fleet.prefect_url.removesuffix('/api')}",
        f"Logs          {fleet.directory}/logs",
        f"Command line  export PATH={path}:$PATH NEXUS_HOME={home} NEXUS_URL={fleet.url}; nexus-hub tools",
        f"Try           kill -9 {struck.pid}   ({struck.name}: it comes back)",
        "End it        Ctrl-C",
    )
    return "\n".join([*rows, *lines])


def listening(part: Part) -> str:
    """Give the address of a part; Prefect's services listen nowhere."""
    return "-" if part.kind == "services" else part.place.address


def say(line: str) -> None:
    """Write a line for the person who started it."""
    with suppress(OSError):  # who read it may be gone, and the fleet is ended in order all the same
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

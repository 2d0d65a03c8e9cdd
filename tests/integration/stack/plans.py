"""Small stacks for tests, and a program that runs one: `python -m tests.integration.stack.plans PLAN [temporary]`.

The settings come from the environment, as for `nexus-hub up`.
"""

import os
import socket
import sys
from pathlib import Path

from nexus_hub.cli.stack import up
from nexus_hub.errors import HubError
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import parts, probes
from nexus_hub.stack.parts import Plan
from nexus_hub.stack.postgres import embedded_postgres
from nexus_hub.stack.process import Command
from nexus_hub.stack.services import Backoff, Service
from nexus_hub.stack.supervisor import Step

WEB = Path(__file__).with_name("web.py")
QUICK = Backoff(first=0.05, limit=0.2, calm=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def web(name: str, *habits: str, port: int | None = None, grace: float = 10, after: tuple[str, ...] = ()) -> Service:
    """A web server of its own; healthy when it answers."""
    at = port or free_port()
    return Service(
        name=name,
        command=program(str(WEB), str(at), *habits),
        probe=probes.http(f"http://127.0.0.1:{at}/"),
        after=after,
        port=at,
        backoff=QUICK,
        grace=grace,
    )


def broken(name: str, after: tuple[str, ...] = ()) -> Service:
    """A program that ends before it is healthy."""
    return Service(name=name, command=program("-c", "import sys; sys.exit('no paper')"), probe=never, after=after)


async def never() -> probes.Sign:
    return probes.SILENT


def program(*arguments: str) -> Command:
    return Command(arguments=(sys.executable, *arguments), env=dict(os.environ), directory=Path("/"))


def two_webs(settings: Settings, home: Home) -> Plan:
    """Two web servers on the ports of the API and of Prefect."""
    parts.require_ports(settings)
    return [web("prefect", port=settings.prefect_port), web("api", "child", port=settings.port, after=("prefect",))]


def only_postgres(settings: Settings, home: Home) -> Plan:
    """PostgreSQL with its roles and databases."""
    server = embedded_postgres(settings, home)
    return [server.service(), Step("databases", server.create_databases, after=("postgres",))]


def one_broken(settings: Settings, home: Home) -> Plan:
    """A good service, then a broken one."""
    return [web("prefect", port=settings.prefect_port), broken("api", after=("prefect",))]


PLANS = {"two_webs": two_webs, "only_postgres": only_postgres, "one_broken": one_broken}


def main() -> int:
    try:
        return up(Settings(), planner=PLANS[sys.argv[1]], temporary="temporary" in sys.argv[2:])
    except HubError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())

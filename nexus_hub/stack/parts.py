"""The plan of the stack: which parts and steps the settings ask for, in their order."""

import os
import sys
from collections.abc import Callable

from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import migration, ports, prefect_server, probes
from nexus_hub.stack.keeper import Part
from nexus_hub.stack.postgres import embedded_postgres
from nexus_hub.stack.process import Command
from nexus_hub.stack.supervisor import Step, command_step

Plan = list[Part | Step]
Planner = Callable[[Settings, Home], Plan]
HAND_BACK_SECONDS = 15
"""How long a worker may take to hand back what it still runs after its grace time, and to end."""
FOREIGN_PREFECT = ("PREFECT_PROFILE", "PREFECT_PROFILES_PATH", "PREFECT_API_KEY", "PREFECT_SERVER_DATABASE_")


def whole_stack(settings: Settings, home: Home) -> Plan:
    """Everything that `up` runs; needs the home's lock and its secrets.

    Raises:
        PortTaken: before anything is started.
        NotConfigured: the settings leave something out.
    """
    require_ports(settings)
    base = environment(settings, home)
    return [
        *_postgres(settings, home),
        *_migration(settings),
        *([prefect_server.part(settings, home, base)] if settings.embeds_prefect else []),
        *_own(settings, home),
    ]


def require_ports(settings: Settings) -> None:
    """Refuse to start beside a program that has one of our ports.

    Raises:
        PortTaken: with the setting that moves the port.
    """
    ports.require_free(settings.host, settings.port, "NEXUS_PORT")
    if settings.embeds_prefect:
        ports.require_free(prefect_server.HOST, settings.prefect_port, "NEXUS_PREFECT_PORT")


def part_names(settings: Settings) -> list[str]:
    """The names of the parts that `up` would run."""
    optional = {"postgres": settings.embeds_postgres, "prefect": settings.embeds_prefect}
    return [*(name for name, wanted in optional.items() if wanted), "api", "worker"]


def environment(settings: Settings, home: Home) -> dict[str, str]:
    """The environment of our own parts: the caller's, without what would lead them astray, with what they need."""
    foreign = (
        *(("PG",) if settings.embeds_postgres else ()),
        *(FOREIGN_PREFECT if settings.embeds_prefect else ()),
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        **(prefect_server.client_environment(settings, home) if settings.embeds_prefect else {}),
        "NEXUS_HOME": str(home.path),
        "NEXUS_HOST": settings.host,
        "NEXUS_PORT": str(settings.port),
        "NEXUS_PREFECT_PORT": str(settings.prefect_port),
        "NEXUS_WORKER_HEARTBEAT_FILE": str(home.heartbeat_file),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _postgres(settings: Settings, home: Home) -> Plan:
    if not settings.embeds_postgres:
        return []
    server = embedded_postgres(settings, home)
    return [server.part(), Step("databases", server.create_databases)]


def _migration(settings: Settings) -> Plan:
    """The schema; on an outside database only when its owner's URL is given, since the app's role may not."""

    async def act() -> None:
        await migration.migrate_hub(settings)

    return [Step("migrate", act)] if migration.owner_url(settings) else []


def _own(settings: Settings, home: Home) -> Plan:
    def command(*arguments: str) -> Command:
        env = environment(settings, home)
        return Command(arguments=(sys.executable, *arguments), env=env, directory=home.path)

    async def forget_heartbeat() -> None:
        home.heartbeat_file.unlink(missing_ok=True)

    api = Part(
        name="api",
        command=command("-m", "nexus_hub", "api"),
        probe=probes.http(f"{settings.listen_url}/healthz"),
        port=settings.port,
    )
    worker = Part(
        name="worker",
        command=command("-m", "nexus_hub", "worker"),
        probe=probes.heartbeat(home.heartbeat_file),
        prepare=forget_heartbeat,
        grace=settings.worker_grace_seconds + HAND_BACK_SECONDS,
    )
    return [command_step("deploy", command("-m", "deployments.deploy"), home), api, worker]

"""The plan of the stack: the services and steps that the settings ask for, and what each comes after."""

import sys
from collections.abc import Callable

from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import migration, ports, prefect_server, probes
from nexus_hub.stack.environments import environment
from nexus_hub.stack.postgres import embedded_postgres
from nexus_hub.stack.process import Command
from nexus_hub.stack.services import SILENT_SECONDS, Service
from nexus_hub.stack.supervisor import Step, command_step

Plan = list[Service | Step]
Planner = Callable[[Settings, Home], Plan]
WORKER_STOP_SECONDS = 15
"""The time that a worker has after its grace time to release what it still runs, and to end."""
API_STOP_SECONDS = 5
"""The time that an API has after its grace time to write down what it cut off, and to end."""
WORKER_SILENT_SECONDS = SILENT_SECONDS - probes.MAX_AGE_SECONDS
"""A worker that is not healthy has been silent for as long as its heartbeat may be old."""


def whole_stack(settings: Settings, home: Home) -> Plan:
    """Plan everything that `up` runs; needs the home's lock and its secrets.

    Raises:
        PortTaken: before anything is started.
        NotConfigured: the settings leave something out.
    """
    require_ports(settings)
    base = environment(settings, home, "prefect")
    return [
        *_postgres(settings, home),
        *_migration(settings),
        *([prefect_server.service(settings, home, base)] if settings.embeds_prefect else []),
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


def _postgres(settings: Settings, home: Home) -> Plan:
    if not settings.embeds_postgres:
        return []
    server = embedded_postgres(settings, home)
    return [server.service(), Step("databases", server.create_databases, after=("postgres",))]


def _migration(settings: Settings) -> Plan:
    """Plan the migration; on an outside database only when its owner's URL is given, since the app's role may not."""

    async def act() -> None:
        await migration.migrate_hub(settings)

    return [Step("migrate", act, after=("databases",))] if migration.owner_url(settings) else []


def _own(settings: Settings, home: Home) -> Plan:
    def command(part: str, *arguments: str) -> Command:
        env = environment(settings, home, part)
        return Command(arguments=(sys.executable, *arguments), env=env, directory=home.path)

    async def forget_heartbeat() -> None:
        home.heartbeat_file.unlink(missing_ok=True)
        home.worker_metrics_file.unlink(missing_ok=True)

    # Both wait for Prefect by themselves, and what is sent before its deployments are known is stored and starts then.
    api = Service(
        name="api",
        command=command("api", "-m", "nexus_hub", "api"),
        probe=probes.http(f"{settings.listen_url}/healthz"),
        after=("databases", "migrate"),
        port=settings.port,
        grace=settings.drain_seconds + settings.api_grace_seconds + API_STOP_SECONDS,
    )
    worker = Service(
        name="worker",
        command=command("worker", "-m", "nexus_hub", "worker"),
        probe=probes.heartbeat(home.heartbeat_file),
        after=("databases", "migrate"),
        prepare=forget_heartbeat,
        patience=WORKER_SILENT_SECONDS,
        grace=settings.worker_grace_seconds + WORKER_STOP_SECONDS,
    )
    deploy = command_step("deploy", command("deploy", "-m", "deployments.ensure"), home, after=("prefect",))
    return [deploy, api, worker]

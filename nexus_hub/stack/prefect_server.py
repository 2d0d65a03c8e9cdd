"""Prefect's server as a service of the stack, and the environment of whoever talks to it.

Prefect's API is open to everybody, foreign web pages included, unless it is told otherwise: authentication and
the allowed origins are always set here.
"""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

from nexus_hub.errors import NotConfigured
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import probes
from nexus_hub.stack.environments import auth_string
from nexus_hub.stack.process import Command
from nexus_hub.stack.services import Service

HOST = "127.0.0.1"

POOL_SIZE = 20
"""Connections that Prefect's server keeps. Of what it needs beyond its own default, 5, each is made anew for a moment,
which costs more than the query that it is made for."""
RETENTION_DAYS = 30
TUNING = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(RETENTION_DAYS * 24 * 60 * 60),
}
"""Set where the environment does not say otherwise. Task runs and events are written by the batch instead of one by
one, and flow runs go some time after their end, which none ever does by Prefect's defaults."""


def service(settings: Settings, home: Home, base: Mapping[str, str]) -> Service:
    """The server with its UI, in one process, so that a kill leaves nothing of it.

    Raises:
        NotConfigured: it has no database.
    """
    command = Command(
        arguments=(
            sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
            "--app-dir", _packages(), "--host", HOST, "--port", str(settings.prefect_port),
            "--log-level", "warning", "--timeout-graceful-shutdown", "5",
        ),
        env={**TUNING, **base, **server_environment(settings, home)},
        directory=home.path,
    )  # fmt: skip
    probe = probes.http(f"{settings.prefect_url}/health", auth=auth_string(settings, home))
    return Service(name="prefect", command=command, probe=probe, after=("databases",), port=settings.prefect_port)


def server_environment(settings: Settings, home: Home) -> dict[str, str]:
    """Make the environment of Prefect's server; it holds the passwords of the database and the API.

    Raises:
        NotConfigured: PostgreSQL is an outside one, and Prefect's database is not named.
    """
    origins = (f"http://{host}:{settings.prefect_port}" for host in (HOST, "localhost"))
    return {
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
        "PREFECT_SERVER_API_AUTH_STRING": auth_string(settings, home),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database_url(settings, home),
        "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": str(POOL_SIZE),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": settings.prefect_url,
        # The default copies the UI into the installed package, which may not be ours to write to.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home.prefect / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT__SERVER_FINAL": "1",
        "DO_NOT_TRACK": "1",
    }


def _database_url(settings: Settings, home: Home) -> str:
    if settings.prefect_database_url:
        return settings.prefect_database_url.get_secret_value()
    if settings.embeds_postgres:
        return home.prefect_database_url()
    raise NotConfigured(
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "and with NEXUS_DATABASE_URL set there is no embedded PostgreSQL for Prefect; name a database of its own "
        "(postgresql+asyncpg://...), or set PREFECT_API_URL to an outside Prefect",
    )


def _packages() -> str:
    # uvicorn puts this first on the path; its default is the working directory, where home/prefect/ lies.
    spec = importlib.util.find_spec("prefect")
    if spec is None or spec.origin is None:
        raise NotConfigured("PREFECT_API_URL", "and the package prefect is not installed")
    return str(Path(spec.origin).parents[1])

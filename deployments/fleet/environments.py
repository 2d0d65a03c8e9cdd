"""The environment of each part of a fleet: settings come by it alone, and secrets too, never by a command line."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from deployments.fleet.places import Site
from deployments.prefect_servers import FIXED
from nexus_hub.address import is_loopback
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack.prefect_server import POOL_SIZE, TUNING
from nexus_hub.stack.secrets import create_secrets

KEPT = ("HOME", "LANG", "LANGUAGE", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")
"""The caller's variables that parts have; nothing of another hub is among them."""


@dataclass(frozen=True, slots=True)
class FleetSecrets:
    """Secrets of a fleet, made anew for each."""

    home: Home
    vault_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    redis_password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def create(self) -> None:
        """Write those that are files: the service key, Prefect's `user:password` and the passwords of PostgreSQL."""
        settings = Settings.model_construct(home=self.home.path, vault_encryption_key=SecretStr(self.vault_key))
        create_secrets(self.home, settings)


@dataclass(frozen=True, slots=True)
class Environments:
    """Makes the environments out of where everything is."""

    secrets: FleetSecrets
    places: Mapping[str, Site]
    extra: dict[str, str]

    @property
    def home(self) -> Home:
        """The directory of all, with the logs."""
        return self.secrets.home

    @property
    def url(self) -> str:
        """The hub's API, behind the proxy."""
        return f"http://{self.places['proxy'].address}"

    @property
    def prefect_url(self) -> str:
        """Prefect's API, behind the proxy."""
        return f"http://{self.places['proxy-prefect'].address}/api"

    def database_url(self, role: str = "nexus_hub", database: str = "hub") -> str:
        """Give a database's URL for a role; with a standby it names both servers, of which the writable one is used."""
        hosts = self._database_hosts()
        choice = "?target_session_attrs=read-write" if len(hosts) > 1 else ""
        return f"postgresql://{self._login(role)}@{','.join(hosts)}/{database}{choice}"

    def redis_url(self, database: int) -> str:
        """Give a database of Redis."""
        return f"redis://:{self.secrets.redis_password}@{self.places['redis'].address}/{database}"

    def common(self, name: str) -> dict[str, str]:
        """Make what every program of ours and of Prefect's has."""
        kept = {variable: os.environ[variable] for variable in KEPT if variable in os.environ}
        own = {
            "PREFECT_HOME": str(self.part_home(name) / "prefect"),
            "PREFECT_API_URL": self.prefect_url,
            "PREFECT_API_AUTH_STRING": self.home.prefect_auth(),
            "DO_NOT_TRACK": "1",
            "NO_PROXY": "*",
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return kept | own

    def api(self, name: str) -> dict[str, str]:
        """Make the environment of an API process."""
        place = self.places[name]
        own = {
            "NEXUS_HOST": place.host,
            "NEXUS_PORT": str(place.port),
            "NEXUS_SERVICE_KEY": self.home.service_key(),
            "NEXUS_ALLOWED_HOSTS": f"{self.places['proxy'].host},{place.host}",
            "NEXUS_DRAIN_SECONDS": "3",  # HAProxy notices within one
            "NEXUS_API_GRACE_SECONDS": "50",
        }
        # Over plain HTTP a hub may only be public on its own machine.
        public = {"NEXUS_PUBLIC_URL": self.url} if is_loopback(self.url) else {}
        return self._hub(name) | own | public | self.extra

    def worker(self, name: str) -> dict[str, str]:
        """Make the environment of a worker."""
        place = self.places[name]
        own = {
            "NEXUS_WORKER_HEARTBEAT_FILE": str(self.heartbeat_file(name)),
            "NEXUS_METRICS_HOST": place.host,
            "NEXUS_WORKER_METRICS_PORT": str(place.port),
        }
        return self._hub(name) | own | self.extra

    def operator(self) -> dict[str, str]:
        """Make the environment of the commands that migrate, deploy and administer."""
        own = {
            "NEXUS_MIGRATION_DATABASE_URL": self.database_url("nexus_owner"),
            "NEXUS_SERVICE_KEY": self.home.service_key(),
            "NEXUS_URL": self.url,
        }
        return self._hub("operator") | own | self.extra

    def prefect(self, name: str) -> dict[str, str]:
        """Make the environment of a Prefect server, of its API and of its services alike."""
        own = {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.prefect_database_url(),
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": str(POOL_SIZE),
            "PREFECT_SERVER_DOCKET_URL": self.redis_url(1),
            "PREFECT_REDIS_MESSAGING_URL": self.redis_url(0),
            "PREFECT_SERVER_API_AUTH_STRING": self.home.prefect_auth(),
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.prefect_url.removesuffix("/api"),
            "PREFECT_SERVER_UI_API_URL": self.prefect_url,
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.part_home(name) / "prefect" / "ui"),
        }
        given = {variable: value for variable, value in self.extra.items() if variable.startswith("PREFECT_")}
        return {**self.common(name), **TUNING, **FIXED, **own, **given}

    def prefect_database_url(self) -> str:
        """Give Prefect's database in the form that Prefect takes, where several hosts are options of their own."""
        first, *others = self._database_hosts()
        if not others:
            return f"postgresql+asyncpg://{self._login('prefect')}@{first}/prefect"
        hosts = "&".join(f"host={host}" for host in (first, *others))
        return f"postgresql+asyncpg://{self._login('prefect')}@/prefect?{hosts}&target_session_attrs=read-write"

    def part_home(self, name: str) -> Path:
        """Name the NEXUS_HOME of a part."""
        return self.home.path / "parts" / name

    def heartbeat_file(self, name: str) -> Path:
        """Name the file by which a worker says that it lives."""
        return self.part_home(name) / "worker.json"

    def _hub(self, name: str) -> dict[str, str]:
        own = {
            "NEXUS_HOME": str(self.part_home(name)),
            "NEXUS_DATABASE_URL": self.database_url(),
            "VAULT_ENCRYPTION_KEY": self.secrets.vault_key,
        }
        return self.common(name) | own

    def _database_hosts(self) -> Sequence[str]:
        return [self.places[name].address for name in ("postgres", "standby") if name in self.places]

    def _login(self, role: str) -> str:
        return f"{role}:{quote(self.home.password(role), safe='')}"

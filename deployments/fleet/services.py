"""The services of a fleet: the program of each part, and the sign by which it shows that it works."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGINT, SIGUSR1

from deployments.fleet.environments import Environments
from deployments.fleet.proxy import CONFIG, write_config
from deployments.fleet.standby import Standby
from nexus_hub.errors import StartFailed
from nexus_hub.home.files import write_private
from nexus_hub.settings import Settings
from nexus_hub.stack import probes
from nexus_hub.stack.postgres import EmbeddedPostgres, embedded_postgres
from nexus_hub.stack.probes import HEALTHY, SILENT, Probe, Sign
from nexus_hub.stack.process import Command
from nexus_hub.stack.services import Service

Make = Callable[[str | None, Mapping[str, str]], Service]
PACKAGES = {"haproxy": "haproxy", "redis-server": "redis-server", "ip": "iproute2", "nsenter": "util-linux"}
"""The programs that are not ours, and Debian's packages of them; the last two are for networks of parts."""
MOST_CONNECTIONS = 400
WORKER_GRACE_SECONDS = 40.0
API_GRACE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Services:
    """Makes the service of a part, in the place that it has."""

    environments: Environments
    network: str
    """The addresses of all parts, as PostgreSQL names them."""

    def maker(self, name: str) -> Make:
        """Give the maker of a part's service, by its kind."""
        makers: Mapping[str, Callable[[str, str, Mapping[str, str]], Service]] = {
            "api": self._api,
            "worker": self._worker,
            "prefect": self._prefect,
            "services": self._services,
            "redis": self._redis,
            "proxy": self._proxy,
            "postgres": self._postgres,
            "standby": self._standby,
        }
        make = makers[name.partition("-")[0]]

        def service(python: str | None, env: Mapping[str, str]) -> Service:
            made = make(name, python or sys.executable, env)
            return replace(made, command=self.environments.places[name].inside(made.command))

        return service

    def postgres_server(self) -> EmbeddedPostgres:
        """Give the PostgreSQL that all use, as the embedded one but over TCP."""
        home, place = self.environments.home, self.environments.places["postgres"]
        settings = Settings.model_construct(home=home.path)
        return embedded_postgres(settings, home, {**self._options(), "listen_addresses": place.host})

    def standby(self) -> Standby:
        """Give the standby, of a fleet that has one."""
        places = self.environments.places
        return Standby(self.postgres_server(), places["postgres"], places["standby"], self._options())

    def write_access(self) -> None:
        """Write who may enter PostgreSQL: with a password, and from the fleet alone."""
        places = (f"host all all {self.network}", f"host replication postgres {self.network}")
        lines = (f"{place} scram-sha-256\n" for place in ("local all all", *places))
        self._access.write_text("".join(lines), encoding="ascii")
        self._access.chmod(0o644)  # PostgreSQL reads it as its own user

    @property
    def _access(self) -> Path:
        return self.environments.home.postgres / "pg_hba.conf"

    def _options(self) -> Mapping[str, str]:
        return {
            "max_connections": str(MOST_CONNECTIONS),
            "hba_file": str(self._access),
            "wal_keep_size": "512MB",
            "wal_retrieve_retry_interval": "1s",
        }

    def _postgres(self, _name: str, _python: str, _env: Mapping[str, str]) -> Service:
        self.write_access()
        return self.postgres_server().service()

    def _standby(self, _name: str, _python: str, _env: Mapping[str, str]) -> Service:
        return self.standby().service()

    def _redis(self, name: str, _python: str, env: Mapping[str, str]) -> Service:
        place, directory = self.environments.places[name], self._directory(name)
        config = directory / "redis.conf"
        password = self.environments.secrets.redis_password
        lines = (
            f"bind {place.host}", f"port {place.port}", f"requirepass {password}", f"dir {directory}",
            "appendonly yes", "appendfsync everysec", 'save ""', "maxmemory-policy noeviction", "daemonize no",
        )  # fmt: skip
        write_private(config, "\n".join(lines) + "\n")
        command = Command((program("redis-server"), str(config)), dict(env), directory)
        return Service(name, command, redis_probe(place.host, place.port, password))

    def _proxy(self, name: str, _python: str, env: Mapping[str, str]) -> Service:
        directory = self._directory(name)
        config = directory / "haproxy.cfg"
        write_config(CONFIG, config, self.environments.places)
        command = Command((program("haproxy"), "-db", "-f", str(config)), dict(env), directory)
        probe = probes.http(f"{self.environments.url}/proxy-healthz")
        return Service(name, command, probe, stop_signal=SIGUSR1)

    def _api(self, name: str, python: str, env: Mapping[str, str]) -> Service:
        place = self.environments.places[name]
        command = self._python(name, python, ("nexus_hub", "api"), {**self.environments.api(name), **env})
        probe = probes.http(f"http://{place.address}/healthz")
        return Service(name, command, probe, port=place.port, grace=API_GRACE_SECONDS)

    def _worker(self, name: str, python: str, env: Mapping[str, str]) -> Service:
        command = self._python(name, python, ("nexus_hub", "worker"), {**self.environments.worker(name), **env})
        heartbeat = self.environments.heartbeat_file(name)

        async def forget() -> None:
            heartbeat.unlink(missing_ok=True)

        return Service(name, command, probes.heartbeat(heartbeat), prepare=forget, grace=WORKER_GRACE_SECONDS)

    def _prefect(self, name: str, python: str, env: Mapping[str, str]) -> Service:
        place = self.environments.places[name]
        words = ("prefect", "server", "start", "--no-services", "--host", place.host, "--port", str(place.port))
        command = self._python(name, python, words, {**self.environments.prefect(name), **env})
        return Service(name, command, probes.http(f"http://{place.address}/api/ready"), port=place.port)

    def _services(self, name: str, python: str, env: Mapping[str, str]) -> Service:
        words = ("prefect", "server", "services", "start")
        command = self._python(name, python, words, {**self.environments.prefect(name), **env})
        return Service(name, command, running, stop_signal=SIGINT)  # the only one that it takes as more than a kill

    def _python(self, name: str, python: str, words: tuple[str, ...], env: Mapping[str, str]) -> Command:
        return Command((python, "-m", *words), env, self._directory(name))

    def _directory(self, name: str) -> Path:
        path = self.environments.part_home(name)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path


async def running() -> Sign:
    """Take a program for healthy while it runs: it has no other sign."""
    return HEALTHY


def redis_probe(host: str, port: int, password: str) -> Probe:
    """Healthy when Redis answers a PING."""

    async def probe() -> Sign:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            return SILENT
        try:
            writer.write(f"AUTH {password}\r\nPING\r\n".encode())
            answers = [await reader.readline(), await reader.readline()]
        except OSError:
            return SILENT
        finally:
            writer.close()
        return HEALTHY if answers == [b"+OK\r\n", b"+PONG\r\n"] else Sign(healthy=False, alive=True)

    return probe


def program(name: str) -> str:
    """Find a program of the system.

    Raises:
        StartFailed: it is not installed.
    """
    places = (os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")  # which not every user's path has
    if found := shutil.which(name, path=os.pathsep.join(places)):
        return found
    raise StartFailed("fleet", f"the program {name} is not installed; on Debian: apt-get install {PACKAGES[name]}")

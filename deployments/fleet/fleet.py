"""A fleet on one machine, from its start to its end."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL, SIGQUIT
from types import TracebackType
from typing import Any, Self, TypeVar

from deployments.fleet.directory import make_directory, remove_left, require_empty
from deployments.fleet.environments import Environments, FleetSecrets
from deployments.fleet.network import Network
from deployments.fleet.part import Part, numbered
from deployments.fleet.places import LOOPBACK, Site, on_loopback
from deployments.fleet.services import Services, program
from nexus_hub.errors import StartFailed
from nexus_hub.home.files import tail
from nexus_hub.home.layout import Home
from nexus_hub.stack.process import Command
from nexus_hub.stack.process import run as run_command

Result = TypeVar("Result")
NEEDED = ("haproxy", "redis-server")
ISOLATING = ("ip", "nsenter")
PREFECT_FRONT = "proxy-prefect"
"""The place at which the proxy takes what is for Prefect."""
ENDING = {"postgres": SIGQUIT, "standby": SIGQUIT}
"""Kind of part -> the signal that ends it with the fleet; PostgreSQL leaves shared memory when it is killed."""
ENDING_SECONDS = 10.0
Report = Callable[[str], None]


class Fleet:
    """A fleet in a directory of its own, which is removed at the end; a context manager, for any thread.

    None as the directory makes one; one that is not empty is refused, unless the fleet is to `keep` it for its caller.
    There may be none of a kind; without Prefect's servers nothing is deployed. `extra_env` goes to all API processes,
    workers and commands, and of it what begins with PREFECT_ to Prefect's servers. No process of a fleet outlives the
    one that made it, also when that is killed; its directory does then, until the next fleet removes it if none was
    given.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        api: int = 2,
        workers: int = 3,
        prefect: int = 2,
        services: int = 2,
        standby: bool = False,
        isolated: bool = False,
        extra_env: Mapping[str, str] | None = None,
        keep: bool = False,
        report: Report = lambda _: None,
    ) -> None:
        self._names = [
            *("postgres", *(("standby",) if standby else ()), "redis", "proxy"),
            *numbered("prefect", prefect),
            *numbered("services", services),
            *numbered("api", api),
            *numbered("worker", workers),
        ]
        self._given = directory
        self._isolated = isolated
        self._extra = dict(extra_env or {})
        self._keep = keep
        self._report = report
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fleet", daemon=True)
        self._parts: dict[str, Part] = {}
        self._environments: Environments | None = None
        self._network: Network | None = None
        self._lock: int | None = None

    @property
    def parts(self) -> list[Part]:
        """List all parts, in the order in which they start."""
        return list(self._parts.values())

    def part(self, name: str) -> Part:
        """Find a part by its name, such as `api-1`."""
        return self._parts[name]

    @property
    def environments(self) -> Environments:
        """The environments of the parts, and the addresses of everything."""
        if self._environments is None:
            raise StartFailed("fleet", "it is not started")
        return self._environments

    @property
    def directory(self) -> Path:
        """The directory of all; the logs are in `logs/`."""
        return self.environments.home.path

    @property
    def host(self) -> str:
        """The address at which parts reach programs of whoever runs the fleet."""
        return LOOPBACK if self._network is None else self._network.gateway

    @property
    def url(self) -> str:
        """The hub's API, behind the proxy."""
        return self.environments.url

    @property
    def prefect_url(self) -> str:
        """Prefect's API, behind the proxy; it ends in `/api`."""
        return self.environments.prefect_url

    @property
    def prefect_auth(self) -> tuple[str, str]:
        """User and password of Prefect's API."""
        user, _, password = self.environments.home.prefect_auth().partition(":")
        return user, password

    @property
    def service_key(self) -> str:
        """The operator's key."""
        return self.environments.home.service_key()

    @property
    def database_url(self) -> str:
        """The hub's database, as the app's role."""
        return self.environments.database_url()

    @property
    def owner_url(self) -> str:
        """The hub's database, as the role that owns its schema."""
        return self.environments.database_url("nexus_owner")

    @property
    def admin_url(self) -> str:
        """The hub's database, as a superuser."""
        return self.environments.database_url("postgres")

    @property
    def prefect_database_url(self) -> str:
        """Prefect's database, in the form that psycopg takes."""
        return self.environments.database_url("prefect", "prefect")

    @property
    def redis_url(self) -> str:
        """Redis; database 0 holds messages, database 1 what services do next."""
        return self.environments.redis_url(0)

    def command(self, *words: str, python: str | Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run `nexus-hub` with these words as an operator does; what it printed.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        return subprocess.run(
            [str(python or sys.executable), "-m", "nexus_hub", *words],
            env=self.environments.operator() | dict(env or {}),
            cwd=self.directory,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def fail_over(self) -> None:
        """Kill PostgreSQL for good and let the standby take its place; whoever asks for the database finds it there.

        Raises:
            StartFailed: the fleet has no standby, or it has failed over before.
        """
        if "standby" not in self._parts or not self._parts["postgres"].is_running:
            raise StartFailed("standby", "a fleet can fail over once, and if it was made with standby=True")
        self._parts["postgres"].retire("the standby took its place, and its data is behind")
        self._run(self._services.standby().promote())

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._prepare()
            self._run(self._start())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all parts at once and remove the directory: of what a fleet does nothing is kept."""
        if self._loop.is_closed():
            return
        if self._environments is not None:
            self._report("Stopping")
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._network is not None:
            self._network.close()
        if self._environments is not None:
            if not self._keep:
                shutil.rmtree(self.directory, ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
            self._report(f"stopped; {'left' if self.directory.exists() else 'removed'} {self.directory}")

    def _prepare(self) -> None:
        """Make places, directories and secrets.

        Raises:
            StartFailed: a program is missing.
            NotAllowed: only root can isolate the parts.
            UnsafeHome: the directory is not empty.
        """
        if self._given is not None and not self._keep:
            require_empty(self._given)
        if "prefect-1" in self._names and find_spec("prefect_redis") is None:
            raise StartFailed("fleet", "prefect-redis is not installed: pip install 'nexus-hub[fleet]'")
        for needed in (*NEEDED, *(ISOLATING if self._isolated else ())):
            program(needed)
        places = self._make_places()
        for left in remove_left():
            self._report(f"removed {left}, of a fleet that was killed")
        directory = self._given
        if directory is None:
            directory, self._lock = make_directory(keep=self._keep)
        home = Home(directory, socket_port=places["postgres"].port)
        home.create()
        secrets = FleetSecrets(home)
        secrets.create()
        self._environments = Environments(secrets, places, self._extra)
        addresses = f"{LOOPBACK}/32" if self._network is None else self._network.addresses
        self._services = Services(self._environments, addresses)
        for name in self._names:
            log = home.logs / f"{name}.log"
            make = self._services.maker(name)
            self._parts[name] = Part(name, places[name], make, log, self._run, self._network, self._report)

    def _make_places(self) -> dict[str, Site]:
        if not self._isolated:
            return on_loopback([*self._names, PREFECT_FRONT])
        self._network = Network()
        return self._network.places(self._names, beside={PREFECT_FRONT: "proxy"})

    async def _start(self) -> None:
        """Start in the order of need: storage and proxy, databases, Prefect beside the hub's own, deployments."""
        await self._begin("postgres", "redis", "proxy")
        await self._services.postgres_server().create_databases()
        if "standby" in self._parts:
            await self._begin("standby")
            self._services.standby().make_synchronous()
        await asyncio.gather(self._upgrade_prefect(), self._operate("migrate"))
        # On a new database two servers of Prefect that start together register the same blocks, and one of them fails.
        await self._begin("prefect-1", "services", "api")
        await asyncio.gather(self._begin("prefect"), self._deploy())

    async def _deploy(self) -> None:
        if self._has_prefect:
            await self._operate("deploy")
        await self._begin("worker")

    @property
    def _has_prefect(self) -> bool:
        return "prefect-1" in self._parts

    async def _begin(self, *chosen: str) -> None:
        """Start those parts, by name or by kind, that do not run yet, all at once."""

        async def begin(part: Part) -> None:
            await part.begin(None, {})
            self._report(part.name)

        try:
            async with asyncio.TaskGroup() as group:
                for part in self.parts:
                    if not part.is_running and (part.name in chosen or part.kind in chosen):
                        group.create_task(begin(part))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _upgrade_prefect(self) -> None:
        if not self._has_prefect:
            return
        words = ("-m", "prefect", "server", "database", "upgrade", "-y")
        await self._once("prefect-database", words, self.environments.prefect("operator"))

    async def _operate(self, command: str) -> None:
        await self._once(command, ("-m", "nexus_hub", command), self.environments.operator())

    async def _once(self, name: str, words: tuple[str, ...], env: Mapping[str, str]) -> None:
        log = self.environments.home.logs / f"{name}.log"
        command = Command((sys.executable, *words), env, self.directory)
        if (code := await run_command(command, log)) != 0:
            raise StartFailed(name, f"it ended with exit code {code}", log, tail(log))
        self._report(name)

    async def _end(self) -> None:
        await asyncio.gather(*(part.end(ENDING.get(part.kind, SIGKILL), ENDING_SECONDS) for part in self.parts))

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except StartFailed as error:
            error.add_note(error.tail)  # the log goes with the directory
            raise
        finally:
            future.cancel()  # of a start that is interrupted

"""A standby of the fleet's PostgreSQL: a copy that follows it, and that takes its place when it is told to.

Writes wait for the standby, so that nothing which was said to be stored is lost with the first server.
"""

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deployments.fleet.places import Site
from nexus_hub.errors import StartFailed
from nexus_hub.home.files import tail, write_private
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import process as processes
from nexus_hub.stack.postgres import EmbeddedPostgres, embedded_postgres
from nexus_hub.stack.services import Service

APPLICATION = "standby"
SYNCHRONOUS = f"synchronous_standby_names = '{APPLICATION}'\n"


@dataclass(frozen=True, slots=True)
class Standby:
    """The standby of a server, with a home of its own beside the fleet's."""

    primary: EmbeddedPostgres
    primary_place: Site
    place: Site
    options: Mapping[str, str]
    """Settings that both servers have."""

    @property
    def home(self) -> Home:
        """The home of the standby."""
        return Home(self.primary.home.path / "standby", socket_port=self.place.port)

    def server(self) -> EmbeddedPostgres:
        """Give its server; the roles and their passwords are those of the first one."""
        self.home.create()
        write_private(self.home.passwords_file, self.primary.home.passwords_file.read_text(encoding="utf-8"))
        settings = Settings.model_construct(home=self.home.path, postgres_bin=self.primary.binaries)
        return embedded_postgres(settings, self.home, {**self.options, "listen_addresses": self.place.host})

    def service(self) -> Service:
        """Make its service; before the first start the first server is copied."""
        server = self.server()
        made = server.service()

        async def prepare() -> None:
            if not server.data.exists():
                await self._copy(server)
            await made.prepare()

        return replace(made, name="standby", prepare=prepare)

    def make_synchronous(self) -> None:
        """Let the first server's commits wait for this one from now on."""
        file = self.primary.data / "postgresql.conf"
        with file.open("a", encoding="utf-8") as configuration:
            configuration.write(SYNCHRONOUS)
        postmaster = (self.primary.data / "postmaster.pid").read_text(encoding="ascii").split()[0]
        os.kill(int(postmaster), signal.SIGHUP)

    async def promote(self) -> None:
        """Make it the server that is written to; who it stood by must be dead.

        Raises:
            StartFailed: it did not become one.
        """
        server = self.server()
        await self._run(server, "pg_ctl", "promote", "--wait", "-D", str(server.data))

    async def _copy(self, server: EmbeddedPostgres) -> None:
        draft = server.data.with_name("data.new")
        shutil.rmtree(draft, ignore_errors=True)
        password_file = server.data.with_name("copy.password")
        login = f"{self.primary_place.host}:{self.primary_place.port}:*:postgres:{server.home.password('postgres')}\n"
        write_private(password_file, login)
        server.own_directory(draft)
        server.give(password_file)
        source = (
            f"host={self.primary_place.host} port={self.primary_place.port} user=postgres "
            f"application_name={APPLICATION} passfile={password_file}"
        )
        await self._run(
            server, "pg_basebackup", "-D", str(draft), "--write-recovery-conf", "--checkpoint=fast", "-d", source
        )
        draft.rename(server.data)

    async def _run(self, server: EmbeddedPostgres, program: str, *arguments: str) -> None:
        command = server.command(program, *arguments, directory=Path("/"))
        if (code := await processes.run(self.place.inside(command), server.log)) != 0:
            raise StartFailed("standby", f"{program} ended with exit code {code}", server.log, tail(server.log))

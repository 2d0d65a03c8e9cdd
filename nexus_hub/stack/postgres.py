"""The embedded PostgreSQL: made, started and prepared without trust, TCP or a changed directory.

docs/decisions/0003-embedded-postgres.md says why each step is as it is.
"""

import os
import re
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import psutil
import psycopg
from psycopg.rows import DictRow, dict_row

from nexus_hub.db.queries import load
from nexus_hub.errors import StartFailed, UnsafeHome
from nexus_hub.home.files import tail, write_private
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import probes
from nexus_hub.stack import process as processes
from nexus_hub.stack.accounts import can_enter, require_reachable, server_account
from nexus_hub.stack.process import Account, Command
from nexus_hub.stack.programs import find_programs
from nexus_hub.stack.services import Service

LONGEST_SOCKET_DIRECTORY = 90
STATEMENTS = load("embedded")
ENVIRONMENT: Mapping[str, str] = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A PostgreSQL server of this home; `account` is the user that it runs as when the hub runs as root."""

    home: Home
    binaries: Path
    account: Account | None
    options: Mapping[str, str] = field(default_factory=dict)
    """Settings of the server beyond those of an embedded one."""

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home.postgres / "data"

    @property
    def log(self) -> Path:
        """The output of the server and of initdb."""
        return self.home.logs / "postgres.log"

    def service(self) -> Service:
        """The server as a service of the stack; a fast shutdown ends it."""
        return Service(
            name="postgres",
            command=self.command("postgres", "-D", str(self.data), *self._options(), directory=Path("/")),
            probe=probes.postgres(self.home.role_url("postgres", "postgres")),
            prepare=self.prepare,
            stop_signal=signal.SIGINT,
            grace=60,
        )

    async def prepare(self) -> None:
        """Before each start: no server left on the data, a data directory, a socket directory.

        Raises:
            StartFailed: initdb failed, or the data is of another version of PostgreSQL.
            UnsafeHome: the socket directory is not ours.
        """
        await self._end_leftovers()
        self.own_directory(self.home.socket_directory())
        if not self.data.exists():
            await self._initialize()
        await self._require_version()

    async def create_databases(self) -> None:
        """Make or mend roles, passwords and databases; harmless when all is there.

        Raises:
            StartFailed: the server refused something.
        """
        url = self.home.role_url("postgres", "postgres")
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row) as connection:
                for role in ("nexus_owner", "nexus_hub", "prefect"):
                    await self._create_role(connection, role)
                for database, owner in (("hub", "nexus_owner"), ("prefect", "prefect")):
                    values = {"database": database, "owner": owner}
                    await _run_written(connection, STATEMENTS["database_statement"], values)
                await connection.execute(STATEMENTS["close_databases"])
        except psycopg.Error as error:
            raise StartFailed("databases", str(error).strip(), self.log, tail(self.log)) from None

    async def _create_role(self, connection: psycopg.AsyncConnection[DictRow], role: str) -> None:
        password = self.home.password(role).encode()
        verifier = connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
        values = {"role": role, "createrole": role == "nexus_owner", "verifier": verifier}
        await _run_written(connection, STATEMENTS["role_statement"], values)

    async def _initialize(self) -> None:
        """Run initdb into a draft, so that a data directory exists whole or not at all."""
        draft, password_file = self.data.with_name("data.new"), self.data.with_name("initdb.password")
        shutil.rmtree(draft, ignore_errors=True)
        self.own_directory(draft)
        write_private(password_file, self.home.password("postgres"))
        self.give(password_file)
        try:
            locale: tuple[str, ...] = ("--locale=C",)
            if await self._major_version() >= 17:
                locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
            command = self.command(
                "initdb", "-D", str(draft), "--username=postgres", f"--pwfile={password_file}", "--encoding=UTF8",
                "--auth=scram-sha-256", "--data-checksums", "--no-instructions", *locale, directory=Path("/"),
            )  # fmt: skip
            if (code := await processes.run(command, self.log)) != 0:
                raise StartFailed("postgres", f"initdb ended with exit code {code}", self.log, tail(self.log))
        finally:
            password_file.unlink()
        draft.rename(self.data)

    async def _major_version(self) -> int:
        printed = await processes.output(self.command("postgres", "--version", directory=Path("/")))
        if not (found := re.search(r"\b(\d+)", printed)):
            raise StartFailed("postgres", f"{self.binaries / 'postgres'} does not run")
        return int(found[1])

    async def _require_version(self) -> None:
        has, needs = await self._major_version(), int((self.data / "PG_VERSION").read_text(encoding="ascii"))
        if has != needs:
            raise StartFailed(
                "postgres",
                f"the data in {self.data} was made by PostgreSQL {needs}, and this is {has}; "
                f"set NEXUS_POSTGRES_BIN to the programs of version {needs}, or dump and restore",
            )

    async def _end_leftovers(self) -> None:
        """End servers that still work on the data, then remove the file that would stop the next one.

        The home's lock is ours, so whatever works on the data was left by a supervisor that was killed. A process
        id in postmaster.pid proves nothing: it may be another program's by now. A server's working directory does.
        """
        if not self.data.exists():
            return
        left = [process for process in psutil.process_iter() if self._works_on_data(process)]
        postmasters = [process for process in left if _is_postmaster(process)]
        _send(postmasters, signal.SIGINT)
        left = await processes.gone(left, within=30 if postmasters else 0)
        for number in (signal.SIGQUIT, signal.SIGKILL):
            _send(left, number)
            left = await processes.gone(left, within=5)
        if left:
            raise StartFailed("postgres", f"process {left[0].pid} of an earlier server can't be ended")
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _works_on_data(self, process: psutil.Process) -> bool:
        try:
            return Path(process.cwd()) == self.data.resolve() and process.name().startswith("postgres")
        except psutil.Error:
            return False

    def _options(self) -> list[str]:
        options = {
            "listen_addresses": "",
            "port": str(self.home.socket_port),
            "unix_socket_directories": '"{}"'.format(str(self.home.socket_directory()).replace('"', '""')),
            "unix_socket_permissions": "0700",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "off",
            **self.options,
        }
        return [word for name, value in options.items() for word in ("-c", f"{name}={value}")]

    def command(self, program: str, *arguments: str, directory: Path) -> Command:
        """Make the command that runs one of PostgreSQL's programs as the server's user."""
        return Command(
            arguments=(str(self.binaries / program), *arguments),
            env=ENVIRONMENT,
            directory=directory,
            account=self.account,
            death_signal=signal.SIGINT,
        )

    def own_directory(self, path: Path) -> None:
        """A directory for the server alone, made if it is missing; one that somebody else has made is refused."""
        expected = self.account.uid if self.account else os.geteuid()
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            self.give(path)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != expected or status.st_mode & 0o077:
            raise UnsafeHome(
                f"{path} must be a directory of user {expected} with mode 0700 and is not; look who made it, remove it."
            )

    def give(self, path: Path) -> None:
        """Make a file or a directory of ours the server's."""
        if self.account:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)


def embedded_postgres(
    settings: Settings, home: Home, options: Mapping[str, str] = MappingProxyType({})
) -> EmbeddedPostgres:
    """The embedded PostgreSQL of a home that exists and whose lock is held.

    Raises:
        NotConfigured: the programs are missing, or there is no user to run them as.
        StartFailed: that user can't run the programs.
        UnsafeHome: that user can't enter the home.
    """
    account = server_account(home.postgres / "data")
    require_reachable(home.postgres, account)
    place_socket(home, account)
    return EmbeddedPostgres(home, find_programs(settings, account, home.postgres / "programs"), account, options)


def _is_postmaster(process: psutil.Process) -> bool:
    """Tell the server itself from the processes that it starts: these name their task instead of options."""
    try:
        return "-D" in process.cmdline()
    except psutil.Error:
        return False


def _send(receivers: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in receivers:
        with suppress(psutil.Error):
            process.send_signal(number)


def place_socket(home: Home, account: Account | None) -> None:
    """Choose the socket's directory and write it down when it can't be in the home.

    A socket's path has room for 107 bytes, and a comma in it would be read as two hosts by clients.
    """
    if _fits(home.postgres / "socket"):
        home.socket_record.unlink(missing_ok=True)
    elif not home.socket_record.exists():
        name = f"nexus-hub-{os.geteuid()}-{sha256(os.fsencode(home.path)).hexdigest()[:12]}"
        places = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108
        place = next(place / name for place in places if _fits(place / name) and _is_open(place, account))
        write_private(home.socket_record, str(place))


def _is_open(place: Path, account: Account | None) -> bool:
    return account is None or can_enter(place, account)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= LONGEST_SOCKET_DIRECTORY and "," not in str(path)


async def _run_written(
    connection: psycopg.AsyncConnection[DictRow], query: bytes, values: Mapping[str, object]
) -> None:
    cursor = await connection.execute(query, values)
    for row in await cursor.fetchall():
        await connection.execute(str(row["statement"]).encode())

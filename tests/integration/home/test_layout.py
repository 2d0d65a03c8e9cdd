"""The data directory: who may enter it, what lies in it, and who holds it."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from nexus_hub.errors import AlreadyRunning, NotConfigured, UnsafeHome
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack.secrets import ROLES, create_secrets

PASSAGE = 0o711 if os.geteuid() == 0 else 0o700
"""Root's home lets PostgreSQL's user through to its own directories."""
SECRETS = ("service.key", "prefect.auth", "keyring.json", "database.json")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def prepared(home: Home, settings: Settings) -> Home:
    home.create()
    with home.lock():
        create_secrets(home, settings)
    return home


def test_new_home_is_private_and_its_parents_are_ordinary(base: Path) -> None:
    before = os.umask(0o022)
    try:
        Home(base / "a" / "b" / "home").create()
    finally:
        os.umask(before)
    assert mode(base / "a") == mode(base / "a" / "b") == 0o755
    assert mode(base / "a" / "b" / "home") == PASSAGE


def test_existing_home_keeps_its_mode(base: Path) -> None:
    (base / "home").mkdir()
    (base / "home").chmod(0o750)
    Home(base / "home").create()
    assert mode(base / "home") == 0o750


@pytest.mark.parametrize("rights", [0o770, 0o707, 0o777])
def test_home_that_others_can_write_to_is_refused(base: Path, rights: int) -> None:
    (base / "home").mkdir()
    (base / "home").chmod(rights)
    with pytest.raises(UnsafeHome, match=f"Others can write to .*{rights:04o}"):
        Home(base / "home").create()
    assert not list((base / "home").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_home_of_another_user_is_refused(base: Path) -> None:
    (base / "home").mkdir(mode=0o700)
    os.chown(base / "home", 65534, 65534)
    with pytest.raises(UnsafeHome, match="belongs to user 65534"):
        Home(base / "home").create()


def test_file_in_place_of_the_home_is_refused(base: Path) -> None:
    (base / "home").write_text("")
    with pytest.raises(UnsafeHome, match="not a directory"):
        Home(base / "home").create()


def test_secrets_are_readable_by_their_owner_only(home: Home, settings: Settings) -> None:
    before = os.umask(0)
    try:
        prepared(home, settings)
    finally:
        os.umask(before)
    assert {name: mode(home.path / name) for name in SECRETS} == dict.fromkeys(SECRETS, 0o600)
    directories = {path.name: mode(path) for path in home.path.iterdir() if path.is_dir()}
    assert directories == dict.fromkeys(("logs", "prefect", "run"), 0o700) | {"postgres": PASSAGE}


def test_secrets_are_random_and_stay(home: Home, settings: Settings, base: Path) -> None:
    prepared(home, settings)
    first = {name: (home.path / name).read_bytes() for name in SECRETS}
    prepared(home, settings)
    other = prepared(Home(base / "other"), settings.model_copy(update={"home": base / "other"}))
    assert {name: (home.path / name).read_bytes() for name in SECRETS} == first
    assert all((other.path / name).read_bytes() != text for name, text in first.items())
    passwords = json.loads(first["database.json"])
    assert set(passwords) == set(ROLES)
    assert len(set(passwords.values())) == len(ROLES)


def test_secrets_of_the_environment_win_over_the_home(home: Home, settings: Settings) -> None:
    secret = SecretStr("x" * 64)
    given = settings.model_copy(
        update={"service_key": secret, "vault_encryption_key": secret, "prefect_api_auth_string": secret}
    )
    prepared(home, given)
    assert [name for name in SECRETS if (home.path / name).exists()] == ["database.json"]


@pytest.mark.parametrize("name", ["keyring.json", "database.json"])
def test_a_lost_secret_is_not_replaced_while_there_is_data(home: Home, settings: Settings, name: str) -> None:
    prepared(home, settings)
    (home.postgres / "data").mkdir()
    (home.path / name).unlink()
    with pytest.raises(UnsafeHome, match=name), home.lock():
        create_secrets(home, settings)
    assert not (home.path / name).exists()


def test_a_home_that_was_never_started_says_how_to_start_it(home: Home) -> None:
    with pytest.raises(NotConfigured, match="nexus-hub up"):
        home.database_url()


def test_urls_name_the_socket_whatever_the_path_is(settings: Settings, base: Path) -> None:
    home = prepared(Home(base / "a home & more?"), settings)
    parts = conninfo_to_dict(home.database_url())
    assert parts["host"] == str(home.postgres / "socket")
    assert (parts["user"], parts["dbname"], parts["port"]) == ("nexus_hub", "hub", "5432")
    assert conninfo_to_dict(home.migration_database_url())["user"] == "nexus_owner"
    assert home.prefect_database_url().startswith("postgresql+asyncpg://prefect:")


def test_a_held_home_names_its_holder_until_it_is_let_go(home: Home) -> None:
    home.create()
    assert home.running_pid() is None
    with home.lock():
        assert home.running_pid() == os.getpid()
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"), home.lock():
            pass
    assert home.running_pid() is None


def test_the_hold_ends_with_its_process(home: Home) -> None:
    home.create()
    code = (
        f"from nexus_hub.home.layout import Home; from pathlib import Path\nwith Home(Path({str(home.path)!r})).lock():"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}\n  print('held', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        assert home.running_pid() == process.pid
        process.kill()
    assert home.running_pid() is None

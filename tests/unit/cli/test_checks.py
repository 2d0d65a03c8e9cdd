"""What the doctor makes of packages, settings, homes and ports, without a hub."""

import importlib.metadata
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nexus_hub.cli import checks
from nexus_hub.cli.checks import Check, run_check
from nexus_hub.errors import CheckFailed, InvalidSetting
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack.state import PartState, StackState
from nexus_hub.vault import keyring
from tests.fixtures.upstreams import free_port

ASKED = ["prefect>=3.8.8,<3.9", "fastapi>=0.139,<0.151", "SQLAlchemy>=2.0.30,<2.1", "fastapi>=9; extra == 'dev'"]
FITTING = {"prefect": "3.8.8", "fastapi": "0.150.0", "sqlalchemy": "2.0.58"}
STOPPED = StackState(phase="stopped")


async def test_packages_that_fit_are_well() -> None:
    assert await checks.packages(ASKED, FITTING.__getitem__) == "prefect 3.8.8, fastapi 0.150.0, sqlalchemy 2.0.58"


async def test_the_packages_installed_here_are_well() -> None:
    assert await checks.packages()


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("sqlalchemy", "2.1.9", "sqlalchemy is 2.1.9, and the hub needs <2.1,>=2.0.30"),
        ("fastapi", "0.155.1", "fastapi is 0.155.1"),
        ("prefect", "3.9.1", "prefect is 3.9.1"),
    ],
)
async def test_a_package_of_another_version_is_wrong(name: str, version: str, says: str) -> None:
    check = await run_check("packages", checks.packages(ASKED, (FITTING | {name: version}).__getitem__), "Install it.")
    assert (check.ok, check.advice) == (False, "Install it.")
    assert says in check.detail


async def test_a_missing_package_is_wrong() -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    with pytest.raises(CheckFailed, match="prefect is missing"):
        await checks.packages(ASKED, version)


async def test_settings_that_do_not_go_together_are_wrong(tmp_path: Path) -> None:
    same = Settings(home=tmp_path, port=8080, prefect_port=8080)
    with pytest.raises(CheckFailed, match="both 8080"):
        await checks.settings_fit(same)
    half = Settings.model_validate({"home": tmp_path, "database_url": "postgresql://a:hidden@b/c"})
    with pytest.raises(CheckFailed, match="no database there"):
        await checks.settings_fit(half)


async def test_settings_that_cannot_be_read_are_wrong() -> None:
    check = await run_check(
        "settings", checks.settings_fit(InvalidSetting(["NEXUS_PORT: not a number"])), "Correct it."
    )
    assert (check.ok, check.detail) == (False, "The environment can't be used: NEXUS_PORT: not a number.")


async def test_a_home_that_is_missing_is_wrong_only_where_it_is_needed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(CheckFailed, match="does not exist yet"):
        await checks.home_is_ours(home, needed=True)
    assert "not needed" in await checks.home_is_ours(home, needed=False)
    assert not home.path.exists()


async def test_a_home_that_others_can_write_to_is_wrong(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    assert await checks.home_is_ours(home, needed=True) == f"{home.path}, mode {home.path.stat().st_mode & 0o777:04o}"
    home.path.chmod(0o770)
    check = await run_check("home", checks.home_is_ours(home, needed=True), "Change it.")
    assert not check.ok
    assert "Others can write to" in check.detail


async def test_a_secret_that_others_can_read_is_wrong_and_is_not_shown(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    home.service_key_file.write_text("the-operators-key-itself")
    home.service_key_file.chmod(0o640)
    check = await run_check("home", checks.home_is_ours(home, needed=True), "Change it.")
    assert not check.ok
    assert str(home.service_key_file) in check.detail
    assert f"chmod 600 {home.service_key_file}" in str(check.advice)
    assert "itself" not in str(check)


async def test_a_keyring_that_opens_what_it_seals_is_well_and_is_not_shown(tmp_path: Path) -> None:
    keyring.create(tmp_path / "keyring.json")
    seen = await checks.keyring_opens(Settings(home=tmp_path))
    primary = json.loads((tmp_path / "keyring.json").read_text())["primary"]
    assert "seals with key" in seen
    assert primary not in seen


@pytest.mark.parametrize("text", ["", "{}", '{"primary": "00"}', '{"primary": "%s"}' % ("0" * 64)])
async def test_a_keyring_that_cannot_be_used_is_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "keyring.json").write_text(text)
    assert not (await run_check("keyring", checks.keyring_opens(Settings(home=tmp_path)), "Put it back.")).ok


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        yield port


async def port_seen(port: int, state: StackState) -> Check:
    """What the doctor says of the port of the API."""
    return await run_check("port", checks.port_is_ours("127.0.0.1", port, "NEXUS_PORT", "api", state), "Move it.")


def up(port: int, pid: int) -> StackState:
    """A stack whose API runs."""
    return StackState(phase="ready", pid=1, parts=[PartState(name="api", pid=pid, port=port, healthy=True)])


async def test_a_port_that_another_program_has_is_wrong(taken: int) -> None:
    for state in (STOPPED, up(taken, os.getppid())):
        check = await port_seen(taken, state)
        assert not check.ok
        assert f"The port {taken} is taken" in check.detail
        assert "NEXUS_PORT" in check.detail


async def test_a_port_that_our_part_has_is_well(taken: int) -> None:
    check = await port_seen(taken, up(taken, os.getpid()))
    assert (check.ok, check.detail) == (True, f"port {taken} is ours (process {os.getpid()})")


async def test_a_port_where_nothing_listens_is_well_only_while_the_hub_is_stopped(taken: int) -> None:
    free = free_port()
    assert (await port_seen(free, STOPPED)).ok
    check = await port_seen(free, up(free, os.getpid()))
    assert (check.ok, check.detail) == (False, f"Nothing listens on port {free}, where the api should.")


async def test_a_port_that_is_not_the_running_hubs_is_wrong(taken: int) -> None:
    check = await port_seen(free_port(), up(taken, os.getpid()))
    assert not check.ok
    assert f"Set NEXUS_PORT to {taken}" in str(check.advice)

"""The fleet's plan: what ships is what runs, settings come by environment alone, and secrets stay out of sight."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deployments.fleet import Fleet
from deployments.fleet.__main__ import ENDINGS, main
from deployments.fleet.directory import make_directory, remove_left, require_empty
from deployments.fleet.environments import Environments, FleetSecrets
from deployments.fleet.part import Part
from deployments.fleet.places import Site, on_loopback
from deployments.fleet.proxy import CONFIG, write_config
from deployments.fleet.services import Services
from deployments.prefect_servers import FIXED, GIVEN
from nexus_hub.errors import NotAllowed, StartFailed
from nexus_hub.home.layout import Home
from tests.docs.test_tables import rows
from tests.fixtures import run
from tests.fixtures.upstreams import ROOT

Result = TypeVar("Result")
KINDS = ("api-", "prefect-")
PARTS = ("postgres", "standby", "redis", "proxy", "prefect-1", "prefect-2", "services-1", "api-1", "api-2", "worker-1")


@pytest.fixture
def environments() -> Environments:
    home = Home(run.new_directory("fleet"))
    home.create()
    secrets = FleetSecrets(home)
    secrets.create()
    return Environments(secrets, on_loopback([*PARTS, "proxy-prefect"]), {})


def test_the_proxy_runs_what_ships_with_the_places_of_the_fleet(tmp_path: Path) -> None:
    places = on_loopback([*PARTS, "proxy-prefect"])
    write_config(CONFIG, tmp_path / "haproxy.cfg", places)
    shipped, written = (path.read_text().splitlines() for path in (CONFIG, tmp_path / "haproxy.cfg"))
    apis, servers = ([f"    server {name} {places[name].address}" for name in PARTS if kind in name] for kind in KINDS)
    assert [line for line in written if line not in shipped] == [
        f"    bind {places['proxy'].address} tcp-ut 25s",
        *(apis * 3),
        f"    bind {places['proxy-prefect'].address} tcp-ut 25s",
        *servers,
    ]
    assert {line.split()[0] for line in shipped if line not in written} == {"bind", "server"}


@pytest.mark.skipif(
    shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None,
    reason="haproxy is missing; on Debian: apt-get install haproxy",
)
def test_the_shipped_configuration_is_valid() -> None:
    haproxy = str(shutil.which("haproxy", path="/usr/sbin:/usr/bin"))
    ended = subprocess.run([haproxy, "-c", "-f", CONFIG], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_no_request_is_sent_twice_by_the_proxy() -> None:
    retried = [line.split() for line in CONFIG.read_text().splitlines() if "retry-on" in line and "#" not in line]
    assert retried == [["retry-on", "conn-failure"]]


def test_no_secret_stands_on_a_command_line(environments: Environments) -> None:
    services = Services(environments, "127.0.0.1/32")
    passwords = [environments.home.password(role) for role in ("postgres", "nexus_owner", "nexus_hub", "prefect")]
    secrets = [
        *passwords,
        environments.home.service_key(),
        environments.home.prefect_auth(),
        environments.secrets.vault_key,
        environments.secrets.redis_password,
    ]
    for name in PARTS:
        line = " ".join(services.maker(name)(None, {}).command.launch_line())
        assert not [secret for secret in secrets if secret in line], name


def test_every_server_of_prefect_has_the_settings_of_several_servers(environments: Environments) -> None:
    api, services = (environments.prefect(name) for name in ("prefect-1", "services-1"))
    assert set(GIVEN) <= set(api)
    assert FIXED.items() <= api.items()
    differing = {name for name in api.keys() | services.keys() if api.get(name) != services.get(name)}
    assert differing == {"PREFECT_HOME", "PREFECT_SERVER_UI_STATIC_DIRECTORY"}


def test_the_page_lists_the_settings_of_several_servers() -> None:
    table = list(rows((ROOT / "docs" / "fleet.md").read_text(), "| variable | value | why |"))
    listed = {name.strip("`"): value.strip("`") for name, value, _ in table}
    assert set(listed) == {*FIXED, *GIVEN}
    assert FIXED.items() <= listed.items()


def test_both_servers_of_postgres_are_named_and_the_writable_one_is_asked_for(environments: Environments) -> None:
    hosts = [environments.places[name].address for name in ("postgres", "standby")]
    assert environments.database_url().endswith(f"@{','.join(hosts)}/hub?target_session_attrs=read-write")
    choice = f"?host={hosts[0]}&host={hosts[1]}&target_session_attrs=read-write"
    assert environments.prefect_database_url().endswith(f"@/prefect{choice}")


def test_a_part_of_a_fleet_without_networks_of_its_own_can_not_be_cut_off(environments: Environments) -> None:
    part = Part("api-1", Site("127.0.0.1", 1), Services(environments, "").maker("api-1"), Path(), run=_run, link=None)
    with pytest.raises(NotAllowed, match="isolated=True"):
        part.cut()


def test_a_program_in_a_namespace_keeps_its_user_and_ends_with_its_parent(environments: Environments) -> None:
    command = Services(environments, "127.0.0.1/32").maker("postgres")(None, {}).command
    inside = Site("10.217.1.10", 8080, "/proc/1/fd/9").inside(command)
    assert inside.account is None, "root enters the namespace"
    assert inside.arguments[:3] == ("nsenter", "--net=/proc/1/fd/9", "--")
    assert inside.arguments[3:] == command.launch_line()


def test_a_program_that_is_missing_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(StartFailed, match="haproxy is not installed; on Debian: apt-get install haproxy"), Fleet():
        pass


@pytest.mark.parametrize("name", ["letters", "letters/letter.txt"])
def test_a_directory_that_is_not_empty_is_refused_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    letter = tmp_path / "letters" / "letter.txt"
    letter.parent.mkdir()
    letter.write_text("dear")
    monkeypatch.setattr(sys, "argv", ["fleet", "--directory", str(tmp_path / name)])
    handlers = {number: signal.getsignal(number) for number in ENDINGS}
    try:
        with pytest.raises(SystemExit, match=rf"{tmp_path / name} .*; name a missing or empty one\.$"):
            main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (letter.read_text(), list(letter.parent.iterdir())) == ("dear", [letter])


def test_a_directory_that_is_missing_or_empty_can_be_a_fleets(tmp_path: Path) -> None:
    require_empty(tmp_path)
    require_empty(tmp_path / "missing")


def test_the_directory_of_a_killed_fleet_is_removed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (left, handle), (living, other), (kept, _) = (make_directory(keep=keep) for keep in (False, False, True))
    assert handle is not None
    assert other is not None
    letter = tmp_path / "nexus-fleet-letters" / "letter.txt"
    letter.parent.mkdir()
    letter.write_text("dear")
    assert list(remove_left()) == []
    os.close(handle)
    assert list(remove_left()) == [left]
    assert {*tmp_path.iterdir()} == {living, kept, letter.parent}
    assert letter.exists()
    os.close(other)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    raise AssertionError

"""`nexus-hub doctor`: well on a hub that is well, and each thing that is wrong is named with what to do about it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.fixtures import run
from tests.fixtures.hub import TIME_PROGRAM, Hub, copy_prepared_home
from tests.fixtures.upstreams import free_port

pytestmark = pytest.mark.stack
LOCAL = ["python", "packages", "settings", "home", "service-key", "keyring", "hub", "port-api", "port-prefect"]
DATABASE = ["database", "database-role", "migrations", "database-functions", "logins"]
PREFECT = ["prefect", "prefect-access", "work-pool", "deployments", "scheduler", "worker"]


def examined(hub: Hub) -> tuple[int, dict[str, dict[str, Any]]]:
    """The doctor's exit code and its checks by name."""
    ran = hub.run("doctor", "--json")
    assert "Traceback" not in ran.err, ran.err
    return ran.code, {check["name"]: check for check in ran.json()["checks"]}


def wrong(hub: Hub) -> dict[str, dict[str, Any]]:
    """The checks that found something; the exit code has to agree."""
    code, found = examined(hub)
    ill = {name: check for name, check in found.items() if not check["ok"]}
    assert code == (1 if ill else 0)
    assert all(check["advice"] for check in ill.values())
    return ill


@contextmanager
def told(hub: Hub, **variables: str) -> Iterator[None]:
    """Commands of the hub see other variables in the block."""
    before = dict(hub.extra)
    hub.extra |= variables
    yield
    hub.extra.clear()
    hub.extra |= before


def test_all_is_well_on_a_hub_that_is_well(hub: Hub) -> None:
    code, found = examined(hub)
    assert code == 0, found
    assert [name for name in found if not name.startswith("server:")] == [*LOCAL, "api", *DATABASE, *PREFECT]
    assert all(check["ok"] and check["advice"] is None for check in found.values())
    assert found["server:time"]["detail"] == "system, stdio, ready, 2 tools"
    assert "ours" in found["port-api"]["detail"]


def test_people_get_a_line_for_each_check(hub: Hub) -> None:
    ran = hub.run("doctor")
    assert ran.code == 0
    assert {line.split("\t")[0] for line in ran.out.splitlines()} == {"ok"}
    assert {line.split("\t")[1] for line in ran.out.splitlines()} >= {*LOCAL, *DATABASE, *PREFECT}


def test_nothing_secret_is_shown(hub: Hub) -> None:
    shown = hub.run("doctor", "--json").out + hub.run("doctor").out
    files = ("service.key", "prefect.auth", "keyring.json", "database.json")
    texts = [(hub.home / name).read_text() for name in files if (hub.home / name).exists()]
    secrets = {
        word for text in texts for word in text.replace(":", '"').replace("\n", '"').split('"') if len(word) > 15
    }
    assert len(secrets) >= 3
    assert not [secret for secret in secrets if secret in shown]


def test_a_home_that_was_never_started_is_told_so(tmp_path: Path) -> None:
    never = Hub(tmp_path / "home", free_port(), free_port())
    code, found = examined(never)
    assert code == 1
    assert list(found) == LOCAL
    assert [name for name, check in found.items() if not check["ok"]] == ["home", "service-key", "keyring", "hub"]
    assert "nexus-hub up" in found["hub"]["advice"]
    assert not never.home.exists(), "looking makes nothing"


def test_a_hub_elsewhere_is_asked_for_itself(hub: Hub, tmp_path: Path) -> None:
    far = Hub(tmp_path / "home", free_port(), free_port(), {"NEXUS_URL": hub.url, "NEXUS_TOKEN": hub.key})
    code, found = examined(far)
    assert (code, list(found)) == (0, ["python", "packages", "settings", "api"])
    status = far.run("status")
    assert (status.code, "nexus-hub doctor" in status.out) == (1, True)
    with told(far, NEXUS_TOKEN="nxh_guess"):
        assert list(wrong(far)) == ["api"]
    assert not far.home.exists()


def test_a_setting_that_holds_what_it_cannot_is_named(tmp_path: Path) -> None:
    ill = wrong(Hub(tmp_path / "home", 0, free_port()))
    assert list(ill) == ["settings"]
    assert "NEXUS_PORT" in ill["settings"]["detail"]


def test_a_wrong_password_of_prefect_is_named(hub: Hub) -> None:
    with told(hub, PREFECT_API_AUTH_STRING="admin:guess"):
        ill = wrong(hub)
    assert list(ill) == ["prefect"]
    assert "401" in ill["prefect"]["detail"]
    assert "guess" not in str(ill)


def test_a_wrong_token_is_named(hub: Hub) -> None:
    with told(hub, NEXUS_TOKEN="nxh_guess"):
        ill = wrong(hub)
    assert list(ill) == ["api"]
    assert "guess" not in str(ill)


def test_a_database_that_does_not_answer_is_named(hub: Hub) -> None:
    with told(hub, NEXUS_DATABASE_URL=f"postgresql://nobody:hidden@127.0.0.1:{free_port()}/none"):
        ill = wrong(hub)
    assert "database" in ill
    assert "hidden" not in str(ill)


def test_a_role_that_is_above_row_level_security_is_named(hub: Hub) -> None:
    owner = hub.extra.get("NEXUS_MIGRATION_DATABASE_URL") or owner_of(hub.home)
    with told(hub, NEXUS_DATABASE_URL=owner, PREFECT_SERVER_DATABASE_CONNECTION_URL=hub.prefect_database_url):
        ill = wrong(hub)
    assert list(ill) == ["database-role"]
    assert "owns" in ill["database-role"]["detail"]


def owner_of(home: Path) -> str:
    """The embedded database as the role that owns the schema."""
    from nexus_hub.home.layout import Home

    return Home(home).migration_database_url()


def test_a_missing_deployment_is_named_and_the_advice_helps(spare_hub: Hub) -> None:
    with spare_hub.prefect() as prefect:
        deployment = prefect.get("/deployments/name/fetch-resource/fetch-resource").json()
        prefect.delete(f"/deployments/{deployment['id']}").raise_for_status()
    ill = wrong(spare_hub)
    assert list(ill) == ["deployments"]
    assert "fetch-resource" in ill["deployments"]["detail"]
    assert spare_hub.run(*ill["deployments"]["advice"].removeprefix("Run nexus-hub ").rstrip(".").split()).code == 0
    assert not wrong(spare_hub)


def test_a_migration_that_is_missing_is_named(spare_hub: Hub) -> None:
    owner = spare_hub.extra.get("NEXUS_MIGRATION_DATABASE_URL") or owner_of(spare_hub.home)
    with psycopg.connect(owner, autocommit=True) as connection:
        row = connection.execute("DELETE FROM schema_migrations WHERE version = 6 RETURNING *").fetchone()
        try:
            ill = wrong(spare_hub)
        finally:
            connection.execute("INSERT INTO schema_migrations VALUES (%s, %s, %s, %s)", row)
    assert list(ill) == ["migrations"]
    assert "0006" in ill["migrations"]["detail"]
    assert not wrong(spare_hub)


def test_a_server_that_fails_is_named(spare_hub: Hub, tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {TIME_PROGRAM} "$@"\n')
    program.chmod(0o755)
    assert spare_hub.run("server", "add", "frail", "--command", str(program)).code == 0
    assert not wrong(spare_hub)
    program.unlink()
    assert spare_hub.run("sync", "frail").code == 1
    ill = wrong(spare_hub)
    assert list(ill) == ["server:frail"]
    assert "failing (upstream-unavailable)" in ill["server:frail"]["detail"]
    assert spare_hub.run("server", "remove", "frail").code == 0


def test_a_keyring_that_is_gone_is_named(spare_hub: Hub) -> None:
    keyring = spare_hub.home / "keyring.json"
    aside = keyring.rename(keyring.with_suffix(".aside"))
    try:
        ill = wrong(spare_hub)
    finally:
        aside.rename(keyring)
    assert list(ill) == ["keyring"]
    assert "backup" in ill["keyring"]["advice"]


def test_a_hub_that_is_stopped_is_told_so() -> None:
    stopped = Hub(run.new_directory("stopped") / "home", free_port(), free_port())
    copy_prepared_home(stopped.home)
    code, found = examined(stopped)
    assert code == 1
    assert [name for name, check in found.items() if not check["ok"]] == ["hub"]
    assert "not running" in found["hub"]["detail"]
    assert "free" in found["port-api"]["detail"]
    assert set(found) == set(LOCAL)

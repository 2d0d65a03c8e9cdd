"""The tables of the documentation list what the code has: settings, routes, problems, commands."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.main import get_command

from nexus_hub import errors
from nexus_hub.api.app import create_app
from nexus_hub.cli.main import app
from nexus_hub.settings import Settings
from nexus_hub.stack.prefect_server import POOL_SIZE, TUNING
from nexus_hub.telemetry.events import TelemetryEvent
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.upstreams import ROOT

API = (ROOT / "docs" / "api.md").read_text()
_ROUTE = re.compile(r"^### `([A-Z]+) (\S+)`$", re.MULTILINE)
_ONLY_ELSEWHERE = {"method-not-allowed", "too-many-connections"}
"""Codes of the API that are no error of the library's."""


def rows(text: str, heading: str) -> Iterator[list[str]]:
    """The rows of the table with this first line, each as its cells."""
    lines = iter(text.partition(f"{heading}\n")[2].splitlines()[1:])
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def variables() -> dict[str, str]:
    """Every environment variable of the settings, with its default as the page writes it."""
    found = {}
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"NEXUS_{name.upper()}")
        default = field.get_default()
        found[variable] = (
            str(default).lower() if isinstance(default, bool) else str("-" if default is None else default)
        )
    return found | {"NEXUS_HOME": "~/.local/share/nexus-hub"}


def commands(group: object, prefix: str = "") -> Iterator[str]:
    """Every command of the command line, such as `server add`; a group that is a command too comes with its own."""
    members: dict[str, object] = getattr(group, "commands", {})
    for name, member in members.items():
        yield from commands(member, f"{name} ")
        if not hasattr(member, "commands") or getattr(member, "invoke_without_command", False):
            yield prefix + name


@pytest.fixture
def routes(tmp_path: Path) -> set[tuple[str, str]]:
    """Method and path of every route, as the OpenAPI document lists them."""
    settings = Settings(
        home=tmp_path,
        service_key=SecretStr("a-service-key-of-the-tests"),
        vault_encryption_key=SecretStr(VaultKey.generate().reveal()),
    )
    paths: dict[str, dict[str, object]] = create_app(settings).openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_operations_lists_what_prefects_server_is_set_to() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    listed = {
        row[0].strip("`"): row[1].strip("`") for row in rows(page, "| setting | here | Prefect's default | why |")
    }
    assert listed == {"PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": str(POOL_SIZE)} | TUNING


def every_event(root: type[TelemetryEvent]) -> Iterator[type[TelemetryEvent]]:
    """All kinds of events."""
    for kind in root.__subclasses__():
        yield kind
        yield from every_event(kind)


def test_operations_lists_every_event_with_its_level() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = rows(page, "| event | level | what has happened | fields beside those of the job |")
    listed = {row[0].strip("`"): row[1] for row in table}
    assert listed == {kind.name: logging.getLevelName(kind.level).lower() for kind in every_event(TelemetryEvent)}


def test_operations_lists_every_environment_variable_with_its_default() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    listed = {
        name.strip("`"): default.strip("`") for name, default, _ in rows(page, "| variable | default | what it says |")
    }
    assert listed == variables()


def test_the_default_home_is_where_the_pages_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NEXUS_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    of_root = Path("/var/lib/nexus-hub")
    assert Settings().home == (of_root if os.geteuid() == 0 else Path("~/.local/share/nexus-hub").expanduser())
    assert f"`{of_root}`" in (ROOT / "docs" / "operations.md").read_text()


def test_the_api_page_describes_every_route_and_no_other(routes: set[tuple[str, str]]) -> None:
    assert set(_ROUTE.findall(API)) == routes


def test_the_api_page_lists_problems_as_the_error_tree_has_them() -> None:
    known = {
        (kind.code, str(kind.status))
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.HubError)
    }
    listed = {(code.strip("`"), status) for code, status, _ in rows(API, "| code | status | what it says |")}
    assert {one for one in listed if one[0] not in _ONLY_ELSEWHERE} <= known
    statuses = {code: int(status) for code, status in known}
    assert {code for code, _ in listed} >= {code for code, status in statuses.items() if status in range(401, 500)} - {
        "already-running",
        "port-taken",
        "rate-limited",
    }


def test_the_readme_lists_every_command_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text()
    cells = [
        re.findall(r"`([a-z]+(?: [a-z][a-z-]*)?)`", " ".join(row)) for row in rows(readme, "| command | what it does |")
    ]
    assert {name for names in cells for name in names} == set(commands(get_command(app)))

"""`server import` against a running API: what comes, what is left out, and a second time."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nexus_hub.cli.imports import _import_one, name_entries, read_entries
from nexus_hub.cli.main import app
from nexus_hub.cli.output import Output
from tests.fixtures.served import Served
from tests.fixtures.upstreams import own_server

SECRET = "s3cret-in-a-header"


def write(folder: Path, servers: dict[str, Any]) -> Path:
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    habits = own_server("habits")
    return write(
        tmp_path,
        {
            "Dev Box MCP": {"command": habits.command, "args": [*habits.args], "env": {"KEY": SECRET}},
            "old": {"type": "sse", "url": "https://old.example/sse"},
            "off": {"command": "x", "disabled": "true"},
        },
    )


async def imported(served: Served, file: Path, **extra: Any) -> list[dict[str, Any]]:
    entries = read_entries(file)
    names = name_entries([entry.name for entry in entries], None)
    async with served.client() as client:
        output = Output(as_json=False)
        return [await _import_one(client, output, *pair, extra) for pair in zip(entries, names, strict=True)]


async def rows(served: Served) -> list[dict[str, Any]]:
    async with served.client() as client:
        return await client.items("/v1/servers")


async def test_a_second_import_changes_nothing(served: Served, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = await imported(served, file)
    assert [one["outcome"] for one in first] == ["registered", "left-out", "disabled"]
    before = await rows(served)
    assert [row["name"] for row in before] == ["Dev-Box-MCP"]
    told = capsys.readouterr()
    assert "'Dev Box MCP' gets the name Dev-Box-MCP" in told.out
    assert "'sse' is not supported" in told.err
    second = await imported(served, file)
    assert [one["outcome"] for one in second] == ["unchanged", "left-out", "disabled"]
    assert await rows(served) == before


async def test_another_configuration_under_the_name_is_refused_and_stays(served: Served, file: Path) -> None:
    await imported(served, file)
    before = await rows(served)
    file.write_text(file.read_text().replace(SECRET, "another"))
    refused = (await imported(served, file))[0]
    assert (refused["outcome"], refused["code"]) == ("left-out", "name-taken")
    assert await rows(served) == before


async def test_a_dry_run_shows_what_would_come_and_stores_nothing(
    served: Served, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = await imported(served, file, dry_run=True)
    assert [one["outcome"] for one in planned] == ["would-register", "left-out", "disabled"]
    assert await rows(served) == []
    told = capsys.readouterr()
    assert "Dev-Box-MCP would be registered: " in told.out
    assert "KEY=***" in told.out
    assert SECRET not in told.out + told.err + json.dumps(planned)
    await imported(served, file)
    assert (await imported(served, file, dry_run=True))[0]["outcome"] == "unchanged"


async def test_a_user_learns_nothing_of_a_server_of_the_system(served: Served, file: Path) -> None:
    await imported(
        served,
        write(file.parent, {"srv": {"command": own_server("habits").command, "args": own_server("habits").args}}),
    )
    _, token = await served.user("ann")
    async with served.client(token) as client:
        for body in ({"command": "x"}, {"url": "http://8.8.8.8/mcp"}):
            with pytest.raises(Exception) as caught:
                await client.request("POST", "/v1/servers", {"name": "srv", "dry_run": True, **body})
            assert getattr(caught.value, "code", "") in {"name-taken", "invalid-config"}


@pytest.mark.parametrize("value", [0, 1, "true", "false", None])
async def test_a_dry_run_is_asked_for_by_true_and_nothing_else(served: Served, value: Any) -> None:
    async with served.client() as client:
        with pytest.raises(Exception, match="dry_run"):
            await client.request("POST", "/v1/servers", {"name": "x", "command": "x", "dry_run": value})


def test_a_dry_run_needs_no_hub(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_URL", "http://127.0.0.1:9")
    done = CliRunner().invoke(app, ["server", "import", str(file), "--dry-run", "--rename", "Dev Box MCP=box"])
    assert done.exit_code == 1
    assert "box would be registered" in done.output
    assert "1 would be registered, 1 disabled in the file, 1 left out." in done.output
    assert SECRET not in done.output


@pytest.mark.parametrize(
    ("rename", "says"), [("nothing", "OLD=NEW"), ("unknown=x", "no entry 'unknown'"), ("off=a__b", "a__b")]
)
def test_a_rename_that_can_not_be_done_ends_the_import(
    file: Path, rename: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_URL", "http://127.0.0.1:9")
    done = CliRunner().invoke(app, ["server", "import", str(file), "--rename", rename])
    assert done.exit_code == 2
    assert says in done.output

"""`nexus-hub bundle` on a running API."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nexus_hub.cli.main import app
from tests.fixtures.bundles import add_catalog, tool
from tests.fixtures.served import SERVICE_KEY, Served


async def test_bundles_are_made_shown_set_and_removed_by_commands(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEXUS_URL", served.url)
    monkeypatch.setenv("NEXUS_TOKEN", SERVICE_KEY)
    await add_catalog(served.database, "weather", tool("get_forecast", "city", "units"), tool("now"))

    async def run(*words: str) -> Any:
        """What a command writes as JSON."""
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    options = ("--as", "forecast", "--fix", "units=metric", "--hide", "debug")
    await run("bundle", "add-tool", "travel", "weather__get_forecast", *options)
    made = await run("bundle", "add-tool", "travel", "weather")
    assert [(one["source"], one["name"], one["fixed"], one["hidden"]) for one in made["entries"]] == [
        ("get_forecast", "forecast", {"units": "metric"}, ["debug"]),
        ("*", None, {}, []),
    ]
    assert await run("bundle", "show", "travel") == made
    listed = (await run("tools", "--bundle", "travel"))["items"]
    assert [one["name"] for one in listed] == ["travel__forecast", "travel__weather__now"]
    file = tmp_path / "trips.json"
    file.write_text(json.dumps(made | {"name": "trips"}))
    copied = await run("bundle", "set", str(file))
    assert [one["source"] for one in copied["entries"]] == ["get_forecast", "*"]
    file.write_text(json.dumps({"name": "trips"}))
    assert (await run("bundle", "set", str(file)))["entries"] == []
    assert await run("bundle", "remove", "trips") == {"removed": "trips"}
    assert [one["name"] for one in (await run("bundle", "list"))["items"]] == ["travel"]

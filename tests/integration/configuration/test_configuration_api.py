"""`plan`, `apply` and `export` of the command line, against a running API."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nexus_hub.cli.main import app
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

TOKEN = "canary-0123456789-canary"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    habits = own_server("habits")
    file = tmp_path / "hub.yaml"
    words = json.dumps([*habits.args])
    file.write_text(
        f"settings: {{access: closed}}\n"
        f"servers:\n"
        f"  habits:\n"
        f"    command: {habits.command}\n"
        f"    args: {words}\n"
        f"    env:\n"
        f"      API_KEY: ${{KEY}}\n"
        f"  far:\n"
        f"    url: https://far.example/mcp/0123456789abcdef0123/x\n"
        f"    headers:\n"
        f"      Authorization: Bearer ${{KEY}}\n"
        f"    enabled: false\n"
        f"bundles:\n"
        f"  some:\n"
        f"    instructions: |-\n"
        f"      Two lines,\n"
        f"      with ${{no}} reference.\n"
        f"    entries:\n"
        f"    - {{server: habits, source: echo, fixed: {{text: 'a $${{b}}', key: '${{KEY}}'}}}}\n"
        f"groups:\n"
        f"  staff:\n"
        f"    claims: ['yes']\n"
        f"    grants:\n"
        f"    - {{server: habits, level: call}}\n"
    )
    return file


async def _run(served: Served, *words: str, **environment: str) -> Result:
    env = {"NEXUS_URL": served.url, "NEXUS_TOKEN": SERVICE_KEY, "KEY": TOKEN} | environment
    return await asyncio.to_thread(CliRunner().invoke, app, [*words], env=env)


async def _show(served: Served) -> dict[str, Any]:
    async with served.client() as client:
        return await client.request("GET", "/v1/configuration")


async def test_a_file_is_planned_applied_and_exported(served: Served, file: Path, tmp_path: Path) -> None:
    planned = await _run(served, "plan", str(file))
    assert planned.exit_code == 0, planned.output
    assert "+ server habits" in planned.output
    assert "+ url: https://far.example/mcp/***/x" in planned.output
    assert "4 to be added, 1 to be changed." in planned.output
    applied = await _run(served, "apply", str(file))
    assert applied.exit_code == 0, applied.output
    again = await _run(served, "plan", str(file), "--check")
    assert (again.exit_code, again.output) == (0, "The hub is as the file says: nothing changes.\n")
    written = tmp_path / "written.yaml"
    exported = await _run(served, "export", str(written))
    assert exported.exit_code == 0, exported.output
    assert TOKEN not in planned.output + applied.output + exported.output + written.read_text()
    variables = {
        "HABITS_API_KEY": TOKEN,
        "FAR_AUTHORIZATION": TOKEN,
        "FAR_URL_KEY": "0123456789abcdef0123",
        "SOME_0_KEY": TOKEN,
    }
    assert all(name in exported.output for name in variables)
    assert "Authorization: Bearer ${FAR_AUTHORIZATION}" in written.read_text()
    same = await _run(served, "plan", str(written), "--check", "--prune", **variables)
    assert (same.exit_code, same.output) == (0, "The hub is as the file says: nothing changes.\n")
    assert (await _run(served, "export", str(written))).exit_code == 2


async def test_the_catalog_of_a_new_server_is_read_after_it_was_stored(served: Served, file: Path) -> None:
    assert (await _run(served, "apply", str(file))).exit_code == 0
    async with served.client() as client, asyncio.timeout(60):
        while not (await client.request("GET", "/v1/servers/habits"))["tools"]:
            await asyncio.sleep(0.1)
        assert (await client.request("GET", "/v1/servers/far"))["status"] != "failing"


async def test_faults_that_the_hub_finds_are_told_with_their_lines(served: Served, file: Path) -> None:
    file.write_text(file.read_text().replace("{server: habits, level", "{server: habit, level"))
    for command in ("plan", "apply"):
        refused = await _run(served, command, str(file))
        assert refused.exit_code == 2
        assert f"{file}:24:16: groups.staff.grants[0].server: there is no system server 'habit'" in refused.output
    assert (await _show(served))["configuration"]["servers"] == {}


async def test_faults_of_the_file_are_told_before_the_hub_is_asked(served: Served, file: Path) -> None:
    file.write_text(file.read_text().replace("enabled: false", "enabled: maybe").replace("${KEY}\n  far", "x\n  far"))
    refused = await _run(served, "plan", str(file), NEXUS_URL="http://127.0.0.1:9")
    assert refused.exit_code == 2
    assert [line.split(" ")[0] for line in refused.output.splitlines()[:2]] == [f"{file}:7:16:", f"{file}:12:14:"]


async def test_drift_is_told_and_undone(served: Served, file: Path) -> None:
    assert (await _run(served, "apply", str(file))).exit_code == 0
    async with served.client() as client:
        server = await client.request("GET", "/v1/servers/far")
        await client.request("PATCH", f"/v1/servers/system/{server['id']}", {"limit_per_minute": 7})
    told = await _run(served, "plan", str(file), "--check")
    assert told.exit_code == 1
    assert "Changed by hand since" in told.output
    assert told.output.count("limit_per_minute: 7") == 2
    assert [one["name"] for one in (await _show(served))["drift"]] == ["far"]
    assert (await _run(served, "apply", str(file))).exit_code == 0
    assert (await _show(served))["drift"] == []


async def test_only_operators_plan_apply_and_export(served: Served, file: Path) -> None:
    async with served.client() as client:
        await client.request("POST", "/v1/users", {"name": "anna"})
        token = (await client.request("POST", "/v1/users/anna/tokens", {}))["token"]
    for command in (["plan", str(file)], ["apply", str(file)], ["export"]):
        refused = await _run(served, *command, NEXUS_TOKEN=token)
        assert refused.exit_code == 1
        assert "Only an operator may do this" in refused.output


async def test_the_audit_has_counts_and_nothing_else_of_an_apply(served: Served, file: Path) -> None:
    assert (await _run(served, "apply", str(file))).exit_code == 0
    async with served.client() as client:
        entries = await client.items("/v1/audit", action="configuration.apply")
    assert [entry["target"] for entry in entries] == [
        "1 bundles added, 1 groups added, 2 servers added, 1 settings changed"
    ]
    assert TOKEN not in json.dumps(entries)

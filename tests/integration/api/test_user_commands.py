"""`nexus-hub user` on a running API."""

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from nexus_hub.cli.main import app
from tests.fixtures.served import SERVICE_KEY, Served


async def test_tokens_are_made_listed_and_revoked_by_commands(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_URL", served.url)

    async def run(*words: str, token: str = SERVICE_KEY) -> Any:
        """What a command writes as JSON."""
        monkeypatch.setenv("NEXUS_TOKEN", token)
        done = await asyncio.to_thread(CliRunner().invoke, app, ["user", *words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    await run("add", "ann")
    wished = ("--name", "laptop", "--expires", "30d", "--scope", "admin", "--scope", "jobs")
    made = await run("token", "ann", *wished)
    assert (made["name"], made["scopes"]) == ("laptop", ["admin", "jobs"])
    await run("token", "me", token=made["token"])
    listed = (await run("tokens", "me", token=made["token"]))["items"]
    assert [one["name"] for one in listed] == [None, "laptop"]
    assert (await run("revoke", "ann", listed[0]["id"]))["revoked_at"]
    assert await run("revoke", "ann") == {"revoked": 1}

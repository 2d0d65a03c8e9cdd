"""Tools found through the API and by the command line, with the filters of both."""

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from nexus_hub.cli.main import app
from nexus_hub.errors import ApiProblem
from tests.fixtures.bundles import entry
from tests.fixtures.finding import grant, put
from tests.fixtures.served import SERVICE_KEY, Served

MAIL = {"name": "send_mail", "description": "Send a letter"}
READ = {"name": "read_mail", "description": "Read a letter", "annotations": {"readOnlyHint": True}}


def names(page: dict[str, Any]) -> list[str]:
    return sorted(item["name"] for item in page["items"])


async def test_tools_are_narrowed_down_by_server_tag_bundle_and_what_they_change(served: Served) -> None:
    await put(served.database, "post", MAIL, READ, tags=("office",))
    await put(served.database, "inbox", READ)
    await served.until_indexed()
    async with served.client() as api:
        await api.request("POST", "/v1/bundles", {"name": "desk", "entries": [entry("post", "*")]})
        for query in (None, "letter"):
            for filters, expected in (
                ({"tag": "office"}, ["post__read_mail", "post__send_mail"]),
                ({"tag": "office", "read_only": True}, ["post__read_mail"]),
                ({"server": "inbox"}, ["inbox__read_mail"]),
                ({"bundle": "desk", "read_only": True}, ["desk__post__read_mail"]),
            ):
                assert names(await api.request("GET", "/v1/tools", None, query=query, **filters)) == expected
        for filters in ({"server": "post"}, {"tag": "office"}):
            with pytest.raises(ApiProblem, match="give bundle without these"):
                await api.request("GET", "/v1/tools", None, bundle="desk", **filters)


async def test_commands_find_tools_by_the_same_filters(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_URL", served.url)
    monkeypatch.setenv("NEXUS_TOKEN", SERVICE_KEY)
    await put(served.database, "post", MAIL, READ, tags=("office",))
    await put(served.database, "inbox", READ)
    await served.until_indexed()

    async def run(*words: str) -> list[str]:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["tools", *words, "--json"])
        assert done.exit_code == 0, done.output
        return names(json.loads(done.stdout))

    assert await run("letter", "--tag", "office") == ["post__read_mail", "post__send_mail"]
    assert await run("--tag", "office", "--read-only") == ["post__read_mail"]
    assert await run("letter", "--read-only") == ["inbox__read_mail", "post__read_mail"]


async def test_a_grant_and_its_end_count_from_the_next_search_on(served: Served) -> None:
    ann, token = await served.user("ann")
    ref = await put(served.database, "post", MAIL, access="closed")
    await served.until_indexed()
    async with served.client(token) as api:
        assert names(await api.request("GET", "/v1/tools", None, query="letter")) == []
        await grant(served.database, ann, ref, "send_mail")
        await served.until_indexed()
        assert names(await api.request("GET", "/v1/tools", None, query="letter")) == ["post__send_mail"]
        async with served.database.transaction() as transaction:
            await transaction.run(b"DELETE FROM access_grants")
        assert names(await api.request("GET", "/v1/tools", None, query="letter")) == []

"""Servers that say something badly while they are opened and read: it costs what was said badly, and nothing else."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from nexus_hub.errors import HubError, InvalidConfig, TooLarge, UpstreamRejected
from nexus_hub.upstream.config import HttpConfig, StdioConfig, check_sendable
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.snapshot import ReadLimits, Snapshot
from tests.fixtures.upstreams import Serve, own_server, target

ECHO = {"name": "echo", "inputSchema": {"type": "object"}}
CANARY = "canary-7b1e55"
Clumsy = Callable[..., StdioConfig]


@pytest.fixture
def clumsy(tmp_path: Path) -> Clumsy:
    """A server that gives these answers to these methods."""

    def make(habit: str = "", **answers: Any) -> StdioConfig:
        script = tmp_path / "answers.json"
        script.write_text(json.dumps({method.replace("_", "/"): each for method, each in answers.items()}))
        return own_server("clumsy", habit, str(script))

    return make


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "answers.log").read_text().split()


def reasons(seen: Snapshot) -> dict[str, str]:
    return {one["place"]: one["reason"] for one in seen.omitted}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"inputSchema": {"type": "object"}}, "name is missing"),
        ({**ECHO, "name": 7}, "name must be a string"),
        ({**ECHO, "name": None}, "name must be a string"),
        ({"name": "bad"}, "inputSchema is missing"),
        ({"name": "bad", "inputSchema": None}, "inputSchema must be an object"),
        ({"name": "bad", "inputSchema": "object"}, "inputSchema must be an object"),
        ({"name": "bad", "inputSchema": {"type": "string"}}, "inputSchema.type must be 'object'"),
        ({"name": "bad", "inputSchema": {"anyOf": [{"type": "object"}]}}, "inputSchema.type is missing"),
        ({"name": "bad", "inputSchema": {"$schema": "http://json-schema.org/"}}, "inputSchema.type is missing"),
        ({**ECHO, "name": "bad", "outputSchema": {"type": "array"}}, "outputSchema.type must be 'object'"),
        (
            {**ECHO, "name": "bad", "inputSchema": {"type": "object", "properties": {CANARY: 5}}},
            "inputSchema.properties.* ",
        ),
        ({**ECHO, "description": "another of that name"}, "its name is that of an earlier one"),
        ({**ECHO, "name": "x" * 2001}, "its name has 2001 bytes"),
        ({**ECHO, "name": "\u001a" * 500}, "its name has 2500 bytes"),
        ({**ECHO, "name": "bad", "description": "x" * 5000}, "at most 4000 are kept"),
        ("a tool", "must be an object"),
        (None, "must be an object"),
    ],
)
async def test_a_malformed_tool_is_left_out_and_named_and_the_others_stay(
    clumsy: Clumsy, bad: Any, reason: str
) -> None:
    config = clumsy(tools_list=[{"tools": [ECHO, bad, {**ECHO, "name": "last"}]}])
    async with Connections(log_dir=None, read_limits=ReadLimits(definition_bytes=4000)) as connections:
        seen = await connections.inspect(target(config))
    assert [tool["name"] for tool in seen.tools] == ["echo", "last"]
    assert list(reasons(seen)) == ["tools[1]"]
    assert reason in reasons(seen)["tools[1]"]
    assert CANARY not in str(seen.omitted)
    assert not seen.unread


@pytest.mark.parametrize("one", [[], {}, 1, [1]])
async def test_a_tool_of_too_many_values_is_left_out_however_few_bytes_they_are(clumsy: Clumsy, one: Any) -> None:
    crowded = {**ECHO, "name": "bad", "inputSchema": {"type": "object", "x": [one] * 60_000}}
    wordy = {**ECHO, "name": "wordy", "description": '[{"a", ' * 20_000}
    async with Connections(log_dir=None) as connections:
        seen = await connections.inspect(target(clumsy(tools_list=[{"tools": [crowded, wordy, ECHO]}])))
    assert [tool["name"] for tool in seen.tools] == ["wordy", "echo"]
    assert reasons(seen) == {"tools[0]": "it has more than 50000 values"}


async def test_malformed_resources_templates_and_prompts_are_left_out(connections: Connections, clumsy: Clumsy) -> None:
    config = clumsy(
        resources_list=[{"resources": [{"uri": "a:b", "name": "good"}, {"uri": "c:d"}, {"uri": 5, "name": "n"}]}],
        resources_templates_list=[{"resourceTemplates": [{"uriTemplate": "a:{b}", "name": "good"}, {"name": "n"}]}],
        prompts_list=[{"prompts": [{"name": "good"}, {"name": "bad", "arguments": [{"description": "nameless"}]}]}],
    )
    seen = await connections.inspect(target(config))
    assert [len(seen.tools), len(seen.resources), len(seen.resource_templates), len(seen.prompts)] == [1, 1, 1, 1]
    assert reasons(seen) == {
        "resources[1]": "name is missing",
        "resources[2]": "uri must be a string",
        "resourceTemplates[1]": "uriTemplate is missing",
        "prompts[1]": "arguments[0].name is missing",
    }


async def test_names_of_what_was_left_out_are_cut_and_lose_control_characters_and_their_number_is_bounded(
    connections: Connections, clumsy: Clumsy
) -> None:
    bad = [{"name": f"\x1b[31m\u202e{'n' * 200}{number}"} for number in range(500)]
    seen = await connections.inspect(target(clumsy(tools_list=[{"tools": bad}])))
    assert len(seen.omitted) == 21
    assert seen.omitted[0]["name"] == f"\ufffd[31m\ufffd{'n' * 74}"
    assert seen.omitted[-1] == {"place": "", "name": None, "reason": "and 480 more"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": {"code": -32603, "message": CANARY}}, "it could not be read (JSON-RPC -32603)"),
        ({"prompts": {"name": "p"}}, "prompts must be a list"),
        ({"prompts": None}, "prompts is missing"),
        ({}, "prompts is missing"),
        ("silent", "no answer in time"),
    ],
)
async def test_a_listing_that_fails_is_left_out_and_the_others_stay(
    connections: Connections, clumsy: Clumsy, answer: Any, reason: str
) -> None:
    seen = await connections.inspect(target(clumsy(prompts_list=[answer])), timeout=2)
    assert [tool["name"] for tool in seen.tools] == ["echo"]
    assert reason in reasons(seen)["prompts"]
    assert seen.unread == {"prompts"}
    assert CANARY not in str(seen.omitted)


async def test_what_came_before_a_page_that_fails_is_kept(connections: Connections, clumsy: Clumsy) -> None:
    pages = [{"tools": [ECHO], "nextCursor": "2"}, {"error": {"code": -32000, "message": "broken"}}]
    seen = await connections.inspect(target(clumsy(tools_list=pages)))
    assert seen.tools == [ECHO]
    assert seen.unread == {"tools"}


async def test_a_server_of_which_no_listing_can_be_read_fails(connections: Connections, clumsy: Clumsy) -> None:
    broken = [{"error": {"code": -32603, "message": "broken"}}]
    listings = ("tools_list", "resources_list", "resources_templates_list", "prompts_list")
    with pytest.raises(UpstreamRejected, match="-32603"):
        await connections.inspect(target(clumsy(**dict.fromkeys(listings, broken))))


@pytest.mark.parametrize(
    ("cursors", "names", "reason"),
    [
        ([""], ["t0"], "empty"),
        (["8", "8"], ["t0", "t1"], "circle"),
        (["1", "2", "1"], ["t0", "t1", "t2"], "circle"),
        ([8], ["t0"], "must be a string"),
        (["1", ""], ["t0", "t1"], "empty"),
    ],
)
async def test_an_odd_cursor_ends_the_listing_and_what_was_read_is_kept(
    connections: Connections, clumsy: Clumsy, cursors: list[Any], names: list[str], reason: str
) -> None:
    pages = [{"tools": [{**ECHO, "name": f"t{n}"}], "nextCursor": cursor} for n, cursor in enumerate(cursors)]
    seen = await connections.inspect(target(clumsy(tools_list=pages)))
    assert [tool["name"] for tool in seen.tools] == names
    assert reason in reasons(seen)["tools"]


async def test_a_page_that_comes_again_is_read_once(connections: Connections, clumsy: Clumsy) -> None:
    seen = await connections.inspect(target(clumsy(tools_list=[{"tools": [ECHO], "nextCursor": "8"}])))
    assert seen.tools == [ECHO]
    assert list(reasons(seen)) == ["tools"], "what comes again is no fault of its own"


@pytest.mark.parametrize(
    "answers",
    [
        {"tools_list": [{"tools": [{**ECHO, "name": f"t{n}"} for n in range(5001)]}]},
        {"tools_list": [{"tools": [{**ECHO, "name": f"t{n}", "description": "x" * 900} for n in range(12)]}]},
        {
            "tools_list": [
                {"tools": [{**ECHO, "name": f"t{n}", "description": "x" * 4000}], "nextCursor": str(n)}
                for n in range(9)
            ]
        },
    ],
)
async def test_more_than_the_bounds_is_refused_and_the_bound_named(clumsy: Clumsy, answers: Any) -> None:
    limits = ReadLimits(listing_bytes=400_000 if len(answers["tools_list"][0]["tools"]) > 5000 else 10_000)
    async with Connections(log_dir=None, read_limits=limits) as connections:
        with pytest.raises(TooLarge, match=r"5000 tools|NEXUS_MAX_LISTING_BYTES"):
            await connections.inspect(target(clumsy(**answers)))


async def test_instructions_that_are_too_long_are_left_out(connections: Connections, clumsy: Clumsy) -> None:
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "n" * 70_000, "version": "1"},
        "instructions": "i" * 70_000,
    }
    seen = await connections.inspect(target(clumsy(initialize=[hello])))
    assert (seen.instructions, seen.server_info, seen.tools) == (None, None, [ECHO])
    assert set(reasons(seen)) == {"instructions", "serverInfo"}


@pytest.mark.parametrize("habit", ["exit-on-discover", "silent-on-discover"])
async def test_a_command_that_does_not_answer_discover_is_opened_and_its_era_remembered(
    clumsy: Clumsy, tmp_path: Path, habit: str
) -> None:
    upstream = target(clumsy(habit))
    async with Connections(log_dir=None, idle_seconds=0.2) as connections:
        await connections.inspect(upstream)
        await asyncio.sleep(0.5)
        await connections.inspect(upstream)
    assert asked(tmp_path).count("server/discover") == 1
    assert asked(tmp_path).count("initialize") >= 2


async def test_the_era_that_the_catalog_remembers_saves_the_question(clumsy: Clumsy, tmp_path: Path) -> None:
    upstream = target(clumsy("exit-on-discover"))
    known = type(upstream)(upstream.ref, upstream.name, upstream.config, 1, False, "2025-11-25")
    async with Connections(log_dir=None) as connections:
        await connections.inspect(known)
    assert "server/discover" not in asked(tmp_path)


async def test_a_remembered_era_that_is_wrong_is_found_out(tmp_path: Path) -> None:
    upstream = target(own_server("handmade", "--brief"))
    known = type(upstream)(upstream.ref, upstream.name, own_server("habits"), 1, False, "2025-11-25")
    async with Connections(log_dir=tmp_path) as connections:
        assert (await connections.inspect(known)).tools


def test_connect_times_are_longer_for_commands_and_a_servers_own_comes_first() -> None:
    connections = Connections(log_dir=None)
    configs = (HttpConfig(url="http://a"), StdioConfig(command="c"), StdioConfig(command="c", connect_seconds=200))
    assert [connections._connect_timeout(config) for config in configs] == [15, 90, 200]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        *(
            (HttpConfig(url="http://a", headers={"X-Key": SecretStr(CANARY + bad)}), "X-Key")
            for bad in ("é", "\r\nX: y", "\0", " ", "\n", "\x7f")
        ),
        (HttpConfig(url="http://a", headers={"X-Key": SecretStr(f" {CANARY}")}), "X-Key"),
        (HttpConfig(url="http://a", headers={f"X {CANARY}": SecretStr("v")}), "header number 1"),
        (HttpConfig(url="http://a", headers={"Größe": SecretStr("v")}), "header number 1"),
        (HttpConfig(url="http://a", headers={"": SecretStr("v")}), "header number 1"),
        (HttpConfig(url="http://a", headers={"X": SecretStr("v"), "x": SecretStr("w")}), "twice"),
        (HttpConfig(url="http://a", headers={"Content-Length": SecretStr("5")}), "Content-Length"),
        (HttpConfig(url=f"http://a/{'a' * 9000}"), "url"),
        *(
            (StdioConfig(command="c", env={name: SecretStr(CANARY)}), "variable number 1")
            for name in ("A=B", "", "A\0", "A\n")
        ),
        (StdioConfig(command="c", env={"A": SecretStr(f"{CANARY}\0")}), "'A'"),
        (StdioConfig(command="c", env={"A": SecretStr(CANARY * 20_000)}), "'A'"),
        (StdioConfig(command="c", env={"A": SecretStr(f"{CANARY}\ud800")}), "'A'"),
        (StdioConfig(command=f"c\0{CANARY}"), "command"),
        (StdioConfig(command="c", args=("a", f"{CANARY}\0")), "Argument number 2"),
        (StdioConfig(command="c", args=("a", CANARY * 20_000)), "Argument number 2"),
        (StdioConfig(command="c", args=("a" * 100_000,) * 12), "together"),
    ],
)
def test_what_can_not_be_sent_is_refused_and_named_without_its_value(
    config: HttpConfig | StdioConfig, named: str
) -> None:
    with pytest.raises(InvalidConfig, match=named) as caught:
        check_sendable(config)
    assert caught.value.status == 400
    assert CANARY not in caught.value.message


@pytest.mark.parametrize(
    "config",
    [
        HttpConfig(url="http://a", headers={"X": SecretStr(""), "Authorization": SecretStr("Bearer a b\tc")}),
        StdioConfig(command="/usr/bin/é", args=("", "a b\n"), env={"A": SecretStr(""), "b.c": SecretStr("=x\n")}),
    ],
)
def test_what_can_be_sent_passes(config: HttpConfig | StdioConfig) -> None:
    check_sendable(config)


async def test_a_version_that_nobody_knows_is_told_as_the_reason(connections: Connections, clumsy: Clumsy) -> None:
    hello = {"protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": {"name": "n", "version": "1"}}
    with pytest.raises(HubError, match="speaks no version of the protocol"):
        await connections.inspect(target(clumsy(initialize=[hello])))


@pytest.mark.parametrize("to", ["/mcp", "mcp", "/mcp?a=b"])
@pytest.mark.parametrize("code", [307, 308])
async def test_a_redirect_within_the_origin_is_followed(
    connections: Connections, serve: Serve, to: str, code: int
) -> None:
    url = (await serve("handmade")).url.replace("/mcp", f"/redirect?code={code}&to={to}")
    assert (await connections.inspect(target(HttpConfig(url=url)))).tools

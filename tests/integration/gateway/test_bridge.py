"""`nexus-hub mcp` as a process, between clients of both eras and a server of both eras in the hub's place."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.fixtures import forks
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import Process, Serve, free_port, own_server

TOKEN = "nxh_the-token-of-this-test"
ERAS = ("legacy", "2026-07-28")
PROGRAM = Path(sys.executable).with_name("nexus-hub")
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": "first",
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def environment(url: str, token: str = TOKEN) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    return kept | {"NEXUS_URL": url.removesuffix("/mcp"), "NEXUS_TOKEN": token}


@asynccontextmanager
async def plugged_in(url: str, era: str, *words: str, token: str = TOKEN, **options: Any) -> AsyncIterator[Client]:
    program, *arguments = forks.command(PROGRAM, "mcp", *words)
    server = StdioServerParameters(command=program, args=arguments, env=environment(url, token))
    async with Client(stdio_client(server), mode=era, **options) as client:
        yield client


@dataclass
class Wire:
    """A bridge and its pipes."""

    process: asyncio.subprocess.Process

    async def send(self, *messages: Any) -> None:
        assert self.process.stdin is not None
        for message in messages:
            self.process.stdin.write((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")
        await self.process.stdin.drain()

    async def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = await self.process.stdout.readline()
        assert line, "the bridge has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request, and pass over all that comes before its answer."""
        await self.send(message)
        while (heard := await self.next()).get("id") != message["id"] or "method" in heard:
            pass
        return heard

    async def end(self) -> tuple[list[Any], str]:
        """Close its input; the rest that it says, and its standard error."""
        async with asyncio.timeout(60):
            out, err = await self.process.communicate(b"")
        return [json.loads(line) for line in out.splitlines()], err.decode()


Open = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def wired() -> AsyncIterator[Open]:
    opened: list[asyncio.subprocess.Process] = []

    async def run(url: str, *words: str, fork: bool = True) -> Wire:
        pipe = asyncio.subprocess.PIPE
        command = forks.command(PROGRAM, "mcp", *words) if fork else [str(PROGRAM), "mcp", *words]
        opened.append(
            await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(url), limit=64 * 2**20
            )
        )
        return Wire(opened[-1])

    yield run
    for process in opened:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def relayed(serve: Serve) -> Process:
    return await serve("relayed")


async def until(path: Path) -> None:
    async with asyncio.timeout(60):
        while not path.exists():
            await asyncio.sleep(0.02)


def call(ident: Any, name: str, *, modern: bool = False, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments} | ({"_meta": META} if modern else {})
    return {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_of_either_era_lists_and_calls(relayed: Process, era: str) -> None:
    async with plugged_in(relayed.url, era) as client:
        listed = await client.list_tools()
        result = await client.call_tool("echo", {"say": "wörld \U0001f40d"})
    assert "echo" in {tool.name for tool in listed.tools}
    assert result.content == [types.TextContent(type="text", text="wörld \U0001f40d")]
    seen = result.structured_content
    assert seen is not None
    assert seen["headers"]["authorization"] == f"Bearer {TOKEN}"
    assert seen["version"] == seen["headers"]["mcp-protocol-version"] == ("2025-11-25" if era == "legacy" else era)


@pytest.mark.parametrize("era", ERAS)
async def test_progress_comes_in_its_order(relayed: Process, era: str) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with plugged_in(relayed.url, era) as client:
        await client.call_tool("steps", {}, progress_callback=on_progress)
    assert told == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@pytest.mark.parametrize("era", ERAS)
async def test_the_server_asks_and_the_client_answers(relayed: Process, era: str) -> None:
    async def answer(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "who?"
        return types.ElicitResult(action="accept", content={"name": "Ann"})

    async with plugged_in(relayed.url, era, elicitation_callback=answer) as client:
        result = await client.call_tool("ask", {})
    assert result.content == [types.TextContent(type="text", text="accept Ann")]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_is_given_up_ends_at_the_server(relayed: Process, era: str, tmp_path: Path) -> None:
    async with plugged_in(relayed.url, era) as client:
        calling = asyncio.create_task(client.call_tool("hang", {"folder": str(tmp_path)}))
        await until(tmp_path / "began")
        calling.cancel()
        await until(tmp_path / "cancelled")
        assert (await client.call_tool("echo", {})).is_error is False


@pytest.mark.parametrize("era", ERAS)
async def test_an_argument_that_a_tool_wants_in_a_header_comes_in_it(relayed: Process, era: str) -> None:
    async with plugged_in(relayed.url, era) as client:
        await client.list_tools()
        result = await client.call_tool("region", {"region": "eu ✓"})
    assert result.structured_content is not None
    assert result.is_error is False
    assert ("mcp-param-region" in result.structured_content["headers"]) is (era != "legacy")


async def test_a_client_of_the_older_era_hears_that_a_list_has_changed(relayed: Process, wired: Open) -> None:
    wire = await wired(relayed.url)
    await wire.ask(INITIALIZE)
    await wire.send(INITIALIZED, call(2, "change"))
    heard = [await wire.next(), await wire.next()]
    assert {one.get("method", one.get("id")) for one in heard} == {"notifications/tools/list_changed", 2}


async def test_a_client_of_the_newer_era_subscribes(relayed: Process, wired: Open) -> None:
    wire = await wired(relayed.url)
    wanted = {"notifications": {"toolsListChanged": True}, "_meta": META}
    await wire.send({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": wanted})
    assert (await wire.next())["method"] == "notifications/subscriptions/acknowledged"
    await wire.send(call(2, "change", modern=True))
    heard = [await wire.next(), await wire.next()]
    assert {one.get("method", one.get("id")) for one in heard} == {"notifications/tools/list_changed", 2}


async def test_messages_that_come_all_at_once_are_answered_before_the_end(relayed: Process, wired: Open) -> None:
    wire = await wired(relayed.url)
    await wire.send(INITIALIZE, INITIALIZED, call(1, "echo", say="a"), [call("two", "echo", say="b")])
    said, err = await wire.end()
    texts = {json.dumps(one["id"]): one["result"]["content"][0]["text"] for one in said if "content" in one["result"]}
    assert texts == {"1": "a", '"two"': "b"}
    assert (wire.process.returncode, err) == (0, "")


async def test_what_is_no_message_is_answered_as_such(relayed: Process, wired: Open) -> None:
    wire = await wired(relayed.url)
    await wire.send(b"{", b"", b"7", b'"\xff"', {"jsonrpc": "2.0", "id": 5}, [7])
    said, _ = await wire.end()
    codes = [(one["id"], one["error"]["code"]) for one in said]
    assert codes == [(None, -32700)] * 3 + [(5, -32600), (None, -32600)]


async def test_a_large_message_passes_both_ways(relayed: Process, wired: Open) -> None:
    wire = await wired(relayed.url)
    large = "x" * 3_000_000
    answer = await wire.ask(call(1, "echo", modern=True, say=large))
    assert answer["result"]["content"][0]["text"] == large


async def test_a_hub_that_starts_again_is_found_again(relayed: Process, wired: Open, serve: Serve) -> None:
    wire = await wired(relayed.url)
    await wire.ask(INITIALIZE)
    await wire.send(INITIALIZED)
    await wire.ask({"jsonrpc": "2.0", "id": 2, "method": "logging/setLevel", "params": {"level": "error"}})
    await relayed.kill()
    await wire.send(call(3, "level"))
    await serve("relayed", port=int(relayed.url.split(":")[2].partition("/")[0]))
    assert (await wire.next())["result"]["content"][0]["text"] == "error"
    _, err = await wire.end()
    assert len(err.splitlines()) == 2
    assert TOKEN not in err


async def test_a_call_under_way_fails_with_the_hub_and_the_pipe_lives_on(
    relayed: Process, wired: Open, serve: Serve, tmp_path: Path
) -> None:
    wire = await wired(relayed.url)
    await wire.send(call(1, "hang", modern=True, folder=str(tmp_path)))
    await until(tmp_path / "began")
    await relayed.kill()
    failed = await wire.next()
    assert (failed["id"], failed["error"]["code"]) == (1, -32000)
    assert "not known whether" in failed["error"]["message"]
    await serve("relayed", port=int(relayed.url.split(":")[2].partition("/")[0]))
    assert (await wire.ask(call(2, "echo", modern=True, say="again")))["result"]["content"][0]["text"] == "again"


@pytest.mark.parametrize("era", ERAS)
async def test_a_signal_ends_it_and_its_calls(relayed: Process, wired: Open, tmp_path: Path, era: str) -> None:
    wire = await wired(relayed.url, fork=False)
    if era == "legacy":
        await wire.ask(INITIALIZE)
        await wire.send(INITIALIZED)
    await wire.send(call(1, "hang", modern=era != "legacy", folder=str(tmp_path)))
    await until(tmp_path / "began")
    wire.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await wire.process.wait() == 0
    await until(tmp_path / "cancelled")


async def test_a_client_that_reads_no_more_ends_it(relayed: Process) -> None:
    ours, theirs = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *forks.command(PROGRAM, "mcp"), stdin=asyncio.subprocess.PIPE, stdout=theirs, env=environment(relayed.url)
    )
    os.close(theirs)
    os.close(ours)
    await Wire(process).send(call(1, "echo", modern=True))
    async with asyncio.timeout(60):
        assert await process.wait() == 0


@pytest.mark.parametrize("era", ERAS)
async def test_the_hub_itself_is_reached(served: Served, era: str) -> None:
    await served.runtime.servers.register("one", own_server("literal"))
    for words, name in (([], "one__say"), (["--server", "one"], "say"), (["--tools", "search"], "search_tools")):
        async with plugged_in(served.url, era, *words, token=SERVICE_KEY) as client:
            assert name in {tool.name for tool in (await client.list_tools()).tools}
            if name.endswith("say"):
                result = await client.call_tool(name, {"text": '{"content":[{"type":"text","text":"hi"}]}'})
                assert result.content == [types.TextContent(type="text", text="hi")]


async def test_a_token_that_the_hub_does_not_know_is_an_error_that_says_so(served: Served, wired: Open) -> None:
    answer = await (await wired(served.url)).ask(INITIALIZE)
    assert "does not know who asks" in answer["error"]["message"]


async def test_wrong_use_is_one_line(wired: Open) -> None:
    wire = await wired(f"http://127.0.0.1:{free_port()}", "--tools", "all")
    said, err = await wire.end()
    assert (wire.process.returncode, said, err) == (2, [], "--tools can only be search.\n")

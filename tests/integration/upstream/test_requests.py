"""What happens to requests: headers, parallel calls, time-outs, cancellation, servers that die."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from nexus_hub.errors import (
    MalformedResult,
    OutcomeUnknown,
    TooLarge,
    UpstreamRejected,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.upstreams import Serve, own_server, target

CANARY = "canary-4f9d2c"


async def appears(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("path", "kind", "seconds"),
    [
        ("status?code=429&after=7", UpstreamUnavailable, 7),
        ("status?code=503&after=7", UpstreamUnavailable, 7),
        ("busy?code=429&after=7", UpstreamUnavailable, 7),
        ("busy?code=429&after=7&rpc=1", UpstreamUnavailable, 7),
        ("busy?code=429", UpstreamUnavailable, None),
        ("busy?code=429&after=soon", UpstreamUnavailable, None),
        ("busy?code=503&after=7", OutcomeUnknown, 7),
        ("busy?code=503", OutcomeUnknown, None),
    ],
)
async def test_a_busy_server_says_when_to_come_back(
    connections: Connections, serve: Serve, path: str, kind: type[UpstreamUnavailable | OutcomeUnknown], seconds: float
) -> None:
    """A call that a limit turned away was not executed; of one that met a 503 nobody knows."""
    upstream = target(HttpConfig(url=(await serve("handmade")).url.replace("mcp", path)))
    with pytest.raises((UpstreamUnavailable, OutcomeUnknown)) as caught:
        await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert isinstance(caught.value, kind)
    assert caught.value.retry_after == seconds


async def test_the_headers_of_the_configuration_arrive(connections: Connections, serve: Serve) -> None:
    server = await serve("habits")
    config = HttpConfig(url=server.url, headers={"X-Api-Key": SecretStr(CANARY)})
    result = await connections.request(target(config), ToolCall("echo"), timeout=30)
    assert result["structuredContent"]["headers"]["x-api-key"] == CANARY


async def test_the_environment_of_the_configuration_arrives_and_the_hubs_own_does_not(
    connections: Connections, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEXUS_SERVICE_KEY", CANARY)
    output = tmp_path / "environment"
    config = StdioConfig(command="sh", args=("-c", f"env > {output}"), env={"TOKEN": SecretStr("given")})
    with pytest.raises(UpstreamUnavailable):
        await connections.request(target(config), ToolCall("echo"), timeout=30)
    assert "TOKEN=given" in output.read_text()
    assert CANARY not in output.read_text()


async def test_arguments_arrive_as_sent_and_metadata_of_the_result_is_kept(connections: Connections) -> None:
    arguments = {"none": None, "nested": {"also": [None, 1.5, "ä"]}, "empty": {}}
    result = await connections.request(target(own_server("habits")), ToolCall("echo", arguments), timeout=30)
    assert result["structuredContent"]["arguments"] == arguments
    assert result["_meta"] == {"example.org/kept": True}
    assert "resultType" not in result


async def test_members_that_the_protocol_does_not_know_are_kept(connections: Connections) -> None:
    handmade = target(own_server("handmade"))
    result = await connections.request(handmade, ToolCall("echo", {"a": 1}), timeout=30)
    assert result == {"content": [], "structuredContent": {"arguments": {"a": 1}}, "x-own": {"kept": [1, None]}}
    assert (await connections.inspect(handmade)).tools == [
        {"name": "echo", "inputSchema": {"type": "object"}, "x-own": 1}
    ]


async def test_a_tool_that_wants_an_argument_in_a_header_gets_it(connections: Connections, serve: Serve) -> None:
    config = HttpConfig(url=(await serve("habits")).url)
    result = await connections.request(target(config), ToolCall("region", {"region": "eu"}), timeout=30)
    assert result["structuredContent"]["headers"]["mcp-param-region"] == "eu"


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_fifty_parallel_calls_share_one_connection(
    connections: Connections, serve: Serve, transport: str
) -> None:
    config = own_server("habits") if transport == "stdio" else HttpConfig(url=(await serve("habits")).url)
    upstream = target(config)
    calls = [connections.request(upstream, ToolCall("wait", {"seconds": 0.2, "n": n}), timeout=60) for n in range(50)]
    results = await asyncio.gather(*calls)
    assert [result["structuredContent"]["arguments"]["n"] for result in results] == list(range(50))
    assert len({result["structuredContent"]["pid"] for result in results}) == 1


async def test_a_call_without_end_does_not_hold_up_another(connections: Connections, tmp_path: Path) -> None:
    upstream = target(own_server("habits"))
    hanging = asyncio.create_task(
        connections.request(upstream, ToolCall("hang", {"folder": str(tmp_path)}), timeout=None)
    )
    await appears(tmp_path / "began")
    assert await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert not hanging.done()
    hanging.cancel()


async def test_calls_over_the_bound_wait_for_a_place(tmp_path: Path) -> None:
    upstream = target(own_server("habits"))
    async with Connections(log_dir=None, concurrency=1) as connections:
        call = ToolCall("hang", {"folder": str(tmp_path)})
        hanging = asyncio.create_task(connections.request(upstream, call, timeout=None))
        await appears(tmp_path / "began")
        with pytest.raises(UpstreamUnavailable, match="not free or open in time"):
            await connections.request(upstream, ToolCall("echo"), timeout=0.2)
        hanging.cancel()
        await asyncio.wait([hanging])
        assert await connections.request(upstream, ToolCall("echo"), timeout=30)


@pytest.mark.parametrize("module", ["habits", "handmade"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("ending", ["cancelled", "timed out"])
async def test_the_server_learns_that_a_call_is_no_longer_wanted(
    connections: Connections, serve: Serve, tmp_path: Path, module: str, transport: str, ending: str
) -> None:
    options = ["--folder", str(tmp_path)] if module == "handmade" else []
    if transport == "stdio":
        upstream = target(own_server(module, *options))
    else:
        upstream = target(HttpConfig(url=(await serve(module, *options)).url))
    await connections.request(upstream, ToolCall("echo"), timeout=30)
    call = ToolCall("hang", {"folder": str(tmp_path)})
    running = asyncio.create_task(connections.request(upstream, call, timeout=None if ending == "cancelled" else 1))
    await appears(tmp_path / "began")
    if ending == "cancelled":
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        with pytest.raises(UpstreamTimedOut, match="1 s"):
            await running
    await appears(tmp_path / "cancelled")
    assert (await connections.request(upstream, ToolCall("echo"), timeout=30))["structuredContent"]


@pytest.mark.parametrize("module", ["habits", "handmade"])
async def test_a_child_that_dies_in_a_call_leaves_the_outcome_unknown_and_is_started_again(
    connections: Connections, module: str
) -> None:
    upstream = target(own_server(module))
    with pytest.raises(OutcomeUnknown) as caught:
        await connections.request(upstream, ToolCall("die"), timeout=30)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert await connections.request(upstream, ToolCall("echo"), timeout=30)


async def test_an_http_server_that_dies_in_a_call_leaves_the_outcome_unknown_for_all_calls_on_it(
    connections: Connections, serve: Serve, tmp_path: Path
) -> None:
    server = await serve("habits")
    upstream = target(HttpConfig(url=server.url))
    hanging = asyncio.create_task(
        connections.request(upstream, ToolCall("hang", {"folder": str(tmp_path)}), timeout=60)
    )
    await appears(tmp_path / "began")
    for call in (connections.request(upstream, ToolCall("die"), timeout=60), hanging):
        with pytest.raises(OutcomeUnknown):
            await call


@pytest.mark.parametrize("module", ["habits", "handmade"])
async def test_an_http_server_that_was_restarted_is_found_again_by_the_next_call(
    connections: Connections, serve: Serve, module: str
) -> None:
    first = await serve(module)
    upstream = target(HttpConfig(url=first.url))
    assert await connections.request(upstream, ToolCall("echo"), timeout=30)
    await first.kill()
    with pytest.raises(UpstreamUnavailable):
        await connections.request(upstream, ToolCall("echo"), timeout=30)
    await serve(module, port=int(first.url.split(":")[2].split("/")[0]))
    assert await connections.inspect(upstream)
    assert await connections.request(upstream, ToolCall("echo"), timeout=30)


async def test_a_forgotten_session_is_opened_again_within_the_call(connections: Connections, serve: Serve) -> None:
    url = (await serve("handmade")).url.replace("/mcp", "/forgetful")
    upstream = target(HttpConfig(url=url))
    for number in range(3):
        result = await connections.request(upstream, ToolCall("echo", {"n": number}), timeout=30)
        assert result["structuredContent"]["arguments"]["n"] == number


async def test_a_connection_that_breaks_during_the_answer_leaves_the_outcome_unknown(
    connections: Connections, serve: Serve
) -> None:
    upstream = target(HttpConfig(url=(await serve("handmade")).url.replace("/mcp", "/drop")))
    with pytest.raises(OutcomeUnknown):
        await connections.request(upstream, ToolCall("echo"), timeout=30)


async def test_an_answer_over_the_limit_is_cut_off(serve: Serve) -> None:
    upstream = target(HttpConfig(url=(await serve("handmade")).url.replace("/mcp", "/huge")))
    async with Connections(log_dir=None, max_bytes=1_000_000) as connections:
        with pytest.raises(TooLarge) as caught:
            await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert caught.value.limit == 1_000_000


async def test_a_json_rpc_error_keeps_its_code_and_a_bounded_message(connections: Connections) -> None:
    upstream = target(own_server("habits"))
    with pytest.raises(UpstreamRejected) as caught:
        await connections.request(upstream, ToolCall("fail", {"why": "y" * 2000}), timeout=30)
    assert caught.value.rpc_code == -32050
    assert caught.value.rpc_message.startswith("no: yyy")
    assert len(caught.value.rpc_message) == 500


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_progress_is_told_in_the_newer_era(connections: Connections, serve: Serve, transport: str) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    config = own_server("habits") if transport == "stdio" else HttpConfig(url=(await serve("habits")).url)
    await connections.request(target(config), ToolCall("steps"), timeout=30, on_progress=on_progress)
    assert told == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


async def test_a_chatty_servers_progress_is_told_in_order_one_at_a_time_and_to_its_last_word(
    connections: Connections,
) -> None:
    told: list[float] = []
    telling = 0

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        nonlocal telling
        telling += 1
        assert (telling, total, message) == (1, 500, f"step {progress:g}")
        await asyncio.sleep(0.05 / progress)
        told.append(progress)
        telling -= 1

    call = ToolCall("steps", {"count": 500})
    await connections.request(target(own_server("habits")), call, timeout=60, on_progress=on_progress)
    assert told == sorted(set(told))
    assert (told[-1], len(told) < 500) == (500, True)


async def test_a_session_that_is_lost_for_one_call_does_not_end_another(
    connections: Connections, serve: Serve, tmp_path: Path
) -> None:
    url = (await serve("handmade", "--folder", str(tmp_path))).url.replace("/mcp", "/forgetful")
    upstream = target(HttpConfig(url=url))
    hanging = asyncio.create_task(connections.request(upstream, ToolCall("hang"), timeout=None))
    await appears(tmp_path / "began")
    assert await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert not hanging.done()
    hanging.cancel()


async def test_a_server_that_asks_for_input_is_refused(connections: Connections) -> None:
    with pytest.raises(UpstreamRejected, match="asks for input"):
        await connections.request(target(own_server("habits")), ToolCall("ask"), timeout=30)


async def test_a_result_that_is_not_one_is_refused_without_repeating_it(connections: Connections) -> None:
    with pytest.raises(MalformedResult, match="content: must be an array") as caught:
        await connections.request(target(own_server("handmade")), ToolCall("malformed"), timeout=30)
    assert "secret-of-the-result" not in repr(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None

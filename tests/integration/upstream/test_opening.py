"""Servers that can't be reached, in each way; and what a connection does while nobody uses it."""

import asyncio
import logging
import stat
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from nexus_hub.errors import HubError, InvalidConfig, UpstreamError, UpstreamRejected, UpstreamUnavailable
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.connections import Connections, Target
from nexus_hub.upstream.requests import ToolCall
from tests.fixtures.upstreams import Serve, free_port, own_server, target

CANARY = "canary-4f9d2c"


async def fault(connections: Connections, config: HttpConfig | StdioConfig) -> HubError:
    with pytest.raises(HubError) as caught:
        await connections.request(target(config), ToolCall("echo"), timeout=60)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


def children() -> set[int]:
    """The upstream servers that this process has started; the PostgreSQL of the tests may be a child of it, too."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if child.status() != "zombie" and any("upstreams" in word for word in child.cmdline()):
                found.add(child.pid)
    return found


async def pid(connections: Connections, upstream: Target) -> int:
    result = await connections.request(upstream, ToolCall("echo"), timeout=30)
    return int(result["structuredContent"]["pid"])


async def ends(process: int) -> None:
    async with asyncio.timeout(20):
        while psutil.pid_exists(process):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (StdioConfig(command=f"no-such-command-{CANARY}"), "not found"),
        (StdioConfig(command=__file__, args=(CANARY,)), "can't be executed"),
        (StdioConfig(command="false", args=(CANARY,)), "ended the connection"),
        (StdioConfig(command="echo", args=(CANARY,)), "ended the connection"),
        (HttpConfig(url=f"http://127.0.0.1:{free_port()}/{CANARY}?key={CANARY}"), "nothing accepts connections"),
        (HttpConfig(url=f"http://no-such-host.invalid/{CANARY}"), "can't be resolved"),
        (HttpConfig(url="http://127.0.0.1:1/mcp", headers={"X": SecretStr(f"{CANARY}\n")}), "can't be"),
    ],
)
async def test_a_server_that_can_not_be_reached_is_unavailable_and_the_message_says_why(
    connections: Connections, config: HttpConfig | StdioConfig, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    error = await fault(connections, config)
    assert isinstance(error, UpstreamUnavailable)
    assert words in error.message
    assert CANARY not in repr(error) + caplog.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("status?code=429", "takes no more requests"),
        ("status?code=503", "HTTP 503"),
        ("redirect?to=/other-secret-path&code=302", "redirects to 127.0.0.1,"),
        ("redirect?to=https://elsewhere.example/mcp?token=secret", "redirects to elsewhere.example,"),
    ],
)
async def test_a_server_that_answers_with_a_status_is_unavailable(
    connections: Connections, serve: Serve, path: str, words: str
) -> None:
    url = (await serve("handmade")).url.replace("mcp", path)
    error = await fault(connections, HttpConfig(url=url, headers={"Authorization": SecretStr(CANARY)}))
    assert isinstance(error, UpstreamUnavailable)
    assert words in error.message
    assert CANARY not in repr(error)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "not accept the credentials"), (403, "check its headers"), (404, "no MCP endpoint")]
)
async def test_a_server_that_answers_with_a_status_that_will_not_change_refuses(
    connections: Connections, serve: Serve, status: int, words: str
) -> None:
    url = (await serve("handmade")).url.replace("mcp", f"status?code={status}")
    error = await fault(connections, HttpConfig(url=url, headers={"Authorization": SecretStr(CANARY)}))
    assert isinstance(error, UpstreamRejected)
    assert f"(HTTP {status})" in error.message
    assert words in error.message
    assert CANARY not in repr(error)


async def test_a_url_without_tls_where_tls_is_expected_is_told_apart(connections: Connections, serve: Serve) -> None:
    url = (await serve("handmade")).url.replace("http://", "https://")
    assert "TLS" in (await fault(connections, HttpConfig(url=url))).message


async def test_a_silent_server_is_given_up_after_the_time_to_connect_and_holds_up_no_other(serve: Serve) -> None:
    silent = target(HttpConfig(url=(await serve("handmade")).url.replace("mcp", "silent")))
    async with Connections(log_dir=None, connect_timeout=5) as connections:
        waiting = asyncio.create_task(connections.request(silent, ToolCall("echo"), timeout=None))
        assert await connections.request(target(own_server("habits")), ToolCall("echo"), timeout=None)
        assert not waiting.done()
        with pytest.raises(UpstreamUnavailable, match="did not answer within 5 s of connecting"):
            await waiting


async def test_a_silent_command_is_given_up_and_ended(tmp_path: Path) -> None:
    before = children()
    async with Connections(log_dir=tmp_path, connect_timeout=0.5) as connections:
        error = await fault(connections, StdioConfig(command="sleep", args=("3600",)))
        assert "did not answer" in error.message
        for process in children() - before:
            await ends(process)


async def test_after_a_failure_requests_fail_at_once_until_the_pause_is_over(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    upstream = target(StdioConfig(command="sh", args=("-c", f"echo once >> {tries}")))
    now = 0.0
    async with Connections(log_dir=None, clock=lambda: now, jitter=lambda: 1.0) as connections:
        for time, expected in [(0.0, 2), (0.4, 2), (0.6, 4), (1.5, 4), (1.7, 6)]:
            now = time
            with pytest.raises(UpstreamUnavailable):
                await connections.request(upstream, ToolCall("echo"), timeout=30)
            assert tries.read_text().count("once") == expected, time


async def test_an_inspection_does_not_wait_for_the_pause(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    upstream = target(StdioConfig(command="sh", args=("-c", f"echo once >> {tries}")))
    async with Connections(log_dir=None, clock=lambda: 0.0) as connections:
        for _ in range(2):
            with pytest.raises(UpstreamUnavailable):
                await connections.inspect(upstream)
    assert tries.read_text().count("once") == 4, "each time in both eras"


async def test_an_idle_connection_is_closed_and_opened_again_at_need(tmp_path: Path) -> None:
    upstream = target(own_server("habits"))
    async with Connections(log_dir=tmp_path, idle_seconds=0.2) as connections:
        first = await pid(connections, upstream)
        await ends(first)
        assert await pid(connections, upstream) != first


async def test_an_idle_http_connection_is_opened_again_without_asking_the_server_what_it_is(serve: Serve) -> None:
    upstream = target(HttpConfig(url=(await serve("habits")).url))
    async with Connections(log_dir=None, idle_seconds=0.2) as connections:
        await pid(connections, upstream)
        await asyncio.sleep(0.5)
        result = await connections.request(upstream, ToolCall("echo"), timeout=30)
    assert result["structuredContent"]["methods"] == ["server/discover", "tools/call", "tools/call"]


async def test_a_server_that_went_back_to_the_older_protocol_while_idle_is_understood(serve: Serve) -> None:
    newer = await serve("habits")
    upstream = target(HttpConfig(url=newer.url))
    async with Connections(log_dir=None, idle_seconds=0.2) as connections:
        await pid(connections, upstream)
        await newer.kill()
        await asyncio.sleep(0.5)
        await serve("handmade", port=int(newer.url.split(":")[2].split("/")[0]))
        result = await connections.request(upstream, ToolCall("echo", {"a": 1}), timeout=30)
    assert result["structuredContent"] == {"arguments": {"a": 1}}


async def test_a_new_revision_replaces_the_connection_after_its_last_call(
    connections: Connections, tmp_path: Path
) -> None:
    old = target(own_server("habits"))
    first = await pid(connections, old)
    slow = asyncio.create_task(connections.request(old, ToolCall("wait", {"seconds": 1}), timeout=30))
    await asyncio.sleep(0.2)
    new = Target(old.ref, old.name, old.config, 2, guarded=False)
    assert await pid(connections, new) != first
    assert (await slow)["structuredContent"]["pid"] == first
    await ends(first)
    assert await pid(connections, old) == await pid(connections, new)


async def test_a_forgotten_server_is_closed(connections: Connections) -> None:
    upstream = target(own_server("habits"))
    process = await pid(connections, upstream)
    await connections.forget(upstream.ref)
    await ends(process)


async def test_the_end_leaves_no_child_and_no_task(tmp_path: Path) -> None:
    before, tasks = children(), asyncio.all_tasks()
    async with Connections(log_dir=tmp_path) as connections:
        await asyncio.gather(*(pid(connections, target(own_server("habits"))) for _ in range(3)))
        call = ToolCall("hang", {"folder": str(tmp_path)})
        hanging = asyncio.create_task(connections.request(target(own_server("habits")), call, timeout=None))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.02)
    with pytest.raises(HubError):
        await hanging
    assert children() <= before
    assert asyncio.all_tasks() <= tasks | {hanging}


async def test_what_a_child_writes_to_its_standard_error_is_kept_where_only_the_hub_reads_it(
    connections: Connections, tmp_path: Path
) -> None:
    upstream = target(own_server("handmade"))
    await connections.request(upstream, ToolCall("echo"), timeout=30)
    [log] = (tmp_path / "logs").iterdir()
    assert log.name == f"system-{upstream.ref.server_ref_id}.log"
    assert "a word on standard error" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


async def test_a_command_that_ends_after_its_first_answer_is_not_started_without_end(
    connections: Connections,
) -> None:
    upstream = target(own_server("handmade", "--brief"))
    with pytest.raises(UpstreamError):
        await connections.request(upstream, ToolCall("echo"), timeout=None)


async def test_a_users_server_is_never_a_command(connections: Connections) -> None:
    with pytest.raises(InvalidConfig, match="only be reached by HTTP"):
        await connections.request(target(StdioConfig(command="true"), guarded=True), ToolCall("echo"), timeout=5)


async def test_all_pages_are_read(connections: Connections) -> None:
    snapshot = await connections.inspect(target(own_server("habits")))
    assert [tool["name"] for tool in snapshot.tools] == ["echo", "die", "hang", "fail", "steps", "wait", "region"]
    assert snapshot.instructions == "Be kind."
    assert snapshot.resources == snapshot.resource_templates == []
    assert [prompt["name"] for prompt in snapshot.prompts] == ["greet"]


async def test_a_listing_that_comes_round_in_a_circle_is_read_once(connections: Connections) -> None:
    snapshot = await connections.inspect(target(own_server("habits", "--circle")))
    assert [tool["name"] for tool in snapshot.tools] == ["echo", "die", "hang", "fail", "steps", "wait", "region"]
    assert [(one["place"], "circle" in one["reason"]) for one in snapshot.omitted] == [("tools", True)]


async def test_a_listing_that_is_announced_and_unknown_is_empty(connections: Connections) -> None:
    snapshot = await connections.inspect(target(own_server("handmade")))
    assert len(snapshot.tools) == 1
    assert snapshot.resources == snapshot.resource_templates == []


def test_a_target_does_not_show_its_configuration() -> None:
    config = StdioConfig(command="run", args=(CANARY,))
    assert CANARY not in repr(target(config))

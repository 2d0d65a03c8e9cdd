"""The run of the official suite: its list of expected failures, its results, and the proxy that adds a token."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import httpx

from tests.conformance.expected import Verdict, listed
from tests.conformance.proxy import proxied
from tests.conformance.suite import Check, Outcome, read

LIST = """
# a reason
2026-07-28 tools-list Tools List
2026-07-28 tools-list Tools List  # twice
tasks tasks-lifecycle Created
"""
A, B = Check("tools-list", "Tools List"), Check("prompts-list", "Prompts List")


def test_a_line_of_the_list_stands_for_one_failure_of_its_part() -> None:
    assert listed("2026-07-28", LIST) == Counter({A: 2})
    assert listed("tasks", LIST) == Counter({Check("tasks-lifecycle", "Created"): 1})
    assert listed("2025-11-25", LIST) == Counter()


def test_a_failure_that_is_not_listed_and_a_listed_one_that_passes_are_told() -> None:
    exact = Verdict.of(Counter({A: 2}), Counter(), Counter({A: 2}))
    assert exact.good
    more = Verdict.of(Counter({A: 3, B: 1}), Counter({A: 3}), Counter({A: 2}))
    assert (more.good, more.unlisted, more.beyond) == (False, Counter({A: 1, B: 1}), Counter({B: 1}))
    less = Verdict.of(Counter({A: 1}), Counter(), Counter({A: 2}))
    assert (less.good, less.stale) == (False, Counter({A: 1}))


def test_results_are_read_and_a_scenario_without_any_has_failed(tmp_path: Path) -> None:
    checks = [{"name": "Tools List", "status": status, "errorMessage": "why"} for status in ("SUCCESS", "FAILURE")]
    stamp = "2026-11-30T01-02-03-456Z"
    (tmp_path / f"server-tools-list-{stamp}").mkdir()
    (tmp_path / f"server-tools-list-{stamp}" / "checks.json").write_text(json.dumps(checks))
    (tmp_path / f"server-server-initialize-{stamp}").mkdir()
    (tmp_path / "said.txt").touch()
    outcome = read(tmp_path)
    assert outcome.scenarios == ["server-initialize", "tools-list"]
    assert outcome.bad() == Counter({A: 1, Check("server-initialize", "Scenario"): 1})
    assert outcome.reasons[A] == "why"
    assert (outcome.score("tools-list"), outcome.score()) == ("1/1", "1/2")


def test_a_warning_counts_as_bad_and_what_was_skipped_does_not() -> None:
    outcome = Outcome(Counter({(A, "WARNING"): 1, (A, "INFO"): 1, (B, "SKIPPED"): 1}), {})
    assert outcome.bad() == Counter({A: 1})
    assert (outcome.score(A.scenario), outcome.score(B.scenario)) == ("0/0 (1 warned)", "0/0")
    assert outcome.without("tools-").scenarios == ["prompts-list"]


async def test_the_proxy_adds_a_token_to_every_request_and_leaves_the_rest() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            assert await reader.readexactly(4) == b"body"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()
        writer.close()  # since Python 3.12 a server waits for its connections

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with (
        server,
        proxied(server.sockets[0].getsockname()[1], "secret") as port,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        for _ in range(2):
            said = await client.post(f"http://127.0.0.1:{port}/", content=b"body", headers={"Host": "kept.example"})
            assert said.text == "ok"
    assert all(b"\r\nAuthorization: Bearer secret\r\n\r\n" in head for head in heads)
    assert all(b"\r\nHost: kept.example\r\n" in head for head in heads)


async def test_the_proxy_closes_one_side_with_the_other() -> None:
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server, proxied(server.sockets[0].getsockname()[1], "secret") as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        async with asyncio.timeout(30):
            await gone.wait()

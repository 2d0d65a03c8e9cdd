"""`nexus-hub call` against a hub that answers as the real one does."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from nexus_hub.cli.main import app
from nexus_hub.client import HubClient
from tests.fixtures.stream import PlayedHub, streamed

JOB: dict[str, Any] = {"id": "1", "attempt": 1, "version": 1, "status": "pending", "result": None, "error": None}
RUNNING = JOB | {"status": "running"}
DONE = JOB | {"status": "completed", "result": {"content": [{"type": "text", "text": "the answer"}]}}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> PlayedHub:
    played = PlayedHub()
    monkeypatch.setattr(HubClient, "from_environment", played.client)
    return played


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["call", "srv__tool", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], {}),
        (["--job-timeout", "900"], {"timeout_seconds": 900}),
        (["--max-attempts", "1"], {"max_attempts": 1}),
        (["--retry", "always"], {"retry": "always"}),
        (["--idempotency-key", "report 7"], {"idempotency_key": "report 7"}),
        (["--timeout", "5"], {}),
    ],
)
def test_limits_of_the_job_are_sent_if_they_are_said(hub: PlayedHub, words: list[str], said: dict[str, Any]) -> None:
    hub.answers = [httpx.Response(202, json=JOB)]
    assert call("-a", "n=1", "--no-wait", *words).exit_code == 0
    body = {"job_type": "tool_invoke", "name": "srv__tool", "arguments": {"n": 1}} | said
    assert hub.asked == [("POST", "/v1/jobs", body)]


@pytest.mark.parametrize("words", [["--job-timeout", "soon"], ["--max-attempts", "1.5"]])
def test_a_limit_that_is_no_number_is_wrong_use_and_asks_nothing(hub: PlayedHub, words: list[str]) -> None:
    assert (call(*words).exit_code, hub.asked) == (2, [])


def test_a_limit_that_the_hub_refuses_is_wrong_use(hub: PlayedHub) -> None:
    hub.answers = [httpx.Response(400, json={"code": "invalid-request", "detail": "retry must be 'auto' or 'always'."})]
    refused = call("--retry", "never")
    assert (refused.exit_code, "'always'" in refused.output) == (2, True)


def test_progress_is_shown_as_it_comes(hub: PlayedHub) -> None:
    steps = [RUNNING | {"version": n + 1, "progress": {"progress": n, "total": 4, "message": f"s {n}"}} for n in (1, 2)]
    hub.answers = [httpx.Response(202, json=JOB), streamed(RUNNING, *steps, DONE | {"version": 9})]
    assert call().output.splitlines() == [
        "job 1",
        "● running   attempt 1",
        "● running   attempt 1 · 1/4 (25%) · s 1",
        "● running   attempt 1 · 2/4 (50%) · s 2",
        "● completed attempt 1",
        "the answer",
    ]


def test_json_is_the_last_row_and_nothing_else(hub: PlayedHub) -> None:
    ended = DONE | {"version": 3, "progress": {"progress": 1}}
    hub.answers = [
        httpx.Response(202, json=JOB),
        streamed(RUNNING | {"version": 2, "progress": {"progress": 1}}, ended),
    ]
    assert json.loads(call("--json").output) == ended


def test_whose_yes_a_call_waits_for_is_said_once(hub: PlayedHub) -> None:
    asked = JOB | {"error_code": "approval-needed", "attempt": 0}
    approval = {"id": "7", "approvers": ["leads"], "self_approval": False}
    waits = {"for": "approval", "until": "2026-12-01T12:08:35.330916Z", "approval": approval}
    hub.answers = [
        httpx.Response(202, json=JOB),
        streamed(asked, asked | {"version": 2}, DONE | {"version": 3, "error_code": None}),
        httpx.Response(200, json=asked | {"waits": waits}),
    ]
    assert call().output.splitlines() == [
        "job 1",
        "● pending   attempt 0 (approval-needed)",
        "It waits for a yes of an operator or a member of leads (approval 7), until 2026-12-01 12:08:35.",
        "● completed attempt 1",
        "the answer",
    ]


@pytest.mark.parametrize(("words", "advice"), [([], True), (["--server", "bank"], False), (["send money"], False)])
def test_nothing_found_is_not_always_a_lack_of_servers(hub: PlayedHub, words: list[str], advice: bool) -> None:
    hub.answers = [httpx.Response(200, json={"items": [], "next_cursor": None})]
    output = CliRunner().invoke(app, ["tools", *words]).output
    assert ("No tools found" in output, "Register a server" in output) == (True, advice)


@pytest.mark.parametrize(("is_enabled", "status"), [(True, "failing"), (False, "off")])
def test_a_server_that_is_switched_off_is_listed_as_that(hub: PlayedHub, is_enabled: bool, status: str) -> None:
    server = {"name": "gone", "server_type": "system", "status": "failing", "enabled": is_enabled, "login": None}
    listed = {"items": [server | {"circuit": {"state": "closed"}}], "next_cursor": None}
    hub.answers = [httpx.Response(200, json=listed)]
    assert CliRunner().invoke(app, ["server", "list"]).output.split("\t")[2] == status


@pytest.mark.parametrize(("name", "is_known"), [("bank__transfer", True), ("bank__tranfser", False)])
def test_a_switch_of_a_tool_that_nobody_offers_is_said_to_be_that(hub: PlayedHub, name: str, is_known: bool) -> None:
    tools = [{"name": "bank__transfer", "tool_name": "transfer"}]
    hub.answers = [
        httpx.Response(200, json={"server_type": "system", "id": "1"}),
        httpx.Response(200, json={"items": tools, "next_cursor": None}),
        httpx.Response(200, json={}),
    ]
    output = CliRunner().invoke(app, ["tool", "disable", name]).output
    assert (f"{name} is off." in output, "offers no tool of that name" in output) == (True, not is_known)

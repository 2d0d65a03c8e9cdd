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

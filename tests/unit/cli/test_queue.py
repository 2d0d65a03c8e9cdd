"""`nexus-hub status --jobs`, and what `job show` says of a wait, against a hub that answers as the real one does."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from nexus_hub.cli.calls import describe_wait
from nexus_hub.cli.main import app
from nexus_hub.client import HubClient
from tests.fixtures.stream import PlayedHub

ANN = {"user_id": "7b0f", "name": "ann", "waiting": 12, "oldest_seconds": 3.6, "later": 2, "running": 4, "more": False}
QUEUE: dict[str, Any] = {
    "waiting": 10012,
    "later": 2,
    "running": 4,
    "runs": ["5d3e", "8cc3"],
    "users": [
        ANN,
        ANN | {"user_id": "90aa", "name": None, "oldest_seconds": None, "waiting": 0},
        ANN | {"user_id": None, "name": None, "waiting": 10000, "oldest_seconds": 7200, "more": True},
    ],
    "more": False,
}
EMPTY = QUEUE | {"waiting": 0, "running": 0, "later": 0, "runs": [], "users": []}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> PlayedHub:
    played = PlayedHub()
    monkeypatch.setattr(HubClient, "from_environment", played.client)
    return played


def status(*words: str) -> Result:
    return CliRunner().invoke(app, ["status", "--jobs", *words])


def test_each_user_is_a_line_and_the_sum_is_the_last(hub: PlayedHub) -> None:
    hub.answers = [httpx.Response(200, json=QUEUE)]
    done = status()
    assert (done.exit_code, hub.asked) == (0, [("GET", "/v1/queue", None)])
    assert done.output.splitlines() == [
        "ann\t12\t4 s\t2\t4",
        "90aa\t0\t-\t2\t4",
        "operator\t10000+\t2 h\t2\t4",
        "in all: 10012+ waiting, 2 later, 4 running; shared runs: 5d3e, 8cc3",
    ]


def test_an_empty_queue_is_said(hub: PlayedHub) -> None:
    hub.answers = [httpx.Response(200, json=EMPTY)]
    done = status()
    assert (done.exit_code, done.output) == (0, "No job waits or runs.\n")


def test_json_is_the_answer_of_the_hub(hub: PlayedHub) -> None:
    hub.answers = [httpx.Response(200, json=QUEUE)]
    assert json.loads(status("--json").output) == QUEUE


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (httpx.Response(401, json={"code": "not-authenticated", "detail": "Send a token."}), "Send a token."),
        (httpx.Response(503, json={"code": "took-too-long", "detail": "It took too long."}), "too long"),
        (httpx.Response(502), "502"),
    ],
)
def test_a_hub_that_does_not_answer_it_is_a_failure(hub: PlayedHub, answer: httpx.Response, word: str) -> None:
    hub.answers = [answer]
    done = status()
    assert (done.exit_code, word in done.output) == (1, True)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (-0.2, "0 s"), (119.4, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_a_time_is_said_in_a_unit_that_fits(hub: PlayedHub, seconds: float, said: str) -> None:
    hub.answers = [httpx.Response(200, json=QUEUE | {"users": [ANN | {"oldest_seconds": seconds}]})]
    assert status().output.splitlines()[0].split("\t")[2] == said


NOTHING = {"position": None, "running": None, "until": None, "reason": None}


@pytest.mark.parametrize(
    ("waits", "said"),
    [
        (None, None),
        (
            NOTHING | {"for": "queue", "position": 3, "running": 12},
            "in the queue, at place 3 among its user's jobs; 12 of them run now",
        ),
        (
            NOTHING | {"for": "queue", "position": 1001, "running": 0},
            "in the queue, at place 1001 or later among its user's jobs; 0 of them run now",
        ),
        (
            NOTHING | {"for": "time", "until": "2026-12-01T12:08:35.33Z", "reason": "rate-limited"},
            "until 2026-12-01 12:08:35 (rate-limited)",
        ),
        (NOTHING | {"for": "time", "until": "2026-12-01T12:08:35Z"}, "until 2026-12-01 12:08:35"),
        (NOTHING | {"for": "flow-run"}, "for its flow run to begin"),
        (NOTHING | {"for": "prefect"}, "for Prefect to be told of it"),
        (NOTHING | {"for": "something new"}, None),
    ],
)
def test_a_wait_is_said_in_a_few_words(waits: dict[str, Any] | None, said: str | None) -> None:
    assert describe_wait(waits) == said


def test_a_job_that_is_shown_says_what_it_waits_for(hub: PlayedHub) -> None:
    row = {"id": "1", "status": "pending", "waits": NOTHING | {"for": "flow-run"}}
    hub.answers = [httpx.Response(200, json=row), httpx.Response(200, json=row)]
    shown = CliRunner().invoke(app, ["job", "show", "1"])
    assert "waits   for its flow run to begin" in shown.output
    assert json.loads(CliRunner().invoke(app, ["job", "show", "1", "--json"]).output) == row

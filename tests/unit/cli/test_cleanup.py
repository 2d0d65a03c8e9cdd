"""`nexus-hub cleanup` against a hub that answers as the real one does."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from nexus_hub.cli.main import app
from nexus_hub.client import HubClient
from tests.fixtures.stream import PlayedHub, streamed

COUNTS = {"deleted_completed": 3, "deleted_orphaned": 1, "total_deleted": 4}
JOB = {"id": "1", "attempt": 1, "result": None, "error": None, "error_code": None}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> PlayedHub:
    played = PlayedHub()
    monkeypatch.setattr(HubClient, "from_environment", played.client)
    return played


def cli(*words: str) -> Result:
    return CliRunner().invoke(app, ["cleanup", *words])


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ([], {}),
        (["--days-completed", "0", "--days-orphaned", "3650"], {"days_completed": 0, "days_orphaned": 3650}),
        (["--dry-run"], {"dry_run": True}),
    ],
)
def test_only_what_is_said_is_sent(hub: PlayedHub, words: list[str], body: dict[str, Any]) -> None:
    hub.answers = [httpx.Response(200, json=COUNTS)]
    assert cli(*words).exit_code == 0
    assert hub.asked == [("POST", "/internal/cleanup-jobs", body)]


def test_the_counts_are_said_and_a_dry_run_claims_nothing(hub: PlayedHub) -> None:
    hub.answers = [httpx.Response(200, json=COUNTS), httpx.Response(200, json=COUNTS)]
    assert cli().output == "Deleted: 4 jobs (3 ended, 1 orphaned).\n"
    assert cli("--dry-run").output == "Would be deleted: 4 jobs (3 ended, 1 orphaned).\n"


def test_json_has_the_documented_counts(hub: PlayedHub) -> None:
    hub.answers = [httpx.Response(200, json=COUNTS | {"other": 1})]
    assert json.loads(cli("--json").output) == COUNTS


def test_a_long_one_is_followed_to_its_end(hub: PlayedHub) -> None:
    hub.answers = [
        httpx.Response(202, json={"job_id": "1", "flow_run_id": "2"}),
        streamed(
            JOB | {"status": "running", "version": 1},
            JOB | {"status": "completed", "version": 2, "result": COUNTS},
        ),
    ]
    done = cli("--json")
    assert (done.exit_code, json.loads(done.output)) == (0, COUNTS)
    assert [path for _, path, _ in hub.asked] == ["/internal/cleanup-jobs", "/v1/jobs/1/events"]


def test_a_long_one_that_fails_says_why(hub: PlayedHub) -> None:
    hub.answers = [
        httpx.Response(202, json={"job_id": "1", "flow_run_id": "2"}),
        streamed(JOB | {"status": "failed", "version": 1, "error": "The database was away."}),
    ]
    done = cli()
    assert done.exit_code == 1
    assert "The database was away." in done.output


@pytest.mark.parametrize("days", ["-1", "3651", "x", "1.5", "", "1e3"])
@pytest.mark.parametrize("option", ["--days-completed", "--days-orphaned"])
def test_days_that_are_none_are_wrong_use_and_ask_nothing(hub: PlayedHub, option: str, days: str) -> None:
    done = cli(option, days)
    assert done.exit_code == 2
    assert option in done.output
    assert hub.asked == []


def test_who_may_not_gets_a_failure(hub: PlayedHub) -> None:
    hub.answers = [httpx.Response(403, json={"code": "not-allowed", "detail": "Only operators may do this."})]
    done = cli()
    assert (done.exit_code, "Only operators" in done.output) == (1, True)

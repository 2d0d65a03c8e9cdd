"""The checks of a struck fleet see what they are there to see."""

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.faults.chaos.journal import Execution
from tests.faults.chaos.killer import Struck
from tests.faults.chaos.plan import Planned
from tests.faults.fleet import checks, table
from tests.faults.fleet.cell import Outcome
from tests.faults.fleet.evidence import Evidence
from tests.faults.fleet.schedules import Fired
from tests.faults.fleet.sent import DirectCall, Notes, Passed, Sent

TAG, CALLED, SCHEDULE = "job", "call", "schedule"
BEGAN, STRUCK_AT, ENDED = 100.0, 120.0, 150.0


def evidence() -> Evidence:
    """Of a cell in which all went well: a job, a direct call, three runs of the schedule, and a kill of an API."""
    job = row(TAG, "e1")
    runs = [Fired(str(uuid4()), at, "COMPLETED") for at in (110.0, 125.0, 140.0)]
    scheduled = [row(SCHEDULE, f"s{n}", idempotency_key=f"flow-run:{run.id}") for n, run in enumerate(runs)]
    rows = {one["id"]: one for one in (job, *scheduled)}
    call = DirectCall(Planned(CALLED, "no hint", 0.1, 0.0, None), "2026-07-28", 119.0, 121.0, answer(CALLED, "d1"))
    call.passed = Passed("api-1", "200", "----", "100")
    return Evidence(
        Notes([Sent(Planned(TAG, "no hint", 0.1, 0.0, None), {job["id"]})], [call]),
        rows,
        dict(rows),
        {
            TAG: [Execution("e1", TAG, 105.0, 106.0, "done")],
            CALLED: [Execution("d1", CALLED, 119.1, 119.2, "done")],
            SCHEDULE: [Execution(f"s{n}", SCHEDULE, run.due + 1, run.due + 2, "done") for n, run in enumerate(runs)],
        },
        [Struck("kill", "api-1", STRUCK_AT, STRUCK_AT)],
        SCHEDULE,
        runs,
        (BEGAN, ENDED),
    )


def row(tag: str, execution: str, **more: Any) -> dict[str, Any]:
    """A completed job's row."""
    times = {"created_at": "2026-01-01T00:00:00+00:00", "completed_at": "2026-01-01T00:00:05+00:00"}
    result = {"content": [{"type": "text", "text": answer(tag, execution)}]}
    facts = {"id": str(uuid4()), "status": "completed", "job_type": "tool_invoke", "attempt": 1, "max_attempts": 3}
    return facts | times | {"params": {"tag": tag}, "result": result, "error_code": None, "idempotency_key": tag} | more


def answer(tag: str, execution: str) -> str:
    """The upstream's answer."""
    return json.dumps({"tag": tag, "execution": execution})


def test_nothing_is_said_of_a_cell_that_went_well() -> None:
    assert checks.broken(evidence()) == {}


def test_a_cell_comes_to_its_figures() -> None:
    line = table.line(Outcome("api-1", "kill", evidence(), 50.0))
    assert (line.jobs, line.calls, line.lost, line.twice, line.changed) == ([1, 0, 0, 0, 3], 1, 0, 0, 0)
    assert line.latest == pytest.approx(4.9)
    assert line.gap == 15.0


def test_a_job_without_a_row_and_one_that_has_not_ended_are_lost() -> None:
    broken = evidence()
    broken.notes.jobs.append(Sent(Planned("gone", "no hint", 0.1, 0.0, None), {str(uuid4())}))
    broken.by_tag[TAG][0]["status"] = "running"
    assert len(list(checks.none_is_lost(broken))) == 2


def test_a_run_of_the_schedule_that_stored_no_job_is_lost() -> None:
    broken = evidence()
    broken.fired.append(Fired(str(uuid4()), 145.0, "CRASHED"))
    assert len(list(checks.none_is_lost(broken))) == 1


@pytest.mark.parametrize("tag", [TAG, CALLED])
def test_a_second_execution_of_what_may_not_be_repeated_ran_twice(tag: str) -> None:
    broken = evidence()
    first = broken.executions[tag][0]
    broken.executions[tag].append(replace(first, name="again", began=first.until + 1, until=first.until + 2))
    assert list(checks.none_ran_twice(broken))


def test_two_runs_of_the_schedule_at_once_are_two_jobs() -> None:
    late = evidence()
    first, second, _ = late.executions[SCHEDULE]
    second.began, second.until = first.began, first.until
    assert list(checks.none_ran_twice(late)) == []


def test_a_row_that_is_not_as_it_was_first_seen_ended_has_changed() -> None:
    broken = evidence()
    job = broken.by_tag[TAG][0]
    broken.first_seen[job["id"]] = job | {"status": "failed"}
    assert len(list(checks.no_ended_job_changed(broken))) == 1


def test_an_answer_of_another_call_is_noticed() -> None:
    broken = evidence()
    broken.notes.calls[0].result = answer("other", "d1")
    assert len(list(checks.results_are_of_their_call(broken))) == 1


@pytest.mark.parametrize(
    ("passed", "failure", "is_excused"),
    [
        (Passed("api-1", "502", "SH--", "700"), "HTTP 502", True),
        (Passed("api-2", "502", "SH--", "700"), "HTTP 502", False),
        (None, "RemoteProtocolError", True),
        (None, "HTTP 503", False),
    ],
)
def test_calls_may_fail_in_the_struck_process_alone(passed: Passed | None, failure: str, *, is_excused: bool) -> None:
    broken = evidence()
    call = broken.notes.calls[0]
    call.passed, call.failure, call.result = passed, failure, None
    assert bool(list(checks.only_the_struck_process_failed_calls(broken))) is not is_excused


def test_a_connection_that_was_closed_long_after_the_strike_is_not_excused() -> None:
    broken = evidence()
    call = broken.notes.calls[0]
    call.passed, call.failure, call.result, call.began, call.ended = None, "RemoteProtocolError", None, 140.0, 141.0
    assert list(checks.only_the_struck_process_failed_calls(broken))


def test_a_long_gap_of_the_schedule_and_a_second_run_of_a_time_are_noticed() -> None:
    broken = evidence()
    broken.span = (BEGAN, ENDED + checks.GAP_SECONDS)
    broken.fired.append(replace(broken.fired[0], id=str(uuid4())))
    assert len(list(checks.the_schedule_kept_its_time(broken))) == 2

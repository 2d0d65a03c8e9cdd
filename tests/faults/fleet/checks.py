"""What must hold of a cell, whatever was struck: each check gives what contradicts it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.faults.chaos import checks as chaos_checks
from tests.faults.chaos.checks import ENDED
from tests.faults.fleet.evidence import Evidence
from tests.faults.fleet.sent import DirectCall

GAP_SECONDS = 60
NOTICED_SECONDS = 1.0
"""A process that was killed is no longer reached after so long."""
Check = Callable[[Evidence], Iterator[str]]


def none_is_lost(evidence: Evidence) -> Iterator[str]:
    """Whatever was taken is one job, and that has ended; so is each run of the schedule that has begun."""
    for sent in evidence.notes.jobs:
        rows = evidence.by_tag[sent.planned.tag]
        if len(rows) != 1 or {row["id"] for row in rows} != sent.ids:
            yield f"{sent.way}: {sent.planned.tag} is {len(rows)} rows; its ids {sent.ids}, its answers {sent.answers}"
    for row in evidence.rows.values():
        if row["status"] not in ENDED:
            yield f"has not ended: {row}"
    for fired, job in evidence.runs_of_schedule():
        if job is None:
            yield f"a run of the schedule stored no job: {fired}"


def none_ran_twice(evidence: Evidence) -> Iterator[str]:
    """Nothing ran twice at once, what may not be repeated ran once, and nothing ran more often than it was tried."""
    durable = evidence.durable
    yield from chaos_checks.none_ran_twice_at_once(durable)
    yield from chaos_checks.what_may_not_be_repeated_ran_once(durable)
    yield from chaos_checks.no_attempt_ran_twice(durable)
    for call in evidence.notes.calls:
        executions = evidence.executions.get(call.planned.tag, [])
        if len(executions) > 1 and not call.planned.kind.repeatable:
            yield f"{call} ran {len(executions)} times: {executions}"


def no_ended_job_changed(evidence: Evidence) -> Iterator[str]:
    yield from chaos_checks.find_changed(evidence.first_seen, evidence.rows)


def results_are_of_their_call(evidence: Evidence) -> Iterator[str]:
    """What a row or an answer says is what the upstream gave for this very call, and failures have a reason."""
    durable = evidence.durable
    yield from chaos_checks.a_result_is_that_of_the_last_execution(durable)
    yield from chaos_checks.a_failure_has_its_reason(durable)
    for call in evidence.notes.calls:
        if call.result is not None:
            yield from _answer_of_another(evidence, call)


def _answer_of_another(evidence: Evidence, call: DirectCall) -> Iterator[str]:
    executions = evidence.executions.get(call.planned.tag, [])
    answer = {"tag": call.planned.tag, "execution": executions[-1].name if executions else None}
    if json.loads(call.result or "null") != answer:
        yield f"{call} was answered {call.result}, and the executions are {executions}"
    for row in evidence.by_tag[call.planned.tag]:
        if row["status"] != "completed":
            yield f"{call} was answered, and its row says otherwise: {row}"


def only_the_struck_process_failed_calls(evidence: Evidence) -> Iterator[str]:
    """Calls failed only where the process that had them, or one that all calls go through, was struck."""
    for call in failed_elsewhere(evidence):
        yield f"{call}; the strikes: {evidence.struck}"


def failed_calls(evidence: Evidence) -> list[DirectCall]:
    """The calls that had no result."""
    return [call for call in evidence.notes.calls if call.failure is not None]


def failed_elsewhere(evidence: Evidence) -> list[DirectCall]:
    """The calls that failed in a process that was not struck, or that nobody knows."""
    struck = {one.what for one in evidence.struck}
    if "proxy" in struck:
        return []
    return [call for call in failed_calls(evidence) if not _was_struck(evidence, call, struck)]


def _was_struck(evidence: Evidence, call: DirectCall, struck: set[str]) -> bool:
    """Tell if a call was in the struck process.

    HAProxy does not log a request whose server went away, unless it was the first one of its client's connection: it
    closes that without a word. Such a call counts for an API process that was struck while the call was under way.
    """
    if call.passed is not None:
        return call.passed.part in struck
    is_silent = call.failure == "RemoteProtocolError"
    return is_silent and any(
        one.what.startswith("api-") and call.began <= one.until + NOTICED_SECONDS and call.ended >= one.at
        for one in evidence.struck
    )


def the_schedule_kept_its_time(evidence: Evidence) -> Iterator[str]:
    """No gap between the runs of the schedule is long, and none ran twice."""
    if longest_gap(evidence) > GAP_SECONDS:
        yield f"no run of the schedule for {longest_gap(evidence):.0f} s"
    yield from fired_twice(evidence)


def longest_gap(evidence: Evidence) -> float:
    """The longest time without a run of the schedule, as the upstream saw them."""
    began, ended = evidence.span
    times = [began, *(one.began for one in evidence.executions.get(evidence.schedule_tag, [])), ended]
    inside = sorted(time for time in times if began <= time <= ended)
    return max(after - before for before, after in pairwise(inside))


def fired_twice(evidence: Evidence) -> Iterator[str]:
    """Times at which two runs were due, and jobs of the schedule that ran twice."""
    for due, number in Counter(round(one.due) for one in evidence.fired).items():
        if number > 1:
            yield f"{number} runs were due at {due}"
    began, _ = evidence.span
    executions = sum(one.began >= began for one in evidence.executions.get(evidence.schedule_tag, []))
    jobs = len(evidence.by_tag[evidence.schedule_tag])
    if executions > jobs:
        yield f"{jobs} jobs of the schedule ran {executions} times"


CHECKS: tuple[Check, ...] = (
    none_is_lost,
    none_ran_twice,
    no_ended_job_changed,
    results_are_of_their_call,
    only_the_struck_process_failed_calls,
    the_schedule_kept_its_time,
)


def broken(evidence: Evidence) -> dict[str, list[str]]:
    """The checks that do not hold, each with what contradicts it."""
    found = {check.__name__: list(check(evidence)) for check in CHECKS}
    return {name: contradictions for name, contradictions in found.items() if contradictions}

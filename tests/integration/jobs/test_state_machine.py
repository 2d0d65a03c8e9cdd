"""Jobs under all their writers, in any order and at the same time, held against a plain model of them.

What Hypothesis draws does not depend on the database: a race may end either way, and the next draw is the same.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from nexus_hub.execution.attempt import Attempt
from nexus_hub.jobs.requests import JobRequest
from tests.fixtures import job_model
from tests.fixtures.job_bench import FAILURES, Bench, Row, Run
from tests.fixtures.job_model import ENDED, Allowed, Answer, Holder, Model, State
from tests.fixtures.postgres import HubDatabase

REQUESTS = {
    "plain": JobRequest("tool_invoke", "srv__plain"),
    "hinted": JobRequest("tool_invoke", "srv__hinted"),
    "always": JobRequest("tool_invoke", "srv__plain", retry="always"),
    "resource": JobRequest("resource_fetch", "srv", uri="a://b"),
    "joined": JobRequest("tool_invoke", "srv__plain"),
    "batched": JobRequest("tool_invoke", "srv__plain"),
    "batched, hinted": JobRequest("tool_invoke", "srv__hinted"),
    "direct": JobRequest("tool_invoke", "srv__plain"),
    "direct, hinted": JobRequest("tool_invoke", "srv__hinted"),
}
NOT_REPEATABLE = {"plain", "joined", "batched", "direct"}
PLAIN: dict[str, tuple[str, Model]] = {
    "start": ("status = 'running' WHERE status = 'pending' AND", job_model.start_plainly),
    "complete": ("status = 'completed', result = '1' WHERE", partial(job_model.end_plainly, status="completed")),
    "fail": ("status = 'failed', error = 'x' WHERE", partial(job_model.end_plainly, status="failed")),
    "put back": ("status = 'pending' WHERE", job_model.put_back_plainly),
    "count up": ("attempt = attempt + 1 WHERE", job_model.forge_plainly),
    "count down": ("attempt = attempt - 1 WHERE", job_model.forge_plainly),
    "ask for more": ("params = '{\"more\": 1}' WHERE", job_model.forge_plainly),
    "take": ("claim_id = gen_random_uuid(), lease_expires_at = now() WHERE", job_model.take_plainly),
}
ASKED = (
    *("id", "user_id", "job_type", "server_id", "server_ref_id", "server_type", "tool_name", "params"),
    *("params_escaped", "created_at", "idempotency_key", "request_digest", "retry", "timeout_seconds", "max_attempts"),
)
UNSEEN = {"heartbeat_at", "lease_expires_at", "sent_at", "lost_flow_run_id", "version", "image", "expired"}

ALIVE = 2
"""So many have not ended at any time: others come in their place."""
What = tuple[Any, ...]
"""Which writer, and with what."""

KINDS = st.lists(st.tuples(st.sampled_from(sorted(REQUESTS)), st.sampled_from([3, 1, 2, 5])), min_size=2, max_size=5)
NOTHING: Mapping[UUID, State] = MappingProxyType({})
JOBS, HOLDERS = st.integers(0, ALIVE), st.integers(0, 3)
CLAIMS = st.tuples(st.just("claim"), st.sampled_from([0, 0, 1, -1]))
RECORDS = st.tuples(st.just("record"), HOLDERS, st.sampled_from(sorted(FAILURES)))
OF_QUEUE = st.sampled_from([("claim queued",), ("claim queued",), ("snooze waiting",), ("cancel batch",)])
OF_HOLDERS = st.tuples(
    st.sampled_from(["renew", "send", "promise", "snooze", "snooze_shared_job", "cancel run"]), HOLDERS
)
OF_OTHERS = st.tuples(st.just("plain"), st.sampled_from(sorted(PLAIN)))
WRITES = st.one_of(RECORDS, OF_HOLDERS, CLAIMS, OF_QUEUE, st.just(("cancel",)), OF_OTHERS)
OF_PREFECT = st.sampled_from([("hand over",), ("give up run",)])
TAKES: st.SearchStrategy[What] = st.sampled_from([("claim", 0), ("claim queued",)])
PUT_BACK: list[list[What]] = [[("claim", 0), ("snooze", 0)], [("claim", 0), ("record", 0, "never sent")]]
CARRIED: list[list[What]] = [
    [("snooze waiting",)],
    [("snooze_shared_job", 0), ("claim queued",)],
    [("snooze_shared_job", 0), ("hand over",), ("snooze waiting",)],
    [("snooze", 0), ("snooze waiting",)],
    [("snooze", 0), ("claim queued",), ("snooze_shared_job", 1)],
]
"""What a shared run that has taken a job goes on to do, and another one."""
SWEEPS = st.one_of(st.just(("release",)), OF_PREFECT, st.just(("leave queue",)))
BESIDE = st.sampled_from(["comes", "begins", "close"])


@dataclass(frozen=True, slots=True)
class Write:
    """One write to a job, or the sweep's to all of them."""

    run: Run
    model: Model
    is_sweep: bool = False
    skips: Answer = None
    """What it is told if it passes over a job that somebody else is writing."""

    def racing(self, state: State) -> Allowed:
        """The model while somebody else may be at the job."""
        return self.model(state) + ([(state, self.skips)] if self.skips else [])


class Jobs(RuleBasedStateMachine):
    """A few jobs. Whoever has taken one goes on writing to it, long after it was lost."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.repeatable: dict[UUID, bool] = {}
        self.kinds: Iterator[tuple[str, int]] = iter(())
        self.ends: dict[UUID, str] = {}
        self.not_again: set[UUID] = set()
        self.before: dict[UUID, Row] = {}
        self.after: dict[UUID, Row] = {}

    @initialize(kinds=KINDS)
    def jobs_are_stored(self, kinds: list[tuple[str, int]]) -> None:
        self.kinds = cycle(kinds)
        self.bench.run(self.bench.reset())
        self.bench.run(self._store_missing())

    @rule(job=JOBS, take=TAKES, sends=st.booleans())
    def a_worker_takes_it(self, job: int, take: What, sends: bool) -> None:
        job_id = self.pick(job)
        self.bench.run(self._one(job_id, take))
        if sends:
            self.bench.run(self._one(job_id, ("send", 0)))

    @rule(job=JOBS, write=WRITES)
    def one_writes(self, job: int, write: What) -> None:
        self.bench.run(self._one(self.pick(job), write))

    @rule(job=JOBS, taken=st.one_of(st.none(), TAKES), first=WRITES, second=WRITES)
    def two_write_at_once(self, job: int, taken: What | None, first: What, second: What) -> None:
        job_id = self.pick(job)
        if taken:
            self.bench.run(self._one(job_id, taken))
        self.bench.run(self._two(job_id, first, second))

    @rule(job=JOBS, lost=st.booleans(), write=WRITES, rescuer=SWEEPS, swept_first=st.booleans())
    def one_writes_while_all_is_swept(
        self, job: int, lost: bool, write: What, rescuer: What, swept_first: bool
    ) -> None:
        job_id = self.pick(job)
        if lost:
            self.bench.run(self._one(job_id, ("claim", 0)))
            self.bench.run(self._expire(job_id))
        self.bench.run(self._swept(job_id, write, rescuer, swept_first))

    @rule(job=JOBS, steps=st.sampled_from(CARRIED))
    def a_shared_run_carries_it(self, job: int, steps: list[What]) -> None:
        job_id = self.pick(job)
        for what in (("claim queued",), *steps):
            self.bench.run(self._one(job_id, what))

    @rule(job=JOBS, before=st.sampled_from([[], *PUT_BACK]), write=OF_OTHERS)
    def another_program_writes(self, job: int, before: list[What], write: What) -> None:
        job_id = self.pick(job)
        for what in (*before, write):
            self.bench.run(self._one(job_id, what))

    @rule(job=JOBS, rescuer=OF_PREFECT, meanwhile=st.one_of(st.sampled_from(PUT_BACK), st.lists(WRITES, max_size=3)))
    def prefect_takes_its_time(self, job: int, rescuer: What, meanwhile: list[What]) -> None:
        self.bench.run(self._slowly(self.pick(job), rescuer, meanwhile))

    @rule(rescuer=SWEEPS)
    def all_is_swept(self, rescuer: What) -> None:
        self.bench.run(self._one(self.pick(0), rescuer))

    @rule(beside=BESIDE)
    def shared_runs_open_and_close(self, beside: str) -> None:
        """The jobs stay as they are; what is stored or found waiting from now on goes another way."""
        change = self.bench.close_runs() if beside == "close" else self.bench.open_run(begun=beside == "begins")
        self.bench.run(change)

    @rule(job=JOBS)
    def a_lease_runs_out(self, job: int) -> None:
        self.bench.run(self._expire(self.pick(job)))

    @rule(job=JOBS, late=st.one_of(RECORDS, OF_HOLDERS))
    def a_worker_is_lost_and_comes_back_when_another_has_taken_over(self, job: int, late: What) -> None:
        job_id = self.pick(job)
        self.bench.run(self._expire(job_id))
        for what in (("release",), ("claim", 0), (late[0], late[1] + 1, *late[2:])):
            self.bench.run(self._one(job_id, what))

    @invariant()
    def an_end_is_for_ever(self) -> None:
        ended = {job_id: row["image"] for job_id, row in self.after.items() if row["status"] in ENDED}
        self.ends = ended | self.ends
        assert ended == self.ends

    @invariant()
    def a_version_stands_for_all_that_can_be_seen(self) -> None:
        for job_id, row in self.after.items():
            before = self.before[job_id]
            changed = any(row[column] != before[column] for column in row.keys() - UNSEEN)
            assert row["version"] >= before["version"] + changed

    @invariant()
    def what_was_asked_stays(self) -> None:
        for job_id, row in self.after.items():
            assert [row[column] for column in ASKED] == [self.before[job_id][column] for column in ASKED]

    @invariant()
    def attempts_stay_within_their_number(self) -> None:
        assert all(0 <= row["attempt"] <= row["max_attempts"] for row in self.after.values())

    @invariant()
    def one_who_has_taken_it_holds_a_job_that_runs(self) -> None:
        for job_id, row in self.after.items():
            if row["claim_id"] is not None:
                _, attempt = self.bench.held[row["claim_id"]]
                assert (attempt.id, row["status"], row["attempt"]) == (job_id, "running", attempt.number)

    @invariant()
    def a_call_that_may_have_had_its_effect_is_not_repeated(self) -> None:
        assert all(self.after[job_id]["error_code"] == "outcome-unknown" for job_id in self.not_again)

    def teardown(self) -> None:
        if self.repeatable and sys.exception() is None:
            self.bench.run(self._end_all())

    def pick(self, job: int) -> UUID:
        """One of those that have not ended, or the one that was stored first."""
        if len(self._alive()) < ALIVE:
            self.bench.run(self._store_missing())
        return [next(iter(self.repeatable)), *self._alive()][-1 - job]

    def _alive(self) -> list[UUID]:
        return [job_id for job_id, row in self.after.items() if row["status"] not in ENDED]

    async def _store_missing(self) -> None:
        for _ in range(ALIVE - len(self._alive())):
            kind, max_attempts = next(self.kinds)
            request = replace(REQUESTS[kind], max_attempts=max_attempts)
            if kind.startswith("batched"):
                job_id = await self.bench.store_in_batch(request)
            elif kind.startswith("direct"):
                job_id = await self.bench.store_direct(request)
            else:
                job_id = await self.bench.store(request, queued=kind == "joined")
            self.repeatable[job_id] = kind not in NOT_REPEATABLE
        self.before = self.after = await self.bench.rows()

    async def _expire(self, *job_ids: UUID) -> None:
        await self.bench.expire(list(job_ids))
        self.before = self.after = await self.bench.rows()

    async def _one(self, job_id: UUID, what: What) -> None:
        await self._look_before()
        if (write := self.writer(job_id, *what)) is None:
            return
        if what == ("release",):
            self.not_again |= {lost for lost in self.before if self._may_have_had_its_effect(lost)}
        told = await write.run()
        await self._look_after(job_id, write)
        assert (self.now(job_id), told) in write.model(self.then(job_id))

    async def _two(self, job_id: UUID, *whats: What) -> None:
        await self._look_before()
        first, second = (self.writer(job_id, *what) for what in whats)
        if first is None or second is None:
            return
        told = await self.bench.concurrency(job_id, first.run, second.run)
        await self._look_after(job_id, first, second)
        assert (self.now(job_id), *told) in job_model.in_some_order(self.then(job_id), first.racing, second.racing)

    async def _swept(self, job_id: UUID, write: What, rescuer: What, swept_first: bool) -> None:
        await self._look_before()
        one, all_ = self.writer(job_id, *write), self.writer(job_id, *rescuer)
        if one is None or all_ is None:
            return
        if swept_first:
            _, told = await self.bench.together(all_.run, one.run)
        else:
            told, _ = await self.bench.together(one.run, all_.run)
        await self._look_after(job_id, one, all_)
        allowed = job_model.in_some_order(self.then(job_id), one.racing, all_.model)
        passed_over = one.racing(self.then(job_id))
        assert (self.now(job_id), told) in passed_over + [(state, answer) for state, answer, _ in allowed]

    async def _slowly(self, job_id: UUID, rescuer: What, meanwhile: list[What]) -> None:
        """The sweep asks Prefect; by the time of the answer the jobs may not be as it saw them."""
        await self._look_before()
        swept = self.writer(job_id, *rescuer, seen={other: self.then(other) for other in self.before})
        assert swept is not None
        async with self.bench.meanwhile(swept.run) as asking:
            for what in meanwhile:
                await self._one(job_id, what)
            await self._look_before()
        await asking
        await self._look_after(job_id, swept)
        assert (self.now(job_id), None) in swept.model(self.then(job_id))

    async def _look_before(self) -> None:
        self.before = self.after = await self.bench.rows_later()

    async def _look_after(self, written: UUID, *writes: Write) -> None:
        """See what became of the jobs; one that was not written to is as it was."""
        self.after = await self.bench.rows()
        assert self.after.keys() == self.before.keys()
        for job_id in self.after.keys() - {written}:
            swept = [state for write in writes if write.is_sweep for state, _ in write.model(self.then(job_id))]
            assert self.now(job_id) in swept or self.after[job_id]["image"] == self.before[job_id]["image"]
        self.an_end_is_for_ever()  # these also in the middle of a rule, whose end shows its last write only
        self.a_version_stands_for_all_that_can_be_seen()
        self.what_was_asked_stays()

    async def _end_all(self) -> None:
        """All workers are lost, and others take what is left; then the lost ones come back."""
        await self._expire(*self.repeatable)
        await self._one(next(iter(self.repeatable)), ("release",))
        await self.bench.cleanup.fail_orphans(0)
        await self._look_before()
        for job_id in self._alive():
            await self._one(job_id, ("claim", 0))
            await self._one(job_id, ("record", 0, "answered"))
        self.after = await self.bench.rows()
        assert {row["status"] for row in self.after.values()} <= ENDED
        for _, attempt in self.bench.held.values():
            await self.bench.together(*(partial(late, attempt) for late in (self.bench.renew, self.bench.snooze)))
            await self.bench.record(attempt, "answered")
        self.after = await self.bench.rows()
        self.an_end_is_for_ever()

    def _may_have_had_its_effect(self, job_id: UUID) -> bool:
        row = self.before[job_id]
        return row["expired"] and row["sent_at"] is not None and not self.repeatable[job_id]

    def then(self, job_id: UUID) -> State:
        return self._state(self.before[job_id])

    def now(self, job_id: UUID) -> State:
        return self._state(self.after[job_id])

    def _state(self, row: Row) -> State:
        return State(
            job=row["id"],
            max_attempts=row["max_attempts"],
            repeatable=self.repeatable[row["id"]],
            status=row["status"],
            attempt=row["attempt"],
            holder=self.bench.held[row["claim_id"]][0] if row["claim_id"] else None,
            run=row["flow_run_id"],
            started=row["started_at"] is not None,
            sent=row["sent_at"] is not None,
            dispatched=row["dispatched_at"] is not None and row["status"] not in ENDED,
            expired=row["expired"],
            batch=row["batch_id"] if row["status"] not in ENDED else None,
            lane=row["lane"],
        )

    def writer(self, job_id: UUID, kind: str, *rest: Any, seen: Mapping[UUID, State] = NOTHING) -> Write | None:
        """The writer of that kind; None for a holder of a job that nobody ever held, or a batch that it never was in.

        `seen` are the jobs as the sweep knows them, where that is not as they are.
        """
        match kind:
            case "claim":
                holder = Holder(self.after[job_id]["attempt"] + 1 + rest[0], uuid4())
                return Write(partial(self.bench.claim, job_id, holder), partial(job_model.claim, holder=holder))
            case "cancel":
                return Write(partial(self.bench.cancel, job_id), job_model.cancel)
            case "plain":
                assignments, model = PLAIN[rest[0]]
                return Write(partial(self.bench.plain, job_id, assignments), model)
            case "release":
                return Write(self.bench.release, job_model.release, is_sweep=True)
            case "hand over":
                return Write(self.bench.dispatch_job, partial(self._dispatch, seen=seen), is_sweep=True)
            case "give up run":
                return Write(self.bench.give_up_run, partial(_give_up_run, seen=seen), is_sweep=True)
            case "leave queue" | "snooze waiting" | "claim queued" | "cancel batch":
                return self._of_queue(job_id, kind)
        held = [(holder, attempt) for holder, attempt in self.bench.held.values() if attempt.id == job_id]
        return self._of_holder(*held[-1 - rest[0] % len(held)], kind, *rest[1:]) if held else None

    def _of_queue(self, job_id: UUID, kind: str) -> Write | None:
        match kind:
            case "leave queue":
                return Write(self.bench.leave_queue, job_model.leave_queue, is_sweep=True)
            case "snooze waiting":
                return Write(partial(self.bench.snooze_waiting, job_id), job_model.snooze_waiting, skips="nothing")
            case "claim queued":
                holder = Holder(0, uuid4())
                model = partial(job_model.claim_queued, holder=holder)
                return Write(partial(self.bench.claim_queued, job_id, holder), model, skips="refused")
        if job_id not in self.bench.batches:
            return None
        batch, run = self.bench.batches[job_id]
        return Write(partial(self.bench.cancel_run, run), partial(job_model.cancel_run, run=run, batch=batch))

    def _of_holder(self, holder: Holder, attempt: Attempt, kind: str, *rest: Any) -> Write:
        match kind:
            case "record":
                model = partial(job_model.record, holder=holder, ending=rest[0])
                return Write(partial(self.bench.record, attempt, rest[0]), model)
            case "cancel run":
                return Write(partial(self.bench.cancel_run, holder.run), partial(job_model.cancel_run, run=holder.run))
        run, model = getattr(self.bench, kind), getattr(job_model, kind)
        skips = "skipped" if kind == "renew" else None
        return Write(partial(run, attempt), partial(model, holder=holder), skips=skips)

    def _dispatch(self, state: State, seen: Mapping[UUID, State]) -> job_model.Allowed:
        started = self.bench.prefect.runs.items()
        runs = [run for (job_id, attempt, _), run in started if (job_id, attempt) == (state.job, state.attempt + 1)]
        return job_model.dispatch_job(state, seen.get(state.job, state), runs)


def _give_up_run(state: State, seen: Mapping[UUID, State]) -> job_model.Allowed:
    return job_model.give_up_run(state, seen.get(state.job, state))


@pytest.fixture
def bench(database: HubDatabase, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(database, tmp_path)
    yield opened
    opened.close()


def test_no_order_of_writers_leads_out_of_the_model(bench: Bench) -> None:
    class JobsOnBench(Jobs):
        def __init__(self) -> None:
            super().__init__(bench)

    examples = settings(
        derandomize=True,
        deadline=None,
        stateful_step_count=40,
        max_examples=50,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(JobsOnBench, settings=examples)

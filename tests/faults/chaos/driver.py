"""Submits and cancels what is planned, through all outages, and keeps what was answered."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import psycopg

from tests.faults.chaos.plan import Planned
from tests.faults.chaos.rows import Rows, Server

TRANSIENT = {503}
"""What the API may answer while something is away."""


@dataclass
class Submission:
    """A planned job, and what became of its submission."""

    planned: Planned
    ids: set[str] = field(default_factory=set)
    """The ids that were answered: one, if the hub keeps its word."""
    answers: Counter[str] = field(default_factory=Counter)
    """Of each kind of answer how many, those that did not arrive by the name of the error."""
    cancelled_by_api: bool = False
    """Whether the API said that it cancelled the job."""
    asked_to_cancel: bool = False
    """Whether anybody may have heard that the job is to be cancelled."""

    cancelled_run: str | None = None
    """The flow run that Prefect was asked to cancel, with all that it carries."""

    @property
    def id(self) -> str:
        return next(iter(self.ids))


class Driver:
    """Clients of one hub: the operator's and the users'."""

    def __init__(
        self,
        url: str,
        tokens: Mapping[str | None, str],
        prefect: httpx.AsyncClient,
        rows: Rows,
        users: Mapping[str | None, str | None],
        servers: Mapping[str, Server],
        chance: random.Random,
    ) -> None:
        self._clients = {
            user: httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
            for user, token in tokens.items()
        }
        self._prefect = prefect
        self._rows = rows
        self._users = users
        self._servers = servers
        self._chance = chance

    async def drive(self, jobs: list[Planned]) -> list[Submission]:
        """Submit all jobs at their times, each until it is accepted, and cancel those that are to be cancelled."""
        submissions = [Submission(planned) for planned in jobs]
        batches: dict[int, list[Submission]] = defaultdict(list)
        async with asyncio.TaskGroup() as tasks:
            for submission in submissions:
                if submission.planned.batch is None:
                    tasks.create_task(self._see_through(submission))
                else:
                    batches[submission.planned.batch].append(submission)
            for batch in batches.values():
                tasks.create_task(self._see_batch_through(batch))
        for client in self._clients.values():
            await client.aclose()
        return submissions

    async def _see_through(self, submission: Submission) -> None:
        planned = submission.planned
        await asyncio.sleep(planned.at)
        if planned.sql_id is not None:
            await self._insert(submission)
        else:
            await asyncio.gather(*(self._submit(submission) for _ in range(1 + planned.twice)))
        await self._cancel_if_planned(submission)

    async def _see_batch_through(self, batch: list[Submission]) -> None:
        planned = batch[0].planned
        await asyncio.sleep(planned.at)
        await asyncio.gather(*(self._submit_batch(batch) for _ in range(1 + planned.twice)))
        await asyncio.gather(*(self._cancel_if_planned(submission) for submission in batch))

    async def _cancel_if_planned(self, submission: Submission) -> None:
        cancel = submission.planned.cancel
        if cancel is not None:
            await asyncio.sleep(cancel.after)
            await (self._cancel(submission) if cancel.by == "api" else self._cancel_run(submission))

    async def _submit(self, submission: Submission) -> None:
        client, body = self._clients[submission.planned.user], submission.planned.request()
        while True:
            answer = await self._call(submission, client, "POST", "/v1/jobs", body)
            if answer is not None and answer.status_code == 202:
                submission.ids.add(answer.json()["id"])
                return
            await self._pause(submission)

    async def _submit_batch(self, batch: list[Submission]) -> None:
        """What is answered counts for the first of them."""
        client, body = self._clients[batch[0].planned.user], {"jobs": [one.planned.request() for one in batch]}
        while True:
            answer = await self._call(batch[0], client, "POST", "/v1/jobs:batch", body)
            if answer is not None and answer.status_code == 202:
                for submission, job_id in zip(batch, answer.json()["ids"], strict=True):
                    submission.ids.add(job_id)
                return
            await self._pause(batch[0])

    async def _insert(self, submission: Submission) -> None:
        planned = submission.planned
        while True:
            try:
                await self._rows.insert(planned, self._users[planned.user], self._servers[planned.kind.server])
            except psycopg.Error as error:
                submission.answers[type(error).__name__] += 1
                await self._pause(submission)
            else:
                submission.ids.add(str(planned.sql_id))
                return

    async def _cancel(self, submission: Submission) -> None:
        client = self._clients[submission.planned.user]
        while True:
            submission.asked_to_cancel = True
            answer = await self._call(submission, client, "DELETE", f"/v1/jobs/{submission.id}")
            if answer is not None and answer.status_code in {200, 409}:
                submission.cancelled_by_api = answer.status_code == 200
                return
            await self._pause(submission)

    async def _cancel_run(self, submission: Submission) -> None:
        """As Prefect's UI does it; a job that is not handed over yet, or is no longer there, is left alone."""
        for _ in range(10):
            try:
                run = await self._rows.flow_run(submission.id)
                if run is not None:
                    submission.asked_to_cancel = True
                    submission.cancelled_run = run
                    state = {"type": "CANCELLING", "name": "Cancelling"}
                    answer = await self._prefect.post(f"/flow_runs/{run}/set_state", json={"state": state})
                    submission.answers[f"Prefect {answer.status_code}"] += 1
                    return
            except (httpx.HTTPError, psycopg.Error) as error:
                submission.answers[type(error).__name__] += 1
            await self._pause(submission)

    async def _call(
        self, submission: Submission, client: httpx.AsyncClient, method: str, path: str, body: object = None
    ) -> httpx.Response | None:
        try:
            answer = await client.request(method, path, json=body)
        except httpx.HTTPError as error:
            submission.answers[type(error).__name__] += 1
            return None
        submission.answers[f"{method} {answer.status_code}"] += 1
        return answer

    async def _pause(self, submission: Submission) -> None:
        """Longer and longer, or all who wait for the API would keep the machine from starting it."""
        await asyncio.sleep(self._chance.uniform(0.1, 0.3) * min(submission.answers.total(), 10))

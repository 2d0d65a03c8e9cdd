"""Caller of a job as its server can ask it: questions are written down, and wait until they are answered."""

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database
from nexus_hub.errors import DatabaseUnavailable, HubError
from nexus_hub.execution.attempt import Attempt
from nexus_hub.jobs import inputs
from nexus_hub.upstream.peer import PeerRefused

RETRY_SECONDS = 1.0


class InputDesk:
    """Makes the peers of jobs that are held here, and wakes those whose jobs have changed."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._waiting: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    def notice(self, job_id: UUID | None) -> None:
        """Take note that a job has changed; None: any may have."""
        jobs = list(self._waiting) if job_id is None else [job_id] if job_id in self._waiting else []
        for job in jobs:
            for changed in self._waiting[job]:
                changed.set()

    def peer_of(self, attempt: Attempt) -> "TaskPeer | None":
        """Give the peer of a job; None if its caller can't be asked anything."""
        capabilities = attempt.job.client_capabilities
        return TaskPeer(self, attempt, capabilities) if capabilities else None

    async def wait_for_answer(self, job_id: UUID, question: UUID) -> dict[str, Any]:
        """Wait for the answer to a question, and take it."""
        changed = asyncio.Event()
        self._waiting[job_id].add(changed)
        try:
            while True:
                changed.clear()
                try:
                    if (answer := await inputs.take_answer(self.database, question)) is not None:
                        return answer
                except DatabaseUnavailable:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                await changed.wait()
        finally:
            self._waiting[job_id].discard(changed)
            if not self._waiting[job_id]:
                del self._waiting[job_id]


class TaskPeer:
    """The caller of a job, which looks after it from time to time; it hears no log messages, as tasks have none."""

    takes_rounds = False
    speaks_older = False
    obstacle = None

    def __init__(self, desk: InputDesk, attempt: Attempt, capabilities: Mapping[str, Any]) -> None:
        self._desk = desk
        self._attempt = attempt
        self._capabilities = capabilities

    @property
    def owner(self) -> Hashable:
        """The user, or None for the operator."""
        return self._attempt.job.user_id

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """The client's capabilities, as it declared them when it asked for the job."""
        return self._capabilities

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Write a question down and wait for its answer.

        Raises:
            PeerRefused: it can't be written down, or the job is somebody else's by now.
        """
        try:
            question = await inputs.ask(self._desk.database, self._attempt.claim, method, params)
        except HubError as error:
            raise PeerRefused(f"The question could not be kept: {error.message}") from error
        if question is None:
            raise PeerRefused("The job that asks has ended.")
        try:
            return await self._desk.wait_for_answer(self._attempt.id, question)
        except asyncio.CancelledError:
            await self._withdraw(question)
            raise

    async def log(self, params: dict[str, Any]) -> None:
        """Drop a log message."""

    async def complete(self, params: dict[str, Any]) -> None:
        """Drop the word that an elicitation by URL is complete."""

    async def _withdraw(self, question: UUID) -> None:
        with suppress(HubError):
            await asyncio.shield(asyncio.ensure_future(inputs.withdraw(self._desk.database, question)))

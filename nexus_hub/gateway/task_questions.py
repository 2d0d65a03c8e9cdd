"""Questions of core tasks: put to the client on the stream of its `tasks/result`, as 2025-11-25 has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.errors import DatabaseUnavailable, HubError, TookTooLong
from nexus_hub.gateway.asked import Asked
from nexus_hub.gateway.job_calls import LONGEST_WAIT_SECONDS, RETRY_SECONDS, JobParts
from nexus_hub.gateway.peers import LegacyPeer
from nexus_hub.gateway.task_states import related
from nexus_hub.jobs import inputs
from nexus_hub.live.feed import Signal
from nexus_hub.telemetry.trail import note
from nexus_hub.upstream.peer import ELICIT, PeerRefused


@asynccontextmanager
async def asking_client(parts: JobParts, asked: Asked, job_id: UUID) -> AsyncIterator[None]:
    """Put what a task's server asks to the client that waits for its result, as long as the block runs."""
    asking = asyncio.create_task(_ask_all(parts, asked, job_id))
    try:
        yield
    finally:
        with suppress(Exception):  # it asks for no more; the task itself goes on
            await cancel_and_wait(asking)


async def _ask_all(parts: JobParts, asked: Asked, job_id: UUID) -> None:
    known: set[str] = set()
    async with asyncio.TaskGroup() as group:
        with parts.feed.follow(asked.principal, job_id) as follower:
            while True:
                try:
                    questions = await inputs.read_open(parts.database, asked.principal, job_id)
                except (DatabaseUnavailable, TookTooLong):
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                for key in questions.keys() - known:
                    known.add(key)
                    group.create_task(_ask(parts, asked, job_id, key, questions[key]))
                if await follower.next(LONGEST_WAIT_SECONDS) is Signal.END:
                    return


async def _ask(parts: JobParts, asked: Asked, job_id: UUID, key: str, question: dict[str, Any]) -> None:
    """Ask one question; a client that refuses a form has cancelled it, and what else it refuses stays unanswered."""
    try:
        answer = await LegacyPeer(asked).ask(question["method"], related(dict(question["params"]), job_id))
    except PeerRefused:
        if question["method"] != ELICIT:
            return
        answer = {"action": "cancel"}
    with suppress(HubError):
        await inputs.answer(parts.database, asked.principal, job_id, {key: answer})
        note(arguments={key: answer})

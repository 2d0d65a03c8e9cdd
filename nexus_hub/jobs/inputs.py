"""Questions in the middle of jobs: asked by the worker that holds the job, answered by its caller from anywhere."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from nexus_hub.db.pool import Database, json_text
from nexus_hub.db.queries import load
from nexus_hub.json_object import JsonObject
from nexus_hub.models import Principal

JOB_INPUTS = load("job_inputs")
MOST_ANSWERS = 100
"""So many answers of one request are looked at; no job asks as much at a time."""


async def ask(database: Database, claim: Mapping[str, Any], method: str, params: Mapping[str, Any]) -> UUID | None:
    """Write down a question of the job that is held under a claim; its id, or None if the claim is gone."""
    async with database.transaction() as transaction:
        return await transaction.one(
            JOB_INPUTS["ask"], UUID, method=method, params=json_text(JsonObject.of(params).text), **claim
        )


async def read_open(database: Database, principal: Principal, job_id: UUID) -> dict[str, Any]:
    """Read what a job asks its caller now, by the ids of the questions, each a method and its parameters."""
    async with database.transaction(principal) as transaction:
        rows = await transaction.all(JOB_INPUTS["open_inputs"], id=job_id)
    return {str(row["id"]): {"method": row["method"], "params": JsonObject(row["params"].encode())} for row in rows}


async def answer(database: Database, principal: Principal, job_id: UUID, answers: Mapping[str, Any]) -> None:
    """Write down answers by the ids of the questions; those to what is not asked now mean nothing."""
    given = {
        known: JsonObject.of(value).text
        for key, value in list(answers.items())[:MOST_ANSWERS]
        if isinstance(value, Mapping) and (known := _parse(key)) is not None
    }
    if not given:
        return
    async with database.transaction(principal) as transaction:
        await transaction.run(
            JOB_INPUTS["answer"], id=job_id, ids=list(given), responses=[json_text(text) for text in given.values()]
        )


async def take_answer(database: Database, question: UUID) -> dict[str, Any] | None:
    """Take the answer to a question away; None if there is none yet."""
    async with database.transaction() as transaction:
        text = await transaction.one(JOB_INPUTS["take_answer"], str, id=question)
    return None if text is None else dict(JsonObject(text.encode()))


async def withdraw(database: Database, question: UUID) -> None:
    """Ask a question no more."""
    async with database.transaction() as transaction:
        await transaction.run(JOB_INPUTS["withdraw"], id=question)


def _parse(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None

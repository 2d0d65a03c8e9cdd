"""What the API says of waiting: of a job, and of all users' jobs."""

from typing import Any

import httpx
import pytest

from nexus_hub.db.pool import Database
from nexus_hub.models import OPERATOR
from tests.fixtures.served import SERVICE_KEY, Served

NOTHING = {"position": None, "running": None, "until": None, "reason": None}


async def enqueue(database: Database) -> None:
    """Let what was stored wait in the queue."""
    async with database.transaction() as transaction:
        await transaction.run(b"UPDATE job_results SET dispatched_at = now() WHERE status = 'pending'")


@pytest.fixture
def asked(served: Served) -> Any:
    async def ask(path: str, token: str = SERVICE_KEY, method: str = "GET") -> httpx.Response:
        async with httpx.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {token}"}) as client:
            return await client.request(method, path)

    return ask


async def test_a_pending_job_says_what_it_waits_for_until_it_runs(served: Served, asked: Any) -> None:
    ann, token = await served.user("ann")
    first, second = await served.stored(ann), await served.stored(ann)
    path = f"/v1/jobs/{second}"
    assert (await asked(path, token)).json()["waits"] == NOTHING | {"for": "prefect"}
    await enqueue(served.database)
    said = NOTHING | {"for": "queue", "position": 2, "running": 0}
    assert (await asked(path, token)).json()["waits"] == (await asked(path)).json()["waits"] == said
    await served.claimed(first)
    assert (await asked(path, token)).json()["waits"] == said | {"position": 1, "running": 1}
    assert (await asked(f"/v1/jobs/{first}", token)).json()["waits"] is None
    assert (await asked(path, token, "DELETE")).json()["waits"] is None


async def test_the_queue_is_the_operators_or_a_users_own(served: Served, asked: Any) -> None:
    ann, token = await served.user("ann")
    for principal in (ann, ann, OPERATOR):
        await served.stored(principal)
    everything, own = (await asked("/v1/queue")).json(), (await asked("/v1/queue", token)).json()
    assert list(everything) == ["waiting", "later", "running", "runs", "users", "more"]
    assert [list(user) for user in everything["users"]] == [
        ["user_id", "name", "waiting", "oldest_seconds", "later", "running", "more"]
    ] * 2
    assert [(user["name"], user["waiting"]) for user in everything["users"]] == [("ann", 2), (None, 1)]
    assert [(user["user_id"], user["waiting"]) for user in own["users"]] == [(str(ann.user_id), 2)]
    assert (own["waiting"], own["running"], own["runs"]) == (2, 0, [])


async def test_the_queue_takes_a_token_and_no_parameters(asked: Any) -> None:
    answers = [
        await asked("/v1/queue", "nobody"),
        await asked("/v1/queue?limit=5"),
        await asked("/v1/queue", method="POST"),
    ]
    assert [answer.status_code for answer in answers] == [401, 422, 405]

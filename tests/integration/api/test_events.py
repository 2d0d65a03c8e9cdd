"""Live status over HTTP: who is told what, in which order, and when a stream ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from nexus_hub.api import events
from nexus_hub.client import Event, HubClient
from nexus_hub.errors import ApiProblem
from nexus_hub.jobs import store
from nexus_hub.models import OPERATOR
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, all_heard, serving
from tests.fixtures.upstreams import free_port

OVER = 30


async def taken(stream: AsyncIterator[Event], count: int) -> list[Event]:
    """The next events."""
    async with asyncio.timeout(OVER):
        return [await anext(stream) for _ in range(count)]


async def all_of(client: HubClient, job_id: object) -> list[Event]:
    """All events of a job, until its stream ends."""
    async with asyncio.timeout(OVER):
        return [event async for event in client.events(str(job_id))]


def seen(found: list[Event]) -> list[tuple[str, str | None, str | None]]:
    return [(event.name, event.id, event.data.get("status")) for event in found]


async def test_a_job_is_told_of_from_its_state_now_to_its_end(served: Served) -> None:
    job_id = await served.stored()
    async with served.client() as client, aclosing(client.events(str(job_id))) as stream:
        first = await taken(stream, 1)
        attempt = await served.claimed(job_id)
        first += await taken(stream, 1)
        await served.execution.recorder.note_progress(attempt, 1, 2, "half")
        first += await taken(stream, 1)
        await served.completed(attempt)
        first += await taken(stream, 1)
        assert await anext(stream, None) is None
        row = await client.job(str(job_id))
    assert seen(first) == [
        ("state", "1", "pending"),
        ("state", "2", "running"),
        ("progress", "3", "running"),
        ("state", "4", "completed"),
    ]
    assert first[2].data["progress"] == {"progress": 1, "total": 2, "fraction": 0.5, "message": "half"}
    more = {name: row.pop(name) for name in ("waits", "server", "user", "duration_ms")}
    assert first[3].data == row, "only a request for a job names its server and user, and says what it waits for"
    assert more["waits"] is None


async def test_a_job_that_has_ended_is_told_of_once(served: Served) -> None:
    job_id = await served.stored()
    await store.cancel(served.database, OPERATOR, job_id)
    async with served.client() as client:
        assert seen(await all_of(client, job_id)) == [("state", "2", "cancelled")]


async def test_a_change_that_is_over_is_told_without_the_row(served: Served) -> None:
    job_id = await served.stored()
    async with served.client() as client, aclosing(client.events(str(job_id))) as stream:
        await taken(stream, 1)
        async with served.database.transaction() as transaction:
            for status in ("running", "pending", "running", "completed"):
                await transaction.connection.execute(
                    "UPDATE job_results SET status = %s WHERE id = %s", (status, job_id)
                )
        found = await taken(stream, 4)
    assert [event.id for event in found] == ["2", "3", "4", "5"]
    assert found[0].data == {
        "id": str(job_id),
        "version": 2,
        "status": "running",
        "job_type": "tool_invoke",
        "attempt": 0,
        "error_code": None,
    }
    assert "result" in found[3].data


async def test_a_feed_begins_with_what_has_not_ended_and_goes_on(served: Served) -> None:
    waiting, ended = await served.stored(), await served.stored()
    await store.cancel(served.database, OPERATOR, ended)
    await all_heard(served.runtime.feed, served.admin_url)
    async with served.client() as client, aclosing(client.events()) as stream:
        first = await taken(stream, 1)
        later = await served.stored()
        await store.cancel(served.database, OPERATOR, waiting)
        rest = await taken(stream, 2)
    assert [(event.data["id"], event.data["status"]) for event in first + rest] == [
        (str(waiting), "pending"),
        (str(later), "pending"),
        (str(waiting), "cancelled"),
    ]
    assert set(first[0].data) == {"id", "version", "status", "job_type", "attempt", "error_code"}
    assert rest[1].data["error_code"] == "cancelled"


async def test_nobody_hears_of_the_jobs_of_others(served: Served) -> None:
    (ann, hers), (bob, _) = await served.user("ann"), await served.user("bob")
    before = [await served.stored(who) for who in (ann, bob, OPERATOR)]
    async with (
        served.client(hers) as client,
        aclosing(client.events()) as stream,
        served.client() as operator,
        aclosing(operator.events()) as whole,
    ):
        found, everything = await taken(stream, 1), await taken(whole, 3)
        after = [await served.stored(who) for who in (bob, OPERATOR, ann)]
        found, everything = found + await taken(stream, 1), everything + await taken(whole, 3)
        for job_id in (before[1], before[2], after[0], uuid4()):
            with pytest.raises(ApiProblem) as caught:
                await all_of(client, job_id)
            assert (caught.value.status, caught.value.code) == (404, "not-found")
    assert [event.data["id"] for event in found] == [str(before[0]), str(after[2])]
    assert [event.data["id"] for event in everything] == [str(job_id) for job_id in before + after]


@pytest.mark.parametrize("path", ["/v1/jobs/events", f"/v1/jobs/{UUID(int=7)}/events"])
async def test_without_a_known_token_no_stream_begins(served: Served, path: str) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        for headers in ({}, {"Authorization": "Bearer undefined"}):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"


async def test_what_is_no_id_is_refused_before_the_stream_begins(served: Served) -> None:
    async with served.client() as client:
        with pytest.raises(ApiProblem, match="uuid") as caught:
            await all_of(client, "not-an-id")
    assert caught.value.status == 400


async def test_nothing_between_keeps_a_stream_back(served: Served) -> None:
    headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
    async with (
        httpx.AsyncClient(base_url=served.url, headers=headers) as client,
        client.stream("GET", "/v1/jobs/events") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert "no-store" in answer.headers["cache-control"]


async def test_a_revoked_token_ends_its_streams(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.2)
    ann, hers = await served.user("ann")
    job_id = await served.stored(ann)
    async with (
        served.client() as operator,
        served.client(hers) as client,
        aclosing(client.events()) as feed,
        aclosing(client.events(str(job_id))) as one,
        aclosing(operator.events()) as whole,
    ):
        for stream in (feed, one, whole):
            await taken(stream, 1)
        await operator.request("DELETE", "/v1/users/ann/tokens")
        async with asyncio.timeout(OVER):
            assert [await anext(stream, None) for stream in (feed, one)] == [None, None]
        await store.cancel(served.database, OPERATOR, job_id)
        assert seen(await taken(whole, 1)) == [("state", "2", "cancelled")]


async def test_an_idle_stream_says_now_and_then_that_it_lives(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.1)
    headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
    async with (
        httpx.AsyncClient(base_url=served.url, headers=headers) as client,
        client.stream("GET", "/v1/jobs/events") as answer,
        asyncio.timeout(OVER),
    ):
        lines = aiter(answer.aiter_lines())
        assert [await anext(lines) for _ in range(4)] == [": keep-alive", "", ": keep-alive", ""]


async def test_one_who_leaves_is_forgotten(served: Served) -> None:
    async with served.client() as client, aclosing(client.events()) as stream:
        waiting = asyncio.create_task(anext(stream, None))
        await served.until_followed(1)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with asyncio.timeout(OVER):
        while served.runtime.feed._all():
            await asyncio.sleep(0.01)


async def test_a_stopping_api_ends_its_streams(database: HubDatabase, tmp_path: Path) -> None:
    async with serving(database, tmp_path, free_port()) as api:
        job_id = await api.stored()
        client = api.client()
        streams = [asyncio.create_task(all_of(client, job_id)) for _ in range(3)]
        await api.until_followed(3)
    assert [seen(await stream) for stream in streams] == [[("state", "1", "pending")]] * 3
    await client.__aexit__(None, None, None)


async def test_watching_gets_over_a_restart_of_the_api(database: HubDatabase, tmp_path: Path) -> None:
    port = free_port()
    async with HubClient(f"http://127.0.0.1:{port}", SERVICE_KEY) as client:
        async with serving(database, tmp_path, port) as api:
            job_id = await api.stored()
            watching = client.watch(str(job_id))
            rows = [await anext(watching)]
            await api.until_followed(1)
            attempt = await api.claimed(job_id)
            rows.append(await anext(watching))
            rest = asyncio.create_task(collected(watching))
        async with serving(database, tmp_path, port) as api:
            await api.completed(attempt)
            async with asyncio.timeout(OVER):
                rows += await rest
    assert [row["status"] for row in rows] == ["pending", "running", "completed"]
    assert rows[-1]["result"]["content"][0]["text"] == "done"


async def test_watching_ends_with_its_time_and_has_given_a_row(served: Served) -> None:
    job_id = await served.stored()
    async with served.client() as client:
        for timeout in (0, 0.3):
            async with asyncio.timeout(OVER):
                rows = await collected(client.watch(str(job_id), timeout=timeout))
            assert [row["status"] for row in rows] == ["pending"]


async def test_watching_a_job_that_is_not_there_says_so(served: Served) -> None:
    async with served.client() as client:
        with pytest.raises(ApiProblem, match="There is no job"):
            await collected(client.watch(str(uuid4())))


async def collected(rows: AsyncIterator[dict[str, object]]) -> list[dict[str, object]]:
    return [row async for row in rows]

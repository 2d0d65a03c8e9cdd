"""The hub's own tools, which make long calls end well in clients that know no tasks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest_asyncio
from psycopg.types.json import Jsonb

from nexus_hub.gateway import own_tools
from nexus_hub.gateway.pages import PAGE_META
from nexus_hub.jobs import lists, store
from nexus_hub.models import OPERATOR, Principal
from tests.fixtures.served import Served

SetRow = Callable[..., Awaitable[None]]
OF_ONE_JOB = ("job_wait", "job_result", "job_cancel")
LONG = "a long text, line by line\n" * 200


async def call(served: Served, name: str, principal: Principal = OPERATOR, **arguments: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        key: arguments.pop(key) for key in ("longest_seconds", "on_progress", "characters") if key in arguments
    }
    if "characters" in options:
        options["page_characters"] = options.pop("characters")
    return await own_tools.call(served.runtime, principal, f"hub__{name}", arguments, **options)


def said(answer: dict[str, Any]) -> str:
    text: str = answer["content"][0]["text"]
    return text


async def ended_with(served: Served, result: dict[str, Any], principal: Principal = OPERATOR) -> UUID:
    """A job that has ended with a result."""
    job_id = await served.stored(principal)
    attempt = await served.claimed(job_id)
    attempt.result = result
    assert await served.execution.record(attempt) == "completed"
    return job_id


@pytest_asyncio.fixture
async def table_of(served: Served) -> AsyncIterator[SetRow]:
    """Sets columns of a job past the hub's rules for its changes."""
    async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:

        async def set_row(job_id: UUID, status: str, **columns: Any) -> None:
            values = {key: Jsonb(value) if isinstance(value, dict) else value for key, value in columns.items()}
            names = ", ".join(f"{name} = %({name})s" for name in values)
            await connection.execute(b"SET session_replication_role = replica")
            await connection.execute(
                f"UPDATE job_results SET {names}, status = %(status)s, completed_at = now() WHERE id = %(id)s".encode(),
                values | {"status": status, "id": job_id},
            )

        yield set_row


async def test_a_job_that_runs_says_how_to_go_on(served: Served) -> None:
    job_id = await served.stored()
    waiting = await call(served, "job_wait", id=str(job_id), seconds=0)
    assert "waits for its turn" in said(waiting)
    await served.claimed(job_id)
    answer = await call(served, "job_wait", id=str(job_id), seconds=0)
    assert "still runs" in said(answer)
    assert not answer.get("isError")
    assert answer["structuredContent"]["status"] == "running"
    assert answer["structuredContent"]["next"] == {
        "tool": "hub__job_wait",
        "arguments": {"id": str(job_id), "seconds": 50},
    }
    assert answer["_meta"]["nexus-hub/job"] == str(job_id)


async def test_whoever_waits_hears_of_the_end_and_of_the_progress_before_it(served: Served) -> None:
    job_id = await served.stored()
    attempt = await served.claimed(job_id)
    heard: list[tuple[float, float | None, str | None]] = []
    first = asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))
        first.set()

    waiting = asyncio.create_task(call(served, "job_wait", id=str(job_id), longest_seconds=60, on_progress=hear))
    await served.until_followed()
    with served.execution.hold(attempt):
        await served.execution.recorder.note_progress(attempt, 1, 2, "half")
        await first.wait()
        await served.completed(attempt)
    answer = await waiting
    assert said(answer) == "done"
    assert heard == [(1, 2, "half")]


async def test_a_wait_ends_before_the_client_gives_up_however_long_it_asks_for(served: Served) -> None:
    job_id = await served.stored()
    answer = await call(served, "job_wait", id=str(job_id), seconds=10_000, longest_seconds=0.05)
    assert "has not ended" in said(answer)


async def test_the_result_of_a_job_is_that_of_its_tool(served: Served) -> None:
    result = {
        "content": [{"type": "text", "text": "x"}, {"type": "image", "data": "AA==", "mimeType": "image/png"}],
        "structuredContent": {"n": 1},
        "isError": True,
        "_meta": {"a/b": 1, "io.modelcontextprotocol/serverInfo": {"name": "x"}},
        "resultType": "complete",
    }
    job_id = await ended_with(served, result)
    for name in ("job_wait", "job_result"):
        answer = await call(served, name, id=str(job_id))
        assert answer.pop("_meta") == {"a/b": 1, "nexus-hub/job": str(job_id)}
        assert answer == {key: result[key] for key in ("content", "structuredContent", "isError")}


async def test_a_large_result_comes_in_pages_that_are_the_whole_text(served: Served) -> None:
    job_id = await ended_with(served, {"content": [{"type": "text", "text": LONG}]})
    answer = await call(served, "job_wait", id=str(job_id), characters=1000)
    text, pages = said(answer), answer["_meta"][PAGE_META]["pages"]
    for page in range(2, pages + 1):
        text += said(await call(served, "job_result", id=str(job_id), page=page, page_characters=1000))
    assert text == LONG
    beyond = await call(served, "job_result", id=str(job_id), page=pages + 1, page_characters=1000)
    assert beyond["isError"]
    assert f"has {pages} pages" in said(beyond)


async def test_a_result_is_not_cut_unless_that_was_asked_for(served: Served) -> None:
    job_id = await ended_with(served, {"content": [{"type": "text", "text": LONG}]})
    assert said(await call(served, "job_result", id=str(job_id))) == LONG
    assert said(await call(served, "job_result", id=str(job_id), page=1)) == LONG


async def test_a_job_that_failed_says_why_and_if_it_may_be_repeated(served: Served, table_of: SetRow) -> None:
    job_id = await served.stored()
    await table_of(job_id, "failed", error="Nobody knows.", error_code="outcome-unknown")
    answer = await call(served, "job_result", id=str(job_id), page=3)
    assert answer["isError"]
    assert "failed (outcome-unknown). Nobody knows. Find out if it had its effect" in said(answer)
    assert answer["structuredContent"]["error_code"] == "outcome-unknown"


async def test_a_job_is_cancelled_once_and_stays_so(served: Served) -> None:
    job_id = await served.stored()
    for _ in range(2):
        answer = await call(served, "job_cancel", id=str(job_id))
        assert not answer.get("isError")
        assert answer["structuredContent"]["status"] == "cancelled"
    assert "was cancelled" in said(await call(served, "job_result", id=str(job_id)))


async def test_what_has_ended_can_not_be_cancelled(served: Served) -> None:
    job_id = await ended_with(served, {"content": []})
    answer = await call(served, "job_cancel", id=str(job_id))
    assert answer["isError"]
    assert "has ended as completed" in said(answer)


async def test_another_users_job_is_not_there(served: Served) -> None:
    anna, _ = await served.user("anna")
    bert, _ = await served.user("bert")
    for name in OF_ONE_JOB:
        for owner in (anna, OPERATOR):
            job_id = await served.stored(owner)
            answer = await call(served, name, bert, id=str(job_id))
            assert answer["isError"]
            assert said(answer).startswith(f"There is no job '{job_id}'.")
            assert (await store.get(served.database, owner, job_id))["status"] == "pending"


async def test_an_id_of_no_job_says_so(served: Served) -> None:
    for name in OF_ONE_JOB:
        for job_id in (str(uuid4()), "no-id", "", "7d444840", "\u0000", "x" * 5000, "' OR 1=1 --"):
            answer = await call(served, name, id=job_id)
            assert answer["isError"]
            assert "job" in said(answer)
            assert len(said(answer)) < 400


async def test_arguments_that_do_not_fit_say_which(served: Served) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("job_wait", {}, "id"),
        ("job_wait", {"id": 5}, "id"),
        ("job_wait", {"id": "x", "seconds": -1}, "seconds"),
        ("job_wait", {"id": "x", "seconds": "10"}, "seconds"),
        ("job_wait", {"id": "x", "secs": 1}, "known are: id, seconds"),
        ("job_result", {"id": "x", "page": 0}, "page"),
        ("job_result", {"id": "x", "page": 1.5}, "page"),
        ("job_result", {"id": "x", "page_characters": 10}, "page_characters"),
        ("job_result", {"id": "x", "part": "all"}, "part"),
        ("jobs", {"status": "over"}, "status"),
        ("jobs", {"limit": 0}, "limit"),
        ("jobs", {"limit": 101}, "limit"),
        ("jobs", {"cursor": 5}, "cursor"),
    ]
    for name, arguments, place in wrong:
        answer = await call(served, name, **arguments)
        assert answer["isError"]
        assert place in said(answer)
        assert answer["_meta"]["nexus-hub/error"]["code"] == "invalid-arguments"


async def test_jobs_are_listed_newest_first_in_pages_and_only_ones_own(served: Served) -> None:
    anna, _ = await served.user("anna")
    bert, _ = await served.user("bert")
    await served.stored(bert)
    jobs = [str(await served.stored(anna)) for _ in range(5)]
    found: list[str] = []
    more: dict[str, Any] = {}
    while True:
        answer = await call(served, "jobs", anna, limit=2, **more)
        found += [job["id"] for job in answer["structuredContent"]["jobs"]]
        assert all(job in said(answer) for job in found[-1:])
        if (cursor := answer["structuredContent"].get("nextCursor")) is None:
            break
        more = {"cursor": cursor}
    assert found == jobs[::-1]


async def test_a_list_can_be_of_one_state_or_one_server(served: Served) -> None:
    pending = await served.stored()
    done = await ended_with(served, {"content": []})
    listed = await call(served, "jobs", status="completed")
    assert [job["id"] for job in listed["structuredContent"]["jobs"]] == [str(done)]
    listed = await call(served, "jobs", status="pending")
    assert [job["id"] for job in listed["structuredContent"]["jobs"]] == [str(pending)]
    unknown = await call(served, "jobs", server="nobody")
    assert unknown["isError"]
    assert "no server 'nobody'" in said(unknown)


async def test_a_cursor_of_another_list_is_refused(served: Served) -> None:
    for _ in range(3):
        await served.stored()
    cursor = (await call(served, "jobs", limit=1))["structuredContent"]["nextCursor"]
    foreign = (await lists.list_jobs(served.database, OPERATOR, limit=1))["next_cursor"]
    for wrong in (
        await call(served, "jobs", status="pending", cursor=cursor),
        await call(served, "jobs", cursor=foreign),
        await call(served, "jobs", cursor="x"),
        await call(served, "jobs", cursor="\u0000"),
    ):
        assert wrong["isError"]
        assert "cursor" in said(wrong)


async def test_a_resource_and_a_prompt_are_given_as_a_tools_content(served: Served, table_of: SetRow) -> None:
    contents = [{"uri": "x:y", "text": "t"}]
    job_id = await served.stored()
    await table_of(job_id, "completed", job_type="resource_fetch", result={"contents": contents})
    answer = await call(served, "job_result", id=str(job_id))
    assert answer["content"] == [{"type": "resource", "resource": contents[0]}]
    await table_of(other := await served.stored(), "completed", job_type="prompt_execute", result={"messages": []})
    assert said(await call(served, "job_result", id=str(other))) == '{"messages":[]}'


async def test_a_run_that_looks_after_the_hub_is_no_job_of_a_caller(served: Served, table_of: SetRow) -> None:
    job_id = await served.stored()
    await table_of(job_id, "completed", job_type="cache_refresh", result={})
    assert (await call(served, "job_result", id=str(job_id)))["isError"]
    assert (await call(served, "jobs"))["structuredContent"]["jobs"] == []


def test_definitions_are_those_of_tools_that_models_understand() -> None:
    for definition in own_tools.definitions():
        assert definition["name"].startswith("hub__")
        assert len(definition["name"]) <= 64
        assert len(definition["description"]) > 60
        assert definition["inputSchema"]["additionalProperties"] is False
        assert all("description" in one for one in definition["inputSchema"]["properties"].values())
        assert isinstance(definition["annotations"]["readOnlyHint"], bool)

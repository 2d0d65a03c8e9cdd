"""Lists of jobs: every filter alone and with others, page by page, the search, and who sees what of them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from nexus_hub.jobs.lists import JOB_LISTS
from nexus_hub.models import Principal
from tests.fixtures.served import SERVICE_KEY, Served

TIME, MAIL, HERS = uuid4(), uuid4(), uuid4()
STATES = ("completed", "failed", "cancelled", "running", "pending")
JOBS = 120
NOW = datetime.now(UTC)
Row = dict[str, Any]
Asked = Callable[..., Any]


@pytest.fixture
async def ann(served: Served) -> tuple[Principal, str]:
    """A user with a server of her own, and a token of hers."""
    return await served.user("ann")


@pytest.fixture
async def rows(served: Served, ann: tuple[Principal, str]) -> list[Row]:
    """Jobs of the operator, of ann and of bob, the newest first; two share each moment."""
    bob, _ = await served.user("bob")
    async with await psycopg.AsyncConnection.connect(served.admin_url, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO system_servers (id, name, transport, endpoint, config_encrypted, key_id)"
            " SELECT id, name, 'http', 'https://x.invalid', decode(repeat('00', 28), 'hex'), '00000000'"
            " FROM unnest(%s::uuid[], '{time,mail}'::text[]) AS server (id, name)",
            [[TIME, MAIL]],
        )
        await connection.execute(
            "INSERT INTO user_servers (id, user_id, name, transport) VALUES (%s, %s, 'timer', 'http')",
            [HERS, ann[0].user_id],
        )
        await connection.execute(
            "INSERT INTO tool_cache (server_type, server_ref_id, tool_name, namespaced_name, definition)"
            " VALUES ('system', %(time)s, 'now', 'time__now', '{}'), ('system', %(mail)s, 'send', 'mail__send', '{}'),"
            " ('system', %(mail)s, 'now', 'mail__now', '{}')",
            {"time": TIME, "mail": MAIL},
        )
        added = [_make(number, [None, ann[0].user_id, bob.user_id]) for number in range(JOBS)]
        await connection.execute("ALTER TABLE job_results DISABLE TRIGGER USER")
        for row in added:
            await connection.execute(
                "INSERT INTO job_results (id, user_id, job_type, server_id, server_type, server_ref_id, tool_name,"
                " status, error_code, lane, created_at, started_at, completed_at, claim_id, lease_expires_at)"
                " VALUES (%(id)s, %(user_id)s, %(job_type)s, %(server_ref_id)s, %(server_type)s, %(server_ref_id)s,"
                " %(tool_name)s, %(status)s, %(error_code)s, %(lane)s, %(created_at)s, %(created_at)s, CASE WHEN"
                " nexus_has_ended(%(status)s) THEN %(created_at)s + interval '1.5 s' END,"
                " CASE WHEN %(status)s = 'running' THEN gen_random_uuid() END,"
                " CASE WHEN %(status)s = 'running' THEN now() + interval '1 hour' END)",
                row,
            )
        await connection.execute("ALTER TABLE job_results ENABLE TRIGGER USER")
    return sorted(added, key=lambda row: (row["created_at"], row["id"]), reverse=True)


def _make(number: int, users: list[UUID | None]) -> Row:
    user, status = users[number % 3], STATES[number % 5]
    server_type, server = ("user", HERS) if number % 6 == 1 else ("system", (TIME, MAIL)[number % 2])
    return {
        "id": uuid4(),
        "user_id": user,
        "user": (None, "ann", "bob")[number % 3],
        "job_type": "prompt_execute" if number % 7 == 0 else "tool_invoke",
        "server_type": server_type,
        "server_ref_id": server,
        "server": {TIME: "time", MAIL: "mail", HERS: "timer"}[server],
        "tool_name": None if number % 7 == 0 else ("now", "send", "now_and_then")[number % 4 % 3],
        "status": status,
        "error_code": {"failed": ("upstream-timed-out", "rate-limited")[number % 2]}.get(status),
        "lane": "direct" if number % 8 == 0 and status in STATES[:3] else "durable",
        "created_at": NOW - timedelta(seconds=number // 2 + 10),
    }


@pytest.fixture
def asked(served: Served) -> Asked:
    """All pages of a list, which are small ones; or the answer that refuses it."""

    async def ask(token: str = SERVICE_KEY, **filters: Any) -> Any:
        found: list[Row] = []
        cursor: str | None = None
        async with httpx.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {token}"}) as client:
            while True:
                more = {"cursor": cursor} if cursor else {}
                answer = await client.get("/v1/jobs", params={"limit": 7} | filters | more)
                if answer.status_code != 200:
                    return answer.status_code, answer.json()["code"]
                page = answer.json()
                found += page["items"]
                cursor = page["next_cursor"]
                if cursor is None:
                    return found

    return ask


def ids(rows: list[Row]) -> list[str]:
    return [str(row["id"]) for row in rows]


FILTERS: list[tuple[dict[str, str], Callable[[Row], bool]]] = [
    ({"server": "mail"}, lambda row: row["server"] == "mail"),
    ({"server": str(HERS)}, lambda row: row["server"] == "timer"),
    ({"tool": "now"}, lambda row: row["tool_name"] == "now"),
    ({"user": "ann"}, lambda row: row["user"] == "ann"),
    ({"job_type": "prompt_execute"}, lambda row: row["job_type"] == "prompt_execute"),
    ({"lane": "direct"}, lambda row: row["lane"] == "direct"),
    ({"server": "mail", "status": "failed"}, lambda row: (row["server"], row["status"]) == ("mail", "failed")),
    ({"tool": "send", "user": "bob"}, lambda row: (row["tool_name"], row["user"]) == ("send", "bob")),
    ({"search": "time"}, lambda row: row["server"] in {"time", "timer"}),
    ({"search": "NOW"}, lambda row: row["tool_name"] == "now"),
    ({"search": "time__n"}, lambda row: (row["server"], row["tool_name"]) == ("time", "now")),
    ({"search": "now_and_then"}, lambda row: row["tool_name"] == "now_and_then"),
    ({"search": "upstream-timed-out"}, lambda row: row["error_code"] == "upstream-timed-out"),
    ({"search": "time", "status": "running"}, lambda row: row["server"] != "mail" and row["status"] == "running"),
    ({"search": "now", "server": "mail"}, lambda row: (row["server"], row["tool_name"]) == ("mail", "now")),
    ({"search": "mail", "tool": "now"}, lambda row: (row["server"], row["tool_name"]) == ("mail", "now")),
    ({"search": "nothing"}, lambda _row: False),
    ({}, lambda _row: True),
]


async def test_filters_find_just_their_jobs_page_by_page(asked: Asked, rows: list[Row]) -> None:
    for filters, fits in FILTERS:
        assert ids(await asked(**filters)) == ids([row for row in rows if fits(row)]), filters


async def test_jobs_are_found_by_ids_and_by_how_ids_begin(asked: Asked, rows: list[Row]) -> None:
    chosen = rows[3:30:2]
    assert ids(await asked(ids=",".join(ids(chosen[::-1])))) == ids(chosen)
    for text in (str(rows[5]["id"])[:13], str(rows[5]["id"]).upper()):
        assert ids(await asked(search=text)) == ids([rows[5]])
    assert await asked(ids=str(uuid4())) == []


async def test_items_name_server_and_user_and_say_how_long_it_took(asked: Asked, rows: list[Row]) -> None:
    for row, item in zip(rows, await asked(), strict=True):
        assert (item["server"], item["user"], item["tool_name"]) == (row["server"], row["user"], row["tool_name"])
        assert item["duration_ms"] == (1500 if row["status"] in STATES[:3] else None)


async def test_a_single_job_is_named_like_its_item(served: Served, asked: Asked, rows: list[Row]) -> None:
    item = next(item for item in await asked(status="completed") if item["user"])
    async with served.client() as client:
        job = await client.job(item["id"])
    assert {name: job[name] for name in ("server", "user", "duration_ms")} == {
        name: item[name] for name in ("server", "user", "duration_ms")
    }


async def test_a_user_finds_only_its_own_jobs(asked: Asked, rows: list[Row], ann: tuple[Principal, str]) -> None:
    token = ann[1]
    own = [row for row in rows if row["user"] == "ann"]
    foreign = next(row for row in rows if row["user"] == "bob")
    for filters, fits in FILTERS:
        if "user" not in filters:
            items = await asked(token, **filters)
            assert ids(items) == ids([row for row in own if fits(row)])
            assert {item["user"] for item in items} <= {None}
    assert await asked(token, ids=str(foreign["id"])) == await asked(token, search=str(foreign["id"])) == []


async def test_what_can_not_be_asked_for_is_refused(asked: Asked, ann: tuple[Principal, str]) -> None:
    many = ",".join([str(uuid4())] * 101)
    for filters in ({"ids": many}, {"ids": "x"}, {"ids": str(uuid4()), "search": "time"}, {"search": "x" * 201}):
        assert await asked(**filters) == (400, "invalid-request")
    for filters in ({"lane": "fast"}, {"job_type": "x"}, {"status": "lost"}, {"sever": "x"}):
        assert await asked(**filters) == (422, "invalid-request")
    assert await asked(server="nothing") == await asked(user="nobody") == (404, "not-found")
    assert await asked(ann[1], user="ann") == (403, "not-allowed")


async def test_a_list_that_takes_too_long_says_so(
    served: Served, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {**JOB_LISTS, "find_jobs": b"SELECT gen_random_uuid() AS id, now() AS created_at, pg_sleep(5)"}
    monkeypatch.setattr("nexus_hub.jobs.lists.JOB_LISTS", slow)
    monkeypatch.setattr(served.database, "_statement_seconds", 0.1)
    assert await asked() == (503, "took-too-long")

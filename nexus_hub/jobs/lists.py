"""Lists of jobs: filters, search and pages; each is found by an index, however many jobs there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from nexus_hub.access import users
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import InvalidRequest, NotAllowed
from nexus_hub.escape import escape, unescape
from nexus_hub.jobs.shown import show_to
from nexus_hub.models import JobStatus, Principal
from nexus_hub.paging import check_limit, decode, encode, page
from nexus_hub.servers import registry

JOB_LISTS = load("job_lists")
MOST_IDS = 100
MOST_NAMES = 50
"""Servers, and tools, whose names a search finds."""
LONGEST_SEARCH = 200
SHORTEST_ID = 4
"""Hexadecimal digits by which a search finds ids: with fewer there would be too many."""
ListedType = Literal["tool_invoke", "resource_fetch", "prompt_execute", "cache_refresh", "key_rotation", "job_cleanup"]
Lane = Literal["durable", "direct"]
_Search = tuple[str, dict[str, Any]]
"""The name of a query, and what it is given beside the filters."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Choice of the jobs of a list, by all that is said together; None says nothing.

    `server` and `user` are names or ids, `tool` is the own name of one. A `search` finds ids that begin with the
    text, jobs of servers and tools whose names begin with it, and those with that error code.
    """

    status: JobStatus | None = None
    server: str | None = None
    tool: str | None = None
    user: str | None = None
    job_type: ListedType | None = None
    lane: Lane | None = None
    search: str | None = None
    ids: Sequence[UUID] | None = None


@dataclass(frozen=True, slots=True)
class JobPlace:
    """The place of a job in a list."""

    id: UUID
    created_at: datetime


EVERY_JOB = JobFilter()


async def list_jobs(
    database: Database,
    principal: Principal,
    wanted: JobFilter = EVERY_JOB,
    *,
    limit: int = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Read a page of jobs, newest first, without params and result: `{"items", "next_cursor"}`.

    Raises:
        InvalidRequest: a limit outside 1..1000, a cursor that is none of ours, too many ids, or ids with a search.
        NotFound: there is no such server or user.
        Conflict: several users have a server of that name.
        NotAllowed: a user asks for a user's jobs.
        TookTooLong: see `Database.transaction`.
    """
    limit = check_limit(limit)
    after_created_at, after_id = decode(cursor, (datetime.fromisoformat, UUID))
    parameters = await _read_filter(database, principal, wanted) | {
        "after_created_at": after_created_at,
        "after_id": after_id,
        "limit": limit + 1,
    }
    async with database.transaction(principal, bounded=True) as transaction:
        await transaction.one(JOB_LISTS["plan_anew"])
        places = await _find_places(transaction, await _choose_queries(transaction, wanted, parameters), parameters)
        found = page(places, limit, lambda place: encode(place.created_at.isoformat(), place.id))
        rows = await transaction.all(JOB_LISTS["list_jobs"], ids=[place.id for place in found.items])
    # A job whose state has changed between the two looks is no longer what was asked for.
    items = [show_to(principal, _readable(row)) for row in rows if wanted.status in (None, row["status"])]
    return {"items": items, "next_cursor": found.next_cursor}


async def _read_filter(database: Database, principal: Principal, wanted: JobFilter) -> dict[str, Any]:
    """Give the filters as the queries take them."""
    if wanted.ids is not None and (len(wanted.ids) > MOST_IDS or wanted.search):
        raise InvalidRequest(f"ids takes up to {MOST_IDS} ids, and no search beside them.")
    if wanted.user is not None and not principal.is_operator:
        raise NotAllowed("Only an operator may ask for the jobs of a user; yours are listed without that.")
    user_id = principal.user_id if wanted.user is None else await users.find(database, wanted.user)
    return {
        "all_users": user_id is None,
        "is_operator": principal.is_operator,
        "user_id": user_id,
        "status": wanted.status,
        "job_type": wanted.job_type,
        "lane": wanted.lane,
        "server_ref_id": wanted.server and await _find_server(database, principal, wanted.server),
        "tool_name": wanted.tool and escape(wanted.tool),
        "error_code": None,
    }


async def _find_server(database: Database, principal: Principal, server: str) -> UUID:
    """Find a server's id; one that was removed may still have jobs, so that an id is taken as it is."""
    try:
        return UUID(server)
    except ValueError:
        return (await registry.find(database, principal, server)).id


async def _choose_queries(transaction: Transaction, wanted: JobFilter, parameters: dict[str, Any]) -> Sequence[_Search]:
    if wanted.ids is not None:
        return [("find_jobs_by_ids", {"ids": list(wanted.ids)})]
    text = (wanted.search or "").strip()[:LONGEST_SEARCH]
    return await _search(transaction, text, parameters["server_ref_id"]) if text else [("find_jobs", {})]


async def _search(transaction: Transaction, text: str, server_ref_id: UUID | None) -> list[_Search]:
    """Look up the names first: what is found by them, by an id or by an error code has an index of its own."""
    servers = await transaction.all(JOB_LISTS["servers_by_prefix"], UUID, text=text, most=MOST_NAMES)
    queries: list[_Search] = [
        ("find_jobs_of_servers", {"of_servers": servers}),
        ("find_jobs_of_tools", {"of_tools": await _find_tools(transaction, text)}),
        ("find_jobs", {"error_code": text.lower()}),
    ]
    if bounds := _id_bounds(text):
        queries.append(("find_jobs_within", {"first_id": bounds[0], "last_id": bounds[1]}))
    server, separator, tool = text.partition("__")
    if separator:
        tools = await _find_tools(transaction, tool)
        refs = await transaction.all(JOB_LISTS["servers_by_name"], UUID, name=server, most=MOST_NAMES)
        queries += [
            ("find_jobs_of_tools", {"of_tools": tools, "server_ref_id": ref})
            for ref in refs
            if server_ref_id in (None, ref)
        ]
    return queries


async def _find_tools(transaction: Transaction, text: str) -> list[str]:
    """Find the tools whose names begin like this; one of just this name need not be offered any more."""
    stored = escape(text)
    tools = await transaction.all(JOB_LISTS["tools_by_prefix"], str, text=stored, most=MOST_NAMES)
    return list({*tools, stored})


def _id_bounds(text: str) -> tuple[UUID, UUID] | None:
    """Give the first and the last id that begin like this; None if it is no beginning of one."""
    digits = text.lower().replace("-", "")
    if not SHORTEST_ID <= len(digits) <= 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


async def _find_places(
    transaction: Transaction, queries: Sequence[_Search], parameters: dict[str, Any]
) -> list[JobPlace]:
    """Find the places of the jobs that any of the queries finds, newest first; as many as the limit says."""
    places = {
        place
        for name, more in queries
        for place in await transaction.all(JOB_LISTS[name], JobPlace, **parameters | more)
    }
    return sorted(places, key=lambda place: (place.created_at, place.id), reverse=True)[: parameters["limit"]]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    if row.pop("params_escaped"):
        row["tool_name"] = unescape(row["tool_name"])
    return row

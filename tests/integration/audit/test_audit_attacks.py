"""Attacks on the audit: what a caller may make it say, or make it swallow."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from nexus_hub.api import trail
from nexus_hub.api.trail import EDGE
from nexus_hub.audit.entries import digest_key, make_digest
from nexus_hub.gateway import audited
from nexus_hub.gateway.server import Gateway
from nexus_hub.telemetry import tracing
from tests.fixtures.mcp_place import RawHub
from tests.fixtures.mcp_raw import RawClient
from tests.fixtures.served import SERVICE_KEY
from tests.fixtures.traces import caller_context, collecting, traced
from tests.integration.audit.test_audit import client, latest, read

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_entry_names_the_trace_that_the_hub_keeps(raw: RawHub) -> None:
    """With traces on and no header of the caller's, or one that is not trusted, the entry leads to no trace."""
    foreign, foreign_id = caller_context()
    with collecting() as collector:
        async with traced(collector, "link"), client(raw) as api:
            assert tracing.is_on()
            job = (await api.post("/v1/jobs", json={"name": "lit__say", "arguments": {"text": "{}"}})).json()
            assert (await latest(raw, "job.submit"))["trace_id"] == job["trace_id"]
            raw.served.app.state.audit.end_minute()
            await api.get("/v1/prompts", headers={"traceparent": foreign})
    assert (await latest(raw, "prompt.list"))["trace_id"] != foreign_id


async def test_a_traceparent_that_comes_twice_names_no_trace(raw: RawHub) -> None:
    (first, _), (second, _) = caller_context(), caller_context()
    async with client(raw) as api:
        raw.served.app.state.audit.end_minute()
        await api.get("/v1/prompts", headers=[("traceparent", first), ("traceparent", second)])
    assert (await latest(raw, "prompt.list"))["trace_id"] is None


async def test_a_flood_of_lists_is_not_a_flood_of_entries(raw: RawHub) -> None:
    """Those of a minute are counted: here by the API and at `/mcp` together, and apart for two callers."""
    raw.served.app.state.audit.end_minute()
    began = datetime.now(UTC).isoformat()
    for token in (raw.token, raw.other_token):
        async with client(raw, token) as api, raw.wire(token=token) as caller:
            await asyncio.gather(*(api.get("/v1/prompts") for _ in range(20)))
            await caller.modern("prompts/list")
    raw.served.app.state.audit.end_minute()
    entries = await read(raw, action="prompt.list", since=began)
    assert [(entry["actor"], entry["times"]) for entry in entries if entry["times"] > 1] == [("ben", 20), ("ann", 20)]
    assert len(entries) == 4


async def test_reading_the_audit_is_not_a_flood_of_entries_either(raw: RawHub) -> None:
    raw.served.app.state.audit.end_minute()
    began = datetime.now(UTC).isoformat()
    for _ in range(5):
        await read(raw, action="none.such", since=began)
    assert len(await read(raw, action="audit.read", since=began)) == 1


async def test_an_answer_to_what_a_job_asks_leaves_an_entry(raw: RawHub) -> None:
    """It decides what a server does next, in the caller's name."""
    task = str(uuid4())
    async with httpx.AsyncClient() as http:
        caller = RawClient(http, f"{raw.served.url}/mcp", raw.token)
        await caller.modern("tasks/update", {"taskId": task, "inputResponses": {"a": {}}})
    entry = await latest(raw, "job.answer")
    assert (entry["actor"], entry["job_id"], entry["outcome"]) == ("ann", task, "refused")
    assert entry["digest"] == make_digest(digest_key(SERVICE_KEY), {"a": {}})


async def test_every_method_leaves_an_entry_or_is_known_to_leave_none(raw: RawHub) -> None:
    """A new one has to say which."""
    gateway: Gateway = raw.served.app.state.gateway
    assert gateway.methods == audited.ACTIONS.keys() | audited.UNNOTED
    assert not audited.ACTIONS.keys() & audited.UNNOTED


async def test_every_route_that_changes_something_leaves_an_entry(raw: RawHub) -> None:
    """Also those that no document shows; and each action is told of where operators look it up."""
    changing = {
        f"{method} {(route.path or '').removeprefix(EDGE)}"
        for route in iter_route_contexts(raw.served.app.routes)
        for method in route.methods or ()
        if method not in {"GET", "HEAD", "OPTIONS"} and route.path != EDGE
    }
    assert len(changing) > 20
    assert changing <= trail.ACTIONS.keys()
    told = Path("docs/operations.md").read_text(encoding="utf-8")
    assert [one for one in {*trail.ACTIONS.values(), *audited.ACTIONS.values()} if f"`{one}`" not in told] == []

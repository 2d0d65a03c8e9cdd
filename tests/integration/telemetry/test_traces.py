"""One trace through the hub: an API, workers and servers as they are, and a collector; only Prefect is played."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from nexus_hub.settings import Settings
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from tests.acceptance.test_secrets import UPSTREAM, shows
from tests.fixtures.canary_logins import CANARY
from tests.fixtures.mcp_wire import ERAS, LEGACY, MODERN, envelope, wire
from tests.fixtures.played_worker import PlayedWorker, played_worker
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.prefect_runs import FakePrefect
from tests.fixtures.served import SERVICE_KEY, Served, serving_with, settings_of
from tests.fixtures.traces import Collector, Received, caller_context, only
from tests.fixtures.upstreams import Serve, free_port, own_server

OF_A_JOB = {
    "POST /v1/jobs": "",
    "job.store": "POST /v1/jobs",
    "job.dispatch": "POST /v1/jobs",
    "job.attempt": "job.store",
    "job.claim": "job.attempt",
    "call.open": "job.attempt",
    "call.admit": "job.attempt",
    "tools/call echo": "job.attempt",
    "job.record": "job.attempt",
}
"""The spans of a job that comes alone, and the one that each is below."""
OF_A_DIRECT_CALL = {
    "tools/call speaking__echo": "",
    "call.open": "tools/call speaking__echo",
    "call.admit": "tools/call speaking__echo",
    "tools/call echo": "tools/call speaking__echo",
}


@dataclass
class TracedHub:
    """A hub whose spans are collected."""

    served: Served
    settings: Settings
    prefect: FakePrefect
    collector: Collector
    http: httpx.AsyncClient

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[PlayedWorker]:
        async with played_worker(self.settings, self.prefect, linger_seconds=0) as worker:
            yield worker

    async def post(self, path: str, body: Any, *headers: tuple[str, str]) -> Any:
        answer = await self.http.post(path, json=body, headers=list(headers))
        assert answer.is_success, answer.text
        return answer.json()

    async def ended(self, job_id: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                job: dict[str, Any] = (await self.http.get(f"/v1/jobs/{job_id}")).json()
                if job["status"] in {"completed", "failed", "cancelled"}:
                    return job
                await asyncio.sleep(0.05)


@pytest.fixture
async def hub(
    database: HubDatabase, tmp_path: Path, prefect: FakePrefect, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TracedHub]:
    monkeypatch.setattr("nexus_hub.runtime.PrefectClient", lambda *_: nullcontext(prefect))
    settings = settings_of(
        database,
        tmp_path,
        free_port(),
        otlp_endpoint=SecretStr(collector.url),
        lease_seconds=3,
        heartbeat_seconds=0.5,
    )
    async with serving_with(settings, database.admin_url) as served:
        headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers) as http:
            yield TracedHub(served, settings, prefect, collector, http)


def parents(spans: list[Received]) -> dict[str, str]:
    """The name of each span, and of the one that it is below."""
    names = {span.id: span.name for span in spans}
    assert len(names) == len({span.name for span in spans}), names
    return {span.name: names.get(span.parent, "") for span in spans}


async def test_a_job_is_one_trace_from_its_caller_to_its_server(
    hub: TracedHub, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve("habits")
    await hub.served.runtime.servers.register("habits", HttpConfig(url=server.url))
    parent, trace_id = caller_context()
    caplog.set_level(logging.DEBUG, "nexus_hub.events")
    async with hub.worker():
        job = await hub.post("/v1/jobs", {"name": "habits__echo"}, ("traceparent", parent), ("tracestate", "a=1"))
        ended = await hub.ended(job["id"])
        spans = await hub.collector.has(*OF_A_JOB, trace_id=trace_id)
    assert parents(spans) == OF_A_JOB
    assert only(spans, "POST /v1/jobs").parent == parent.split("-")[2]
    assert job["trace_id"] == ended["trace_id"] == trace_id
    arrived = ended["result"]["structuredContent"]["headers"]
    assert arrived["traceparent"].split("-")[1:3] == [trace_id, only(spans, "tools/call echo").id]
    kinds = {span.name: span.kind for span in spans}
    assert kinds["POST /v1/jobs"] == "server"
    assert (kinds["job.store"], kinds["job.attempt"]) == ("producer", "consumer")
    assert kinds["tools/call echo"] == "client"
    call = only(spans, "tools/call echo").attributes
    assert (call["mcp.method.name"], call["gen_ai.tool.name"], call["nexus.server.name"]) == (
        "tools/call",
        "echo",
        "habits",
    )
    assert only(spans, "job.attempt").attributes["nexus.job.id"] == job["id"]
    told = [record.getMessage() for record in caplog.records if job["id"] in record.getMessage()]
    assert {line.split()[0] for line in told} >= {"stored", "claimed", "called", "ended"}
    assert all(f"trace_id={trace_id}" in line for line in told)


@pytest.mark.parametrize("era", ERAS)
async def test_a_direct_call_is_one_trace_from_its_client_to_its_server(hub: TracedHub, era: str) -> None:
    await hub.served.runtime.servers.register("speaking", own_server("speaking"))
    parent, trace_id = caller_context()
    async with wire(hub.served.url, SERVICE_KEY, "/mcp") as caller:
        known = (await caller.ask(era, "tools/list")).result
        assert known["tools"]
        meta = {"traceparent": parent, "tracestate": "a=1", "baggage": "b=2"} | (envelope() if era == MODERN else {})
        answer = await caller.ask(era, "tools/call", {"name": "speaking__echo", "arguments": {}, "_meta": meta})
    spans = await hub.collector.has(*OF_A_DIRECT_CALL, trace_id=trace_id)
    assert parents(spans) == OF_A_DIRECT_CALL
    arrived = answer.result["structuredContent"]["meta"]
    assert arrived["traceparent"].split("-")[1:3] == [trace_id, only(spans, "tools/call echo").id]
    assert (arrived["tracestate"], arrived["baggage"]) == ("a=1", "b=2")
    assert only(spans, "tools/call speaking__echo").attributes["mcp.protocol.version"] == era
    job = await _only_job(hub)
    assert job["trace_id"] == trace_id


async def _only_job(hub: TracedHub) -> dict[str, Any]:
    """The row of the one call, which is written a moment after its end."""
    async with asyncio.timeout(30):
        while not (items := (await hub.http.get("/v1/jobs")).json()["items"]):
            await asyncio.sleep(0.05)
    assert not {"trace_id", "trace_context"} & set(items[0])
    row: dict[str, Any] = (await hub.http.get(f"/v1/jobs/{items[0]['id']}")).json()
    assert "trace_context" not in row
    return row


async def test_jobs_of_a_batch_have_a_context_each_and_their_run_is_linked_to_them(hub: TracedHub) -> None:
    await hub.served.runtime.servers.register("habits", own_server("habits"))
    parent, trace_id = caller_context()
    async with hub.worker():
        batch = await hub.post("/v1/jobs:batch", [{"name": "habits__echo"}] * 3, ("traceparent", parent))
        for job_id in batch["ids"]:
            assert (await hub.ended(job_id))["trace_id"] == trace_id
        spans = await hub.collector.until(
            lambda found: len([span for span in found if span.name == "job.record"]) == 3, trace_id
        )
        (run,) = [span for span in await hub.collector.has("run.shared") if span.name == "run.shared"]
    created = {span.id for span in spans if span.name == "job.create"}
    attempts = [span for span in spans if span.name == "job.attempt"]
    assert len(created) == 3
    assert {span.parent for span in attempts} == created
    assert run.trace_id != trace_id
    assert set(run.links) == {(trace_id, one) for one in created}
    assert all((run.trace_id, run.id) in span.links for span in attempts)


async def test_another_attempt_after_the_death_of_a_worker_goes_on_with_the_trace(hub: TracedHub) -> None:
    await hub.served.runtime.servers.register("habits", own_server("habits"))
    parent, trace_id = caller_context()
    call = {"name": "habits__wait", "arguments": {"seconds": 600}, "retry": "always", "max_attempts": 2}
    async with hub.worker() as worker:
        job = await hub.post("/v1/jobs", call, ("traceparent", parent))
        await hub.collector.has("call.admit", trace_id=trace_id)
        await worker.kill()
    rescued = await hub.collector.has("job.rescue", trace_id=trace_id)
    assert only(rescued, "job.rescue").parent == only(rescued, "job.store").id
    async with hub.worker() as worker:
        await hub.collector.until(
            lambda found: len([span for span in found if span.name == "job.claim"]) == 2, trace_id
        )
        assert (await hub.http.delete(f"/v1/jobs/{job['id']}")).is_success
        spans = await hub.collector.until(
            lambda found: 2 in [span.attributes.get("nexus.job.attempt") for span in found if "attempt" in span.name],
            trace_id,
        )
    assert (await hub.ended(job["id"]))["trace_id"] == trace_id
    attempts = [span for span in spans if span.name == "job.attempt"]
    assert {span.parent for span in attempts} == {only(spans, "job.store").id}


async def test_a_hostile_context_is_ignored_and_never_an_error(hub: TracedHub) -> None:
    await hub.served.runtime.servers.register("habits", own_server("habits"))
    parent, trace_id = caller_context()
    for headers in (
        [("traceparent", parent), ("traceparent", parent)],
        [("traceparent", "00-" + "f" * 4000)],
        [("traceparent", parent.replace("00-", "ff-", 1))],
        [("traceparent", parent[:-2] + "\x7f1")],
        [("tracestate", "=" * 600), ("traceparent", parent.upper())],
    ):
        job = await hub.post("/v1/jobs", {"name": "habits__echo"}, *headers)
        assert job["trace_id"] not in {None, trace_id}
    async with wire(hub.served.url, SERVICE_KEY, "/mcp") as caller:
        answer = await caller.ask(LEGACY, "tools/list", {"_meta": {"traceparent": {"a": [parent]}, "tracestate": 5}})
        assert answer.result["tools"]
    assert hub.collector.spans(trace_id) == []


async def test_a_key_stands_for_the_same_request_whatever_trace_it_comes_in(hub: TracedHub) -> None:
    await hub.served.runtime.servers.register("habits", own_server("habits"))
    (first, first_id), (second, _) = caller_context(), caller_context()
    body = {"name": "habits__echo", "idempotency_key": "once"}
    jobs = [await hub.post("/v1/jobs", body, ("traceparent", parent)) for parent in (first, second)]
    assert jobs[0]["id"] == jobs[1]["id"]
    assert jobs[1]["trace_id"] == first_id


async def test_the_audit_names_the_trace_that_the_hub_keeps(hub: TracedHub) -> None:
    await hub.served.runtime.servers.register("habits", own_server("habits"))
    job = await hub.post("/v1/jobs", {"name": "habits__echo"})
    async with wire(hub.served.url, SERVICE_KEY, "/mcp") as caller:
        await caller.ask(MODERN, "tools/call", {"name": "habits__echo", "arguments": {}})
    server = only(await hub.collector.has("tools/call habits__echo"), "tools/call habits__echo")
    async with asyncio.timeout(30):
        while len(entries := (await hub.http.get("/v1/audit")).json()["items"]) < 2:
            await asyncio.sleep(0.1)
    named = {entry["action"]: entry["trace_id"] for entry in entries}
    assert (named["job.submit"], named["tool.call"]) == (job["trace_id"], server.trace_id)


async def test_nothing_of_a_call_and_of_its_server_is_in_a_span(hub: TracedHub) -> None:
    command = (str(UPSTREAM), f"--token={CANARY}")
    config = StdioConfig(command=sys.executable, args=command, env={"TOKEN": SecretStr(CANARY)})
    await hub.served.runtime.servers.register("srv", config)
    async with hub.worker(), wire(hub.served.url, SERVICE_KEY, "/mcp") as caller:
        for tool in ("say", "fail", "raise", "die"):
            call = {"name": f"srv__{tool}", "arguments": {"text": CANARY}}
            job = await hub.post("/v1/jobs", call | {"max_attempts": 1, "idempotency_key": f"{CANARY} {tool}"})
            await hub.ended(job["id"])
            await caller.ask(LEGACY, "tools/call", call)
        await caller.ask(LEGACY, "tools/call", {"name": CANARY, "arguments": {}})
        await caller.ask(LEGACY, "resources/read", {"uri": f"file:///{CANARY}"})
        await caller.ask(LEGACY, CANARY, {})
        await hub.http.get(f"/v1/jobs/{CANARY}", params={"cursor": CANARY}, headers={"tracestate": f"a={CANARY}"})
        await hub.http.request(CANARY, f"/{CANARY}")
        spans = await hub.collector.has("tools/call srv__die", "tools/call die", "resources/read", "_OTHER")
    assert {span.attributes.get("error.type") for span in spans} >= {"tool_error", "upstream-rejected"}
    assert only(spans, "tools/call srv__fail").attributes["error.type"] == "tool_error"
    assert only(spans, "tools/call srv__die").attributes["error.type"] == "outcome-unknown"
    assert not any(span.message for span in spans)
    assert not shows(b"".join(hub.collector.bodies))


async def test_a_collector_that_is_away_costs_no_call(hub: TracedHub) -> None:
    hub.collector.status = 400
    await hub.served.runtime.servers.register("habits", own_server("habits"))
    async with hub.worker():
        job = await hub.post("/v1/jobs", {"name": "habits__echo"})
        assert (await hub.ended(job["id"]))["status"] == "completed"
        async with asyncio.timeout(60):
            while "traces" not in hub.served.runtime.failing.names():
                await asyncio.sleep(0.05)

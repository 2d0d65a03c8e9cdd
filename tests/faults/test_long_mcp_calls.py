"""Calls of minutes through `/mcp` end well in each kind of client, whatever part of the hub is killed meanwhile.

LONG_SECONDS says how long they take, such as "75,600". What each client saw is written as a row of a table (`-s`).
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.faults.test_long_calls import accepts
from tests.fixtures.hub import Hub, any_hub, process, until
from tests.fixtures.upstreams import UPSTREAMS, free_port

pytestmark = [pytest.mark.stack, pytest.mark.slow]
DURATIONS = [int(one) for one in os.environ.get("LONG_SECONDS", "75").split(",")]
KILL_AFTER = 60
"""Seconds: when a call that takes long has been answered with a handle."""
LEGACY, MODERN = "2025-11-25", "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"
Json = dict[str, Any]


@dataclass
class Caller:
    """A client of one era that knows no more than JSON-RPC over HTTP, and comes back when the hub does."""

    hub: Hub
    version: str
    capabilities: Json = field(default_factory=dict)
    session: str | None = None
    cuts: int = 0
    """How often a request of its own was cut off or refused because a part of the hub was gone."""

    async def request(self, method: str, params: Mapping[str, Any], *, repeat: bool = True) -> Json:
        """Ask, and ask again after a cut if that does no harm; the answer's message."""
        while True:
            try:
                return await self._request(method, params)
            except (httpx.HTTPError, ValueError):
                self.cuts += 1
                self.session = None
                if not repeat:
                    raise
                await asyncio.sleep(1)

    async def _request(self, method: str, params: Mapping[str, Any]) -> Json:
        asked = dict(params)
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": asked}
        headers = {"MCP-Protocol-Version": self.version}
        async with httpx.AsyncClient(base_url=self.hub.url, timeout=120, headers=self._headers()) as http:
            if self.version == MODERN:
                asked["_meta"] = {
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": self.capabilities,
                }
                headers |= {"Mcp-Method": method}
                if (name := params.get("name") or params.get("taskId")) is not None:
                    headers |= {"Mcp-Name": name}
            else:
                headers |= {"Mcp-Session-Id": await self._open(http)}
            return _message(await http.post("/mcp", json=body, headers=headers))

    async def _open(self, http: httpx.AsyncClient) -> str:
        if self.session is None:
            client = {"name": "caller", "version": "1"}
            opening = {"protocolVersion": LEGACY, "capabilities": self.capabilities, "clientInfo": client}
            answer = await http.post(
                "/mcp", json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": opening}
            )
            self.session = answer.raise_for_status().headers["Mcp-Session-Id"]
            told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await http.post("/mcp", json=told, headers={"Mcp-Session-Id": self.session})
        return self.session

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.hub.key}", "Accept": "application/json, text/event-stream"}


def _message(answer: httpx.Response) -> Json:
    """Read the answer out of JSON, or of the events of a stream."""
    if answer.status_code not in {200, 400, 404}:
        answer.raise_for_status()
    text = answer.text
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        events = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]
        found = [event for event in events if event.get("id") == 1]
        if not found:
            raise ValueError("the stream ended without an answer")
        return dict(found[-1])
    message = json.loads(text)
    if message.get("id") != 1:
        raise ValueError(f"no answer: {text}")
    return dict(message)


Seen = tuple[str, str]
"""How a call ended for its client, and on what way."""


async def by_handle(hub: Hub, tool: str, seconds: int) -> Seen:
    """A client that has never heard of tasks: it does what the answer says."""
    caller = Caller(hub, LEGACY)
    call = {"name": f"patient__{tool}", "arguments": {"seconds": seconds}}
    result = (await caller.request("tools/call", call, repeat=False))["result"]
    waits = 0
    while (job := _running_job(result)) is not None:
        waits += 1
        result = (await caller.request("tools/call", {"name": "hub__job_wait", "arguments": {"id": job}}))["result"]
    return _outcome(result), f"handle, {waits} waits, {caller.cuts} cuts"


def _running_job(result: Json) -> str | None:
    said = result.get("structuredContent") or {}
    return said.get("id") or said.get("job_id") if said.get("status") in {"pending", "running"} else None


async def by_extension(hub: Hub, tool: str, seconds: int) -> Seen:
    """A client of the newer era that declares the tasks extension."""
    caller = Caller(hub, MODERN, {"extensions": {TASKS: {}}})
    call = {"name": f"patient__{tool}", "arguments": {"seconds": seconds}}
    task = (await caller.request("tools/call", call, repeat=False))["result"]
    looks = 0
    while task.get("status") == "working":
        looks += 1
        await asyncio.sleep(2)
        task = (await caller.request("tasks/get", {"taskId": task["taskId"]}))["result"]
    shown = task.get("result") or {"isError": True, "content": [{"type": "text", "text": str(task.get("error", task))}]}
    return _outcome(shown), f"task {task.get('status')}, {looks} looks, {caller.cuts} cuts"


async def by_core_task(hub: Hub, tool: str, seconds: int) -> Seen:
    """A client of 2025-11-25 that asks for a task, as VS Code does."""
    caller = Caller(hub, LEGACY)
    call = {"name": f"patient__{tool}", "arguments": {"seconds": seconds}, "task": {"ttl": 3_600_000}}
    task = (await caller.request("tools/call", call, repeat=False))["result"]["task"]
    looks = 0
    while task["status"] == "working":
        looks += 1
        await asyncio.sleep(2)
        task = (await caller.request("tasks/get", {"taskId": task["taskId"]}))["result"]
    answer = await caller.request("tasks/result", {"taskId": task["taskId"]})
    shown = answer.get("result") or {"isError": True, "content": [{"type": "text", "text": answer["error"]["message"]}]}
    return _outcome(shown), f"task {task['status']}, {looks} looks, {caller.cuts} cuts"


def _outcome(result: Json) -> str:
    text = result["content"][0]["text"]
    return f"{'error: ' if result.get('isError') else ''}{text}"


KINDS: dict[str, Callable[[Hub, str, int], Awaitable[Seen]]] = {
    "handle": by_handle,
    "extension": by_extension,
    "core task": by_core_task,
}


@pytest.fixture
def patient_hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub of its own with the server of long calls."""
    port = free_port()
    command = [sys.executable, str(UPSTREAMS / "patient.py"), "--port", str(port)]
    directory = tmp_path_factory.mktemp("patient")
    with any_hub(request) as hub, process(directory, "patient", command, dict(os.environ)):
        until(lambda: accepts(port) or None, 60, "the server")
        assert hub.run("server", "add", "patient", "--url", f"http://127.0.0.1:{port}/mcp").code == 0
        yield hub


@pytest.mark.parametrize("killed", ["nothing", "api", "worker", "prefect"])
async def test_long_calls_end_well(patient_hub: Hub, killed: str) -> None:
    hub = patient_hub
    cases = [(kind, tool, seconds) for seconds in DURATIONS for kind in KINDS for tool in ("wait", "wait_once")]

    async def kill() -> None:
        await asyncio.sleep(KILL_AFTER)
        if killed != "nothing":
            await asyncio.to_thread(hub.kill, killed)

    killing = asyncio.create_task(kill())
    seen = await asyncio.gather(*(KINDS[kind](hub, tool, seconds) for kind, tool, seconds in cases))
    await killing
    for (kind, tool, seconds), (outcome, way) in zip(cases, seen, strict=True):
        sys.stderr.write(f"| {killed} | {seconds} s | {kind} | {tool} | {outcome[:140]} | {way} |\n")
        carrier = "api" if kind == "handle" else "worker"
        if killed == carrier and tool == "wait_once":
            assert "unknown" in outcome, (kind, tool, seconds, outcome)
        else:
            assert outcome == f"waited {seconds:g} s", (kind, tool, seconds, outcome)

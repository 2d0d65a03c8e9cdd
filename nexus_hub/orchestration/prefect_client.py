"""Prefect's REST API, over httpx: flow runs are started, ended and asked after.

Importing Prefect costs seconds and a hundred megabytes, and the hub needs few calls of it:
see docs/decisions/0004-dispatch.md.
"""

import asyncio
import base64
import re
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import httpx

from nexus_hub.address import goes_direct
from nexus_hub.clock import RemoteClock
from nexus_hub.errors import NoDeployment, PrefectRefused, PrefectUnavailable
from nexus_hub.home.layout import Home
from nexus_hub.models import JobStatus
from nexus_hub.orchestration.prefect_runs import PrefectRuns, RunState
from nexus_hub.settings import Settings
from nexus_hub.telemetry.text import printable

FLOWS = {"tool_invoke": "invoke-tool", "resource_fetch": "fetch-resource", "prompt_execute": "execute-prompt"}
"""Job type -> flow; each deployment is named like its flow."""
BATCH_FLOW = "invoke-batch"
"""The flow that carries many jobs of any type."""
MAINTENANCE_FLOWS = {
    "cache_refresh": "refresh-catalog",
    "key_rotation": "rotate-vault-key",
    "job_cleanup": "cleanup-jobs",
}
"""The type of a mirrored row -> the flow that looks after the hub."""
CHECKS = ("check-jobs", "refresh-logins")
"""Flows whose runs have no row."""
POOL = "nexus"
LONGEST_NAME = 150
PAGE = 200
"""As many flow runs as Prefect gives in one answer."""
_IDS = {"enforce_parameter_schema": False}
"""For parameters that are ids of the hub's own, of which the server need not check any against the form's schema."""
NOT_PREFECT = "What answers is not Prefect's API; PREFECT_API_URL must end in /api."
REFUSED = frozenset({400, 404, 409, 413, 422})
"""Statuses that speak of the one request; any other may be the same for all of them."""
PAUSED = {
    "type": "PAUSED",
    "name": "Suspended",
    "message": "waits for a person's yes",
    "state_details": {"pause_reschedule": True},
}
"""The state of a run that waits outside of any process, and that Prefect ends at once when it is cancelled."""
WAITING = frozenset({"PAUSED", "SCHEDULED"})
UNDER_WAY = frozenset({"PENDING", "RUNNING"})
GONE = "the worker that ran it is gone"
_JOBS_NAME = re.compile(r" [0-9a-f]{4}$")
"""The end of a run's name that is made of its job's id."""
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
"""The types of states that a flow run does not leave by itself."""


def prefect_auth(settings: Settings) -> str | None:
    """`user:password` for Prefect's API: of the environment, else of the home, else None."""
    if settings.prefect_api_auth_string:
        return settings.prefect_api_auth_string.get_secret_value()
    path = Home(settings.home).prefect_auth_file
    return path.read_text(encoding="utf-8").strip() if settings.embeds_prefect and path.exists() else None


class PrefectClient(PrefectRuns):
    """Starts and ends flow runs, and asks after them."""

    def __init__(self, url: str, auth: str | None, *, timeout: float = 10) -> None:
        headers = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
        self.url = url
        self.clock = RemoteClock()
        """Prefect's, by which it judges what is due; `request` keeps it right."""
        transport = httpx.AsyncHTTPTransport() if goes_direct(url) else None  # which goes past all proxies
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, transport=transport)
        self._deployments: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def start(
        self, job_type: str, name: str, job_id: UUID, attempt: int, lost_runs: int = 0, *, is_paused: bool = False
    ) -> UUID:
        """Create the flow run of an attempt, once: its parameters are ids, its idempotency key `job:attempt`.

        An attempt whose runs were lost before they took the job gets another one, under `job:attempt:lost_runs`. One
        that is paused waits for `resume`, and takes no room in a worker until then.

        Raises:
            PrefectUnavailable: Prefect does not answer.
            NoDeployment: it knows no such deployment yet.
            PrefectRefused: it makes no run of this one.
        """
        flow = FLOWS[job_type]
        key = f"{job_id}:{attempt}:{lost_runs}" if lost_runs else f"{job_id}:{attempt}"
        body = {
            "name": f"{printable(name, longest=LONGEST_NAME)} {str(job_id)[:4]}",
            "parameters": {"job_id": str(job_id), "attempt": attempt},
        }
        return await self._create(flow, key, body | _IDS | ({"state": PAUSED} if is_paused else {}))

    async def start_shared(self, run_id: UUID) -> UUID:
        """Create a shared run, once, under the idempotency key `batch:<id>`.

        Raises:
            PrefectUnavailable, NoDeployment, PrefectRefused: there is no such run.
        """
        body = {"name": f"shared run {str(run_id)[:4]}", "parameters": {"batch_id": str(run_id)}} | _IDS
        return await self._create(BATCH_FLOW, f"batch:{run_id}", body)

    async def has_shared_runs(self) -> None:
        """Make sure that shared runs can be started.

        Raises:
            PrefectUnavailable, NoDeployment: they can't.
        """
        await self._find_deployment(BATCH_FLOW)

    async def start_run(self, flow: str, name: str, parameters: dict[str, Any], *, idempotency_key: str) -> UUID:
        """Create a flow run of a flow's deployment, once for each key; its id.

        Raises:
            PrefectUnavailable, NoDeployment, PrefectRefused: there is no such run.
        """
        return await self._create(flow, idempotency_key, {"name": name, "parameters": parameters})

    async def _create(self, flow: str, idempotency_key: str, wanted: dict[str, Any]) -> UUID:
        body = {"state": {"type": "SCHEDULED"}} | wanted | {"idempotency_key": idempotency_key}
        deployment = await self._find_deployment(flow)
        answer = await self.request("POST", f"/deployments/{deployment}/create_flow_run", body)
        if answer.status_code == httpx.codes.NOT_FOUND:
            self._deployments.pop(flow, None)
            deployment = await self._find_deployment(flow)
            answer = await self.request("POST", f"/deployments/{deployment}/create_flow_run", body)
        return UUID(read_member(read_answer(answer), "id"))

    async def resume(self, flow_run_id: UUID) -> None:
        """Let a run begin that is paused, or waits for its time; any other stays as it is.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        state = (await self.states([flow_run_id])).get(flow_run_id)
        if state is not None and state.type in WAITING:  # Prefect would begin one that has ended, too
            await self._set_state(flow_run_id, "SCHEDULED", "a person has said yes")

    async def cancel(self, flow_run_id: UUID) -> None:
        """Ask Prefect to cancel a flow run; one that has ended or is unknown stays as it is.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        await self._set_state(flow_run_id, "CANCELLING", "cancelled through the hub")

    async def crash(self, flow_run_id: UUID) -> None:
        """Tell Prefect that the process of a run is gone; one that has ended, is cancelling or unknown stays as it is.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        await self._set_state(flow_run_id, "CRASHED", GONE)

    async def restart(self, flow_run_id: UUID) -> None:
        """Let a run begin anew whose process is gone; any other stays as it is.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        state = (await self.states([flow_run_id])).get(flow_run_id)
        if state is not None and state.type in UNDER_WAY:  # Prefect would begin one that has ended, too
            await self._set_state(flow_run_id, "SCHEDULED", f"{GONE}, and its job was not stored yet")

    async def settle(self, flow_run_id: UUID, status: JobStatus) -> None:
        """Tell Prefect how a flow run has ended whose process is gone, also one that shows another end.

        One that is unknown stays as it is, and one that is cancelling unless it is told that it was cancelled.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        await self._set_state(flow_run_id, status.upper(), GONE)

    async def _set_state(self, flow_run_id: UUID, kind: str, message: str) -> None:
        state = {"type": kind, "name": kind.capitalize(), "message": message}
        await self.request("POST", f"/flow_runs/{flow_run_id}/set_state", {"state": state})

    async def states(self, flow_run_ids: Iterable[UUID]) -> dict[UUID, RunState]:
        """The states of flow runs, at most `PAGE`; a run that Prefect does not know is left out.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        ids = [str(one) for one in flow_run_ids]
        return await self._states({"flow_runs": {"id": {"any_": ids}}}) if ids else {}

    async def begun(self, seconds: float, offset: int) -> dict[UUID, RunState]:
        """A page of at most 200 runs of jobs that were due so long ago and have begun, and not ended, oldest first.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        before = self.clock.now() - timedelta(seconds=seconds)
        return await self._states(
            {
                "flows": {"name": {"any_": [*FLOWS.values(), BATCH_FLOW]}},
                "flow_runs": {
                    "state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING", "PAUSED"]}},
                    "expected_start_time": {"before_": before.isoformat()},
                },
                "sort": "EXPECTED_START_TIME_ASC",
                "offset": offset,
            }
        )

    async def _states(self, wanted: dict[str, Any]) -> dict[UUID, RunState]:
        runs: list[dict[str, Any]] = read_answer(
            await self.request("POST", "/flow_runs/filter", wanted | {"limit": PAGE})
        )
        now = self.clock.now()
        return {UUID(run["id"]): _read_state(run, now) for run in runs if run["state"]}

    async def ended_run(self, flow_run_id: str, *, patience: float = 10) -> dict[str, Any]:
        """A flow run as Prefect shows it, once it has ended or the patience (seconds) is at its end.

        Raises:
            PrefectUnavailable: Prefect does not answer, or knows no such run.
        """
        until = time.monotonic() + patience
        while True:
            run: dict[str, Any] = read_answer(await self.request("GET", f"/flow_runs/{flow_run_id}"))
            if run["state"]["type"] in ENDED or time.monotonic() >= until:
                return run
            await asyncio.sleep(0.1)

    async def read_form(self, flow: str) -> dict[str, Any]:
        """The JSON schema of the parameters that people give a flow in Prefect's form.

        Raises:
            PrefectUnavailable, NoDeployment: there is none.
        """
        form: dict[str, Any] = (await self._read_deployment(flow)).get("parameter_openapi_schema") or {}
        return form

    async def write_form(self, flow: str, form: dict[str, Any]) -> None:
        """Put another schema in the place of a flow's form.

        Raises:
            PrefectUnavailable, NoDeployment: it stays as it was.
        """
        path = f"/deployments/{read_member(await self._read_deployment(flow), 'id')}"
        answer = await self.request("PATCH", path, {"parameter_openapi_schema": form})
        if not answer.is_success:
            read_answer(answer)

    async def missing_deployments(self) -> list[str]:
        """The flows of the hub that Prefect has no deployment for.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        missing = []
        for flow in (*FLOWS.values(), BATCH_FLOW, *MAINTENANCE_FLOWS.values(), *CHECKS):
            answer = await self.request("GET", _path(flow))
            if answer.status_code == httpx.codes.NOT_FOUND:
                missing.append(flow)
            else:
                read_answer(answer)
        return missing

    async def deployments(self, pool: str) -> set[tuple[str, str | None, str | None]]:
        """Name, entrypoint and version of each deployment of a work pool.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        wanted = {"work_pools": {"name": {"any_": [pool]}}}
        found = read_answer(await self.request("POST", "/deployments/filter", wanted))
        try:
            return {(one["name"], one["entrypoint"], one["version"]) for one in found}
        except (KeyError, TypeError):
            raise PrefectUnavailable(NOT_PREFECT) from None

    async def _find_deployment(self, flow: str) -> str:
        if flow not in self._deployments:
            self._deployments[flow] = read_member(await self._read_deployment(flow), "id")
        return self._deployments[flow]

    async def _read_deployment(self, flow: str) -> Any:
        answer = await self.request("GET", _path(flow))
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NoDeployment(flow)
        return read_answer(answer)

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Send a request, and give its answer whatever its status.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise PrefectUnavailable(f"Prefect's API does not answer ({type(error).__name__}).") from None
        self.clock.note_date(answer.headers.get("Date"))
        return answer


def _read_state(run: dict[str, Any], now: datetime) -> RunState:
    """Take its state out of a flow run; what the hub asks for itself names a job or a shared run.

    One that has stored its job bears its name: what is no more in the database may have been deleted since it ended.
    """
    state, parameters = run["state"], run["parameters"] or {}
    is_asked = not (parameters.get("job_id") or parameters.get("batch_id") or _JOBS_NAME.search(run["name"]))
    since = datetime.fromisoformat(state["timestamp"])
    return RunState(state["type"], (now - since).total_seconds(), is_asked=is_asked, begun=run["run_count"])


def _path(flow: str) -> str:
    return f"/deployments/name/{flow}/{flow}"


def read_member(answer: Any, name: str) -> str:
    """Take a text out of a JSON object of Prefect's.

    Raises:
        PrefectUnavailable: it is not there, so that something else than Prefect has answered.
    """
    if isinstance(answer, dict) and isinstance(answer.get(name), str):
        return str(answer[name])
    raise PrefectUnavailable(NOT_PREFECT)


def read_answer(answer: httpx.Response) -> Any:
    """Take the JSON of an answer.

    Raises:
        PrefectRefused: Prefect refuses this one request.
        PrefectUnavailable: it may refuse all of them, or something else has answered.
    """
    if answer.is_success:
        try:
            return answer.json()
        except ValueError:
            raise PrefectUnavailable(NOT_PREFECT) from None
    hint = {401: "check PREFECT_API_AUTH_STRING", 404: "run: nexus-hub deploy"}.get(answer.status_code, "see its log")
    path = answer.request.url.path
    kind = PrefectRefused if answer.status_code in REFUSED else PrefectUnavailable
    raise kind(f"Prefect's API answered {answer.status_code} to {path}; {hint}.")

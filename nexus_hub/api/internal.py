"""The seed's internal endpoints, for the holder of the service key; also under the path of its edge function."""

import re
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from nexus_hub.api.access import Operating, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.problems import is_plain
from nexus_hub.api.queries import described
from nexus_hub.errors import AtWork, InvalidRequest, MaintenanceFailed, RotationRunning
from nexus_hub.jobs import store
from nexus_hub.models import DAYS_COMPLETED, DAYS_ORPHANED, MOST_DAYS
from nexus_hub.orchestration.cleanup import parse_days
from nexus_hub.orchestration.dispatcher import dispatch_now
from nexus_hub.orchestration.mirror import Kind
from nexus_hub.orchestration.prefect_client import MAINTENANCE_FLOWS
from nexus_hub.runtime import Runtime
from nexus_hub.servers import registry

router = APIRouter(tags=["internal"], responses=answers(403))
edge = APIRouter(prefix="/functions/v1/nexus-hub", include_in_schema=False)
_TAKES_LONG: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "It takes longer than 30 seconds; `Location` is where to look.",
        "content": {"application/json": {"schema": {"type": "object", "required": ["job_id", "flow_run_id"]}}},
    }
}
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_KEYS_STAY = (
    'Keys are never sent to the hub, only their ids: send {"old_key_id": ..., "new_key_id": ...} with ids of 8 '
    "hexadecimal digits, as nexus-hub vault status shows them. The new key goes into VAULT_NEW_KEY or the keyring."
)


class ExecutionBody(Body):
    """The job to run; all else that the seed's clients send along is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)
    job_id: str = described(..., format="uuid")


class RotationBody(Body):
    """The ids of the key to leave and of the key to go to."""

    model_config = ConfigDict(extra="allow", strict=True)
    old_key_id: str | None = None
    new_key_id: str | None = None
    dry_run: bool = False

    def require_ids_only(self) -> None:
        """Refuse keys, whatever the member's name.

        Raises:
            InvalidRequest: a key was sent, or a member that is not known.
        """
        extra = self.model_extra or {}
        given = [self.old_key_id, self.new_key_id, *extra.values()]
        if any(name.endswith("_hex") for name in extra) or any(_KEY.search(str(value)) for value in given):
            raise InvalidRequest(_KEYS_STAY)
        if unknown := extra.keys() - {"action"}:
            names = ", ".join(sorted(filter(is_plain, unknown))) or "a member of another name"
            raise InvalidRequest(f"The body has {names}; known members are old_key_id, new_key_id and dry_run.")


class CleanupBody(Body):
    """The days that ended jobs, and jobs that failed as orphans, are kept."""

    days_completed: Any = Field(default=None, json_schema_extra={"type": "integer", "minimum": 0, "maximum": MOST_DAYS})
    days_orphaned: Any = Field(default=None, json_schema_extra={"type": "integer", "minimum": 0, "maximum": MOST_DAYS})
    dry_run: bool = False


class RefreshBody(Body):
    """The server to read anew, by name or id; without one all that are due."""

    server: str | None = None


class RestoreBody(Body):
    """The key whose rotation is to be undone."""

    key_id: str


class ScriptBody(RotationBody):
    """The body that the seed's rotation script posts to the function itself."""

    action: Literal["rotate_vault_key"]


@router.post("/internal/job-executor", responses=answers(404))
@edge.post("/internal/job-executor")
async def execute_job(body: ExecutionBody, operator: Operating, runtime: RuntimeOf) -> Any:
    """Start a stored job, if nobody has yet."""
    job_id = store.parse_id(body.job_id)
    await store.get(runtime.database, operator, job_id)
    await dispatch_now(runtime.database, runtime.prefect_client, job_id)
    return {"success": True}


@router.post("/internal/vault-rotate", responses=answers(404, 409) | _TAKES_LONG)
@edge.post("/internal/vault-rotate")
async def rotate_vault(
    response: Response, _operator: Operating, runtime: RuntimeOf, body: RotationBody | None = None
) -> Any:
    """Seal every value anew under another key of the ring; `{updated, errors}`."""
    body = body or RotationBody()
    body.require_ids_only()
    plan = await runtime.rotation.plan(body.old_key_id, body.new_key_id)
    if body.dry_run:
        return await runtime.rotation.dry_run(plan)
    parameters = {"old_key_id": plan.old_key_id or "", "new_key_id": plan.new_key_id}
    return await _run(runtime, response, "key_rotation", f"to {plan.new_key_id}", parameters, ("updated", "errors"))


@edge.post("")
async def rotate_for_script(body: ScriptBody, response: Response, operator: Operating, runtime: RuntimeOf) -> Any:
    """Rotate for the seed's script, which calls the function itself."""
    return await rotate_vault(response, operator, runtime, body)


@router.post("/internal/vault-restore", responses=answers(404, 409))
async def restore_vault(body: RestoreBody, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Put back what the rotation to a key replaced."""
    return await runtime.rotation.restore(body.key_id)


@router.post("/internal/cleanup-jobs", responses=answers(409) | _TAKES_LONG)
@edge.post("/internal/cleanup-jobs")
async def clean_up_jobs(
    response: Response, _operator: Operating, runtime: RuntimeOf, body: CleanupBody | None = None
) -> Any:
    """Delete jobs that ended long ago, and those that failed as orphans; the three counts."""
    asked = body or CleanupBody()
    days = {
        name: parse_days(name, getattr(asked, name)) if name in asked.model_fields_set else default
        for name, default in (("days_completed", DAYS_COMPLETED), ("days_orphaned", DAYS_ORPHANED))
    }
    if asked.dry_run:
        return (await runtime.cleanup.count(**days)).as_counts()
    name = f"{days['days_completed']} {days['days_orphaned']}"
    counts = ("deleted_completed", "deleted_orphaned", "total_deleted")
    return await _run(runtime, response, "job_cleanup", name, dict(days), counts)


@router.post("/internal/refresh-catalog", responses=answers(404, 409) | _TAKES_LONG)
async def refresh_catalog(
    response: Response, operator: Operating, runtime: RuntimeOf, body: RefreshBody | None = None
) -> Any:
    """Refresh the servers that are due, or the named one; `{servers}`."""
    server = body.server if body else None
    if server is not None:
        await registry.find(runtime.database, operator, server)
    return await _run(runtime, response, "cache_refresh", server or "due", {"server": server or ""}, ("servers",))


async def _run(
    runtime: Runtime, response: Response, kind: Kind, name: str, parameters: dict[str, Any], shown: tuple[str, ...]
) -> Any:
    """Run a flow and answer its documented members; 202 with the flow run when it takes longer than 30 s."""
    try:
        started = await runtime.maintenance.run(kind, name, parameters)
    except MaintenanceFailed as failure:
        if failure.reason == AtWork.code:
            raise AtWork(MAINTENANCE_FLOWS[kind]) from None
        if failure.reason == RotationRunning.code:
            raise RotationRunning from None
        raise
    if started.result is None:
        response.status_code = 202
        response.headers["Location"] = f"/v1/jobs/{started.job_id}"
        return {"job_id": started.job_id, "flow_run_id": started.flow_run_id}
    return {member: started.result.get(member, []) for member in shown}

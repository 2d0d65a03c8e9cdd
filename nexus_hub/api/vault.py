"""`/v1/vault`: for operators only; keys are named by their ids and never shown."""

from typing import Any

from fastapi import APIRouter

from nexus_hub.api.access import Operating, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.internal import RotationBody

router = APIRouter(prefix="/v1/vault", tags=["vault"], responses=answers(403))


@router.get("")
async def show_status(_operator: Operating, runtime: RuntimeOf) -> Any:
    """Show the keys by their ids, the rows under each, and the last rotation."""
    return await runtime.rotation.status()


@router.post("/rotate", status_code=202, responses=answers(404, 409))
async def start_rotation(_operator: Operating, runtime: RuntimeOf, body: RotationBody | None = None) -> Any:
    """Start to seal every value anew under another key of the ring; with `dry_run` count what would be."""
    body = body or RotationBody()
    body.require_ids_only()
    plan = await runtime.rotation.plan(body.old_key_id, body.new_key_id)
    if body.dry_run:
        return await runtime.rotation.dry_run(plan)
    await runtime.rotation_runs.start(plan)
    return await runtime.rotation_runs.progress()


@router.get("/rotation")
async def show_rotation(_operator: Operating, runtime: RuntimeOf) -> Any:
    """Show how far the rotation is that was started last."""
    return await runtime.rotation_runs.progress()

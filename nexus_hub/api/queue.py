"""`/v1/queue`."""

from typing import Any

from fastapi import APIRouter

from nexus_hub.api.access import HEAVY, Asking, RuntimeOf
from nexus_hub.jobs.queue import read_queue

router = APIRouter(prefix="/v1/queue", tags=["jobs"])


@router.get("", dependencies=HEAVY)
async def get_queue(principal: Asking, runtime: RuntimeOf) -> Any:
    """Say how many jobs wait and run, user by user: a user's own, or all for an operator."""
    return await read_queue(runtime.database, principal)

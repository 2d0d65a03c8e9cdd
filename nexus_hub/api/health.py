"""`/v1/health`: how the hub is, for people."""

from typing import Any

from fastapi import APIRouter

from nexus_hub.api.access import HEAVY, Asking, RuntimeOf

router = APIRouter(prefix="/v1/health", tags=["health"])


@router.get("", dependencies=HEAVY)
async def show_health(principal: Asking, runtime: RuntimeOf) -> Any:
    """Show the hub's parts, the queue and the last hour of the jobs that one sees; say what is wrong and what to do."""
    return await runtime.health.report(principal)

"""`/v1/vault`: for operators only; keys are named by their ids and never shown."""

from typing import Any

from fastapi import APIRouter

from nexus_hub.api.access import Operating, RuntimeOf
from nexus_hub.api.answers import answers

router = APIRouter(prefix="/v1/vault", tags=["vault"], responses=answers(403))


@router.get("")
async def show_status(_operator: Operating, runtime: RuntimeOf) -> Any:
    """Show the keys by their ids, the rows under each, and the last rotation."""
    return await runtime.rotation.status()

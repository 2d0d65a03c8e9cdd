"""`/v1/vault`: for operators only; keys are named by their ids and never shown."""

from typing import Any

from fastapi import APIRouter

from nexus_hub.api.access import Operating, RuntimeOf

router = APIRouter(prefix="/v1/vault", tags=["vault"])


@router.get("")
async def show_status(_operator: Operating, runtime: RuntimeOf) -> Any:
    """Show the keys by their ids, the rows under each, and the last rotation."""
    return await runtime.rotation.status()

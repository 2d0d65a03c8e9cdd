"""`/v1/users`: for operators only."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from nexus_hub.access import users
from nexus_hub.api.access import Operating, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.queries import described

router = APIRouter(prefix="/v1/users", tags=["users"], responses=answers(403))


class NewUser(BaseModel):
    """A user to add."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = described(..., pattern="^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")


@router.post("", status_code=201, responses=answers(409))
async def add_user(body: NewUser, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Add a user."""
    return await users.add(runtime.database, body.name)


@router.get("")
async def list_users(_operator: Operating, runtime: RuntimeOf) -> Any:
    """List all users."""
    return {"items": await users.list_users(runtime.database), "next_cursor": None}


@router.post("/{user}/tokens", status_code=201, responses=answers(404))
async def issue_token(user: str, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Make a token; this is the only time it is seen."""
    return {"token": await users.issue_token(runtime.database, user)}


@router.delete("/{user}/tokens", responses=answers(404))
async def revoke_tokens(user: str, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Revoke all tokens of a user."""
    return {"revoked": await users.revoke_tokens(runtime.database, user)}

"""`/v1/users`: operators manage all users, and a user manages his own tokens, as `me`."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from nexus_hub.access import user_tokens, users
from nexus_hub.access.console import ConsoleSessions
from nexus_hub.access.scopes import SCOPES, parse_scopes, require
from nexus_hub.access.user_tokens import LONGEST_NAME, ApiToken, TokenWish
from nexus_hub.api.access import Asking, Operating, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.base import base_of
from nexus_hub.api.bodies import Body
from nexus_hub.api.queries import described
from nexus_hub.errors import InvalidRequest, NotAllowed
from nexus_hub.models import Principal, Scope
from nexus_hub.telemetry.trail import note

router = APIRouter(prefix="/v1/users", tags=["users"], responses=answers(403))
MOST_DAYS = 3650


class NewUser(Body):
    """A user to add."""

    name: str = described(..., pattern="^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")


def _require_text(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticCustomError("datetime_type", "Input should be a time such as 2027-01-31T09:30:00Z")
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_require_text)]
"""A time in JSON, with its zone."""


class NewToken(Body):
    """A token to make: for how long, and for what, which is everything unless scopes are given."""

    name: str | None = Field(default=None, min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]+$")
    expires_in_days: float | None = Field(default=None, gt=0, le=MOST_DAYS)
    expires_at: Moment | None = None
    scopes: list[str] | None = described(None, items={"type": "string", "enum": SCOPES})

    @model_validator(mode="after")
    def _end_once(self) -> "NewToken":
        if self.expires_in_days is not None and self.expires_at is not None:
            raise ValueError("give expires_in_days or expires_at")
        return self

    def to_wish(self, limit: frozenset[Scope] | None, now: datetime) -> TokenWish:
        """Make the token that is meant, which is good for no more than the limit; `now` is by the database's clock.

        Raises:
            InvalidRequest: it would be over already, or there is no such scope.
            InsufficientScope: it would be good for more.
        """
        ends = self.expires_at if self.expires_in_days is None else now + timedelta(days=self.expires_in_days)
        if ends is not None and ends <= now:
            raise InvalidRequest("expires_at is over; give a time that is to come.")
        scopes = limit if self.scopes is None else parse_scopes(self.scopes)
        if scopes is not None:
            require(Principal(scopes=limit), scopes)
        return TokenWish(self.name, scopes, ends)


async def _find_account(user: str, principal: Asking) -> str:
    """Find whose account is meant: an operator may name any user, a user only himself."""
    if principal.user_id is None:
        return user
    if user.lower() in {users.ME, str(principal.user_id)}:
        return str(principal.user_id)
    raise NotAllowed("Only an operator may do this; your own are under /v1/users/me.")


AccountOf = Annotated[str, Depends(_find_account)]


@router.post("", status_code=201, responses=answers(409))
async def add_user(body: NewUser, _operator: Operating, runtime: RuntimeOf) -> Any:
    """Add a user."""
    note(target=body.name)
    return await users.add(runtime.database, body.name)


@router.get("")
async def list_users(_operator: Operating, runtime: RuntimeOf) -> Any:
    """List all users."""
    return {"items": await users.list_users(runtime.database), "next_cursor": None}


@router.get("/{user}/tokens", responses=answers(404))
async def list_tokens(account: AccountOf, runtime: RuntimeOf) -> Any:
    """List a user's tokens, the newest first; of those that are over, the last ones."""
    return {"items": await user_tokens.list_tokens(runtime.database, account), "next_cursor": None}


@router.post("/{user}/tokens", status_code=201, responses=answers(404, 409))
async def issue_token(
    account: AccountOf, principal: Asking, runtime: RuntimeOf, body: NewToken | None = None
) -> dict[str, Any]:
    """Make a token; this is the only time it is seen."""
    limit = None if principal.is_operator else principal.scopes
    wish = (body or NewToken()).to_wish(limit, runtime.database.clock.now())
    issued = await user_tokens.issue(runtime.database, account, wish)
    return {"token": issued.token, **asdict(issued.about)}


@router.delete("/{user}/tokens", responses=answers(404))
async def revoke_tokens(account: AccountOf, runtime: RuntimeOf, request: Request) -> Any:
    """Revoke all tokens of a user, and end all else that lets the user or a client in: links, log-ins and grants."""
    revoked = await user_tokens.revoke_all(runtime.database, account)
    request.app.state.authenticator.forget()  # here at once, in other processes by the database's notice
    return {"revoked": revoked}


@router.delete("/{user}/tokens/{token}", responses=answers(404))
async def revoke_token(account: AccountOf, token: UUID, runtime: RuntimeOf, request: Request) -> ApiToken:
    """Revoke one token of a user."""
    revoked = await user_tokens.revoke(runtime.database, account, token)
    request.app.state.authenticator.forget()
    return revoked


class NewLink(Body):
    """A sign-in link to make."""

    expires_in_seconds: int = Field(default=24 * 3600, ge=600, le=7 * 24 * 3600)


@router.post("/{user}/links", status_code=201, responses=answers(404))
async def make_link(
    user: str, _operator: Operating, runtime: RuntimeOf, request: Request, body: NewLink | None = None
) -> Any:
    """Make a link that signs a user in, once; this is the only time it is seen."""
    sessions: ConsoleSessions = request.app.state.sessions
    user_id = await users.find(runtime.database, user)
    link = await sessions.make_user_link(user_id, (body or NewLink()).expires_in_seconds)
    return {"url": f"{base_of(request)}/login#code={link.code}", "code": link.code, "expires_at": link.expires_at}

"""`/v1/approvals`: calls that wait for a person's yes, and the answer to each."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field

from nexus_hub.api.access import HEAVY, Asking, RuntimeOf
from nexus_hub.api.answers import answers
from nexus_hub.api.bodies import Body
from nexus_hub.api.problems import Json
from nexus_hub.api.queries import Cursor, Limit
from nexus_hub.orchestration.approvals import LONGEST_REASON, Answer, ApprovalState, Via
from nexus_hub.telemetry.trail import note

router = APIRouter(prefix="/v1/approvals", tags=["approvals"])


class ApprovalAnswer(Body):
    """A yes or no; `digest` is that of the call which its giver has seen."""

    approve: bool
    digest: str = Field(pattern="^[0-9a-fA-F]{64}$")
    reason: str | None = Field(default=None, max_length=LONGEST_REASON, pattern=r"^[^\x00]*$")


def _via(request: Request) -> Via:
    """Tell a person at the console from a token."""
    return "api" if getattr(request.state, "session", None) is None else "console"


@router.get("", dependencies=HEAVY)
async def list_approvals(
    request: Request,
    principal: Asking,
    runtime: RuntimeOf,
    state: Annotated[ApprovalState | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """List the calls that you may decide on, and those of your own that wait, or have waited, newest first."""
    return await runtime.approvals.list_approvals(principal, _via(request), state=state, limit=limit, cursor=cursor)


@router.get("/{approval_id}", responses=answers(404))
async def show_approval(approval_id: UUID, request: Request, principal: Asking, runtime: RuntimeOf) -> Any:
    """Show one, with the arguments of its call."""
    return Json(await runtime.approvals.find(principal, _via(request), approval_id))


@router.post("/{approval_id}", responses=answers(403, 404, 409))
async def answer_approval(
    approval_id: UUID, body: ApprovalAnswer, request: Request, principal: Asking, runtime: RuntimeOf
) -> Any:
    """Answer a call that waits, once: it goes on with a yes, and ends with a no."""
    action = "approval.grant" if body.approve else "approval.deny"
    note(action=action, target=f"approval {approval_id}")
    answer = Answer(body.approve, body.digest, body.reason)
    row = await runtime.approvals.decide(principal, _via(request), approval_id, answer)
    note(job_id=row["job_id"], tool=row["tool"].removeprefix(f"{row['server']}__"), server=row["server"])
    return row

"""Approvals: calls that wait for a person's yes, each as a job that is not due before.

A yes is bound to one job and to the digest of what it will send, in a time; the job's further attempts belong to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from nexus_hub.access.permissions import Permission, Permissions
from nexus_hub.calls.bundled import look_up_bundled
from nexus_hub.calls.cache import TtlCache
from nexus_hub.calls.digests import digest_call
from nexus_hub.catalog.bundles import Bundles
from nexus_hub.db.pool import Database, Transaction, json_parameter
from nexus_hub.db.queries import load
from nexus_hub.errors import ApprovalDenied, ApprovalExpired, ApprovalNeeded, HubError
from nexus_hub.escape import escape
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.models import Principal, ServerRef
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall, UpstreamRequest

APPROVALS = load("approvals")


@dataclass(frozen=True, slots=True)
class Ask:
    """The question for a yes: the digest of the call, the grant by which it is asked, and how long it waits.

    `fixed` are arguments that a bundle adds to the caller's own.
    """

    digest: bytes
    permission: Permission
    seconds: float
    fixed: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class WaitingAsk:
    """The question of a job that waits; `approvers` are names of groups, beside operators."""

    id: UUID
    digest: str
    approvers: list[str]
    self_approval: bool


@dataclass(frozen=True, slots=True)
class Asker:
    """Tells the calls that wait for a person's yes, by what their callers may do."""

    permissions: TtlCache[UUID | None, Permissions]
    bundles: TtlCache[None, Bundles]
    seconds: float

    async def find(self, principal: Principal, request: JobRequest, ref: ServerRef, name: str | None) -> Ask | None:
        """Make the question for a call, by the server's own name of the tool or prompt; None if it needs no yes."""
        sent, fixed, bundle_id = _as_sent(request, name or ""), dict[str, Any](), None
        if request.by_bundle is not None:
            bundled = await look_up_bundled(self.bundles, request.by_bundle, ref, sent)
            sent, fixed, bundle_id = bundled.complete(sent), bundled.entry.fixed, bundled.bundle.id
        tool = name if request.job_type == "tool_invoke" else None
        permission = await self._permit(principal, ref, tool, bundle_id)
        if permission is None or permission.level != "approve":
            return None
        return Ask(digest_call(ref, sent), permission, self.seconds, fixed)

    async def _permit(
        self, principal: Principal, ref: ServerRef, tool: str | None, bundle_id: UUID | None
    ) -> Permission | None:
        """Say what the principal may do; what it may not is read anew, since the grant may have been given just now."""
        known = await self.permissions(principal.user_id)
        permission = known.of(ref, tool) if bundle_id is None else known.of_bundle(bundle_id)
        if permission is None or not permission.may_call:
            self.permissions.forget(principal.user_id)
            known = await self.permissions(principal.user_id)
            permission = known.of(ref, tool) if bundle_id is None else known.of_bundle(bundle_id)
        return permission


def _as_sent(request: JobRequest, name: str) -> UpstreamRequest:
    match request.job_type:
        case "tool_invoke":
            return ToolCall(name, request.arguments)
        case "prompt_execute":
            return PromptGet(name, request.arguments)
        case "resource_fetch":
            return ResourceRead(request.uri or "")


async def ask_for(
    transaction: Transaction, principal: Principal, asks: Sequence[tuple[UUID, Ask]]
) -> list[dict[str, Any]]:
    """Let jobs of this transaction wait for a person's yes; what their rows have for that."""
    rows = [
        {
            "job_id": str(job_id),
            "digest": ask.digest.hex(),
            "fixed": escape(ask.fixed),
            "approvers": sorted(map(str, ask.permission.approvers)),
            "self_approval": ask.permission.self_approval,
            "seconds": ask.seconds,
        }
        for job_id, ask in asks
    ]
    return await transaction.all(APPROVALS["ask"], asks=json_parameter(rows), user_id=principal.user_id)


async def read_ask(database: Database, job_id: UUID) -> WaitingAsk | None:
    """Read what a job waits for, which its user sees; None if it waits for no yes."""
    async with database.transaction() as transaction:
        return await transaction.one(APPROVALS["waiting_of_job"], WaitingAsk, job_id=job_id)


async def use_approval(database: Database, job_id: UUID, digest: bytes) -> None:
    """Take the yes to a job's call, which the job's further attempts may take again.

    Raises:
        ApprovalNeeded: nobody was asked, or for another call.
        ApprovalDenied, ApprovalExpired: there is none.
    """
    async with database.transaction() as transaction:
        if await transaction.one(APPROVALS["use_approval"], UUID, job_id=job_id, digest=digest) is not None:
            return
        state = await transaction.one(APPROVALS["approval_state"], str, job_id=job_id, digest=digest)
    raise _refuse(state)


def _refuse(state: str | None) -> HubError:
    match state:
        case None:
            return ApprovalNeeded()
        case "denied":
            return ApprovalDenied()
        case _:
            return ApprovalExpired()

"""Answers to calls that wait for a person's yes: who may give them, and what follows in the job and its flow run."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from nexus_hub.access.permissions import Permission, Permissions, read_permissions
from nexus_hub.db.pool import Database, Transaction
from nexus_hub.errors import ApprovalDenied, Conflict, NotAllowed, NotFound, PrefectUnavailable
from nexus_hub.escape import unescape
from nexus_hub.jobs.approvals import APPROVALS
from nexus_hub.jobs.endings import tell_closed
from nexus_hub.models import Principal, ServerRef
from nexus_hub.orchestration.dispatcher import dispatch_now
from nexus_hub.orchestration.prefect_runs import PrefectRuns
from nexus_hub.paging import Page, check_limit, decode, encode, page
from nexus_hub.telemetry.text import printable

Via = Literal["console", "api", "elicitation"]
"""The way of an answer: a person who is signed in at the console, a token of the API, or the chat of who asks."""
ApprovalState = Literal["waiting", "approved", "denied", "expired", "used"]
IN_PERSON: frozenset[Via] = frozenset({"console", "elicitation"})
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """A yes or no to the call of a digest: to what its giver has seen, and no other."""

    approve: bool
    digest: str
    reason: str | None = None


@dataclass(frozen=True)
class Approvals:
    """Shows and decides what waits for a yes.

    Operators may decide all; members of the grant's groups what others ask; who asks, if the grant says so, in person.
    """

    database: Database
    prefect_client: PrefectRuns

    async def list_approvals(
        self,
        principal: Principal,
        via: Via,
        *,
        state: ApprovalState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[dict[str, Any]]:
        """List a page, newest first: what the principal may decide, and what it asks for itself.

        Raises:
            InvalidRequest: a limit outside 1..1000, or a cursor of no list.
        """
        limit = check_limit(limit)
        after_asked_at, after_id = decode(cursor, (datetime.fromisoformat, UUID))
        async with self.database.transaction(bounded=True) as transaction:
            rows = await _read(
                transaction,
                principal,
                state=state,
                after_asked_at=after_asked_at,
                after_id=after_id,
                limit=limit + 1,
            )
        shown = page(rows, limit, lambda row: encode(row["asked_at"].isoformat(), row["id"]))
        return Page([_show(row, principal, via) for row in shown.items], shown.next_cursor)

    async def find(self, principal: Principal, via: Via, approval_id: UUID) -> dict[str, Any]:
        """Find one, with the arguments of its call; who decides sees those that a bundle adds to them, too.

        Raises:
            NotFound: the principal sees no such approval.
        """
        row = await self._find(principal, approval_id)
        async with self.database.transaction() as transaction:
            asked = await transaction.only(APPROVALS["asked_params"], id=approval_id)
        params = (
            asked["params"] if asked["params_as_sent"] or not asked["params_escaped"] else unescape(asked["params"])
        )
        arguments = params.get("arguments") or {} if row["job_type"] == "prompt_execute" else params
        if row["may_decide"]:
            arguments = {**arguments, **unescape(asked["fixed"])}
        return _show(row, principal, via) | {"arguments": arguments}

    async def decide(self, principal: Principal, via: Via, approval_id: UUID, answer: Answer) -> dict[str, Any]:
        """Answer once, and let the job go on or end; the approval as it is then.

        Raises:
            NotFound: the principal sees no such approval.
            NotAllowed: somebody else has to answer, or in another way.
            Conflict: it is of another call than was seen, was answered already, or waits no more.
        """
        _check(await self._find(principal, approval_id), principal, via, answer)
        async with self.database.transaction() as transaction:
            job = await transaction.one(
                APPROVALS["decide"],
                id=approval_id,
                approve=answer.approve,
                digest=answer.digest,
                decided_by=principal.user_id,
                decided_via=via,
                reason=answer.reason,
                error=_explain(answer),
            )
            row = await _read_one(transaction, principal, approval_id)
        if job is None:
            raise _refuse(row)
        await self._follow(job, answer)
        return _show(row, principal, via)

    async def _find(self, principal: Principal, approval_id: UUID) -> dict[str, Any]:
        """Read one as its grant is now: whom that does not name any more neither decides nor sees it.

        Raises:
            NotFound: the principal sees no such approval.
        """
        async with self.database.transaction() as transaction:
            row = await _read_one(transaction, principal, approval_id)
        if principal.is_operator or row["state"] != "waiting":
            return row
        granted = _granted(await read_permissions(self.database, row["user_id"]), row)
        if granted is not None and granted.level == "call":
            return row
        named = frozenset() if granted is None else granted.approvers & {*row["approver_ids"]}
        if row["user_id"] != principal.user_id and named.isdisjoint(row["my_groups"]):
            raise NotFound("approval", approval_id)
        may_self = granted is not None and granted.self_approval
        return row | {"self_approval": row["self_approval"] and may_self}

    async def _follow(self, job: Mapping[str, Any], answer: Answer) -> None:
        """Tell Prefect; if it is away, the reconciler does."""
        run = job["flow_run_id"]
        if not answer.approve:
            tell_closed([dict(job)], "failed", ApprovalDenied.code)
        with suppress(PrefectUnavailable):
            if run is None and answer.approve:
                await dispatch_now(self.database, self.prefect_client, job["id"])
            elif run is not None and answer.approve:
                await self.prefect_client.resume(run)
            elif run is not None:
                await self.prefect_client.settle(run, "cancelled")


async def _read(transaction: Transaction, principal: Principal, **wanted: object) -> list[dict[str, Any]]:
    filters = {"state": None, "id": None, "after_asked_at": None, "after_id": None, "limit": 1} | wanted
    seen = {"all_users": principal.is_operator, "user_id": principal.user_id}
    return await transaction.all(APPROVALS["list_approvals"], **seen, **filters)


async def _read_one(transaction: Transaction, principal: Principal, approval_id: UUID) -> dict[str, Any]:
    for row in await _read(transaction, principal, id=approval_id):
        return row
    raise NotFound("approval", approval_id)


def _granted(permissions: Permissions, row: Mapping[str, Any]) -> Permission | None:
    """Give what who asks may do now with what it asked for."""
    if row["bundle_entry_id"] is not None:
        return permissions.of_bundle(row["bundle_id"])
    tool = unescape(row["tool_name"]) if row["params_escaped"] else row["tool_name"]
    is_tool = row["job_type"] == "tool_invoke"
    return permissions.of(ServerRef(row["server_type"], row["server_ref_id"]), tool if is_tool else None)


def _check(row: Mapping[str, Any], principal: Principal, via: Via, answer: Answer) -> None:
    """Check that the principal may answer, and answers what it has seen.

    Raises:
        NotAllowed, Conflict: it may not, or has not.
    """
    if not _may_decide(row, principal, via):
        if row["self_approval"]:
            raise NotAllowed(
                "Who asks for a call may answer only in person: signed in at the console, or in the chat. "
                "A token does not."
            )
        raise NotAllowed(f"Somebody else than who asks has to answer this call: {_name_deciders(row)}.")
    if row["digest"] != answer.digest.lower():
        raise Conflict("This is not the call that you have seen: the digest is another one. Look at it again.")
    if not row["is_open"]:
        raise _refuse(row)


def _may_decide(row: Mapping[str, Any], principal: Principal, via: Via) -> bool:
    is_own = row["user_id"] == principal.user_id
    return row["may_decide"] or (is_own and row["self_approval"] and via in IN_PERSON)


def _name_deciders(row: Mapping[str, Any]) -> str:
    groups = row["approvers"]
    return f"an operator, or a member of {' or '.join(groups)}" if groups else "an operator"


def _refuse(row: Mapping[str, Any]) -> Conflict:
    if row["state"] in {"approved", "used", "denied"}:
        said = "no" if row["state"] == "denied" else "yes"
        return Conflict(f"This call has its answer: {row['decided_by_name']} has said {said}.")
    return Conflict("This call does not wait for an answer any more: its time is over, or its job has ended.")


def _explain(answer: Answer) -> str:
    said = ApprovalDenied().message
    return f"{said} The reason: {printable(answer.reason, longest=LONGEST_REASON)}" if answer.reason else said


def name_call(row: Mapping[str, Any]) -> str:
    """Name what is called as its caller knows it; arguments, such as a resource's URI, are no part of it."""
    server = row["server_name"] or "a removed server"
    if row["called_as"]:
        return str(row["called_as"])
    if row["job_type"] == "resource_fetch":
        return f"a resource of {server}"
    called = row["tool_name"] or row["params_name"] or ""
    return f"{server}__{unescape(called) if row['params_escaped'] else called}"


def _show(row: dict[str, Any], principal: Principal, via: Via) -> dict[str, Any]:
    """Show an approval as the API does; who asked by a bundle's name is not shown the server behind it."""
    is_hidden = row["called_as"] is not None and not row["may_decide"]
    same = (
        *("id", "job_id", "job_type", "state", "user_id", "asked_at", "expires_at", "digest"),
        *("approvers", "self_approval", "decided_at", "decided_via", "reason"),
    )
    return {name: row[name] for name in same} | {
        "tool": name_call(row),
        "server": None if is_hidden else row["server_name"],
        "user": row["user_name"] or str(row["user_id"]),
        "decided_by": row["decided_by_name"],
        "may_decide": row["is_open"] and _may_decide(row, principal, via),
        "is_own": row["user_id"] == principal.user_id,
    }

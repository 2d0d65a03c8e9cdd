"""The commands `approval`: calls that wait for a person's yes, and the answer to each."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import FAILED, SUCCESS, Json, run
from nexus_hub.errors import InvalidRequest

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

approvals = typer.Typer(no_args_is_help=True, help="Calls that wait for a person's yes: list, show, approve, deny.")
Digest = Annotated[
    str | None, typer.Option(metavar="HEX", help="That of the call as `approval show` gives it; else you are asked.")
]
Reason = Annotated[str | None, typer.Option(help="Who asked reads it.")]
COLUMNS = {
    "id": "approval",
    "state": "state",
    "tool": "call of",
    "user": "asked by",
    "asked_at": "asked",
    "answer": "who answers",
}


@approvals.command("list")
def list_approvals(
    state: Annotated[str | None, typer.Option(help="waiting, approved, denied, expired or used.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on after an earlier list's next_cursor.")] = None,
    as_json: Json = False,
) -> None:
    """List the calls that you may decide on, and your own, newest first."""

    async def command(client: HubClient, output: Output) -> None:
        page = await client.request("GET", "/v1/approvals", state=state, limit=limit, cursor=cursor)
        if as_json:
            output.data(page)
        else:
            rows = [row | {"answer": describe_answer(row)} for row in page["items"]]
            output.table(rows, COLUMNS, "No call waits for an answer that you would see.")

    run(as_json, command)


@approvals.command("show")
def show_approval(approval_id: str, as_json: Json = False) -> None:
    """Show one, with the arguments of its call and their digest."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/approvals/{approval_id}")
        output.data(found) if as_json else _show(output, found)

    run(as_json, command)


@approvals.command("approve")
def approve(approval_id: str, digest: Digest = None, reason: Reason = None, as_json: Json = False) -> None:
    """Say yes to a call: it is made once, as it was shown."""
    _answer(approval_id, digest, reason, as_json, is_yes=True)


@approvals.command("deny")
def deny(approval_id: str, digest: Digest = None, reason: Reason = None, as_json: Json = False) -> None:
    """Say no to a call: its job ends."""
    _answer(approval_id, digest, reason, as_json, is_yes=False)


def _answer(approval_id: str, digest: str | None, reason: str | None, as_json: bool, *, is_yes: bool) -> None:
    async def command(client: HubClient, output: Output) -> int:
        path, seen = f"/v1/approvals/{approval_id}", digest
        if seen is None:
            seen = _ask(output, await client.request("GET", path), is_yes=is_yes)
        if seen is None:
            return FAILED
        body = {"approve": is_yes, "digest": seen} | ({} if reason is None else {"reason": reason})
        found = await client.request("POST", path, body)
        output.data(found) if as_json else output.line(f"{found['tool']}: {found['state']}", style="green")
        return SUCCESS

    run(as_json, command)


def _ask(output: Output, found: dict[str, Any], *, is_yes: bool) -> str | None:
    """Show a call and ask a person; the digest of what was shown, or None for a change of mind.

    Raises:
        InvalidRequest: there is no person to ask.
    """
    if output.as_json or not sys.stdin.isatty():
        raise InvalidRequest("Give the digest of the call that you have seen with --digest; `approval show` has it.")
    _show(output, found)
    is_sure = typer.confirm(f"{'Make' if is_yes else 'Refuse'} this call?", err=True)
    return str(found["digest"]) if is_sure else None


def _show(output: Output, found: dict[str, Any]) -> None:
    facts = ("id", "state", "tool", "server", "user", "job_id", "asked_at", "expires_at", "digest", "reason")
    shown = {name: found[name] for name in facts} | {"answer": describe_answer(found)}
    output.fields(shown | {"arguments": json.dumps(found["arguments"])})


def describe_answer(found: dict[str, Any]) -> str:
    """Say who has answered, or who may."""
    if found["decided_by"]:
        return f"{found['decided_by']}: {'no' if found['state'] == 'denied' else 'yes'}"
    if found["state"] != "waiting":
        return "nobody"
    return describe_deciders(found["approvers"], self_approval=found["self_approval"])


def describe_ask(waiting: dict[str, Any] | None) -> str:
    """Say whose yes a job waits for, and of which approval; nothing if the answer is about to reach it."""
    if waiting is None:
        return ""
    who = describe_deciders(waiting["approvers"], self_approval=waiting["self_approval"])
    return f" of {who} (approval {waiting['id']})"


def describe_deciders(groups: list[str], *, self_approval: bool) -> str:
    """Say who may answer."""
    own = ["who asks, at the console"] if self_approval else []
    return " or ".join(["an operator", *(f"a member of {name}" for name in groups), *own])

"""The commands of users: `call`, `job`, `tools`, `resources`, `prompts`."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.approvals import describe_ask
from nexus_hub.cli.context import FAILED, STILL_RUNNING, SUCCESS, Json, run
from nexus_hub.cli.output import shorten_time
from nexus_hub.errors import ApiProblem, ApprovalNeeded, InvalidRequest
from nexus_hub.json_text import read
from nexus_hub.models import MOST_AHEAD, TERMINAL
from nexus_hub.paging import LARGEST

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

FOUND = 20
"""Number of tools that `tools QUERY` shows by default."""

jobs = typer.Typer(no_args_is_help=True, help="Jobs: list, show, watch, cancel, run again.")


def call(
    tool: Annotated[str, typer.Argument(help="The tool's name, such as time__get_current_time.")],
    arguments: Annotated[str | None, typer.Argument(help="A JSON object; - reads it from standard input.")] = None,
    pairs: Annotated[list[str] | None, typer.Option("-a", help="key=value; the value as JSON, else as text.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")] = True,
    timeout: Annotated[float | None, typer.Option(help="Stop waiting after so many seconds (exit code 3).")] = None,
    job_timeout: Annotated[
        int | None, typer.Option(metavar="S", help="End the call itself after so many seconds (3600).")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(metavar="N", help="Try at most so often (3).")] = None,
    retry: Annotated[
        str | None, typer.Option(metavar="auto|always", help="always: repeat even a call that may have had its effect.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="K", help="A second call with this key is the first one's job.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Call a tool as a durable job and show its result."""
    asked = {
        "timeout_seconds": job_timeout,
        "max_attempts": max_attempts,
        "retry": retry,
        "idempotency_key": idempotency_key,
    }
    limits = {key: value for key, value in asked.items() if value is not None}

    async def command(client: HubClient, output: Output) -> int:
        job = await client.submit(
            {"job_type": "tool_invoke", "name": tool, "arguments": parse_arguments(arguments, pairs), **limits}
        )
        output.line(f"job {job['id']}", style="dim")
        return await follow(client, output, job["id"], timeout) if wait else show_outcome(output, job)

    run(as_json, command)


def parse_arguments(text: str | None, pairs: list[str] | None) -> dict[str, Any]:
    """Parse the arguments of a call. The error for bad ones does not repeat them.

    Raises:
        InvalidRequest: they are no JSON object, or a pair lacks its `=`.
    """
    try:
        arguments = _parse_json(sys.stdin.read() if text == "-" else text or "{}")
    except ValueError:
        raise InvalidRequest('The arguments are not JSON; give an object such as \'{"timezone": "UTC"}\'.') from None
    if not isinstance(arguments, dict):
        raise InvalidRequest("The arguments must be a JSON object.")
    for position, pair in enumerate(pairs or [], start=1):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidRequest(f"-a number {position} must have the form key=value.")
        arguments[key] = _value(value)
    return arguments


def _value(text: str) -> Any:
    try:
        return _parse_json(text)
    except ValueError:
        return text


def _parse_json(text: str) -> Any:
    try:
        return read(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError from None


def _refuse(_name: str) -> None:
    """Refuse NaN and Infinity: they are no JSON, though Python takes them."""
    raise ValueError


async def follow(client: HubClient, output: Output, job_id: str, timeout: float | None) -> int:
    """Show each state of a job until it has ended, then its result."""
    is_told = output.as_json
    async for job in client.watch(job_id, timeout=timeout):
        output.state(job)
        if not is_told and job.get("error_code") == ApprovalNeeded.code:
            is_told = await _tell_ask(client, output, job_id)
    return show_outcome(output, job, waited=True)


async def _tell_ask(client: HubClient, output: Output, job_id: str) -> bool:
    """Tell whose yes a job waits for; return False if that can't be had now."""
    with suppress(ApiProblem):
        if waits := describe_wait((await client.job(job_id)).get("waits")):
            output.line(f"It waits {waits}.", style="dim")
            return True
    return False


def show_outcome(output: Output, job: dict[str, Any], *, waited: bool = False) -> int:
    """Show where a job stands; return the exit code that says the same."""
    if output.as_json:
        output.data(job)
    elif waited and job["status"] == "completed":
        output.result(job["result"])
    elif job["error"]:
        output.error(job["error"])
    if job["status"] not in TERMINAL:
        return STILL_RUNNING if waited else SUCCESS
    tool_failed = bool((job.get("result") or {}).get("isError"))
    return SUCCESS if job["status"] == "completed" and not tool_failed else FAILED


@jobs.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="pending, running, completed, failed or cancelled.")] = None,
    server: Annotated[str | None, typer.Option(help="Only of this server, by name or id.")] = None,
    tool: Annotated[str | None, typer.Option(help="Only of this tool, by the server's own name of it.")] = None,
    user: Annotated[str | None, typer.Option(help="Only of this user; for operators.")] = None,
    search: Annotated[
        str | None, typer.Option(help="How an id or the name of a server or tool begins, or an error code.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on after an earlier list's next_cursor.")] = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    wanted = {"status": status, "server": server, "tool": tool, "user": user, "search": search}

    async def command(client: HubClient, output: Output) -> None:
        page = await client.request("GET", "/v1/jobs", **wanted, limit=limit, cursor=cursor)
        if as_json:
            output.data(page)
            return
        columns = {"id": "job", "status": "status", "what": "what", "created_at": "created"}
        rows = [row | {"what": _describe(row)} for row in page["items"]]
        none = "No job fits." if any(wanted.values()) else "There are no jobs yet: nexus-hub call TOOL"
        output.table(rows, columns, none)

    run(as_json, command)


def _describe(row: dict[str, Any]) -> str:
    """Name what a job calls, and where."""
    called = row["tool_name"] or row["job_type"]
    return f"{called} of {row['server']}" if row["server"] else called


@jobs.command("show")
def show(job_id: str, as_json: Json = False) -> None:
    """Show a job's row."""

    async def command(client: HubClient, output: Output) -> None:
        job = await client.job(job_id)
        output.data(job) if as_json else output.fields(job | {"waits": describe_wait(job.get("waits"))})

    run(as_json, command)


def describe_wait(waits: dict[str, Any] | None) -> str | None:
    """Say in a few words what a pending job waits for."""
    match waits:
        case {"for": "queue", "position": position, "running": running}:
            place = position if position <= MOST_AHEAD else f"{position} or later"
            return f"in the queue, at place {place} among its user's jobs; {running} of them run now"
        case {"for": "approval", "until": until, "approval": approval}:
            return f"for a yes{describe_ask(approval)}, until {shorten_time(until)}"
        case {"for": "time", "until": until, "reason": reason}:
            return f"until {shorten_time(until)}" + (f" ({reason})" if reason else "")
        case {"for": "flow-run"}:
            return "for its flow run to begin"
        case {"for": "prefect"}:
            return "for Prefect to be told of it"
    return None


@jobs.command("watch")
def watch(
    job_id: str,
    timeout: Annotated[float | None, typer.Option(help="Stop waiting after so many seconds (exit code 3).")] = None,
    as_json: Json = False,
) -> None:
    """Show a job's states as they come, then its result."""

    async def command(client: HubClient, output: Output) -> int:
        job = await client.job(job_id)  # says at once if there is none, or no hub
        return await follow(client, output, job["id"], timeout)

    run(as_json, command)


@jobs.command("cancel")
def cancel(job_id: str, as_json: Json = False) -> None:
    """Cancel a job that has not ended."""

    async def command(client: HubClient, output: Output) -> None:
        job = await client.request("DELETE", f"/v1/jobs/{job_id}")
        output.data(job) if as_json else output.state(job)

    run(as_json, command)


@jobs.command("run-again")
def run_again(
    job_id: str,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")] = True,
    timeout: Annotated[float | None, typer.Option(help="Stop waiting after so many seconds (exit code 3).")] = None,
    as_json: Json = False,
) -> None:
    """Make the same call anew, as a job of your own, and show its result."""

    async def command(client: HubClient, output: Output) -> int:
        job = await client.run_again(job_id)
        output.line(f"job {job['id']}", style="dim")
        return await follow(client, output, job["id"], timeout) if wait else show_outcome(output, job)

    run(as_json, command)


def tools(
    query: Annotated[str | None, typer.Argument(help="What you want to do, or a part of a name.")] = None,
    server: Annotated[str | None, typer.Option(help="Only of this server.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only of servers with this tag.")] = None,
    bundle: Annotated[str | None, typer.Option(help="Only of this bundle, by its names.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Only those that say they change nothing.")] = False,
    limit: Annotated[
        int | None, typer.Option(help="At most so many; with QUERY 20, else all unless you say it.", show_default=False)
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Only names and one line each; the rest on request.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the tools that you see, or those that matter for a request, the best first."""

    async def command(client: HubClient, output: Output) -> None:
        filters = {"query": query, "server": server, "tag": tag, "bundle": bundle, "read_only": read_only or None}
        page = await _read_tools(client, FOUND if limit is None and query else limit, filters, compact)
        if as_json:
            output.data(page)
            return
        columns = {"name": "tool", "description": "description"}
        output.table(_first_lines(page["items"]), columns, _tell_none("tools", *filters.values()))
        if "tokens" in page and output.is_terminal:
            output.line("about {shown:,} tokens instead of {all:,}".format(**page["tokens"]), style="dim")

    run(as_json, command)


async def _read_tools(client: HubClient, limit: int | None, filters: dict[str, Any], compact: bool) -> dict[str, Any]:
    """Read one page; without a query, a limit and `compact` all pages."""
    if limit is None and not compact:
        return {"items": await client.items("/v1/tools", **filters), "next_cursor": None}
    return await client.request(
        "GET", "/v1/tools", None, **filters, limit=LARGEST if limit is None else limit, compact=compact
    )


def resources(
    query: Annotated[str | None, typer.Argument(help="Words to look for.")] = None,
    server: Annotated[str | None, typer.Option(help="Only of this server.")] = None,
    as_json: Json = False,
) -> None:
    """List the resources that you may read."""
    columns = {"server": "server", "name": "uri", "mime_type": "type", "description": "description"}
    _list_catalog("resources", columns, query, server, as_json)


def prompts(
    query: Annotated[str | None, typer.Argument(help="Words to look for.")] = None,
    server: Annotated[str | None, typer.Option(help="Only of this server.")] = None,
    as_json: Json = False,
) -> None:
    """List the prompts that you may get."""
    _list_catalog("prompts", {"name": "prompt", "description": "description"}, query, server, as_json)


def _list_catalog(kind: str, columns: dict[str, str], query: str | None, server: str | None, as_json: bool) -> None:
    async def command(client: HubClient, output: Output) -> None:
        items = await client.items(f"/v1/{kind}", query=query, server=server)
        if as_json:
            output.data({"items": items, "next_cursor": None})
        else:
            output.table(_first_lines(items), columns, _tell_none(kind, query, server))

    run(as_json, command)


def _tell_none(kind: str, *filters: Any) -> str:
    """Say that nothing was found; where nothing is left out, it is servers that are missing."""
    return f"No {kind} found." if any(filters) else f"No {kind} found. Register a server: nexus-hub server add"


def _first_lines(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item | {"description": (item["description"] or "").strip().split("\n")[0]} for item in items]

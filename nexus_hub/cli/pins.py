"""The commands `pin` and `tool`, and the switches of `server`: what is held until it is approved, and what is off."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import FAILED, SUCCESS, Json, run
from nexus_hub.errors import InvalidRequest, NotFound
from nexus_hub.telemetry.text import printable

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

pins = typer.Typer(
    no_args_is_help=True, help="Tools that are new or have changed on servers with pins: list, diff, approve."
)
tool_switches = typer.Typer(no_args_is_help=True, help="Single tools: enable, disable.")
_COLUMNS = {"server": "server", "name": "tool", "change": "change", "since_at": "since", "hash": "sha256"}
_FORGED = re.compile(r"\{(?=\+)|\[(?=-)|\+(?=\})|-(?=\])")
_CONTINUED = "      | "
_MARKS = {"same": "{}", "del": "[-{}-]", "ins": "{{+{}+}}"}
Server = Annotated[str | None, typer.Argument(help="Its name or id; without one all servers.")]


@pins.command("list")
def list_held(server: Server = None, as_json: Json = False) -> None:
    """List the tools that wait for approval: nobody sees or calls them until then."""

    async def command(client: HubClient, output: Output) -> None:
        held = await client.items("/v1/changes", pending=True, server=server)
        if as_json:
            output.data({"items": held, "next_cursor": None})
        else:
            rows = [one | {"since_at": one["at"], "hash": one["hash"][:12]} for one in held]
            output.table(rows, _COLUMNS, "Nothing waits for approval.")

    run(as_json, command)


@pins.command("diff")
def show_difference(
    server: Server = None,
    history: Annotated[bool, typer.Option("--history", help="What changed lately, held or not.")] = False,
    as_json: Json = False,
) -> None:
    """Show word by word what changed of the tools that wait, or with --history of all that servers offer."""

    async def command(client: HubClient, output: Output) -> None:
        if history:
            query = {"server": server} if server else {}
            page = await client.request("GET", "/v1/changes", None, **query)
        else:
            page = {"items": await client.items("/v1/changes", pending=True, server=server), "next_cursor": None}
        if as_json:
            output.data(page)
        elif not page["items"]:
            output.line("Nothing has changed." if history else "Nothing waits for approval.")
        for change in page["items"]:
            _show(output, change)

    run(as_json, command)


@pins.command("approve")
def approve(
    server: Annotated[str, typer.Argument(help="Its name or id.")],
    tools: Annotated[
        list[str] | None, typer.Argument(help="By the server's own names; without one all that wait.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nobody: approve what waits as it is now.")] = False,
    as_json: Json = False,
) -> None:
    """Show the tools that wait, and approve them: just as they were shown."""

    async def command(client: HubClient, output: Output) -> int:
        found = await client.request("GET", f"/v1/servers/{server}")
        held = await client.items("/v1/changes", pending=True, server=found["id"])
        chosen = _choose(held, tools)
        if not chosen:
            output.data({"approved": 0}) if as_json else output.line("Nothing waits for approval.")
            return SUCCESS
        if not yes and not _ask(output, chosen):
            return FAILED
        path = f"/v1/servers/{found['server_type']}/{found['id']}/tools:approve"
        seen = [{"name": one["name"], "hash": one["hash"]} for one in chosen]
        done = await client.request("POST", path, {"tools": seen})
        output.data(done) if as_json else output.line(f"{done['approved']} tools are approved.", style="green")
        return SUCCESS

    run(as_json, command)


def _choose(held: list[dict[str, Any]], names: list[str] | None) -> list[dict[str, Any]]:
    known = {one["name"] for one in held}
    for name in names or ():
        if name not in known:
            raise NotFound("tool that waits for approval", name)
    return [one for one in held if names is None or not names or one["name"] in names]


def _ask(output: Output, held: list[dict[str, Any]]) -> bool:
    if output.as_json or not sys.stdin.isatty():
        raise InvalidRequest("There is nobody to ask: look at nexus-hub pin diff, then approve with --yes.")
    for change in held:
        _show(output, change)
    return typer.confirm(f"Approve {'this tool' if len(held) == 1 else f'these {len(held)} tools'}?", err=True)


def _show(output: Output, change: dict[str, Any]) -> None:
    kind = "" if change["kind"] == "tool" else f" {change['kind']}"
    held = ", held" if change["held"] else ""
    output.line(f"{change['server']}:{kind} {printable(change['name'])} {change['change']}{held}", style="bold")
    for one in change["difference"]:
        words = "".join(_MARKS[part["op"]].format(_show_words(part["text"])) for part in one["parts"])
        output.line(f"  {one['member']}: {words}")


def _show_words(text: str) -> str:
    """Show words of a server so that none of its lines or marks look like one of the difference."""
    return _FORGED.sub(r"\g<0>\\", text).replace("\n", f"\n{_CONTINUED}")


@tool_switches.command("enable")
def enable_tool(name: Annotated[str, typer.Argument(help="SERVER__tool.")], as_json: Json = False) -> None:
    """Switch a tool on again."""
    _switch_tool(name, as_json, enabled=True)


@tool_switches.command("disable")
def disable_tool(name: Annotated[str, typer.Argument(help="SERVER__tool.")], as_json: Json = False) -> None:
    """Switch a tool off: nobody sees or calls it, also when it goes and comes back."""
    _switch_tool(name, as_json, enabled=False)


def _switch_tool(name: str, as_json: bool, *, enabled: bool) -> None:
    async def command(client: HubClient, output: Output) -> None:
        server, _, own = name.partition("__")
        if not own:
            raise InvalidRequest(f"{name!r} names no tool of a server: write SERVER__tool.")
        found = await client.request("GET", f"/v1/servers/{server}")
        path = f"/v1/servers/{found['server_type']}/{found['id']}"
        known = {one["name"]: one["tool_name"] for one in await client.items(f"{path}/tools")}
        own = known.get(name, own)  # a long name is not the server's own
        changed = await client.request("PATCH", path, {"tools": {own: {"enabled": enabled}}})
        if as_json:
            output.data(changed)
            return
        output.line(f"{name} is {'on' if enabled else 'off'}.", style="green")
        if own not in known.values():
            output.line(f"{server} offers no tool of that name now; the switch holds for when it does.", style="yellow")

    run(as_json, command)


def enable_server(server: Annotated[str, typer.Argument(help="Its name or id.")], as_json: Json = False) -> None:
    """Switch a server on; it is read at once."""
    _switch_server(server, as_json, enabled=True)


def disable_server(server: Annotated[str, typer.Argument(help="Its name or id.")], as_json: Json = False) -> None:
    """Switch a server off: it is not contacted, and offers nothing."""
    _switch_server(server, as_json, enabled=False)


def _switch_server(server: str, as_json: bool, *, enabled: bool) -> None:
    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/servers/{server}")
        path = f"/v1/servers/{found['server_type']}/{found['id']}"
        changed = await client.request("PATCH", path, {"enabled": enabled})
        word = "on" if enabled else "off"
        output.data(changed) if as_json else output.line(f"{changed['name']} is {word}.", style="green")

    run(as_json, command)

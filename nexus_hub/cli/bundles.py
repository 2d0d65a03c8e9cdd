"""The commands `bundle`: named sets of tools, prompts and resources, each with an address of its own at `/mcp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import Json, run
from nexus_hub.errors import ApiProblem, InvalidRequest

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

bundles = typer.Typer(no_args_is_help=True, help="Bundles of tools: list, show, set, add-tool, remove.")
Name = Annotated[str, typer.Argument(help="The bundle.")]
_COLUMNS = {"name": "bundle", "title": "title", "access": "access", "offers": "entries"}
_ENTRY_COLUMNS = {
    "kind": "kind",
    "server": "server",
    "source": "source",
    "name": "name there",
    "kept_back": "fixed, hidden",
    "state": "state",
}
_WORDS = ("name", "title", "instructions", "access")
_ENTRY = ("kind", "server", "source", "name", "title", "description", "fixed", "hidden")


@bundles.command("list")
def list_bundles(as_json: Json = False) -> None:
    """List the bundles that you may use."""

    async def command(client: HubClient, output: Output) -> None:
        page = await client.request("GET", "/v1/bundles")
        if as_json:
            output.data(page)
            return
        rows = [one | {"offers": len(one["entries"])} if "entries" in one else one for one in page["items"]]
        columns = _COLUMNS if any("entries" in one for one in rows) else {"name": "bundle", "title": "title"}
        output.table(rows, columns, "No bundles. Make one: nexus-hub bundle set FILE")

    run(as_json, command)


@bundles.command("show")
def show_bundle(name: Name, as_json: Json = False) -> None:
    """Show a bundle, to operators with what is in it; `tools --bundle NAME` has its tools as callers see them."""

    async def command(client: HubClient, output: Output) -> None:
        bundle = await client.request("GET", f"/v1/bundles/{name}")
        if as_json:
            output.data(bundle)
            return
        output.fields({key: bundle.get(key) for key in _WORDS} | {"address": f"/mcp/{bundle['name']}"})
        if "entries" in bundle:
            rows = [one | {"kept_back": ", ".join([*one["fixed"], *one["hidden"]])} for one in bundle["entries"]]
            output.table(rows, _ENTRY_COLUMNS, "It is empty. Add a tool: nexus-hub bundle add-tool")

    run(as_json, command)


@bundles.command("set")
def set_bundle(
    file: Annotated[typer.FileText, typer.Argument(help="JSON of a bundle, as show --json gives it; - is the input.")],
    as_json: Json = False,
) -> None:
    """Make a bundle what a file says, with all of its entries at once."""
    body = _read_bundle(file.read())

    async def command(client: HubClient, output: Output) -> None:
        try:
            bundle = await client.request("PUT", f"/v1/bundles/{body['name']}", body)
        except ApiProblem as problem:
            if problem.code != "not-found":
                raise
            bundle = await client.request("POST", "/v1/bundles", body)
        _tell(output, bundle, as_json)

    run(as_json, command)


@bundles.command("add-tool")
def add_tool(
    name: Name,
    tool: Annotated[str, typer.Argument(help="A tool as nexus-hub tools names it, or SERVER for all of a server's.")],
    as_name: Annotated[str | None, typer.Option("--as", help="Its name in the bundle.")] = None,
    description: Annotated[str | None, typer.Option(help="What is said of it there.")] = None,
    fix: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An argument that is always sent so; JSON or text.")
    ] = None,
    hide: Annotated[list[str] | None, typer.Option(metavar="NAME", help="An argument that is left out.")] = None,
    as_json: Json = False,
) -> None:
    """Add a tool to a bundle, which is made if it is not there."""
    changes = {"name": as_name, "description": description, "fixed": _read_fixed(fix or []), "hidden": hide or []}

    async def command(client: HubClient, output: Output) -> None:
        entry = await _find_tool(client, tool) | changes
        try:
            bundle = await client.request("GET", f"/v1/bundles/{name}")
        except ApiProblem as problem:
            if problem.code != "not-found":
                raise
            bundle = await client.request("POST", "/v1/bundles", {"name": name, "entries": [entry]})
        else:
            body = {key: bundle[key] for key in _WORDS}
            entries = [{key: one[key] for key in _ENTRY} for one in bundle["entries"]]
            bundle = await client.request("PUT", f"/v1/bundles/{name}", body | {"entries": [*entries, entry]})
        _tell(output, bundle, as_json)

    run(as_json, command)


@bundles.command("remove")
def remove_bundle(name: Name, as_json: Json = False) -> None:
    """Remove a bundle, and what groups are granted on it; its servers and jobs stay."""

    async def command(client: HubClient, output: Output) -> None:
        await client.request("DELETE", f"/v1/bundles/{name}")
        output.data({"removed": name}) if as_json else output.line(f"{name} is removed.", style="green")

    run(as_json, command)


async def _find_tool(client: HubClient, name: str) -> dict[str, Any]:
    """Find what a tool is on its server; the name of a server stands for all its tools."""
    server, separator, _ = name.partition("__")
    if not separator:
        return {"kind": "tool", "server": server, "source": "*"}
    tool = await client.request("GET", f"/v1/tools/{name}")
    if tool["server_type"] != "system" or "bundle" in tool:
        raise InvalidRequest("A bundle has tools of system servers, by the servers' names for them.")
    return {"kind": "tool", "server": server, "source": tool["tool_name"]}


def _read_bundle(text: str) -> dict[str, Any]:
    """Read a bundle; what `show` adds to it, such as ids, is left out."""
    import json

    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"The file is no JSON: {error}.") from None
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise typer.BadParameter('The file must be an object with a name, such as {"name": "travel", "entries": []}.')
    entries = given.get("entries") or []
    shown = {"id", "state"}
    given["entries"] = [
        {key: value for key, value in one.items() if key not in shown} if isinstance(one, dict) else one
        for one in (entries if isinstance(entries, list) else [entries])
    ]
    given.pop("id", None)
    return given


def _read_fixed(words: list[str]) -> dict[str, Any]:
    import json

    found: dict[str, Any] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not (name and separator):
            raise typer.BadParameter("--fix takes NAME=VALUE, such as units=metric.")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def _tell(output: Output, bundle: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.data(bundle)
        return
    output.line(f"{bundle['name']} has {len(bundle['entries'])} entries, at /mcp/{bundle['name']}.", style="green")
    for one in bundle["entries"]:
        if one["state"] == "missing":
            output.line(f"  {one['server']} does not offer the {one['kind']} {one['source']} now", style="yellow")

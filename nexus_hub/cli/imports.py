"""`server import`: the servers of a file that an MCP client has, entry by entry."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import FAILED, SUCCESS, Json, run
from nexus_hub.errors import AlreadyRegistered, ApiProblem, HubUnavailable, InvalidConfig, InvalidRequest, NameTaken

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient
    from nexus_hub.upstream.config import HttpConfig, StdioConfig
    from nexus_hub.upstream.mcp_json import FileEntry

_OUTCOMES = {
    "registered": "registered",
    "would-register": "would be registered",
    "unchanged": "unchanged",
    "disabled": "disabled in the file",
    "left-out": "left out",
}


def import_file(
    file: Annotated[Path, typer.Argument(help="The file of an MCP client: JSON, with comments or not, or TOML.")],
    owner: Annotated[str | None, typer.Option(help="Register them as this user's own servers.")] = None,
    rename: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="Name the file's entry OLD NEW; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come; try and store nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Register the servers of an mcp.json file, entry by entry; what can't be had is named, and the exit code is 1."""

    async def command(client: HubClient, output: Output) -> int:
        entries = read_entries(file)
        names = name_entries([entry.name for entry in entries], rename)
        extra: dict[str, Any] = {"owner": owner} if owner else {}
        if dry_run:
            extra["dry_run"] = True
        done = [
            await _import_one(client, output, entry, name, extra) for entry, name in zip(entries, names, strict=True)
        ]
        if as_json:
            output.data({"items": done, "next_cursor": None})
        else:
            output.line(_summarize([one["outcome"] for one in done]), style="dim")
        return FAILED if any("error" in one for one in done) else SUCCESS

    run(as_json, command)


def read_entries(file: Path) -> list[FileEntry]:
    """Read the entries of a file, with this process's environment for the variables in it.

    Raises:
        InvalidConfig: the file as a whole can't be read.
    """
    from nexus_hub.upstream.client_files import decode
    from nexus_hub.upstream.mcp_json import parse

    try:
        text = decode(file.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{file} can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from None
    return parse(text, os.environ, toml=file.suffix.lower() == ".toml")


def name_entries(names: list[str], renames: list[str] | None) -> list[str]:
    """Choose the servers' names for the names of the file's entries.

    Raises:
        InvalidRequest: a rename is none, or speaks of no entry.
        InvalidName: it gives a name that breaks the rules.
    """
    from nexus_hub.catalog.names import check_server_name, make_server_names

    renamed = {}
    for position, rename in enumerate(renames or [], start=1):
        old, equals, new = rename.rpartition("=")
        if not equals:
            raise InvalidRequest(f"--rename number {position} must have the form OLD=NEW.")
        if old not in names:
            raise InvalidRequest(f"--rename: the file has no entry {old[:80]!r}.")
        renamed[old] = check_server_name(new)
    if len(set(renamed.values())) < len(renamed):
        raise InvalidRequest("--rename gives one name to two entries.")
    return make_server_names(names, renamed)


async def _import_one(
    client: HubClient, output: Output, entry: FileEntry, name: str, extra: dict[str, Any]
) -> dict[str, Any]:
    known = {"name": name, "entry": entry.name}
    if entry.config is None:
        if entry.problem:
            place = f" (line {entry.line})" if entry.line else ""
            output.error(f"{entry.name or name} is left out{place}: {entry.problem}")
            problem = {"error": entry.problem, "code": InvalidConfig.code, "line": entry.line}
            return known | {"outcome": "left-out", **problem}
        output.line(f"{entry.name or name} is left out: it is disabled in the file.", style="dim")
        return known | {"outcome": "disabled"}
    if entry.shown is not None:
        output.line(f"{name} runs, once it is enabled: {entry.shown}")
    if name != entry.name:
        output.line(f"{entry.name!r} gets the name {name}; choose another one with --rename.")
    try:
        body = {"name": name, **_body(entry.config), **({} if entry.enabled else {"enabled": False}), **extra}
        server = await client.request("POST", "/v1/servers", body)
    except ApiProblem as problem:
        if problem.code == AlreadyRegistered.code:
            output.line(f"{name} is unchanged.")
            return known | {"outcome": "unchanged"}
        if not ("dry_run" in extra and isinstance(problem, HubUnavailable)):
            return _fail(output, known, problem)
    if "dry_run" in extra:
        return known | _show_plan(output, name, entry.config, enabled=entry.enabled)
    output.line(f"{name} is registered: {tell_offers(server)}.", style="green")
    tell_omitted(output, server)
    return server | known | {"outcome": "registered"}


def tell_offers(server: dict[str, Any]) -> str:
    """Say what a server offers, or what comes before that: a look at it, or a login."""
    if not server["enabled"]:
        return f"it is disabled, and was not contacted; look at it, then: nexus-hub server enable {server['name']}"
    if server["status"] == "needs-login":
        way = "server login" if server["login"]["kind"] == "oauth" else "credential set"
        return f"what it offers comes after a login: nexus-hub {way} {server['name']}"
    return f"{server['tools']} tools, {server['resources']} resources, {server['prompts']} prompts"


def tell_omitted(output: Output, server: dict[str, Any]) -> None:
    """Tell what of a server was left out, and why."""
    for one in server.get("omitted", []):
        place = " ".join(part for part in (one["place"], repr(one["name"]) if one["name"] else "") if part)
        output.line(f"  left out: {place}: {one['reason']}" if place else f"  {one['reason']}", style="yellow")


def _fail(output: Output, known: dict[str, Any], problem: ApiProblem) -> dict[str, Any]:
    hint = " See --rename." if problem.code == NameTaken.code else ""
    output.error(f"{known['name']}: {problem.message}{hint}")
    return known | {"outcome": "left-out", "error": problem.message, "code": problem.code}


def _body(config: HttpConfig | StdioConfig) -> dict[str, Any]:
    from nexus_hub.upstream.config import expose_secrets

    return {key: value for key, value in expose_secrets(config).items() if key != "transport" and value}


def _show_plan(output: Output, name: str, config: HttpConfig | StdioConfig, *, enabled: bool) -> dict[str, Any]:
    """Show what would be registered, with the names of headers and variables and without their values."""
    from nexus_hub.upstream.display import MASK, describe_endpoint

    part, keys = ("headers", [*config.headers]) if config.transport == "http" else ("env", [*config.env])
    endpoint = describe_endpoint(config)
    secrets = f"; {part} {', '.join(f'{key}={MASK}' for key in keys)}" if keys else ""
    login = config.login.kind if config.transport == "http" and config.login else None
    rest = f"{f'; login by {login}' if login else ''}{'' if enabled else '; disabled'}"
    output.line(f"{name} would be registered: {endpoint}{secrets}{rest}")
    masked = {"endpoint": endpoint, part: dict.fromkeys(keys, MASK), "login": login, "enabled": enabled}
    return {"outcome": "would-register", **masked}


def _summarize(outcomes: list[str]) -> str:
    counts = Counter(outcomes)
    told = [f"{counts[outcome]} {words}" for outcome, words in _OUTCOMES.items() if counts[outcome]]
    return f"{', '.join(told)}." if told else "The file names no servers."

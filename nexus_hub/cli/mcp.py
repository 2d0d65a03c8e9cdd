"""`mcp`: the bridge for clients that speak stdio only, and the entries that tell clients of the hub."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from nexus_hub import address
from nexus_hub.cli.context import Json
from nexus_hub.errors import InvalidConfig, InvalidRequest

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.upstream.client_files import ClientFile

mcp = typer.Typer(help="Plug MCP clients into the hub: a bridge over stdio, and config for the clients' own files.")
Server = Annotated[str | None, typer.Option(metavar="NAME", help="One server alone, with the names of its own.")]
Tools = Annotated[str | None, typer.Option(metavar="search", help="Three tools that find the others.")]
_ENDPOINT = "/mcp"
_NAME = "nexus-hub"


@mcp.callback(invoke_without_command=True)
def bridge(context: typer.Context, server: Server = None, tools: Tools = None) -> None:
    """Pass messages between standard input and output and the hub, for a client that starts its servers."""
    if context.invoked_subcommand is not None:
        if server or tools:
            raise InvalidRequest(f"Give the options behind the word {context.invoked_subcommand}.")
        return
    url, token = find_hub()
    if token is not None:
        address.check_token(token)
    endpoint = endpoint_url(url, server, tools)
    from nexus_hub.gateway.stdio import serve

    serve(endpoint, token)


def find_hub() -> tuple[str, str | None]:
    """Find URL and token as every command does."""
    found = address.find_hub(os.environ)
    if found is not None:
        return found
    from nexus_hub.settings import load

    settings = load()
    return settings.api_url, settings.find_token()


def endpoint_url(url: str, server: str | None, tools: str | None) -> str:
    """Give the endpoint of the whole hub or of one server.

    Raises:
        InvalidRequest: there is no such mode.
    """
    if tools not in {None, "search"}:
        raise InvalidRequest("--tools can only be search.")
    path = f"{_ENDPOINT}/{quote(server, safe='')}" if server else _ENDPOINT
    return url + path + (f"?tools={tools}" if tools else "")


@mcp.command("config")
def config(
    client: Annotated[str | None, typer.Argument(metavar="CLIENT", help="Unset: list the clients.")] = None,
    server: Server = None,
    tools: Tools = None,
    write: Annotated[bool, typer.Option("--write", help="Put it into the client's file, after a copy.")] = False,
    file: Annotated[Path | None, typer.Option(help="Another file than the client's usual one.")] = None,
    stdio: Annotated[bool, typer.Option("--stdio", help="Over the bridge, though the client speaks HTTP.")] = False,
    with_token: Annotated[bool, typer.Option("--with-token", help="Write the token itself; keep it secret.")] = False,
    as_json: Json = False,
) -> None:
    """Show the entry that tells an MCP client of the hub, or put it into the client's file."""
    from nexus_hub.cli.output import Output
    from nexus_hub.upstream.client_files import CLIENT_FILES

    output = Output(as_json=as_json)
    if client is None:
        _list_clients(output)
        return
    if client not in CLIENT_FILES:
        raise InvalidRequest(f"There is no client {client[:80]!r}; there are {', '.join(CLIENT_FILES)}.")
    plan = _plan(CLIENT_FILES[client], server, tools, stdio=stdio, with_token=with_token)
    path = file or CLIENT_FILES[client].find(os.environ)
    if write:
        _write(output, plan, client, path)
    else:
        _show(output, plan, client, path)


@dataclass(frozen=True, slots=True)
class _Plan:
    """An entry for a client, and what a person has to know of it."""

    file: ClientFile
    name: str
    entry: dict[str, Any]
    where: str
    """The place from which the token comes, unless it is in the entry."""
    secret: str | None = field(repr=False)
    """The token that the entry holds."""

    @property
    def note(self) -> str:
        return self.where if self.secret is None else "It holds the token: keep it secret."

    def snippet(self, *, masked: bool = False) -> str:
        from nexus_hub.upstream.client_edits import write_snippet

        text = write_snippet(self.file, self.name, self.entry).rstrip("\n")
        return text.replace(self.secret, "<the token>") if masked and self.secret else text


def _plan(file: ClientFile, server: str | None, tools: str | None, *, stdio: bool, with_token: bool) -> _Plan:
    from nexus_hub.upstream.client_edits import bridge_entry, http_entry

    (url, token), given = find_hub(), bool(os.environ.get("NEXUS_TOKEN"))
    if with_token and token is None:
        raise InvalidRequest("There is no token to write; set NEXUS_TOKEN.")
    endpoint, name = endpoint_url(url, server, tools), f"{_NAME}-{server}" if server else _NAME
    written = token if with_token else None
    if file.takes_headers and not stdio:
        return _Plan(file, name, http_entry(file, endpoint, written), _http_note(file, given), written)
    variables = {"NEXUS_URL": url}
    if written is not None:
        variables["NEXUS_TOKEN"] = written
    refer = given and not with_token
    home = _home() if not given and token is not None else None
    if home is not None and not with_token:
        variables["NEXUS_HOME"] = str(home)
    options = [*(["--server", server] if server else []), *(["--tools", tools] if tools else [])]
    entry = bridge_entry(file, [*_program(), "mcp", *options], variables, refer=refer)
    return _Plan(file, name, entry, _bridge_note(file, home), written)


def _http_note(file: ClientFile, given: bool) -> str:
    other = "" if given else ", or use --stdio: the bridge finds the key of the home by itself"
    return f"{file.title} takes the token from the variable NEXUS_TOKEN; set it where {file.title} starts{other}."


def _bridge_note(file: ClientFile, home: Path | None) -> str:
    if home is not None:
        return f"The bridge takes the key of {home}."
    if file.reference or file.toml:
        return f"The bridge takes the token from the variable NEXUS_TOKEN; set it where {file.title} starts."
    return (
        f"The bridge takes the token from the variable NEXUS_TOKEN, or the key of the home; {file.title} may pass no"
        " variables on: --with-token writes it."
    )


def _home() -> Path | None:
    """Give the home whose key the command line uses; None where a key is in a variable."""
    if os.environ.get("NEXUS_SERVICE_KEY"):
        return None
    home = os.environ.get("NEXUS_HOME")
    return Path(home).absolute() if home else address.default_home()


def _program() -> list[str]:
    """Give the command line of this installation: clients are started with another PATH."""
    import shutil

    for name in (sys.argv[0], shutil.which(_NAME)):
        if name and Path(name).name == _NAME and Path(name).is_file():
            return [str(Path(name).absolute())]
    return [sys.executable, "-m", "nexus_hub"]


def _list_clients(output: Output) -> None:
    from nexus_hub.upstream.client_files import CLIENT_FILES

    rows = [
        {
            "client": name,
            "title": file.title,
            "way": "http" if file.takes_headers else "stdio",
            "file": str(file.find(os.environ)),
            "source": file.source,
        }
        for name, file in CLIENT_FILES.items()
    ]
    if output.as_json:
        output.data({"items": rows})
    else:
        output.table(rows, {"client": "client", "way": "way", "file": "file"}, "There are none.")


def _show(output: Output, plan: _Plan, client: str, path: Path) -> None:
    if output.as_json:
        output.data(_describe(plan, client, path) | {"entry": plan.entry, "outcome": "shown"})
        return
    output.line(plan.snippet())
    output.error(f"It belongs into {path}; --write puts it there. {plan.note}", style="dim")


def _write(output: Output, plan: _Plan, client: str, path: Path) -> None:
    from nexus_hub.upstream.client_edits import edit_file

    try:
        edit = edit_file(path, plan.file, plan.name, plan.entry, secret=plan.secret is not None)
    except InvalidConfig as error:
        if not output.as_json:
            output.line(plan.snippet(masked=True))
        raise InvalidConfig(f"Nothing was changed. {error.message}") from None
    backup = None if edit.backup is None else str(edit.backup)
    if output.as_json:
        output.data(_describe(plan, client, path) | {"outcome": edit.outcome, "backup": backup})
        return
    output.line(f"The entry {plan.name} of {path} is {edit.outcome}.")
    if backup:
        output.line(f"The file as it was: {backup}")
    output.line(plan.note)


def _describe(plan: _Plan, client: str, path: Path) -> dict[str, Any]:
    return {"client": client, "file": str(path), "name": plan.name, "note": plan.note}

"""The commands of operators, and of users with servers of their own: `server`, `sync`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli import credentials
from nexus_hub.cli.context import FAILED, SUCCESS, Json, run
from nexus_hub.cli.imports import import_file, tell_offers, tell_omitted
from nexus_hub.cli.logins import log_in, log_out
from nexus_hub.cli.pins import disable_server, enable_server
from nexus_hub.errors import InvalidConfig, InvalidRequest

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

servers = typer.Typer(
    no_args_is_help=True, help="Upstream MCP servers: add, list, show, set, enable, test, remove, import, login."
)
servers.command("import")(import_file)
servers.command("login")(log_in)
servers.command("logout")(log_out)
servers.command("enable")(enable_server)
servers.command("disable")(disable_server)

_SPAN = re.compile(r"([0-9]{1,8})([smhd])")
_SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
COLUMNS = {
    "name": "server",
    "server_type": "type",
    "status": "status",
    "circuit": "circuit",
    "endpoint": "endpoint",
    "tools": "tools",
    "resources": "resources",
    "prompts": "prompts",
    "limit_per_minute": "limit/min",
    "login": "login",
    "held": "held",
}
_SETTINGS = (
    "name",
    "limit_per_minute",
    "user_limit_per_minute",
    "durable",
    "handle_seconds",
    "durable_tools",
    "access",
    "tags",
    "pin",
    "ttl_seconds",
)
_SHOWN_APART = {"omitted", "last_errors", "policies"}


@servers.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Names its tools: NAME__tool.")],
    url: Annotated[str | None, typer.Option(help="A server reached by streamable HTTP.")] = None,
    command: Annotated[
        str | None, typer.Option(metavar="CMD ARGS...", help="A server run as a child process; comes last.")
    ] = None,
    header: Annotated[list[str] | None, typer.Option(help="K=V, sent with each request, sealed.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="K=V, the child's environment, sealed.")] = None,
    owner: Annotated[str | None, typer.Option(help="Register it as this user's own server.")] = None,
    limit_per_minute: Annotated[int | None, typer.Option(help="At most so many calls in any minute.")] = None,
    user_limit_per_minute: Annotated[
        int | None, typer.Option(help="At most so many calls of each user in any minute.")
    ] = None,
    durable: Annotated[
        str | None, typer.Option(metavar="always|long|never", help="The direct calls that are jobs (long).")
    ] = None,
    handle_seconds: Annotated[
        float | None, typer.Option(help="A direct call that takes longer goes on as a job; 0: never.")
    ] = None,
    connect_seconds: Annotated[float | None, typer.Option(help="How long opening it may take, 300 at most.")] = None,
    oauth: credentials.OAuth = False,
    client_id: credentials.ClientId = None,
    secret_stdin: credentials.SecretStdin = False,
    machine: credentials.Machine = False,
    scope: credentials.Scopes = None,
    issuer: credentials.IssuerUrl = None,
    header_login: credentials.HeaderName = None,
    whose: credentials.Whose = None,
    access: Annotated[str | None, typer.Option(metavar="open|closed", help="For whom of no grant it is there.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag that its tools are found by; may be repeated.")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Hold each tool until it is approved.")] = False,
    ttl: Annotated[str | None, typer.Option(metavar="TIME", help="Its catalog is good for: 30m, 12h, 7d.")] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Store it, and contact it once it is enabled.")] = False,
    as_json: Json = False,
) -> None:
    """Try a server, then store it with its tools, resources and prompts; what wants a login has them after it."""
    _ = command  # taken out of the command line before it is parsed
    words: list[str] = (context.obj or {}).get("command", [])
    login = credentials.describe_login(
        oauth=oauth,
        client_id=client_id,
        secret_stdin=secret_stdin,
        machine=machine,
        scope=scope,
        issuer=issuer,
        header=header_login,
    )

    async def work(client: HubClient, output: Output) -> None:
        body = {
            "name": name,
            "url": url,
            "headers": parse_pairs("--header", header) or None,
            "command": words[0] if words else None,
            "args": words[1:] or None,
            "env": parse_pairs("--env", env) or None,
            "owner": owner,
            "limit_per_minute": limit_per_minute,
            "user_limit_per_minute": user_limit_per_minute,
            "durable": durable,
            "handle_seconds": handle_seconds,
            "connect_seconds": connect_seconds,
            "login": login,
            "credentials": whose,
            "access": access,
            "tags": tag,
            "pin": pin or None,
            "ttl_seconds": None if ttl is None else parse_span(ttl),
            "enabled": False if disabled else None,
        }
        server = await client.request("POST", "/v1/servers", {k: v for k, v in body.items() if v is not None})
        if as_json:
            output.data(server)
        else:
            output.line(f"{server['name']} is registered: {tell_offers(server)}.", style="green")
            tell_omitted(output, server)

    run(as_json, work)


def parse_pairs(option: str, values: list[str] | None) -> dict[str, str]:
    """Parse `K=V` options. The error for a bad one does not repeat it.

    Raises:
        InvalidConfig: one lacks its `=` or its key.
    """
    found = {}
    for position, value in enumerate(values or [], start=1):
        key, equals, rest = value.partition("=")
        if not equals or not key:
            raise InvalidConfig(f"{option} number {position} must have the form K=V.")
        found[key] = rest
    return found


@servers.command("list")
def list_servers(as_json: Json = False) -> None:
    """List the servers that you see."""

    async def command(client: HubClient, output: Output) -> None:
        items = await client.items("/v1/servers")
        if as_json:
            output.data({"items": items, "next_cursor": None})
        else:
            rows = [
                one
                | {"circuit": one["circuit"]["state"], "login": one["login"] and one["login"]["state"]}
                | ({} if one["enabled"] else {"status": "off", "circuit": None})
                for one in items
            ]
            output.table(rows, COLUMNS, "No servers yet: nexus-hub server add NAME --url URL")

    run(as_json, command)


@servers.command("show")
def show(server: str, as_json: Json = False) -> None:
    """Show a server, by name or id."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/servers/{server}")
        if as_json:
            output.data(found)
        else:
            output.fields({key: value for key, value in found.items() if key not in _SHOWN_APART})
            for one in found["last_errors"]:
                output.line(f"  failed at {one['at']}: {one['error'] or one['code']}", style="yellow")
            tell_omitted(output, found)

    run(as_json, command)


@servers.command("set")
def change(
    server: Annotated[str, typer.Argument(help="Its name or id.")],
    durable: Annotated[
        str | None,
        typer.Option(metavar="always|long|never|default", help="The direct calls that are jobs: all, long ones, none."),
    ] = None,
    tool: Annotated[
        str | None, typer.Option(help="With --durable: of this tool alone, by the server's own name for it.")
    ] = None,
    handle_seconds: Annotated[
        str | None,
        typer.Option(metavar="S|default", help="Direct calls that take longer go on as jobs; 0: never."),
    ] = None,
    access: Annotated[
        str | None, typer.Option(metavar="open|closed|default", help="For whom of no grant it is there.")
    ] = None,
    tags: Annotated[str | None, typer.Option(help="Its tags, with commas between them; empty for none.")] = None,
    pin: Annotated[
        bool | None, typer.Option("--pin/--no-pin", help="Hold each tool that is new or was changed.")
    ] = None,
    ttl: Annotated[
        str | None, typer.Option(metavar="TIME|default", help="Its catalog is good for: 30m, 12h, 7d.")
    ] = None,
    limit_per_minute: Annotated[
        str | None, typer.Option(metavar="N|none", help="Calls per minute, of all users together.")
    ] = None,
    user_limit_per_minute: Annotated[
        str | None, typer.Option(metavar="N|none", help="Calls per minute, of each user.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change how a server's tools are called, and for whom it is there."""

    async def command(client: HubClient, output: Output) -> None:
        traits = to_traits(access, tags, pin, ttl) | to_limits(limit_per_minute, user_limit_per_minute)
        says_calls = not traits or any(said is not None for said in (durable, tool, handle_seconds))
        body = (to_change(durable, tool, handle_seconds) if says_calls else {}) | traits
        found = await client.request("GET", f"/v1/servers/{server}")
        changed = await client.request("PATCH", f"/v1/servers/{found['server_type']}/{found['id']}", body)
        if as_json:
            output.data(changed)
        else:
            output.fields({name: changed[name] for name in _SETTINGS})

    run(as_json, command)


def to_change(durable: str | None, tool: str | None, handle_seconds: str | None) -> dict[str, Any]:
    """Give the body of a change.

    Raises:
        InvalidRequest: nothing is to be changed, or the seconds are no number.
    """
    if durable is None and (tool is not None or handle_seconds is None):
        raise InvalidRequest(
            "Say what to change: --durable WORD, with --tool for one tool, or --handle-seconds S, or --access, "
            "--tags, --pin, --ttl, --limit-per-minute, --user-limit-per-minute."
        )
    word = None if durable == "default" else durable
    body: dict[str, Any] = {}
    if durable is not None:
        body |= {"durable": word} if tool is None else {"tools": {tool: word}}
    if handle_seconds is not None:
        body["handle_seconds"] = None if handle_seconds == "default" else _parse_seconds(handle_seconds)
    return body


def to_traits(access: str | None, tags: str | None, pin: bool | None, ttl: str | None) -> dict[str, Any]:
    """Give the body of a change of traits.

    Raises:
        InvalidRequest: the time to live is none.
    """
    body: dict[str, Any] = {}
    if access is not None:
        body["access"] = None if access == "default" else access
    if tags is not None:
        body["tags"] = [tag.strip() for tag in tags.split(",") if tag.strip()]
    if pin is not None:
        body["pin"] = pin
    if ttl is not None:
        body["ttl_seconds"] = None if ttl == "default" else parse_span(ttl)
    return body


def to_limits(of_all: str | None, of_each: str | None) -> dict[str, Any]:
    """Give the body of a change of limits; `none` takes one away.

    Raises:
        InvalidRequest: one is no whole number.
    """
    body: dict[str, Any] = {}
    for name, text in (("limit_per_minute", of_all), ("user_limit_per_minute", of_each)):
        if text is not None and text != "none" and not text.isdecimal():
            raise InvalidRequest(f"--{name.replace('_', '-')} takes a number of calls, or none.")
        if text is not None:
            body[name] = None if text == "none" else int(text)
    return body


def parse_span(text: str) -> int:
    """Read a span of time in seconds.

    Raises:
        InvalidRequest: it is none.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(f"{text!r} is no span of time: write 90s, 30m, 12h or 7d.")
    return int(found[1]) * _SECONDS_OF[found[2]]


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InvalidRequest("--handle-seconds takes a number of seconds, or default.")
    return seconds


@servers.command("test")
def try_server(server: str, as_json: Json = False) -> None:
    """Connect to a server and count what it offers."""
    _act(server, "test", "answers", as_json)


def sync(
    server: Annotated[str | None, typer.Argument(help="Its name or id; without one all servers that are due.")] = None,
    as_json: Json = False,
) -> None:
    """Read anew what a server offers, and store it."""
    if server is None:
        run(as_json, _refresh)
    else:
        _act(server, "sync", "is up to date", as_json)


async def _refresh(client: HubClient, output: Output) -> int:
    done = await client.request("POST", "/internal/refresh-catalog")
    if output.as_json:
        output.data(done)
    else:
        shown = ("server", "tools", "resources", "prompts", "changes", "omitted", "seconds", "error_code")
        columns = {name: name for name in shown}
        output.table(done.get("servers", []), columns, "Nothing is due.")
    return FAILED if any(one["error_code"] for one in done.get("servers", [])) else SUCCESS


def _act(server: str, action: str, said: str, as_json: bool) -> None:
    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/servers/{server}")
        path = f"/v1/servers/{found['server_type']}/{found['id']}/{action}"
        seen = await client.request("POST", path)
        if as_json:
            output.data(seen)
        else:
            counts = f"{seen['tools']} tools, {seen['resources']} resources, {seen['prompts']} prompts"
            counts += "".join(f", {count} {change}" for change, count in seen.get("changes", {}).items() if count)
            output.line(f"{found['name']} {said}: {counts}, protocol {seen['protocol_version']}.", style="green")
            tell_omitted(output, seen)

    run(as_json, command)


@servers.command("remove")
def remove(server: str, as_json: Json = False) -> None:
    """Remove a server and what is cached of it; its jobs stay."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/servers/{server}")
        await client.request("DELETE", f"/v1/servers/{found['server_type']}/{found['id']}")
        output.data({"removed": found["id"]}) if as_json else output.line(f"{found['name']} is removed.")

    run(as_json, command)

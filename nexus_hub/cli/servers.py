"""The commands of operators, and of users with servers of their own: `server`, `user`, `sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nexus_hub.cli.context import FAILED, SUCCESS, Json, run
from nexus_hub.cli.imports import import_file, tell_omitted
from nexus_hub.errors import InvalidConfig

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

servers = typer.Typer(no_args_is_help=True, help="Upstream MCP servers: add, list, show, test, remove, import.")
servers.command("import")(import_file)
users = typer.Typer(no_args_is_help=True, help="Users and their tokens: add, list, token, revoke.")

COLUMNS = {
    "name": "server",
    "server_type": "type",
    "status": "status",
    "endpoint": "endpoint",
    "tools": "tools",
    "resources": "resources",
    "prompts": "prompts",
    "limit_per_minute": "limit/min",
}


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
    connect_seconds: Annotated[float | None, typer.Option(help="How long opening it may take, 300 at most.")] = None,
    as_json: Json = False,
) -> None:
    """Try a server, then store it with its tools, resources and prompts."""
    _ = command  # taken out of the command line before it is parsed
    words: list[str] = (context.obj or {}).get("command", [])

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
            "connect_seconds": connect_seconds,
        }
        server = await client.request("POST", "/v1/servers", {k: v for k, v in body.items() if v is not None})
        if as_json:
            output.data(server)
        else:
            counts = f"{server['tools']} tools, {server['resources']} resources, {server['prompts']} prompts"
            output.line(f"{server['name']} is registered: {counts}.", style="green")
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
            output.table(items, COLUMNS, "No servers yet: nexus-hub server add NAME --url URL")

    run(as_json, command)


@servers.command("show")
def show(server: str, as_json: Json = False) -> None:
    """Show a server, by name or id."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/servers/{server}")
        if as_json:
            output.data(found)
        else:
            output.fields({key: value for key, value in found.items() if key != "omitted"})
            tell_omitted(output, found)

    run(as_json, command)


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
        columns = {name: name for name in ("server", "tools", "resources", "prompts", "seconds", "error_code")}
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


@users.command("add")
def add_user(name: str, as_json: Json = False) -> None:
    """Add a user."""

    async def command(client: HubClient, output: Output) -> None:
        user = await client.request("POST", "/v1/users", {"name": name})
        if as_json:
            output.data(user)
        else:
            output.line(f"{user['name']} is added. Make a token: nexus-hub user token {user['name']}", style="green")

    run(as_json, command)


@users.command("list")
def list_users(as_json: Json = False) -> None:
    """List users."""

    async def command(client: HubClient, output: Output) -> None:
        page = await client.request("GET", "/v1/users")
        if as_json:
            output.data(page)
        else:
            output.table(page["items"], {"name": "user", "tokens": "tokens", "id": "id"}, "No users yet.")

    run(as_json, command)


@users.command("token")
def issue_token(name: str, as_json: Json = False) -> None:
    """Make a token for a user; it is shown this once."""

    async def command(client: HubClient, output: Output) -> None:
        made = await client.request("POST", f"/v1/users/{name}/tokens")
        output.data(made) if as_json else output.line(made["token"])

    run(as_json, command)


@users.command("revoke")
def revoke(name: str, as_json: Json = False) -> None:
    """Revoke all tokens of a user."""

    async def command(client: HubClient, output: Output) -> None:
        done = await client.request("DELETE", f"/v1/users/{name}/tokens")
        output.data(done) if as_json else output.line(f"{done['revoked']} tokens of {name} are revoked.")

    run(as_json, command)

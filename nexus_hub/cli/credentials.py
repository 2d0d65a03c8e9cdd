"""`credential`: the headers that people set for servers; and the options by which a server is said to want a login."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import Json, run
from nexus_hub.errors import InvalidRequest

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

credentials = typer.Typer(no_args_is_help=True, help="What you log in with at servers: set, list, remove.")
COLUMNS = {
    "name": "server",
    "kind": "kind",
    "credentials": "whose",
    "state": "state",
    "expires_at": "expires",
    "reason": "reason",
}
LONGEST_SECRET = 8192

OAuth = Annotated[bool, typer.Option("--oauth", help="It wants a login by OAuth (most say so by themselves).")]
ClientId = Annotated[str | None, typer.Option(help="With --oauth: a client that was registered beforehand.")]
SecretStdin = Annotated[
    bool, typer.Option("--client-secret-stdin", help="Read the client's secret from standard input.")
]
Machine = Annotated[
    bool, typer.Option("--client-credentials", help="The client logs in for itself; no person is needed.")
]
Scopes = Annotated[str | None, typer.Option(help="With --oauth: the scopes to ask for, with spaces between.")]
IssuerUrl = Annotated[str | None, typer.Option(help="With --oauth: its authorization server, if it names none.")]
HeaderName = Annotated[
    str | None, typer.Option("--header-login", metavar="NAME", help="It wants a header that people set.")
]
Whose = Annotated[
    str | None,
    typer.Option("--credentials", metavar="shared|per-user", help="One login for all, or one per user."),
]


def describe_login(
    *,
    oauth: bool,
    client_id: str | None,
    secret_stdin: bool,
    machine: bool,
    scope: str | None,
    issuer: str | None,
    header: str | None,
) -> dict[str, Any] | None:
    """Describe the login of a server as the API takes it; None if the options say nothing of one.

    Raises:
        InvalidRequest: they don't fit together.
    """
    by_oauth = {"client_id": client_id, "scope": scope, "issuer": issuer}
    if oauth or machine or secret_stdin or any(by_oauth.values()):
        if header is not None:
            raise InvalidRequest("A server wants a login by OAuth or by a header: leave out one of them.")
        login: dict[str, Any] = {"kind": "oauth", **by_oauth}
        login["grant"] = "client_credentials" if machine else "authorization_code"
        login["client_secret"] = read_secret("The client's secret") if secret_stdin else None
        return {name: value for name, value in login.items() if value is not None}
    if header is None:
        return None
    prefix = "Bearer " if header.lower() == "authorization" else ""
    return {"kind": "header", "header": header, "prefix": prefix}


def read_secret(what: str) -> str:
    """Read a secret: typed at a terminal without being shown, else the one line of standard input.

    Raises:
        InvalidRequest: it is empty, or too long.
    """
    if sys.stdin.isatty():
        from getpass import getpass

        secret = getpass(f"{what}: ")
    else:
        secret = sys.stdin.read(LONGEST_SECRET + 2)
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not secret or len(secret) > LONGEST_SECRET:
        raise InvalidRequest(f"{what} must have 1 to {LONGEST_SECRET} characters; it is read from standard input.")
    return secret


@credentials.command("set")
def set_credential(server: Annotated[str, typer.Argument(help="Its name or id.")], as_json: Json = False) -> None:
    """Set what you log in with at a server that takes a header: read from standard input, or asked for."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/servers/{server}")
        refuse_other_logins(found)  # before anybody types a secret
        value = read_secret(f"The credential for {found['name']}")
        await client.request("PUT", _path(found), {"value": value})
        done = {"server": found["name"], "state": "ready"}
        output.data(done) if as_json else output.line(f"The credential for {found['name']} is set.", style="green")

    run(as_json, command)


@credentials.command("list")
def list_credentials(as_json: Json = False) -> None:
    """List the servers that want a login, and how yours is."""

    async def command(client: HubClient, output: Output) -> None:
        servers = await client.items("/v1/servers")
        items = [{"name": one["name"], "id": one["id"], **one["login"]} for one in servers if one["login"]]
        if as_json:
            output.data({"items": items, "next_cursor": None})
        else:
            output.table(items, COLUMNS, "No server wants a login.")

    run(as_json, command)


@credentials.command("remove")
def remove_credential(server: Annotated[str, typer.Argument(help="Its name or id.")], as_json: Json = False) -> None:
    """Remove what you log in with at a server."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/servers/{server}")
        await client.request("DELETE", _path(found))
        done = {"server": found["name"], "state": "none"}
        output.data(done) if as_json else output.line(f"The credential for {found['name']} is removed.")

    run(as_json, command)


def refuse_other_logins(server: dict[str, Any]) -> None:
    """Refuse a server that takes no header.

    Raises:
        InvalidRequest: it logs in by OAuth, or not at all.
    """
    name, login = server["name"], server["login"]
    if login is None:
        raise InvalidRequest(f"The server {name!r} wants no login.")
    if login["kind"] != "header":
        raise InvalidRequest(f"The server {name!r} logs in by OAuth: nexus-hub server login {name}")


def _path(server: dict[str, Any]) -> str:
    return f"/v1/servers/{server['server_type']}/{server['id']}/credential"

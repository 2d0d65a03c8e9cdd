"""`server login` and `server logout`: the hub's login at a server, given in a browser on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nexus_hub.cli.context import Json, run

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient


def log_in(
    server: Annotated[str, typer.Argument(help="Its name or id.")],
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address to open.")] = False,
    scope: Annotated[str | None, typer.Option(help="Scopes to ask for beside those that it wants.")] = None,
    as_json: Json = False,
) -> None:
    """Log the hub in at a server: yourself where each user has a login there, else for all."""
    from nexus_hub.cli.console import open_privately
    from nexus_hub.cli.loopback import perform

    async def command(client: HubClient, output: Output) -> None:
        def show(url: str) -> None:
            output.error(f"Log in with a browser of this machine: {url}", style=None)
            if not no_browser:
                open_privately(url)

        done = await perform(client, server, scope, show)
        output.data(done) if as_json else output.line(f"The hub is logged in at {done['server']}.", style="green")

    run(as_json, command)


def log_out(server: Annotated[str, typer.Argument(help="Its name or id.")], as_json: Json = False) -> None:
    """Forget the hub's login at a server, and revoke its tokens there."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/servers/{server}")
        await client.request("DELETE", f"/v1/servers/{found['server_type']}/{found['id']}/login")
        done = {"server": found["name"], "state": "none"}
        output.data(done) if as_json else output.line(f"The hub is logged out at {found['name']}.")

    run(as_json, command)

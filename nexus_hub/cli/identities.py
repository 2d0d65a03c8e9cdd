"""`user map`, `user identities` and `user unmap`: the subjects of the outside issuer that stand for users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nexus_hub.cli.context import Json, run

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

COLUMNS = {"subject": "subject", "issuer": "issuer", "seen_at": "seen", "id": "id"}


def map_subject(
    name: str,
    subject: Annotated[str, typer.Option(help="As the issuer's tokens name the user: their claim sub.")],
    as_json: Json = False,
) -> None:
    """Let a subject of NEXUS_ISSUER stand for a user."""

    async def command(client: HubClient, output: Output) -> None:
        made = await client.request("POST", f"/v1/users/{name}/identities", {"subject": subject})
        output.data(made) if as_json else output.line(f"{subject} stands for {name}.", style="green")

    run(as_json, command)


def list_identities(name: str, as_json: Json = False) -> None:
    """List the subjects that stand for a user."""

    async def command(client: HubClient, output: Output) -> None:
        page = await client.request("GET", f"/v1/users/{name}/identities")
        output.data(page) if as_json else output.table(page["items"], COLUMNS, "No subject stands for this user.")

    run(as_json, command)


def unmap(name: str, identity: Annotated[str, typer.Argument(help="Its id: see user identities.")]) -> None:
    """Let a subject stand for a user no longer."""

    async def command(client: HubClient, output: Output) -> None:
        await client.request("DELETE", f"/v1/users/{name}/identities/{identity}")
        output.line(f"It stands for {name} no longer.")

    run(False, command)

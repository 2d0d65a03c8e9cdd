"""The commands `user`: users, for operators, and their tokens, which users manage themselves as `me`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import Json, run
from nexus_hub.cli.groups import show_permissions
from nexus_hub.cli.identities import list_identities, map_subject, unmap
from nexus_hub.errors import InvalidRequest

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

users = typer.Typer(
    no_args_is_help=True, help="Users and their tokens: add, list, token, tokens, link, revoke, map, permissions."
)
users.command("permissions")(show_permissions)
UserName = Annotated[str, typer.Argument(help="A user, or me.")]
TOKEN_COLUMNS = {
    "name": "token",
    "scopes": "scopes",
    "ends": "ends",
    "last_used": "last used",
    "id": "id",
}
_SPAN = re.compile(r"([0-9]{1,6})([hdw])")
_DAYS = {"h": 1 / 24, "d": 1, "w": 7}
_SHORT_SPAN = re.compile(r"([0-9]{1,5})([mhd])")
_SECONDS = {"m": 60, "h": 3600, "d": 24 * 3600}


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
def issue_token(
    user: UserName,
    name: Annotated[str | None, typer.Option(help="What it is for, such as laptop.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends: 12h, 30d, 8w, or 2027-01-31T09:30:00Z.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it is good for: tools:list, tools:call, jobs, admin (all); may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token for a user; it is shown this once."""
    body = {"name": name, "scopes": scope, **parse_end(expires)}

    async def command(client: HubClient, output: Output) -> None:
        given = {key: value for key, value in body.items() if value is not None}
        made = await client.request("POST", f"/v1/users/{user}/tokens", given)
        output.data(made) if as_json else output.line(made["token"])

    run(as_json, command)


@users.command("tokens")
def list_tokens(user: UserName, as_json: Json = False) -> None:
    """List the tokens of a user, with their last use."""

    async def command(client: HubClient, output: Output) -> None:
        page = await client.request("GET", f"/v1/users/{user}/tokens")
        rows = [describe(token) for token in page["items"]]
        output.data(page) if as_json else output.table(rows, TOKEN_COLUMNS, "No tokens yet.")

    run(as_json, command)


@users.command("link")
def make_link(
    user: UserName,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it is good: 10m to 7d, such as 12h.")] = "1d",
    as_json: Json = False,
) -> None:
    """Make a link that signs a user in to the console, once; it is shown this once."""
    body = {"expires_in_seconds": _parse_seconds(expires)}

    async def command(client: HubClient, output: Output) -> None:
        made = await client.request("POST", f"/v1/users/{user}/links", body)
        output.data(made) if as_json else output.line(made["url"])

    run(as_json, command)


@users.command("revoke")
def revoke(
    user: UserName,
    token: Annotated[str | None, typer.Argument(metavar="[ID]", help="One token; else all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Revoke one token of a user, or all of them."""

    async def command(client: HubClient, output: Output) -> None:
        path = f"/v1/users/{user}/tokens"
        done = await client.request("DELETE", path if token is None else f"{path}/{token}")
        what = f"{done['revoked']} tokens of {user} are" if token is None else f"The token {done['name'] or token} is"
        output.data(done) if as_json else output.line(f"{what} revoked.")

    run(as_json, command)


def _parse_seconds(text: str) -> int:
    """Read how long a link is good.

    Raises:
        InvalidRequest: it is no such time, or out of bounds.
    """
    found = _SHORT_SPAN.fullmatch(text.strip())
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 600 <= seconds <= 7 * _SECONDS["d"]:
        raise InvalidRequest(f"{text!r} is no such time: write 10m to 7d, such as 12h.")
    return seconds


def parse_end(text: str | None) -> dict[str, Any]:
    """Read how long a token is good, or until when.

    Raises:
        InvalidRequest: it is neither.
    """
    from datetime import datetime

    if text is None:
        return {}
    if found := _SPAN.fullmatch(text.strip()):
        return {"expires_in_days": int(found[1]) * _DAYS[found[2]]}
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidRequest(f"{text!r} is no time: write how long, such as 12h or 30d, or 2027-01-31T09:30:00Z.")
    return {"expires_at": at.isoformat()}


def describe(token: dict[str, Any]) -> dict[str, Any]:
    """Describe a token in words, few enough for a terminal of 80 columns: days alone; the times are in --json."""
    scopes = "all" if token["scopes"] is None else " ".join(token["scopes"])
    state, ends, used = _state(token), token["expires_at"], token["last_used_at"]
    over = None if state == "good" else state
    return {**token, "scopes": scopes, "ends": over or (ends and ends[:10]), "last_used": used and used[:10]}


def _state(token: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    if token["revoked_at"] is not None:
        return "revoked"
    ends = token["expires_at"]
    return "good" if ends is None or datetime.fromisoformat(ends) > datetime.now(UTC) else "expired"


users.command("map")(map_subject)
users.command("identities")(list_identities)
users.command("unmap")(unmap)

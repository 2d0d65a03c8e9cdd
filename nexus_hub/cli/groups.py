"""The commands `group` and `access`: who may use what, for operators; and what a user may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import Json, run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient

groups = typer.Typer(
    no_args_is_help=True,
    help="Groups of users, and what they may do: add, list, show, set, remove, join, leave, grant, revoke.",
)
GroupName = Annotated[str, typer.Argument(help="A group, by name or id; everyone has all users.")]
UserName = Annotated[str, typer.Argument(help="A user, by name or id.")]
Claims = Annotated[
    list[str] | None, typer.Option("--claim", help="A name that the issuer has for the group; may be repeated.")
]
GRANT_COLUMNS = {"what": "of", "level": "may", "approvers": "yes is said by", "id": "id"}
PERMISSION_COLUMNS = {"what": "of", "level": "may", "by": "because of"}


@groups.command("add")
def add_group(name: str, claim: Claims = None, as_json: Json = False) -> None:
    """Add a group."""

    async def command(client: HubClient, output: Output) -> None:
        added = await client.request("POST", "/v1/groups", {"name": name, "claims": claim or []})
        what = f"The group {added['name']} is added. Grant it something: nexus-hub group grant {added['name']} call"
        output.data(added) if as_json else output.line(f"{what} --server NAME", style="green")

    run(as_json, command)


@groups.command("list")
def list_groups(as_json: Json = False) -> None:
    """List groups."""

    async def command(client: HubClient, output: Output) -> None:
        items = await client.items("/v1/groups")
        rows = [
            one | {"members": _count_members(one), "claims": _join(one["claims"]), "grants": len(one["grants"])}
            for one in items
        ]
        columns = {"name": "group", "members": "members", "claims": "claims", "grants": "grants", "id": "id"}
        output.data({"items": items, "next_cursor": None}) if as_json else output.table(rows, columns, "No groups yet.")

    run(as_json, command)


def _join(names: Iterable[str]) -> str | None:
    return ", ".join(names) or None


def _count_members(group: dict[str, Any]) -> Any:
    return "all" if group["is_everyone"] else len(group["members"])


@groups.command("show")
def show_group(group: GroupName, as_json: Json = False) -> None:
    """Show a group, its members and what it is granted."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", f"/v1/groups/{group}")
        if as_json:
            output.data(found)
            return
        members = "all users" if found["is_everyone"] else _join(one["name"] for one in found["members"])
        claims = _join(found["claims"])
        output.fields({"name": found["name"], "id": found["id"], "members": members, "claims": claims})
        output.table([one | {"what": _name_target(one)} for one in found["grants"]], GRANT_COLUMNS, "No grants yet.")

    run(as_json, command)


@groups.command("set")
def change_group(
    group: GroupName,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    claim: Claims = None,
    no_claims: Annotated[bool, typer.Option("--no-claims", help="Take all its claims away.")] = False,
    as_json: Json = False,
) -> None:
    """Change a group's name or claims."""
    claims = [] if no_claims else claim

    async def command(client: HubClient, output: Output) -> None:
        body = {key: value for key, value in {"name": name, "claims": claims}.items() if value is not None}
        changed = await client.request("PATCH", f"/v1/groups/{group}", body)
        output.data(changed) if as_json else output.line(f"The group {changed['name']} is changed.")

    run(as_json, command)


@groups.command("remove")
def remove_group(group: GroupName, as_json: Json = False) -> None:
    """Remove a group with all that it was granted; its members stay users."""
    _act("DELETE", f"/v1/groups/{group}", f"The group {group} is removed.", as_json)


@groups.command("join")
def join_group(group: GroupName, user: UserName, as_json: Json = False) -> None:
    """Put a user into a group."""
    _act("PUT", f"/v1/groups/{group}/members/{user}", f"{user} is in the group {group}.", as_json)


@groups.command("leave")
def leave_group(group: GroupName, user: UserName, as_json: Json = False) -> None:
    """Take a user out of a group; who is there by a claim stays."""
    _act("DELETE", f"/v1/groups/{group}/members/{user}", f"{user} is no longer in the group {group}.", as_json)


@groups.command("grant")
def grant_access(
    group: GroupName,
    level: Annotated[str, typer.Argument(metavar="list|approve|call", help="See it, call it after a yes, or call it.")],
    server: Annotated[str | None, typer.Option(help="A server of the system's.")] = None,
    tool: Annotated[
        str | None, typer.Option(help="A tool: as its server names it, beside --server, or SERVER__TOOL.")
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="A bundle.")] = None,
    approvers: Annotated[str | None, typer.Option(help="With approve: a group whose members may say yes.")] = None,
    self_approval: Annotated[
        bool, typer.Option("--self-approval", help="With approve: who asks may say yes in the console or the chat.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Grant a group a server, a tool or a bundle; a grant of the same that there is becomes this one."""
    target = {"server": server, "tool": tool, "bundle": bundle, "approvers": approvers}
    body = {"level": level, "self_approval": self_approval} | {key: one for key, one in target.items() if one}

    async def command(client: HubClient, output: Output) -> None:
        made = await client.request("POST", f"/v1/groups/{group}/grants", body)
        what = f"{group}: {made['level']} {_name_target(made)}"
        output.data(made) if as_json else output.line(f"{what} is granted ({made['id']}).", style="green")

    run(as_json, command)


@groups.command("revoke")
def revoke_access(
    group: GroupName, grant: Annotated[str, typer.Argument(help="Its id: nexus-hub group show.")], as_json: Json = False
) -> None:
    """Take a grant back."""
    _act("DELETE", f"/v1/groups/{group}/grants/{grant}", "The grant is taken back.", as_json)


def access(
    default: Annotated[
        str | None, typer.Argument(metavar="[open|closed]", help="What is to hold; else it is shown.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show or set what holds where no grant speaks: every user may call all servers (open), or none (closed)."""

    async def command(client: HubClient, output: Output) -> None:
        body = None if default is None else {"default": default}
        found = await client.request("GET" if body is None else "PATCH", "/v1/access", body)
        output.data(found) if as_json else output.line(found["default"])

    run(as_json, command)


def show_permissions(user: Annotated[str, typer.Argument(help="A user, or me.")], as_json: Json = False) -> None:
    """Show what a user may do, and by which grants."""

    async def command(client: HubClient, output: Output) -> None:
        path = f"/v1/users/{user}/permissions"
        items = await client.items(path)
        if as_json:
            output.data({"items": items, "next_cursor": None})
            return
        rows = [one | {"what": _name_permission(one), "by": _name_reason(one)} for one in items]
        output.table(rows, PERMISSION_COLUMNS, "Nothing: no group grants anything, and the default is closed.")

    run(as_json, command)


def _act(method: str, path: str, said: str, as_json: bool) -> None:
    async def command(client: HubClient, output: Output) -> None:
        done = await client.request(method, path)
        output.data(done) if as_json else output.line(said)

    run(as_json, command)


def _name_target(grant: dict[str, Any]) -> str:
    if grant["bundle"]:
        return f"bundle {grant['bundle']}"
    return f"{grant['tool']} of {grant['server']}" if grant["tool"] else str(grant["server"])


def _name_permission(one: dict[str, Any]) -> str:
    is_bundle = one["target"] == "bundle"
    names = {"bundle": one["name"] if is_bundle else None, "server": one["name"], "tool": one["tool"]}
    return _name_target(names)


def _name_reason(one: dict[str, Any]) -> str:
    return ", ".join(dict.fromkeys(f"group {by['group']}" for by in one["by"])) or "open to all"

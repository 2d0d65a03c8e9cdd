"""`vault`: the keys that seal what is stored of servers. Keys stay in this process; the hub is sent their ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import FAILED, SUCCESS, Json, run
from nexus_hub.errors import Conflict, NotAllowed
from nexus_hub.vault.keys import VaultKey, parse_key_id

if TYPE_CHECKING:
    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient
    from nexus_hub.vault.keyring import Keyring, KeyringFile

vault = typer.Typer(no_args_is_help=True, help="The vault's keys: keygen, status, rotate, restore, forget.")
KEYS = {"key_id": "key", "use": "use", "rows": "rows"}
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="8 hex digits, as `vault status` shows them.")]


@vault.command("keygen")
def keygen(
    add: Annotated[bool, typer.Option("--add", help="Put it into the home's keyring.json and show its id.")] = False,
    as_json: Json = False,
) -> None:
    """Make a new vault key: 64 hexadecimal digits for VAULT_ENCRYPTION_KEY. Keep it secret."""
    from nexus_hub.cli.output import Output

    key, output = VaultKey.generate(), Output(as_json=as_json)
    if add:
        change_keyring(home_keyring(), lambda ring: ring.with_other(key))
        output.data({"key_id": key.id}) if as_json else output.line(key.id)
    else:
        output.data({"key": key.reveal(), "key_id": key.id}) if as_json else output.line(key.reveal())


@vault.command("status")
def status(as_json: Json = False) -> None:
    """Show the ids of the keys, how many rows are sealed under each, and the last rotation."""

    async def command(client: HubClient, output: Output) -> None:
        found = await client.request("GET", "/v1/vault")
        if as_json:
            output.data(found)
        else:
            output.table(key_rows(found), KEYS, "The keyring is empty.")
            for line in remarks(found):
                output.line(line)

    run(as_json, command)


@vault.command("rotate")
def rotate(
    to: Annotated[str | None, typer.Option(metavar="KEY_ID", help="The new key; unset: the one not used yet.")] = None,
    old: Annotated[str | None, typer.Option("--from", metavar="KEY_ID", help="Only what is under this key.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Open every value and change none.")] = False,
    as_json: Json = False,
) -> None:
    """Seal every value anew under another key, while the hub goes on. Interrupted, it goes on where it was."""

    async def command(client: HubClient, output: Output) -> int:
        body: dict[str, Any] = {
            name: parse_key_id(key_id, what=option)
            for name, option, key_id in (("new_key_id", "--to", to), ("old_key_id", "--from", old))
            if key_id is not None
        }
        answer = await client.request("POST", "/internal/vault-rotate", body | ({"dry_run": True} if dry_run else {}))
        if "job_id" in answer:
            answer = await follow_rotation(client, output, answer["job_id"])
        return show_rotation(output, answer, None if dry_run else await client.request("GET", "/v1/vault"))

    run(as_json, command)


async def follow_rotation(client: HubClient, output: Output, job_id: str) -> dict[str, Any]:
    """Show how a long rotation gets on; return what it reports in the end."""
    async for job in client.watch(job_id):
        output.state(job)
    result: dict[str, Any] = job["result"] or {}
    if job["status"] == "completed":
        return result
    return result | {"errors": [*result.get("errors", []), job["error"] or f"The rotation has {job['status']}."]}


def show_rotation(output: Output, answer: dict[str, Any], found: dict[str, Any] | None) -> int:
    """Show a rotation's report; return the exit code that says the same. `found` is the vault's status after it."""
    errors: list[str] = answer.get("errors", [])
    if output.as_json:
        output.data(answer)
    elif found is None:
        output.line(f"{answer['would_update']} to seal anew; nothing was changed.")
    else:
        output.line(f"{values(answer.get('updated', 0))} sealed anew.", style=None if errors else "green")
        for line in remarks(found):
            output.line(line)
    for error in errors:
        output.error(error)
    return FAILED if errors else SUCCESS


@vault.command("restore")
def restore(key_id: KeyId, as_json: Json = False) -> None:
    """Put back what the rotation to this key replaced, where it was not changed since."""

    async def command(client: HubClient, output: Output) -> int:
        body = {"key_id": parse_key_id(key_id, what="KEY_ID")}
        done = await client.request("POST", "/internal/vault-restore", body)
        output.data(done) if as_json else output.line(f"{values(done['restored'])} put back.")
        for line in done["left"]:
            output.error(line)
        return FAILED if done["left"] else SUCCESS

    run(as_json, command)


@vault.command("forget")
def forget(key_id: KeyId, as_json: Json = False) -> None:
    """Take a key that nothing is sealed under out of the home's keyring.json."""

    async def command(client: HubClient, output: Output) -> None:
        checked, file = parse_key_id(key_id, what="KEY_ID"), home_keyring()
        found = await client.request("GET", "/v1/vault")
        refuse_used(checked, found)
        refuse_other_ring(file.current(), found)
        change_keyring(file, lambda ring: ring.without(checked))
        output.data({"forgotten": checked}) if as_json else output.line(f"The key {checked} is forgotten.")

    run(as_json, command)


def refuse_other_ring(ring: Keyring, found: dict[str, Any]) -> None:
    """Keep the keys of this home where another hub answers: it knows nothing of what is sealed under them.

    Raises:
        Conflict: the hub holds other keys than the home's keyring.json.
    """
    ours = {key.id for key in (ring.primary, *ring.others)}
    if ring.primary.id != found["primary_key_id"] or ours != {key["key_id"] for key in found["keys"]}:
        raise Conflict("The hub that answers has other keys than this keyring.json; see NEXUS_URL and NEXUS_HOME.")


def refuse_used(key_id: str, found: dict[str, Any]) -> None:
    """Keep a key that is still needed.

    Raises:
        Conflict: it is the primary, or rows are sealed under it, or a rotation is not at its end.
    """
    last = found["last_rotation"]
    if key_id == found["primary_key_id"]:
        raise Conflict(f"{key_id} is the primary key; rotate to another one first: nexus-hub vault rotate")
    rows = sum(key["rows"] for key in found["keys"] if key["key_id"] == key_id)
    if rows:
        raise Conflict(f"{values(rows)} sealed under {key_id}; seal them anew first: nexus-hub vault rotate")
    if last and last["finished_at"] is None and last["restored_at"] is None:
        raise Conflict("A rotation has not ended yet; go on with it first: nexus-hub vault rotate")


def key_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Make the rows of the table of keys."""
    held = [key | {"use": "primary" if key["primary"] else "opens"} for key in found["keys"]]
    missing = [key | {"use": "missing"} for key in found["missing_keys"]]
    return [
        *held,
        *missing,
        *([{"key_id": "none", "use": "unbound", "rows": found["unbound"]}] * bool(found["unbound"])),
    ]


def remarks(found: dict[str, Any]) -> list[str]:
    """Make the lines beside the table of keys."""
    last = found["last_rotation"]
    if last is None:
        return ["No rotation yet."]
    lines = [_describe(last)]
    if last["restored_at"] is None and last["new_key_id"] != found["primary_key_id"]:
        lines.append(
            f"New values are still sealed under {found['primary_key_id']}: make {last['new_key_id']} the primary "
            "(VAULT_ENCRYPTION_KEY), start the processes anew, and rotate once more."
        )
    return lines


def _describe(last: dict[str, Any]) -> str:
    to = f"The rotation to {last['new_key_id']}, begun {_minute(last['started_at'])},"
    if last["restored_at"]:
        return f"{to} was taken back {_minute(last['restored_at'])}."
    if last["finished_at"] is None:
        return f"{to} is under way, or was interrupted: nexus-hub vault rotate goes on with it."
    return f"{to} ended {_minute(last['finished_at'])}: {last['updated']} sealed anew, {len(last['errors'])} errors."


def _minute(moment: str) -> str:
    return moment.replace("T", " ")[:16]


def values(count: int) -> str:
    """Begin a sentence: `1 value is`, `2 values are`."""
    return "1 value is" if count == 1 else f"{count} values are"


def home_keyring() -> KeyringFile:
    """Find the home's keyring.json.

    Raises:
        Conflict: the keys come from the environment, so that the file is not read.
        UnsafeHome: the home is another user's, whom a file of ours would shut out.
    """
    from nexus_hub.home.layout import Home
    from nexus_hub.settings import load
    from nexus_hub.vault.keyring import KeyringFile, keyring_source

    settings = load()
    source = keyring_source(settings)
    if not isinstance(source, KeyringFile):
        raise Conflict("VAULT_ENCRYPTION_KEY is set, so that keyring.json is not read; set VAULT_NEW_KEY instead.")
    source.current()
    Home(settings.home).require_ours()
    return source


def change_keyring(file: KeyringFile, new: Callable[[Keyring], Keyring]) -> None:
    """Put another keyring into the file.

    Raises:
        NotAllowed: it can't be written.
    """
    try:
        file.change(new)
    except OSError as error:
        raise NotAllowed(f"{file.path} can't be written: {error.strerror}.") from None

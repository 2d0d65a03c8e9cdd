"""`plan`, `apply` and `export`: the hub's configuration in one file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from difflib import SequenceMatcher
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_hub.cli.context import FAILED, SUCCESS, Json, run
from nexus_hub.cli.output import shorten_time
from nexus_hub.errors import InvalidConfig, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_hub.cli.output import Output
    from nexus_hub.client import HubClient
    from nexus_hub.configuration.hub_file import HubFile

File = Annotated[Path, typer.Argument(help="The file; see docs/hub-yaml.md.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove what the file does not name, in the sections it has.")]
_DEFAULT = Path("hub.yaml")
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
_STYLES = {"added": "green", "changed": "yellow", "removed": "red"}
_LONGEST_VALUE = 400


def plan(
    file: File = _DEFAULT,
    prune: Prune = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if anything would change.")] = False,
    as_json: Json = False,
) -> None:
    """Show what `apply` would change; nothing is changed."""

    async def command(client: HubClient, output: Output) -> int:
        found = await _send(client, output, file, "plan", prune)
        if as_json:
            output.data(found)
        else:
            tell_plan(output, found, "to")
        return FAILED if check and (found["changes"] or found["drift"]) else SUCCESS

    run(as_json, command)


def apply(file: File = _DEFAULT, prune: Prune = False, as_json: Json = False) -> None:
    """Make the hub's configuration what a file says: all of it, or nothing."""

    async def command(client: HubClient, output: Output) -> None:
        found = await _send(client, output, file, "apply", prune)
        if as_json:
            output.data(found)
        else:
            tell_plan(output, found, "")

    run(as_json, command)


def export(
    file: Annotated[Path | None, typer.Argument(help="A file that is not there yet; without one it is shown.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write the hub's configuration as a file, with a variable in place of each secret."""

    async def command(client: HubClient, output: Output) -> int:
        found = await client.request("GET", "/v1/configuration")
        if as_json:
            output.data(found)
        elif file is None:
            output.line(write_yaml(found).rstrip("\n"))
        else:
            _write_file(file, write_yaml(found), force=force)
            needs = "; set these variables before you apply it:" if found["secrets"] else "."
            output.line(f"{file} is written{needs}")
            for secret in found["secrets"]:
                output.line(f"  {secret['name']}: {'.'.join(map(str, secret['path']))}")
        for name in found["unopened"]:
            output.error(f"The server {name} is left out: no key of the vault opens its configuration.")
        return FAILED if found["unopened"] else SUCCESS

    run(as_json, command)


async def _send(client: HubClient, output: Output, file: Path, action: str, prune: bool) -> dict[str, Any]:
    from nexus_hub.configuration.hub_file import InvalidFile, read_file

    try:
        read = read_file(file, os.environ)
    except InvalidFile as invalid:
        raise _tell_faults(output, invalid.lines) from None
    with _locating(output, read):
        body = {"configuration": read.data, "prune": prune}
        return await client.request("POST", f"/v1/configuration:{action}", body)


@contextmanager
def _locating(output: Output, file: HubFile) -> Iterator[None]:
    """Say where in the file the faults stand that only the hub can find."""
    try:
        yield
    except RequestRefused as refused:
        if not refused.faults:
            raise
        raise _tell_faults(output, file.locate(list(refused.faults))) from None


def _tell_faults(output: Output, lines: list[str]) -> InvalidConfig:
    for line in lines:
        output.error(line)
    return InvalidConfig("Nothing has changed.")


def tell_plan(output: Output, plan: dict[str, Any], word: str) -> None:
    """Tell a plan to people: each change, what stays, what was changed by hand, and how much it is in all."""
    for change in plan["changes"]:
        _tell_change(output, change, "")
    if plan["not_in_file"]:
        names = ", ".join(_name(one) for one in plan["not_in_file"])
        output.line(f"Not in the file, and left alone (--prune removes it): {names}.")
    if plan["drift"]:
        output.line(
            f"Changed by hand since {shorten_time(plan['applied_at'])}, when a file was applied last:", style="yellow"
        )
        for change in plan["drift"]:
            _tell_change(output, change, "  ")
    counts = {kind: sum(one["change"] == kind for one in plan["changes"]) for kind in _SIGNS}
    told = ", ".join(f"{count} {f'{word} be ' if word else ''}{kind}" for kind, count in counts.items() if count)
    output.line(f"{told}." if told else "The hub is as the file says: nothing changes.", style="bold")


def _name(one: dict[str, Any]) -> str:
    return f"{one['section'].removesuffix('s')} {one['name']}" if one["name"] else str(one["section"])


def _tell_change(output: Output, change: dict[str, Any], indent: str) -> None:
    output.line(f"{indent}{_SIGNS[change['change']]} {_name(change)}", style=_STYLES[change["change"]])
    for member in change["members"]:
        output.line(f"{indent}    {_describe(member)}", style=_STYLES[member["change"]])


def _describe(member: dict[str, Any]) -> str:
    """Describe the change of a member; an item of a set, such as a tag, is its own value."""
    *way, last = member["path"]
    old, new, kind = member["old"], member["new"], member["change"]
    value = _cut(old if kind == "removed" else new)
    if member["secret"]:
        value = "changed" if kind == "changed" else "a value that is not shown"
    elif kind == "changed":
        value = _tell_texts(old, new)
    elif way and (old is True or new is True) and way[-1] != "tools":
        way, last, value = way[:-1], way[-1], last
    return f"{_SIGNS[kind]} {'.'.join([*way, last])}: {value}"


def _tell_texts(old: Any, new: Any) -> str:
    if isinstance(old, str) and isinstance(new, str) and " " in old + new:
        return _cut(mark_words(old, new))
    return f"{_cut(old)} -> {_cut(new)}"


def _cut(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def mark_words(old: str, new: str) -> str:
    """Write a text's change word by word: what goes as [-this-], what comes as {+this+}."""
    before, after = old.split(), new.split()
    parts = []
    for kind, start, end, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        gone, come = " ".join(before[start:end]), " ".join(after[first:last])
        marks = [come] if kind == "equal" else [f"[-{gone}-]"] * bool(gone) + [f"{{+{come}+}}"] * bool(come)
        parts += marks
    return " ".join(parts)


def write_yaml(found: dict[str, Any]) -> str:
    """Write a configuration as YAML, led by the variables that it needs."""
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import LiteralScalarString

    def prepare(value: Any) -> Any:
        match value:
            case dict():
                return {key: prepare(member) for key, member in value.items()}
            case list():
                return [prepare(item) for item in value]
            case str() if "\n" in value and value == value.strip() and value.replace("\n", "").isprintable():
                return LiteralScalarString(value)
        return value

    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = StringIO()
    names = "".join(f"#   {secret['name']}\n" for secret in found["secrets"])
    text.write(f"# Secrets are not in this file: set these variables before you apply it.\n{names}" if names else "")
    yaml.dump(prepare(found["configuration"]), text)
    return text.getvalue()


def _write_file(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InvalidConfig(f"{file} is there already; --force writes over it.") from None
    except OSError as error:
        raise InvalidConfig(f"{file} can't be written: {error.strerror}.") from None

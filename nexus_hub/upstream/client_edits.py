"""Edits of MCP clients' files: an entry is put in, and all else stays as it is written, comments and blanks too."""

import json
import os
import re
import stat
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nexus_hub.errors import InvalidConfig
from nexus_hub.home.files import replace_file
from nexus_hub.upstream.client_files import (
    ClientFile,
    blank_out,
    blank_out_comments,
    decode,
    find_repeat,
    read_document,
)

_UNIT = "  "
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_UTF8_MARK = b"\xef\xbb\xbf"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class FileEdit:
    """An edit of a file: `unchanged`, `added` or `replaced`, and the copy of the file before it."""

    outcome: str
    backup: Path | None = None


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of an object in a text: where its key begins, and where its value begins and ends."""

    key: int
    start: int
    end: int


def http_entry(client: ClientFile, url: str, token: str | None) -> dict[str, Any]:
    """Make the entry of a client that speaks HTTP, with a token or with a reference to the variable NEXUS_TOKEN."""
    entry: dict[str, Any] = ({"type": "http"} if client.names_type else {}) | {"url": url}
    if token is None and client.toml:
        return entry | {"bearer_token_env_var": "NEXUS_TOKEN"}
    headers = {"Authorization": f"Bearer {token or client.reference}"}
    return entry | {"http_headers" if client.toml else "headers": headers}


def bridge_entry(
    client: ClientFile, command: list[str], variables: Mapping[str, str], *, refer: bool
) -> dict[str, Any]:
    """Make the entry of a client that starts the bridge; `refer` passes NEXUS_TOKEN on where the client can."""
    entry: dict[str, Any] = {"type": "stdio"} if client.names_type else {}
    entry |= {"command": command[0], "args": command[1:]}
    if refer and client.toml:
        entry["env_vars"] = ["NEXUS_TOKEN"]
    reference = {"NEXUS_TOKEN": client.reference} if refer and client.reference else {}
    return entry | {"env": {**variables, **reference}}


def write_snippet(client: ClientFile, name: str, entry: Mapping[str, Any]) -> str:
    """Write an entry as a file that holds nothing else."""
    if client.toml:
        return "\n".join([f"[{client.place[0]}.{_toml_key(name)}]", *_toml_lines(entry)]) + "\n"
    return json.dumps(_nest({name: entry}, client.place), indent=2, ensure_ascii=False) + "\n"


def edit_file(path: Path, client: ClientFile, name: str, entry: Mapping[str, Any], *, secret: bool) -> FileEdit:
    """Put an entry into a client's file in one step, after a copy of the file; nothing if it is there already.

    The mode stays, but for a `secret`: then nobody else may read it.

    Raises:
        InvalidConfig: the file can't be read, changed or written; it is as it was.
    """
    try:
        path = path.resolve()  # a link to it stays one
        raw, mode = _read(path)
        text, encoding = _decode(raw)
        edited = put_entry(text, client, name, entry)
        mode = 0o600 if secret else mode
        if edited == text and raw:
            return _tighten(path, mode)
        path.parent.mkdir(parents=True, exist_ok=True)
        backup = _back_up(path, raw, mode) if raw else None
        if _read(path)[0] != raw:
            raise InvalidConfig(f"{path} has been changed at this moment; try again.")
        owner = path.stat() if raw else None
        replace_file(path, edited.encode(encoding), mode=mode)
        if owner is not None and os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
    except (OSError, UnicodeError, RuntimeError) as error:  # the last is a link that leads to itself
        reason = getattr(error, "strerror", None) or (
            "it is not UTF-8" if isinstance(error, UnicodeError) else "a loop"
        )
        raise InvalidConfig(f"{path} can't be used: {reason}.") from None
    except InvalidConfig as error:
        raise InvalidConfig(f"{path}: {error.message}") from None
    return FileEdit("replaced" if _has(text, client, name) else "added", backup)


def _tighten(path: Path, mode: int) -> FileEdit:
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
    return FileEdit("unchanged")


def _read(path: Path) -> tuple[bytes, int]:
    """Read a file and its mode; nothing where there is none."""
    if not path.exists():
        return b"", 0o644
    if not path.is_file():
        raise InvalidConfig("it is not a file.")
    return path.read_bytes(), stat.S_IMODE(path.stat().st_mode)


def _decode(raw: bytes) -> tuple[str, str]:
    marked = "utf-8-sig" if raw.startswith(_UTF8_MARK) else "utf-8"
    return decode(raw), "utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else marked


def _back_up(path: Path, raw: bytes, mode: int) -> Path:
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    backup = path.with_name(f"{path.name}.{moment}.bak")
    replace_file(backup, raw, mode=mode)
    return backup


def _has(text: str, client: ClientFile, name: str) -> bool:
    found: Any = read_document(text, toml=client.toml) if blank_out(text).strip() else {}
    for key in client.place:
        found = found.get(key, {})
    return name in found


def put_entry(text: str, client: ClientFile, name: str, entry: Mapping[str, Any]) -> str:
    """Put an entry into the text of a file.

    Raises:
        InvalidConfig: the file can't be read, or not be changed without harm to what else is in it.
    """
    if not text.strip():
        return write_snippet(client, name, entry)
    document = read_document(text, toml=client.toml)
    if repeat := find_repeat(document):
        raise InvalidConfig(str(repeat))
    wanted = _with_entry(document, client.place, name, entry)
    if wanted == document:
        return text
    edited = _put_toml(text, client, name, entry) if client.toml else _put_json(text, client, name, entry)
    try:
        fits = read_document(edited, toml=client.toml) == wanted
    except InvalidConfig:
        fits = False
    if not fits:
        raise InvalidConfig("it is written in a way that can't be changed safely; put the entry in by hand.")
    return edited


def _with_entry(
    document: dict[str, Any], place: tuple[str, ...], name: str, entry: Mapping[str, Any]
) -> dict[str, Any]:
    document = deepcopy(document)
    found = document
    for key in place:
        found = found.setdefault(key, {})
        if not isinstance(found, dict):
            raise InvalidConfig(f"its {key!r} is not an object.")
    found[name] = dict(entry)
    return document


def _put_json(text: str, client: ClientFile, name: str, entry: Mapping[str, Any]) -> str:
    blank = blank_out(text)
    if blank != text and not client.comments:
        raise InvalidConfig(f"it has comments or trailing commas, which {client.title} does not read; remove them.")
    start, rest = blank.index("{"), client.place
    while rest and (member := _members(blank, start).get(rest[0])):
        start, rest = member.start, rest[1:]
    key, value = (rest[0], _nest({name: entry}, rest[1:])) if rest else (name, entry)
    members = _members(blank, start)
    if key not in members:
        return _insert(text, blank, start, key, value)
    old = members[key]
    if text[old.start : old.end] != blank[old.start : old.end]:
        raise InvalidConfig(f"the entry {name!r} in it has comments; change it by hand.")
    written = _write_value(value, _indent_of(text, old.key), text)
    return text[: old.start] + written + text[old.end :]


def _members(blank: str, start: int) -> dict[str, _Member]:
    """Find the members of the object that begins at a place of a text that is known to be JSON."""
    found, at = {}, _skip(blank, start + 1)
    while blank[at] != "}":
        key, end = _DECODER.raw_decode(blank, at)
        value = _skip(blank, _skip(blank, end) + 1)
        _, after = _DECODER.raw_decode(blank, value)
        found[key] = _Member(at, value, after)
        at = _skip(blank, after)
        at = _skip(blank, at + 1) if blank[at] == "," else at
    return found


def _skip(blank: str, at: int) -> int:
    while blank[at] in " \t\r\n":
        at += 1
    return at


def _insert(text: str, blank: str, start: int, key: str, value: Mapping[str, Any]) -> str:
    """Put a new member behind the last one of an object, in lines of its own where the others have theirs."""
    members = list(_members(blank, start).values())
    name, end = json.dumps(key, ensure_ascii=False), members[-1].end if members else start + 1
    if members and "\n" not in text[start : members[0].key]:
        return f"{text[:end]}, {name}: {json.dumps(value, ensure_ascii=False)}{text[end:]}"
    close, line_end, outer = _skip(blank, end), _line_end(text), _indent_of(text, start)
    indent = _indent_of(text, members[0].key) if members else outer + _UNIT
    member = f"{line_end}{indent}{name}: {_write_value(value, indent, text)}"
    at = text.rfind(line_end, end, close)
    comma = "" if not members or "," in blank_out_comments(text)[end:close] else ","
    if at < 0:
        return text[:end] + comma + member + line_end + outer + text[end:].lstrip(" \t")
    return text[:end] + comma + text[end:at] + member + text[at:]


def _write_value(value: Mapping[str, Any], indent: str, text: str) -> str:
    unit = indent if indent and not indent.strip("\t") else _UNIT
    lines = json.dumps(value, indent="\t" if "\t" in unit else _UNIT, ensure_ascii=False).splitlines()
    return f"{_line_end(text)}{indent}".join(lines)


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent_of(text: str, at: int) -> str:
    """Give the blanks at the beginning of a place's line."""
    line = text[text.rfind("\n", 0, at) + 1 :]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _nest(value: Mapping[str, Any], place: tuple[str, ...]) -> Mapping[str, Any]:
    for key in reversed(place):
        value = {key: value}
    return value


def _put_toml(text: str, client: ClientFile, name: str, entry: Mapping[str, Any]) -> str:
    snippet = write_snippet(client, name, entry).replace("\n", _line_end(text))
    table = (
        rf"{re.escape(client.place[0])}[ \t]*\.[ \t]*(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')"
    )
    header = re.search(rf"^[ \t]*\[[ \t]*{table}[ \t]*\][^\n]*\n?", text, re.MULTILINE)
    if header is None:
        gap = "" if text.endswith("\n") else _line_end(text)
        return text + gap + _line_end(text) + snippet
    following = re.compile(rf"^[ \t]*\[(?!\[?[ \t]*{table}[ \t]*\.)", re.MULTILINE).search(text, header.end())
    old = text[header.start() : following.start() if following else len(text)]
    kept = re.search(r"(?:[ \t]*(?:#[^\n]*)?\r?\n|[ \t]*#[^\n]*\Z)*\Z", old)
    body, tail = (old[: kept.start()], kept[0]) if kept else (old, "")
    if "#" in body:
        raise InvalidConfig(f"the entry {name!r} in it has comments; change it by hand.")
    written = snippet.rstrip() + tail if tail else snippet
    return text[: header.start()] + written + text[header.start() + len(old) :]


def _toml_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _toml_lines(entry: Mapping[str, Any]) -> list[str]:
    return [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in entry.items()]


def _toml_value(value: Any) -> str:
    """Write a text, a list of texts, or a table of them."""
    if isinstance(value, dict):
        return f"{{ {', '.join(_toml_lines(value))} }}"
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

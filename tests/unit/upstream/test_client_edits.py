"""Entries are put into clients' files, and all else in these stays as it was written."""

import json
import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream import client_files
from nexus_hub.upstream.client_edits import bridge_entry, edit_file, http_entry, put_entry, write_snippet
from nexus_hub.upstream.client_files import CLIENT_FILES, find_servers, read_document
from nexus_hub.upstream.mcp_json import parse

CODE, DESKTOP, CURSOR, VSCODE, CODEX, ZED = (
    CLIENT_FILES[name] for name in ("claude-code", "claude-desktop", "cursor", "vscode", "codex", "zed")
)
ENTRY = {"url": "https://hub.example/mcp"}
NAME = "nexus-hub"


def test_the_forms_of_all_clients() -> None:
    """By the pages that the table of clients names."""
    url, command = "http://h/mcp", ["/bin/nexus-hub", "mcp"]
    forms = {name: http_entry(file, url, None) for name, file in CLIENT_FILES.items() if file.takes_headers}
    assert forms == {
        "claude-code": {"type": "http", "url": url, "headers": {"Authorization": "Bearer ${NEXUS_TOKEN}"}},
        "cursor": {"url": url, "headers": {"Authorization": "Bearer ${env:NEXUS_TOKEN}"}},
        "vscode": {"type": "http", "url": url, "headers": {"Authorization": "Bearer ${env:NEXUS_TOKEN}"}},
        "codex": {"url": url, "bearer_token_env_var": "NEXUS_TOKEN"},
    }
    started = {name: bridge_entry(file, command, {"A": "b"}, refer=True) for name, file in CLIENT_FILES.items()}
    plain = {"command": "/bin/nexus-hub", "args": ["mcp"]}
    assert started == {
        "claude-code": {"type": "stdio", **plain, "env": {"A": "b", "NEXUS_TOKEN": "${NEXUS_TOKEN}"}},
        "claude-desktop": {**plain, "env": {"A": "b"}},
        "cursor": {**plain, "env": {"A": "b", "NEXUS_TOKEN": "${env:NEXUS_TOKEN}"}},
        "vscode": {"type": "stdio", **plain, "env": {"A": "b", "NEXUS_TOKEN": "${env:NEXUS_TOKEN}"}},
        "codex": {**plain, "env_vars": ["NEXUS_TOKEN"], "env": {"A": "b"}},
        "zed": {**plain, "env": {"A": "b"}},
    }


@pytest.mark.parametrize("name", CLIENT_FILES)
def test_import_reads_what_config_writes(name: str) -> None:
    file = CLIENT_FILES[name]
    entries = [bridge_entry(file, ["/bin/nexus-hub", "mcp"], {"A": "b"}, refer=True)]
    entries += [http_entry(file, "http://127.0.0.1:8080/mcp", None)] if file.takes_headers else []
    for entry in entries:
        (read,) = parse(write_snippet(file, NAME, entry), {"NEXUS_TOKEN": "t"}, toml=file.toml)
        assert (read.name, read.problem) == (NAME, None)
        assert read.config is not None


@pytest.mark.parametrize(
    ("mac", "places"),
    [
        (False, ("{x}/Claude/claude_desktop_config.json", "{x}/Code/User/mcp.json", "{x}/zed/settings.json")),
        (
            True,
            (
                "{h}/Library/Application Support/Claude/claude_desktop_config.json",
                "{h}/Library/Application Support/Code/User/mcp.json",
                "{h}/.config/zed/settings.json",
            ),
        ),
    ],
)
def test_the_places_of_the_files(
    mac: bool, places: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(client_files, "_is_mac", lambda: mac)
    monkeypatch.chdir(tmp_path)
    found = [str(file.find({"XDG_CONFIG_HOME": "/x"})) for file in (DESKTOP, VSCODE, ZED)]
    assert found == [place.format(x="/x", h=tmp_path) for place in places]
    assert [file.find({}) for file in (CODE, CURSOR, CODEX)] == [
        tmp_path / ".mcp.json",
        tmp_path / ".cursor/mcp.json",
        tmp_path / ".codex/config.toml",
    ]
    assert CODEX.find({"CODEX_HOME": "/c"}) == Path("/c/config.toml")
    assert mac or ZED.find({}) == tmp_path / ".config/zed/settings.json"


JSON_FILES = {
    "nothing": "",
    "blanks": " \n",
    "empty": "{}",
    "other things": '{"theme": "dark"}',
    "others in lines": '{\n    "theme": "dark",\n    "n": 1.50E5,\n    "half": "\\ud800"\n}\n',
    "no servers": '{\n  "mcpServers": {}\n}\n',
    "no servers in a line": '{"mcpServers":{}}',
    "empty over lines": '{\n  "mcpServers": {\n  }\n}\n',
    "another server": '{\n\t"mcpServers": {\n\t\t"a": {\n\t\t\t"command": "x"\n\t\t}\n\t},\n\t"z": []\n}',
    "in one line": '{"mcpServers": {"a": {"command": "x", "args": ["}", "\\"", "//"]}}, "z": 1}',
    "windows": '{\r\n  "mcpServers": {\r\n    "a": {"command": "x"}\r\n  }\r\n}\r\n',
    "an older entry": '{\n  "mcpServers": {\n    "nexus-hub": {"command": "old"},\n    "b": {"command": "x"}\n  }\n}',
    "an older entry of another kind": '{"mcpServers": {"nexus-hub": null}}',
    "an odd key": '{"mcp\\u0053ervers": {"nexus\\u002dhub": {"command": "old"}}}',
}
COMMENTED = {
    "zed's own": '// Zed settings\n//\n{\n  "theme": "One", // dark\n  /* none\n  yet */\n}\n',
    "in the servers": '{\n  "context_servers": {\n    // mine\n    "a": {"command": "x"}, // "}"\n  },\n}\n',
    "nothing else": '{\n  "context_servers": {\n    // "a": {"command": "x"}\n  }\n}',
}


@pytest.mark.parametrize("text", JSON_FILES.values(), ids=JSON_FILES)
def test_an_entry_comes_into_json(text: str) -> None:
    edited = put_entry(text, CURSOR, NAME, ENTRY)
    before: dict[str, Any] = json.loads(text) if text.strip() else {}
    before["mcpServers"] = before.get("mcpServers", {}) | {NAME: ENTRY}
    assert json.loads(edited) == before
    assert put_entry(edited, CURSOR, NAME, ENTRY) == edited
    assert ("\r" in edited) == ("\r" in text) == (edited.count("\r\n") == edited.count("\n") > 0)


@pytest.mark.parametrize("text", COMMENTED.values(), ids=COMMENTED)
def test_comments_stay(text: str) -> None:
    edited = put_entry(text, ZED, NAME, ENTRY)
    assert {name: entry for _, name, entry in find_servers(read_document(edited))}[NAME] == ENTRY
    position = 0
    for line in text.splitlines():  # all lines are still there, in their order
        position = edited.index(line.rstrip("}, \n"), position)
    assert put_entry(edited, ZED, NAME, ENTRY) == edited


TOML_FILES = {
    "nothing": "",
    "others": 'model = "o"\n\n[mcp_servers.a]\ncommand = "x"\n',
    "without an end": 'model = "o"',
    "windows": 'model = "o"\r\n[mcp_servers.a]\r\ncommand = "x"\r\n',
    "an older entry": '# top\n[mcp_servers.nexus-hub]\nurl = "old"\n\n# next\n[mcp_servers.b]\ncommand = "x"\n',
    "an older entry, quoted": '[mcp_servers."nexus-hub"]\nurl = "old"\nenabled = false',
    "an older entry with tables": '[mcp_servers.nexus-hub]\ncommand = "x"\n[mcp_servers.nexus-hub.env]\nA = "b"\n[z]\n',
    "a similar name": '[mcp_servers.nexus-hub-2]\nurl = "x"\n',
}


@pytest.mark.parametrize("text", TOML_FILES.values(), ids=TOML_FILES)
def test_an_entry_comes_into_toml(text: str) -> None:
    entry = {"command": '/a b/"q"/é', "args": ["mcp"], "env": {"NEXUS_URL": "http://h", "ä": "\x7f"}}
    edited = put_entry(text, CODEX, NAME, entry)
    before: dict[str, Any] = tomllib.loads(text)
    before["mcp_servers"] = before.get("mcp_servers", {}) | {NAME: entry}
    assert tomllib.loads(edited) == before
    assert put_entry(edited, CODEX, NAME, entry) == edited
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in edited.splitlines() if line.startswith("#")
    ]


@pytest.mark.parametrize(
    ("client", "text", "words"),
    [
        (CURSOR, "{", "not JSON"),
        (CURSOR, "[]", "not a JSON object"),
        (CURSOR, '{"mcpServers": []}', "'mcpServers' is not an object"),
        (CURSOR, '{"mcpServers": "x"}', "'mcpServers' is not an object"),
        (CURSOR, '{"a": 1, "a": 2}', "twice"),
        (CURSOR, '{"mcpServers": {}, "mcpServers": {}}', "twice"),
        (DESKTOP, '{"a": 1,}', "which Claude Desktop does not read"),
        (DESKTOP, '{"a": 1} // x', "which Claude Desktop does not read"),
        (CODE, "/* x */ {}", "which Claude Code does not read"),
        (ZED, '{"context_servers": {"nexus-hub": {"a": 1 /* mine */}}}', "has comments"),
        (CODEX, "a = ", "not TOML"),
        (CODEX, "mcp_servers = 5", "'mcp_servers' is not an object"),
        (CODEX, 'mcp_servers = { a = { command = "x" } }', "can't be changed safely"),
        (CODEX, 'mcp_servers.nexus-hub.url = "x"', "can't be changed safely"),
        (CODEX, '[mcp_servers.nexus-hub]\nurl = "x" # mine\nenabled = true', "has comments"),
        (CODEX, 'x = """\n[mcp_servers.nexus-hub]\n"""\n[mcp_servers.nexus-hub]\nurl = "x"\n', "can't be changed"),
    ],
)
def test_what_can_not_be_changed_without_harm_is_refused(client: Any, text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(InvalidConfig, match=words):
        edit_file(path, client, NAME, ENTRY, secret=False)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_copied_changed_once_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"a": 1}')
    path.chmod(0o640)
    edit = edit_file(path, CURSOR, NAME, ENTRY, secret=False)
    assert edit.outcome == "added"
    assert edit.backup is not None
    assert (edit.backup.read_text(), mode(edit.backup), mode(path)) == ('{"a": 1}', 0o640, 0o640)
    assert edit_file(path, CURSOR, NAME, ENTRY, secret=False).outcome == "unchanged"
    assert edit_file(path, CURSOR, NAME, {"url": "x"}, secret=False).outcome == "replaced"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("again", [False, True])
def test_a_token_is_for_the_owner_alone(tmp_path: Path, again: bool) -> None:
    path = tmp_path / "new" / "mcp.json"
    if again:
        edit_file(path, CURSOR, NAME, ENTRY, secret=False)
        assert mode(path) == 0o644
    edit = edit_file(path, CURSOR, NAME, ENTRY, secret=True)
    assert (mode(path), edit.backup) == (0o600, None)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles.json", tmp_path / "mcp.json"
    real.write_text("{}")
    link.symlink_to(real)
    edit_file(link, CURSOR, NAME, ENTRY, secret=False)
    assert link.is_symlink()
    assert NAME in real.read_text()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_encoding_stays(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes('{"é": 1}'.encode(encoding))
    edit_file(path, CURSOR, NAME, ENTRY, secret=False)
    assert json.loads(path.read_bytes().decode(encoding)) == {"é": 1, "mcpServers": {NAME: ENTRY}}


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff{}")


UNUSABLE: dict[str, Callable[[Path], Any]] = {
    "a directory": Path.mkdir,
    "a pipe": os.mkfifo,
    "no text": no_text,
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("make", UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_file_of_text_is_refused(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    path = tmp_path / "mcp.json"
    make(path)
    with pytest.raises(InvalidConfig, match=r"mcp\.json"):
        edit_file(path, CURSOR, NAME, ENTRY, secret=False)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(InvalidConfig, match="can't be used"):
        edit_file(tmp_path / "f" / "mcp.json", CURSOR, NAME, ENTRY, secret=False)

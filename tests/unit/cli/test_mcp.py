"""`nexus-hub mcp config`: what is shown and written for whom, and where a token stands."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nexus_hub.cli.main import app
from nexus_hub.errors import HubError
from nexus_hub.upstream.client_files import CLIENT_FILES

TOKEN = "nxh_the-token-of-this-test"


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEXUS_HOME", "NEXUS_PORT", "NEXUS_HOST", "NEXUS_SERVICE_KEY", "XDG_CONFIG_HOME", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NEXUS_URL", "https://hub.example/")
    monkeypatch.setenv("NEXUS_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nexus-hub"])
    monkeypatch.setenv("PATH", "")


def config(*words: str) -> Result:
    return CliRunner().invoke(app, ["mcp", "config", *words])


def entry(*words: str) -> dict[str, Any]:
    ran = config(*words, "--json")
    assert ran.exit_code == 0, ran.output
    found: dict[str, Any] = json.loads(ran.stdout)["entry"]
    return found


@pytest.mark.parametrize("client", CLIENT_FILES)
def test_a_token_stands_only_where_it_was_asked_for(client: str, tmp_path: Path) -> None:
    path = CLIENT_FILES[client].find({})
    for words in ([], ["--json"], ["--stdio"], ["--write"], ["--write", "--stdio", "--json"]):
        ran = config(client, *words)
        assert (ran.exit_code, TOKEN in ran.output) == (0, False), ran.output
    assert TOKEN not in path.read_text()
    assert TOKEN in config(client, "--with-token").stdout
    written = config(client, "--write", "--with-token")
    assert (TOKEN in path.read_text(), TOKEN in written.output) == (True, False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_output_is_the_file_and_nothing_else() -> None:
    shown = json.loads(config("cursor").stdout)
    assert shown == {"mcpServers": {"nexus-hub": entry("cursor")}}
    assert entry("cursor")["url"] == "https://hub.example/mcp"


def test_one_server_and_the_search_mode() -> None:
    assert (
        entry("cursor", "--server", "time", "--tools", "search")["url"] == "https://hub.example/mcp/time?tools=search"
    )
    words = entry("claude-desktop", "--server", "time", "--tools", "search")["args"]
    assert words[-5:] == ["mcp", "--server", "time", "--tools", "search"]
    assert json.loads(config("cursor", "--server", "time", "--json").stdout)["name"] == "nexus-hub-time"


@pytest.mark.parametrize("client", ["claude-desktop", "zed"])
def test_the_bridge_of_who_knows_no_headers(client: str) -> None:
    found = entry(client)
    assert [found["command"], *found["args"]] == [sys.executable, "-m", "nexus_hub", "mcp"]
    assert found["env"] == {"NEXUS_URL": "https://hub.example"}


def test_the_bridge_finds_the_key_of_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXUS_TOKEN")
    monkeypatch.setenv("NEXUS_HOME", "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "service.key").write_text("the-key")
    assert entry("claude-desktop")["env"] == {"NEXUS_URL": "https://hub.example", "NEXUS_HOME": str(tmp_path / "home")}
    assert entry("cursor", "--stdio")["env"]["NEXUS_HOME"] == str(tmp_path / "home")
    assert "--stdio" in config("cursor").stderr
    assert entry("zed", "--with-token")["env"] == {"NEXUS_URL": "https://hub.example", "NEXUS_TOKEN": "the-key"}


def test_a_program_is_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nexus-hub").touch()
    monkeypatch.setattr(sys, "argv", ["./nexus-hub", "mcp"])
    assert entry("zed")["command"] == str(tmp_path / "nexus-hub")


def test_written_twice_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "there.json"
    path.write_text('{"mcpServers": {"a": {}}}')
    first, second = (json.loads(config("cursor", "--write", "--file", str(path), "--json").stdout) for _ in "12")
    assert (first["outcome"], second["outcome"]) == ("added", "unchanged")
    assert Path(first["backup"]).read_text() == '{"mcpServers": {"a": {}}}'
    assert second["backup"] is None
    assert json.loads(path.read_text())["mcpServers"].keys() == {"a", "nexus-hub"}


@pytest.mark.parametrize("secret", [False, True])
def test_a_file_that_can_not_be_changed_leaves_the_snippet(tmp_path: Path, secret: bool) -> None:
    path = tmp_path / "there.json"
    path.write_text("{ // mine\n}")
    ran = config("cursor", "--write", "--file", str(path), *(["--with-token"] if secret else []))
    assert isinstance(ran.exception, HubError)
    assert "Nothing was changed." in ran.exception.message
    assert '"nexus-hub"' in ran.stdout
    assert TOKEN not in ran.output
    assert path.read_text() == "{ // mine\n}"


def test_the_clients_are_listed() -> None:
    items = json.loads(config("--json").stdout)["items"]
    assert [one["client"] for one in items] == list(CLIENT_FILES)
    assert all(one["source"].startswith("https://") for one in items)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mcp", "config", "emacs"], "There is no client 'emacs'; there are claude-code,"),
        (["mcp", "config", "cursor", "--tools", "all"], "--tools can only be search."),
        (["mcp", "--tools", "all"], "--tools can only be search."),
        (["mcp", "--server", "x", "config"], "behind the word config"),
    ],
)
def test_wrong_use_is_said(words: list[str], message: str) -> None:
    ran = CliRunner().invoke(app, words)
    assert isinstance(ran.exception, HubError)
    assert message in ran.exception.message


def test_without_a_token_there_is_none_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXUS_TOKEN")
    monkeypatch.setenv("NEXUS_HOME", "nowhere")
    ran = config("cursor", "--with-token")
    assert isinstance(ran.exception, HubError)
    assert "set NEXUS_TOKEN" in ran.exception.message

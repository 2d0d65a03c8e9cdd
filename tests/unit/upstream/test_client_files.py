"""Files in the styles of the clients that people have: what comes of each, entry by entry."""

import json
from typing import Any

import pytest

from nexus_hub.catalog.names import make_server_names
from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.client_files import decode
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.mcp_json import FileEntry, parse

ENVIRONMENT = {"HOME": "/srv/ann", "TOKEN": "t0ken", "INPUT_API_KEY": "asked", "REGION": "eu"}

CLAUDE_DESKTOP = """{"mcpServers": {
  "files": {"command": "npx", "args": ["-y", "server-files", "/srv/ann/Desktop"]},
  "git": {"command": "uvx", "args": ["mcp-server-git"], "env": {"LEVEL": "debug"}}
}}"""
CLAUDE_CODE = """{"mcpServers": {
  "docs": {"type": "http", "url": "https://${REGION:-us}.docs.example/mcp",
    "headers": {"Authorization": "Bearer ${TOKEN}"}},
  "old": {"type": "sse", "url": "https://old.example/sse"},
  "later": {"type": "stdio", "command": "${LATER}"}
}}"""
CURSOR = """{
  // two servers
  "mcpServers": {
    "web": {"url": "https://web.example/mcp", "headers": {"X-Key": "${env:TOKEN}"}}, /* over HTTP */
    "local": {"command": "node", "args": ["${userHome}/server.js",],},
  },
}"""
VSCODE = """{
  "inputs": [
    {"type": "promptString", "id": "api-key", "description": "The key", "password": true},
    {"type": "promptString", "id": "other", "description": "Another one"},
    {"type": "pickString", "id": "region", "options": ["a", "b"], "default": "b"}
  ],
  "servers": {
    "asks": {"type": "http", "url": "https://asks.example/${input:region}", "headers": {"Key": "${input:api-key}"}},
    "missing": {"type": "stdio", "command": "x", "env": {"KEY": "${input:other}"}},
    "folder": {"type": "stdio", "command": "${workspaceFolder}/run"}
  }
}"""
VSCODE_SETTINGS = '{"editor.tabSize": 2, "mcp": {"inputs": [], "servers": {"time": {"command": "mcp-time"}}}}'
CLINE = """{"mcpServers": {
  "off": {"command": "x", "disabled": true, "autoApprove": []},
  "also off": {"command": "x", "disabled": "true"},
  "on": {"type": "streamableHttp", "url": "https://on.example/mcp", "timeout": 60, "alwaysAllow": ["a"]},
  "github.com/upstash/context7-mcp": {"command": "npx", "args": ["context7"], "transportType": "stdio"}
}}"""
ROO = '{"mcpServers": {"x": {"type": "streamable-http", "url": "http://x.example", "alwaysAllow": []}}}'
WINDSURF = """{"mcpServers": {
  "remote": {"serverUrl": "https://remote.example/mcp", "headers": {"Key": "${env:TOKEN}"}, "disabledTools": []},
  "secret": {"serverUrl": "https://x.example", "headers": {"Key": "${file:~/key}"}}
}}"""
GEMINI = """{"theme": "dark", "mcp": {"allowed": ["a"]}, "mcpServers": {
  "stream": {"httpUrl": "https://stream.example/mcp", "url": "https://stream.example/sse", "trust": true},
  "local": {"command": "python", "args": ["-m", "server"], "env": {"KEY": "$TOKEN", "PORT": 8080}, "cwd": ""},
  "elsewhere": {"command": "python", "cwd": "./server"}
}}"""
ZED = """{"context_servers": {
  "custom": {"source": "custom", "command": "run", "args": ["a"], "env": {}, "enabled": true},
  "older": {"command": {"path": "run", "args": ["b"], "env": null}, "settings": {}},
  "extension": {"source": "extension", "settings": {}}, // from the shop
}}"""
OPENCODE = """{"$schema": "https://opencode.example/config.json", "mcp": {
  "local": {"type": "local", "command": ["npx", "-y", "server"], "environment": {"KEY": "{env:TOKEN}"}},
  "remote": {"type": "remote", "url": "https://remote.example/mcp", "oauth": false, "headers": {"Key": "{env:TOKEN}"}},
  "off": {"type": "local", "command": ["x"], "enabled": false}
}}"""
CODEX = """model = "o"
[mcp_servers.docs]
command = "npx"
args = ["-y", "docs"]
env = { KEY = "v" }
env_vars = ["TOKEN", "UNSET"]
startup_timeout_sec = 20

[mcp_servers.remote]
url = "https://remote.example/mcp"
bearer_token_env_var = "TOKEN"
http_headers = { "X-A" = "a" }
env_http_headers = { "X-B" = "REGION" }

[mcp_servers."off one"]
command = "x"
enabled = false
"""
COPILOT = '{"mcpServers": {"pw": {"type": "local", "command": "npx", "args": ["pw"], "tools": ["*"]}}}'
AMP = '{"amp.mcpServers": {"pw": {"command": "npx", "args": ["pw"]}}}'
LISTED = '{"mcpServers": [{"name": "a", "command": "x"}, {"name": "b", "type": "sse", "url": "b"}, {"command": "y"}]}'
BARE = '{"a": {"command": "x"}, "b": {"url": "http://b.example/mcp"}}'
CHERRY = '{"mcpServers": {"@21st-dev/magic": {"isActive": true, "command": "npx"}, "Dev Box MCP": {"command": "y"}}}'
NAMES = '{"mcpServers": {"": {"command": "a"}, "天気": {"command": "b"}, "dev box": {"command": "c"}}}'
BOM = '\ufeff{"mcpServers": {"a": {"command": "x", "args": ["http://x // no comment", "/* nor this */", "a,]"]}}}'
QUOTES = r'{"mcpServers": {"a": {"command": "x", "args": ["\"//", "\\", "}"]}, /* "b": {} , */ }, } // end'
EMPTY = '{"servers": {}, "inputs": []}'

FILES: dict[str, tuple[str, dict[str, str]]] = {
    "claude desktop": (
        CLAUDE_DESKTOP,
        {"files": "npx -y server-files /srv/ann/Desktop", "git": "uvx mcp-server-git LEVEL=debug"},
    ),
    "claude code": (
        CLAUDE_CODE,
        {"docs": "https://eu.docs.example/mcp Authorization=Bearer t0ken", "old": "!sse", "later": "!LATER"},
    ),
    "cursor": (CURSOR, {"web": "https://web.example/mcp X-Key=t0ken", "local": "node /srv/ann/server.js"}),
    "vs code": (
        VSCODE,
        {"asks": "https://asks.example/b Key=asked", "missing": "!INPUT_OTHER", "folder": "!workspaceFolder"},
    ),
    "vs code's settings": (VSCODE_SETTINGS, {"time": "mcp-time"}),
    "cline": (
        CLINE,
        {
            "off": "-",
            "also off": "-",
            "on": "https://on.example/mcp",
            "github.com/upstash/context7-mcp": "npx context7",
        },
    ),
    "roo": (ROO, {"x": "http://x.example"}),
    "windsurf": (WINDSURF, {"remote": "https://remote.example/mcp Key=t0ken", "secret": "!headers.Key"}),
    "gemini": (
        GEMINI,
        {"stream": "https://stream.example/mcp", "local": "python -m server KEY=t0ken PORT=8080", "elsewhere": "!cwd"},
    ),
    "zed": (ZED, {"custom": "run a", "older": "run b", "extension": "!extension"}),
    "opencode": (
        OPENCODE,
        {"local": "npx -y server KEY=t0ken", "remote": "https://remote.example/mcp Key=t0ken", "off": "-"},
    ),
    "codex.toml": (
        CODEX,
        {
            "docs": "npx -y docs TOKEN=t0ken KEY=v",
            "remote": "https://remote.example/mcp X-A=a X-B=eu Authorization=Bearer t0ken",
            "off one": "-",
        },
    ),
    "copilot": (COPILOT, {"pw": "npx pw"}),
    "amp": (AMP, {"pw": "npx pw"}),
    "a list": (LISTED, {"a": "x", "b": "!sse", "": "y"}),
    "bare": (BARE, {"a": "x", "b": "http://b.example/mcp"}),
    "odd names": (CHERRY, {"@21st-dev/magic": "npx", "Dev Box MCP": "y"}),
    "names of other scripts": (NAMES, {"": "a", "天気": "b", "dev box": "c"}),
    "byte order mark": (BOM, {"a": "x http://x // no comment /* nor this */ a,]"}),
    "quotes": (QUOTES, {"a": r'x "// \ }'}),
    "empty": (EMPTY, {}),
}


def shown(entry: FileEntry) -> str:
    """An entry as one line: `-` if it is disabled, `!` and the reason if it can't be had."""
    if entry.config is None:
        return f"!{entry.problem}" if entry.problem else "-"
    if isinstance(entry.config, HttpConfig):
        words, secrets = [entry.config.url], entry.config.headers
    else:
        words, secrets = [entry.config.command, *entry.config.args], entry.config.env
    return " ".join([*words, *(f"{key}={value.get_secret_value()}" for key, value in secrets.items())])


@pytest.mark.parametrize("client", FILES)
def test_a_file_is_read_as_its_client_reads_it(client: str) -> None:
    text, expected = FILES[client]
    entries = parse(text, ENVIRONMENT, toml=client.endswith(".toml"))
    assert [entry.name for entry in entries] == list(expected)
    for entry in entries:
        line = expected[entry.name]
        assert shown(entry) == line or (line.startswith("!") and shown(entry)[0] == "!" and line[1:] in shown(entry))


@pytest.mark.parametrize("client", FILES)
def test_every_entry_gets_a_name_that_can_be_registered_and_always_the_same(client: str) -> None:
    names = list(FILES[client][1])
    made = make_server_names(names, {})
    assert len(set(made)) == len(names)
    assert made == make_server_names(names, {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_any_usual_encoding_is_decoded(encoding: str) -> None:
    assert decode('{"a": "é"}'.encode(encoding)) == '{"a": "é"}'


@pytest.mark.parametrize("text", ["[mcp_servers", "a = 'x", "a = 1\na = 2", "[mcp_servers.a]\n[mcp_servers.a]"])
def test_a_file_that_is_no_toml_is_refused_with_the_place_and_no_value(text: str) -> None:
    with pytest.raises(InvalidConfig, match="not TOML"):
        parse(text, {}, toml=True)


def test_places_in_errors_are_those_of_the_file_with_its_comments() -> None:
    with pytest.raises(InvalidConfig, match="line 3, column 15"):
        parse('{ // one\n/* two\n*/ "servers": nothing}', {})


@pytest.mark.parametrize("value", [[1, 2], "x", 7, None])
def test_an_entry_of_another_form_holds_up_no_other(value: Any) -> None:
    odd, good = parse(json.dumps({"mcpServers": {"odd": value, "good": {"command": "x"}}}), {})
    assert (odd.config, good.problem) == (None, None)
    assert "'odd'" in (odd.problem or "")

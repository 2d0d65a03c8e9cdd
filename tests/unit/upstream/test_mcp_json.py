import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.mcp_json import parse

CANARY = "canary-4f9d2c"


def read(servers: Any, **environment: str) -> list[tuple[str, HttpConfig | StdioConfig]]:
    return parse(json.dumps({"mcpServers": servers}), environment)


def refusal(entry: Any, **environment: str) -> str:
    with pytest.raises(InvalidConfig) as caught:
        read({"weather": entry}, **environment)
    assert caught.value.__cause__ is None
    return caught.value.message


def test_commands_and_urls_are_read_in_the_order_of_the_file() -> None:
    servers = {
        "files": {"command": "npx", "args": ["-y", "server"], "env": {"TOKEN": "t"}, "autoApprove": ["x"]},
        "weather": {"type": "http", "url": "https://tools.example/mcp", "headers": {"Authorization": "Bearer b"}},
        "time": {"type": "stdio", "command": "mcp-server-time"},
        "more": {"type": "streamable-http", "url": "http://localhost:1/mcp"},
    }
    (_, files), (_, weather), (_, time), (_, more) = found = read(servers)
    assert [name for name, _ in found] == list(servers)
    assert isinstance(files, StdioConfig)
    assert (files.command, files.args, files.env["TOKEN"].get_secret_value()) == ("npx", ("-y", "server"), "t")
    assert isinstance(weather, HttpConfig)
    assert weather.headers["Authorization"].get_secret_value() == "Bearer b"
    assert time == StdioConfig(command="mcp-server-time")
    assert more == HttpConfig(url="http://localhost:1/mcp")


def test_disabled_servers_are_left_out_whatever_else_is_wrong_with_them() -> None:
    assert read({"a": {"disabled": True}, "b": {"enabled": False, "type": "sse"}}) == []


def test_variables_are_replaced_from_the_given_environment() -> None:
    entry = {
        "command": "${HOME}/run",
        "args": ["--key=${env:KEY}", "${MODE:-fast}", "$HOME"],
        "env": {"A": "${KEY}-${KEY}"},
    }
    [(_, config)] = read({"a": entry}, HOME="/h", KEY="k${HOME}")
    assert isinstance(config, StdioConfig)
    assert config.command == "/h/run"
    assert config.args == ("--key=k${HOME}", "fast", "$HOME")
    assert config.env["A"].get_secret_value() == "k${HOME}-k${HOME}"


def test_a_missing_variable_is_named() -> None:
    message = refusal({"url": "https://tools.example", "headers": {"Authorization": "Bearer ${WEATHER_KEY}"}})
    assert "'weather'" in message
    assert "'headers.Authorization'" in message
    assert "WEATHER_KEY is not set" in message


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (CANARY, "not a JSON object"),
        ({}, "'command' or 'url'"),
        ({"command": CANARY, "url": CANARY}, "either"),
        ({"type": "sse", "url": f"http://{CANARY}"}, "streamable HTTP"),
        ({"type": CANARY, "command": "a"}, "'type'"),
        ({"type": "http", "command": CANARY}, "does not fit"),
        ({"type": "stdio", "url": CANARY}, "does not fit"),
        ({"command": ""}, "empty"),
        ({"command": [CANARY]}, "'command'"),
        ({"command": "a", "args": CANARY}, "'args'"),
        ({"command": "a", "args": ["b", 7]}, "'args[1]'"),
        ({"command": "a", "args": [f"{CANARY}\0"]}, "NUL"),
        ({"command": "a", "env": [CANARY]}, "'env'"),
        ({"command": "a", "env": {"PORT": 80}}, "'env.PORT'"),
        ({"command": "a", "env": {"KEY": f"{CANARY}${{input:key}}"}}, "no environment variable"),
        ({"command": "a", "cwd": CANARY}, "'cwd'"),
        ({"url": f"http://u:{CANARY}@tools.example"}, "'url'"),
        ({"url": CANARY}, "'url'"),
        ({"url": "https://tools.example", "headers": {"X": None}}, "'headers.X'"),
        ({"command": None}, "'command'"),
        ({"command": f"{CANARY}\ud800"}, "unicode"),
        ({"command": "${EMPTY:-}"}, "empty"),
        ({"url": "https://tools.example", "cwd": None}, "'cwd'"),
        ({"type": "http", "headers": {"A": CANARY}}, "'command' or 'url'"),
        ({"type": {}, "command": "a"}, "'type'"),
    ],
)
def test_an_entry_that_can_not_be_used_is_named_with_its_key_and_without_its_values(entry: Any, words: str) -> None:
    message = refusal(entry)
    assert "'weather'" in message
    assert words in message
    assert CANARY not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1"),
        ("{'a': 1}", "not JSON"),
        ('{"mcpServers": {\n  "a": {"command": }}}', "line 2"),
        ("[]", "not a JSON object"),
        ("{}", "mcpServers"),
        ('{"mcpServers": []}', "mcpServers"),
        ('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "'a' twice"),
        ("[" * 100_000, "nested"),
    ],
)
def test_a_file_that_is_no_such_file_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        parse(text, {})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: (
            st.lists(c)
            | st.dictionaries(st.text() | st.sampled_from(["command", "url", "args", "env", "headers", "type"]), c)
        ),
    )
)
def test_any_json_is_read_or_refused_cleanly(value: Any) -> None:
    try:
        assert all(isinstance(config, HttpConfig | StdioConfig) for _, config in read(value))
    except InvalidConfig:
        return

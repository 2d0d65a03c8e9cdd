import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.config import HttpConfig, OAuthLogin, StdioConfig
from nexus_hub.upstream.mcp_json import parse

CANARY = "canary-4f9d2c"


def read(servers: Any, **environment: str) -> list[tuple[str, HttpConfig | StdioConfig]]:
    """Read entries that can be had."""
    entries = parse(json.dumps({"mcpServers": servers}), environment)
    assert [entry.problem for entry in entries] == [None] * len(entries)
    return [(entry.name, entry.config) for entry in entries if entry.config]


def refusal(entry: Any, **environment: str) -> str:
    """The reason why an entry can't be had, which holds up no other."""
    good = {"command": "good"}
    first, weather, last = parse(
        json.dumps({"mcpServers": {"first": good, "weather": entry, "last": good}}), environment
    )
    assert first.config == last.config == StdioConfig(command="good")
    assert weather.config is None
    assert weather.problem is not None
    return weather.problem


def only(entry: Any, **environment: str) -> Any:
    """The configuration of an entry."""
    [(_, config)] = read({"a": entry}, **environment)
    return config


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
        "args": ["--key=${env:KEY}", "${MODE:-fast}", "\\$HOME"],
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
        ({"command": {"args": [CANARY]}}, "'command'"),
        ({"command": "a", "args": CANARY}, "'args'"),
        ({"command": "a", "args": ["b", [7]]}, "'args[1]'"),
        ({"command": "a", "args": [f"{CANARY}\0"]}, "NUL"),
        ({"command": "a", "env": [CANARY]}, "'env'"),
        ({"command": "a", "env": {"PORT": {}}}, "'env.PORT'"),
        ({"command": "a", "env": {"KEY": f"{CANARY}${{input:key}}"}}, "INPUT_KEY"),
        ({"command": "a", "env": {"KEY": f"{CANARY}${{config:key}}"}}, "no environment variable"),
        ({"command": "a", "env": {"KEY": f"{CANARY}${{KEY"}}, "without its '}'"),
        ({"command": "a", "args": ["{file:~/key}"]}, "no values from files"),
        ({"command": "a", "args": ["${workspaceFolder}/x"]}, "only an editor knows"),
        ({"command": "a", "disabled": CANARY}, "true or false"),
        ({"command": "a", "envFile": CANARY}, "'envFile'"),
        ({"url": "https://tools.example", "oauth": [CANARY]}, "no such way to log in"),
        ({"url": "https://tools.example", "auth": CANARY}, "no such way to log in"),
        ({"url": "https://tools.example", "authProviderType": "google_credentials"}, "no such way to log in"),
        ({"url": "https://tools.example", "oauth": {"scopes": f'{CANARY}"'}}, "'oauth.scopes'"),
        ({"url": "https://tools.example", "oauth": {"clientSecret": "${UNSET}"}}, "UNSET is not set"),
        ({"command": "a", "oauth": {"clientId": CANARY}}, "a command is not logged in at"),
        ({"url": "https://tools.example", "headersHelper": CANARY}, "helpers"),
        ({"url": "https://tools.example", "bearer_token_env_var": "UNSET"}, "UNSET is not set"),
        ({"url": "https://tools.example", "env_http_headers": {"X": "UNSET"}}, "'env_http_headers.X'"),
        ({"source": "extension", "settings": {"key": CANARY}}, "extension of the editor"),
        ({"serverUrl": f"ws://{CANARY}"}, "'serverUrl'"),
        ({"type": "websocket", "url": f"wss://{CANARY}"}, "'type'"),
        ({"transport": "sse", "url": f"https://{CANARY}"}, "'transport'"),
        ({"command": "a", "cwd": CANARY}, "'cwd'"),
        ({"url": f"http://u:{CANARY}@tools.example"}, "'url'"),
        ({"url": CANARY}, "'url'"),
        ({"url": "https://tools.example", "headers": {"X": None}}, "'headers.X'"),
        ({"command": None}, "'command'"),
        ({"command": f"{CANARY}\ud800"}, "unicode"),
        ({"command": "${EMPTY:-}"}, "empty"),
        ({"url": "https://tools.example", "cwd": "/x"}, "'cwd'"),
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
    ("said", "login"),
    [
        ({"oauth": {"clientId": "c", "clientSecret": "${S}", "scopes": ["a", "b"]}}, ("c", "secret", "a b")),
        ({"auth": {"CLIENT_ID": "c", "CLIENT_SECRET": "${env:S}", "scopes": ["a"]}}, ("c", "secret", "a")),
        ({"oauth": {"enabled": True, "clientId": "c", "authorizationUrl": "https://a.example/x"}}, ("c", None, None)),
        ({"oauth": {"client_id": "c", "scope": "a  b"}}, ("c", None, "a b")),
        ({"oauth": {}}, (None, None, None)),
        ({"oauth": True}, (None, None, None)),
        ({"auth": "oauth"}, (None, None, None)),
        ({"authProviderType": "dynamic_discovery"}, (None, None, None)),
        ({"oauth": False}, None),
        ({"oauth": {"enabled": False, "clientId": "c"}}, None),
    ],
)
def test_a_login_is_read_as_each_client_writes_it(said: Any, login: Any) -> None:
    (entry,) = parse(json.dumps({"mcpServers": {"a": {"url": "https://tools.example", **said}}}), {"S": "secret"})
    assert isinstance(entry.config, HttpConfig), entry.problem
    found = entry.config.login
    if login is None:
        assert found is None
    else:
        assert isinstance(found, OAuthLogin)
        secret = found.client_secret and found.client_secret.get_secret_value()
        assert (found.client_id, secret, found.scope) == login


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1"),
        ("{'a': 1}", "not JSON"),
        ('{"mcpServers": {\n  "a": {"command": }}}', "line 2"),
        ("[]", "not a JSON object"),
        ("{}", "mcpServers"),
        ('{"mcpServers": 7}', "mcpServers"),
        ('{"mcpServers": {}, "mcpServers": {}}', "'mcpServers' twice"),
        ('{"mcpServers": {"a": {"command": "x"}} /* no end', "not JSON"),
        ('{"mcpServers": {"a": {"args": [' + "9" * 5000 + "]}}}", "number"),
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
        entries = parse(json.dumps({"mcpServers": value}), {})
    except InvalidConfig:
        return
    assert all(entry.config is None or entry.problem is None for entry in entries)


def test_an_entry_that_stands_twice_is_left_out_and_named() -> None:
    entries = parse('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}, "b": {"command": "z"}}}', {})
    assert [(entry.name, entry.problem is None) for entry in entries] == [("a", False), ("b", True)]
    assert "'a' twice" in (entries[0].problem or "")


@pytest.mark.parametrize("word", [True, "true", "True", "yes", 1, "1"])
def test_an_entry_may_be_disabled_in_any_words(word: Any) -> None:
    assert read({"a": {"command": "x", "disabled": word}}) == []
    assert len(read({"a": {"command": "x", "enabled": word}})) == 1


@pytest.mark.parametrize("word", [False, "false", "no", 0, "", None])
def test_an_entry_may_be_enabled_in_any_words(word: Any) -> None:
    assert len(read({"a": {"command": "x", "disabled": word}})) == 1
    assert len(read({"a": {"command": "x", "enabled": word}})) == (1 if word is None else 0)


@pytest.mark.parametrize("kind", ["http", "HTTP", "streamable-http", "streamableHttp", "streamable_http", "remote"])
@pytest.mark.parametrize("key", ["type", "transport", "transportType"])
def test_an_http_server_is_called_many_things(key: str, kind: str) -> None:
    assert only({key: kind, "url": "http://x/mcp"}) == HttpConfig(url="http://x/mcp")


@pytest.mark.parametrize("kind", ["stdio", "local", "STDIO"])
def test_a_command_is_called_two_things(kind: str) -> None:
    assert only({"type": kind, "command": "x"}) == StdioConfig(command="x")


def test_numbers_and_booleans_are_written_as_text() -> None:
    config = only({"command": "x", "args": [8080, True, 1.5], "env": {"PORT": 80, "DEBUG": False, "RATE": 2.0}})
    assert config.args == ("8080", "true", "1.5")
    assert {key: value.get_secret_value() for key, value in config.env.items()} == {
        "PORT": "80",
        "DEBUG": "false",
        "RATE": "2",
    }
    assert only({"url": "http://x", "headers": {"V": 1}}).headers["V"].get_secret_value() == "1"


SHELL = {"HOME": "/srv/ann", "KEY": "k", "EMPTY": "", "DOLLAR": "a$KEY"}


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("${KEY}", "k"),
        ("$KEY", "k"),
        ("a$KEY-${KEY}b", "ak-kb"),
        ("${env:KEY}", "k"),
        ("{env:KEY}", "k"),
        ("${EMPTY}", ""),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY-other}", ""),
        ("${UNSET-other}", "other"),
        ("${UNSET:-}", ""),
        ("${UNSET:=other}", "other"),
        ("${KEY:-other}", "k"),
        ("${KEY:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${UNSET+set}", ""),
        ("${KEY:?must be set}", "k"),
        ("${UNSET:-${OTHER:-${KEY}}}", "k"),
        ("${UNSET:-$KEY}", "k"),
        ("${UNSET:-a:b/c?d}", "a:b/c?d"),
        ("${UNSET:-~/x}", "/srv/ann/x"),
        ("$DOLLAR", "a$KEY"),
        ("~", "/srv/ann"),
        ("~/data", "/srv/ann/data"),
        ("${userHome}/data", "/srv/ann/data"),
        ("${/}x", "/x"),
        ("~bob/data", "~bob/data"),
        ("a~/b", "a~/b"),
        ("\\$KEY", "$KEY"),
        ("\\${KEY}", "${KEY}"),
        ("pa$$word", "pa$$word"),
        ("p$1 $(id) `id` $", "p$1 $(id) `id` $"),
        ("a$lower", "a$lower"),
        ("50% {x} }", "50% {x} }"),
    ],
)
def test_a_value_is_read_as_a_shell_reads_it(written: str, read_as: str) -> None:
    config = only({"command": "x", "args": [written], "env": {"A": written}}, **SHELL)
    assert config.args == (read_as,)
    assert config.env["A"].get_secret_value() == read_as


@pytest.mark.parametrize(
    "written", ["$UNSET", "${UNSET}", "${env:UNSET}", "{env:UNSET}", "${EMPTY:?}", "${UNSET?why}", "${A:-${UNSET}}"]
)
def test_a_variable_that_is_not_set_is_named_wherever_it_stands(written: str) -> None:
    for entry in ({"command": "x", "args": [written]}, {"url": "http://x", "headers": {"A": f"{CANARY} {written}"}}):
        message = refusal(entry, **SHELL)
        assert "EMPTY is not set" in message or "UNSET is not set" in message
        assert CANARY not in message


def test_variables_of_the_server_itself_are_left_to_it() -> None:
    entry = {"command": "sh", "args": ["-c", "run --token $TOKEN ${TOKEN}"], "env": {"TOKEN": "t"}}
    assert only(entry).args == ("-c", "run --token $TOKEN ${TOKEN}")
    assert "TOKEN is not set" in refusal({"command": "x", "env": {"TOKEN": "$TOKEN"}})


def test_a_deep_reference_is_refused() -> None:
    assert "nested" in refusal({"command": "x", "args": ["${A:-" * 5000 + "}" * 5000]})

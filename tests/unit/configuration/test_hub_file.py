"""The hub's file: what is refused, where, and what is never repeated."""

import itertools
from pathlib import Path

import pytest

from nexus_hub.configuration.hub_file import HubFile, InvalidFile, read_file, read_text
from nexus_hub.errors import InvalidConfig


def _read(text: str, **environment: str) -> HubFile:
    return read_text(text, "hub.yaml", Path(environment.pop("directory", ".")), environment)


def _refused(text: str, **environment: str) -> list[str]:
    with pytest.raises(InvalidFile) as refused:
        _read(text, **environment)
    return refused.value.lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "servers:\n  a: {limit: 3}\n",
            "hub.yaml:2:7: servers.a.limit: there is no such key; did you mean limit_per_minute?",
        ),
        ("settings:\n  acess: open\n", "hub.yaml:2:3: settings.acess: there is no such key; did you mean access?"),
        ("servers:\n  a: {url: https://a, ttl: 1y}\n", "hub.yaml:2:28: servers.a.ttl: it must be seconds"),
        ("servers:\n  a: {url: https://a}\n  a: {url: https://b}\n", "hub.yaml:3:3: servers.a: this key is there"),
        ("servers:\n  a: {url: https://a, pin: 'yes'}\n", "hub.yaml:2:28: servers.a.pin: it must be true or false"),
        ("servers:\n  a: {url: https://a, pin: yes}\n", "hub.yaml:2:28: servers.a.pin: it must be true or false"),
        ("servers:\n  a: {command: x, env: {PORT: 80}}\n", "hub.yaml:2:31: servers.a.env.PORT: it must be a text"),
        ("servers:\n  a: {command: x, url: https://a}\n", "hub.yaml:2:6: servers.a: A server has either a url"),
        ("servers:\n  hub: {url: https://a}\n", "hub.yaml:2:3: servers.hub: 'hub' can't be the name of a server"),
        ("servers:\n  a: {url: gopher://a}\n", "hub.yaml:2:6: servers.a: "),
        ("servers:\n  a: {url: https://a, login: {kind: key}}\n", "hub.yaml:2:30: servers.a.login: "),
        (
            "bundles:\n  b:\n    entries:\n    - {server: a}\n",
            "hub.yaml:4:7: bundles.b.entries[0].source: it is missing",
        ),
        ("servers: {a: {url: https://a}}\nbundles: {a: {}}", "hub.yaml:2:11: bundles.a: a server has this name"),
        ("groups:\n  g: {members: [anna, ben, anna]}\n", "hub.yaml:2:28: groups.g.members[2]: anna is there already"),
        ("groups:\n  g: {grants: [{level: call}]}\n", "hub.yaml:2:16: groups.g.grants[0]: A grant is on a server"),
        ("groups:\n  everyone: {members: [anna]}\n", "hub.yaml:2:13: groups.everyone: every user belongs to it"),
        ("groups: {<<: {a: {}}}", "hub.yaml:1:10: groups.?: a key is a plain word"),
        ("settings: {access: !!binary b3Blbg==}", "hub.yaml:1:20: settings.access: tags such as"),
        ("a: [1\n", "hub.yaml:2:1: this is no YAML: expected ',' or ']'"),
        ("- a\n", "hub.yaml:1:1: it must have members"),
    ],
)
def test_a_fault_is_told_with_its_line_and_column(text: str, line: str) -> None:
    assert any(one.startswith(line) for one in _refused(text)), _refused(text)


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    lines = _refused("servers:\n  a: {url: 'https://${GONE}', tag: x}\n  b: {command: '', args: [1]}\n")
    assert [one.split(" ")[0] for one in lines] == [
        "hub.yaml:2:12:",
        "hub.yaml:2:31:",
        "hub.yaml:3:16:",
        "hub.yaml:3:27:",
    ]


@pytest.mark.parametrize(
    "server",
    [
        "url: https://a, headers: {Authorization: Bearer SECRET-0}",
        "url: https://a, headers: {X-Api-Key: SECRET-0}",
        "url: https://a, headers: {X-Else: ghp_SECRET-0SECRET-0SECRET-0}",
        "url: 'https://a/?api_key=SECRET-0'",
        "url: https://a, login: {kind: oauth, client_id: x, client_secret: SECRET-0}",
        "command: x, env: {DB_PASSWORD: SECRET-0}",
        "command: x, args: [--api-key, SECRET-0]",
        "command: x, args: ['--token=SECRET-0']",
    ],
)
def test_a_secret_in_so_many_words_is_refused_and_not_repeated(server: str) -> None:
    lines = _refused(f"servers:\n  a: {{{server}}}\n")
    assert len(lines) == 1
    assert lines[0].startswith("hub.yaml:2:")
    assert "${NAME} or file:PATH" in lines[0]
    assert "SECRET-0" not in lines[0]


@pytest.mark.parametrize(
    "server",
    [
        "url: https://a, headers: {X-Region: eu-west-1}",
        "url: https://a/mcp?region=eu",
        "command: x, env: {GOOGLE_APPLICATION_CREDENTIALS: /etc/google.json, MAX_TOKENS: '100'}",
        "command: npx, args: [-y, '@modelcontextprotocol/server-filesystem', /srv/some-long-path/of-2026/files]",
        "command: uvx, args: [mcp-server-time==2026.10.1, --local-timezone=Europe/Berlin]",
    ],
)
def test_plain_words_are_no_secrets(server: str) -> None:
    assert _read(f"servers:\n  a: {{{server}}}\n").data["servers"]["a"]


def test_no_fault_repeats_a_value() -> None:
    lines = _refused("servers:\n  a: {url: *hunter2}\n")
    lines += _refused("servers:\n  a: {url: 5hunter2, limit_per_minute: hunter2, headers: {A: [hunter2]}}\n")
    assert lines
    assert "hunter2" not in " ".join(lines)


def test_variables_and_files_stand_for_secrets(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of the file\n")
    text = (
        "servers:\n  a:\n    url: https://${HOST}/mcp\n    headers:\n      Authorization: Bearer ${TOKEN}\n"
        "      X-Key: file:key\n      X-Text: $${TOKEN} costs $5\n"
    )
    found = _read(text, directory=str(tmp_path), HOST="a.example", TOKEN="of the variable").data["servers"]["a"]
    assert found["url"] == "https://a.example/mcp"
    assert found["headers"] == {
        "Authorization": "Bearer of the variable",
        "X-Key": "of the file",
        "X-Text": "${TOKEN} costs $5",
    }


def test_a_missing_variable_or_file_is_named_with_its_line(tmp_path: Path) -> None:
    lines = _refused(
        "servers:\n  a:\n    command: x\n    env:\n      A_KEY: ${NOT_THERE}\n      B_KEY: file:/not/there\n"
    )
    assert lines == [
        "hub.yaml:5:14: servers.a.env.A_KEY: the environment variable NOT_THERE is not set",
        "hub.yaml:6:14: servers.a.env.B_KEY: the file /not/there can't be read: No such file or directory",
    ]


def test_a_value_that_is_missing_is_one_fault_and_hides_no_other() -> None:
    lines = _refused(
        "servers:\n  a:\n    url: https://${HOST}/mcp\n    headers:\n      Authorization: Bearer ${TOKEN}\n"
        "      X-Key: file:/not/there\n    limit: 3\n"
    )
    assert [line.split(": ", 2)[1] for line in lines] == [
        "servers.a.url",
        "servers.a.headers.Authorization",
        "servers.a.headers.X-Key",
        "servers.a.limit",
    ]


def test_references_are_texts_where_no_secret_stands() -> None:
    text = "bundles:\n  b: {instructions: 'Write ${NAME} and file:x'}\n"
    assert _read(text).data["bundles"]["b"]["instructions"] == "Write ${NAME} and file:x"


def test_aliases_can_not_blow_a_file_up() -> None:
    text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    text += "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefg")
    )
    assert "has more than" in _refused(text)[0]
    assert "has more than" in _refused("a: &a [*a]")[0]


def test_an_empty_file_says_nothing() -> None:
    assert _read("# nothing yet\n").data == {}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"hub\.yaml can't be read: No such file"):
        read_file(tmp_path / "hub.yaml", {})

"""Files of hub.yaml that are wrong on purpose, or hold what should stand nowhere in so many words."""

from pathlib import Path

import pytest

from nexus_hub.configuration.hub_file import InvalidFile, read_text
from nexus_hub.configuration.references import References, write_literal
from nexus_hub.configuration.secret_values import find_secret_words

_SERVER = "servers:\n  a:\n    command: x\n"


def _find_faults(text: str) -> list[str]:
    with pytest.raises(InvalidFile) as refused:
        read_text(text, "hub.yaml", Path(), {})
    return refused.value.lines


@pytest.mark.parametrize("text", ["[" * 3000, "servers: " + "{a: " * 3000, "servers: &a {x: *a}"])
def test_a_file_that_is_nested_without_end_is_refused(text: str) -> None:
    assert "within more than 50" in _find_faults(text)[0]


@pytest.mark.parametrize(
    ("line", "place"),
    [("pin: !!bool x", 10), ("limit_per_minute: !!int x", 23), ("connect_seconds: .nan", 22), ("tags: .inf", 11)],
)
def test_a_scalar_that_is_none_of_its_tag_has_its_line(line: str, place: int) -> None:
    assert _find_faults(f"{_SERVER}    {line}\n")[0].startswith(f"hub.yaml:4:{place}: ")


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1e400", "[1, {b: .nan}]"])
def test_arguments_have_only_numbers_that_json_has(number: str) -> None:
    text = f"bundles:\n  b:\n    entries:\n    - {{server: a, source: b, fixed: {{x: {number}}}}}\n"
    assert _find_faults(text)[0].startswith("hub.yaml:4:")


@pytest.mark.parametrize("key", ["claims", "members"])
def test_names_hold_no_nul(key: str) -> None:
    assert _find_faults(f'groups:\n  g:\n    {key}: ["a\\0b"]\n')[0].startswith("hub.yaml:3:")


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        (["--header", "Authorization: Bearer hunter22"], "Authorization: Bearer "),
        (["--header=Authorization: Bearer hunter22"], "--header=Authorization: Bearer "),
        (["-H", "X-Api-Key:hunter22"], "X-Api-Key:"),
        (["run", "-e", "API_KEY=hunter22", "image"], "API_KEY="),
        (["run", "--env=DB_PASSWORD=hunter22", "image"], "--env=DB_PASSWORD="),
        (["postgresql://bob:hunter22@db/x"], "postgresql://bob:"),
        (["--dsn=redis://:hunter22@db"], "--dsn=redis://:"),
        (["mcp-remote", "https://x.example/mcp?api_key=hunter22"], "https://x.example/mcp?"),
    ],
)
def test_a_secret_within_an_argument_is_found(words: list[str], beginning: str) -> None:
    ((position, before),) = find_secret_words(words)
    assert before == beginning
    assert "hunter22" not in before
    assert "hunter22" in words[position]
    text = f"servers:\n  a:\n    command: npx\n    args: {words}\n"
    assert _find_faults(text)[0].startswith("hub.yaml:4:")


@pytest.mark.parametrize(
    "word",
    [
        "https://x.example/mcp?page=2",
        "a:b",
        "/srv/files:/data:ro",
        "PATH=/usr/bin",
        "Accept: text/plain",
        "x@y.example",
    ],
)
def test_words_without_a_secret_are_left_alone(word: str) -> None:
    assert find_secret_words(["--some", word]) == []


def test_a_password_in_the_address_of_a_variable_is_refused() -> None:
    lines = _find_faults(f"{_SERVER}    env: {{DATABASE_URL: 'postgresql://bob:hunter22@db/x'}}\n")
    assert lines[0].startswith("hub.yaml:4:")
    assert "hunter22" not in "".join(lines)


@pytest.mark.parametrize("text", ["file:x", "$$file:x", "$$$$file:x", "${A}", "$${A}", "$$${A}", "$file:", "a file:x"])
def test_a_literal_is_read_as_itself(text: str) -> None:
    references = References({}, Path())
    read = references.resolve(write_literal(text), ("servers", "a", "command"))
    assert (read, references.faults) == (text, [])


def test_a_kind_of_login_that_is_none_is_not_repeated() -> None:
    text = "servers:\n  a:\n    url: https://x.example/mcp\n    login: {kind: '${KIND}'}\n"
    with pytest.raises(InvalidFile) as refused:
        read_text(text, "hub.yaml", Path(), {"KIND": "canary"})
    assert refused.value.lines == ["hub.yaml:4:12: servers.a.login: its kind must be oauth or header"]

"""The command line's own parsing."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.cli.calls import parse_arguments
from nexus_hub.cli.main import split_command
from nexus_hub.cli.servers import parse_pairs
from nexus_hub.errors import InvalidConfig, InvalidRequest


def test_what_follows_command_belongs_to_the_server() -> None:
    words = ["server", "add", "git", "--env", "A=1", "--command", "run", "--json", "--command", "-x"]
    assert split_command(words) == (["server", "add", "git", "--env", "A=1"], ["run", "--json", "--command", "-x"])


def test_command_can_be_joined_to_its_word() -> None:
    words = ["server", "add", "git", "--command=run it", "--json"]
    assert split_command(words) == (["server", "add", "git"], ["run it", "--json"])


@pytest.mark.parametrize(
    "words", [[], ["call", "x", "--command", "y"], ["server", "add", "x", "--url", "u"], ["server"]]
)
def test_other_command_lines_stay_as_they_are(words: list[str]) -> None:
    assert split_command(words) == (words, [])


@pytest.mark.parametrize(
    ("text", "given_pairs", "arguments"),
    [
        (None, None, {}),
        ("", None, {}),
        ('{"a": 1}', ["b=2", "c=x", 'd={"e": [1]}', "f=", "g=a=b", "a=true"], None),
    ],
)
def test_arguments_come_from_json_and_pairs(text: str | None, given_pairs: Any, arguments: Any) -> None:
    expected = {"a": True, "b": 2, "c": "x", "d": {"e": [1]}, "f": "", "g": "a=b"} if arguments is None else arguments
    assert parse_arguments(text, given_pairs) == expected


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}'))
    assert parse_arguments("-", None) == {"a": 1}


@pytest.mark.parametrize("text", ["canary", "[1]", "7", '{"a": canary}', "null", '{"a": NaN}', "[" * 100_000])
def test_what_is_no_json_object_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_arguments(text, None)
    assert "canary" not in caught.value.message


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "[" * 100_000, "canary"])
def test_a_value_that_is_no_json_is_text(word: str) -> None:
    assert parse_arguments(None, [f"a={word}"]) == {"a": word}


@pytest.mark.parametrize("pair", ["canary", "=canary", ""])
def test_a_pair_without_its_parts_is_named_by_its_number(pair: str) -> None:
    with pytest.raises(InvalidRequest, match="number 2") as caught:
        parse_arguments(None, ["a=1", pair])
    assert "canary" not in caught.value.message
    with pytest.raises(InvalidConfig, match="--header number 1") as refused:
        parse_pairs("--header", [pair])
    assert "canary" not in refused.value.message


@given(st.dictionaries(st.text(min_size=1).filter(lambda key: "=" not in key), st.text()))
def test_options_of_the_form_k_v_become_a_mapping(found: dict[str, str]) -> None:
    assert parse_pairs("--env", [f"{key}={value}" for key, value in found.items()]) == found
    assert parse_pairs("--env", None) == {}

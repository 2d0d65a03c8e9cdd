"""Names of servers and of what they offer."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexus_hub.catalog.names import check_server_name, make_namespaced, make_server_name, make_server_names
from nexus_hub.errors import InvalidName

SERVERS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]|_(?=[A-Za-z0-9-])){0,31}", fullmatch=True).filter(
    lambda name: len(name) <= 32 and name.lower() != "hub"
)
TOOLS = st.text(max_size=200) | st.from_regex(r"[a-z_.]{1,80}", fullmatch=True)
FOR_PROVIDERS = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@given(SERVERS)
def test_a_name_of_the_allowed_form_is_taken(name: str) -> None:
    assert check_server_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "_a",
        "-a",
        "a_",
        "a__b",
        "a.b",
        "a b",
        "a/b",
        "é",
        "a" * 33,
        "a\n",
        "\x00",
        "a\x00",
        "a" * 10_000,
        "\ud800",
        "hub",
        "Hub",
        "HUB",
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_server_name(name)
    assert len(caught.value.message) < 400


@given(SERVERS, TOOLS)
def test_a_namespaced_name_fits_every_model_provider(server: str, tool: str) -> None:
    name = make_namespaced(server, tool)
    assert FOR_PROVIDERS.fullmatch(name)
    assert name.startswith(f"{server}__")
    assert make_namespaced(server, tool) == name


@given(st.tuples(SERVERS, TOOLS), st.tuples(SERVERS, TOOLS))
@example(("a", "b"), ("a_b", ""))
@example(("a", "x.y"), ("a", "x/y"))
@example(("a", "x" * 100), ("a", "x" * 101))
def test_different_tools_have_different_names(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (make_namespaced(*one) == make_namespaced(*other)) == (one == other)


@given(SERVERS, TOOLS)
def test_no_tool_can_take_the_name_that_another_one_was_shortened_to(server: str, tool: str) -> None:
    taken = make_namespaced(server, tool)
    imitation = taken.removeprefix(f"{server}__")
    assert imitation == tool or make_namespaced(server, imitation) != taken


def test_a_plain_name_stays_readable() -> None:
    assert make_namespaced("time", "get_current_time") == "time__get_current_time"


def test_a_name_of_exactly_64_characters_is_not_shortened() -> None:
    assert make_namespaced("a", "b" * 61) == f"a__{'b' * 61}"
    assert len(make_namespaced("a", "b" * 62)) == 64


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("github.com/upstash/context7-mcp", "github-com-upstash-context7-mcp"),
        ("@21st-dev/magic", "21st-dev-magic"),
        ("Dev Box MCP", "Dev-Box-MCP"),
        ("my__server_", "my-server"),
        ("-x-", "x"),
        ("a_b c", "a_b-c"),
        ("Café", "Cafe"),
    ],
)
def test_a_name_that_breaks_the_rules_is_made_one_that_keeps_them(name: str, made: str) -> None:
    assert make_server_name(name) == made == check_server_name(made)


@pytest.mark.parametrize("name", ["", "天気", "🚀", "a" * 33, "x/" * 40, "\ud800", "hub", "-hub-"])
def test_a_name_of_which_too_little_or_too_much_is_left_ends_in_a_digest(name: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9-]+-[0-9a-f]{8}", check_server_name(make_server_name(name)))


@given(st.lists(st.text(max_size=40) | SERVERS | st.sampled_from(["a b", "a-b", "a.b", "天気", ""]), max_size=8))
def test_all_names_of_a_file_can_be_registered_side_by_side(names: list[str]) -> None:
    made = make_server_names(names, {})
    assert len(made) == len(names) == len(set(made))
    assert [check_server_name(name) for name in made] == make_server_names(names, {})


def test_a_name_that_keeps_the_rules_is_never_changed_for_one_that_was_made() -> None:
    assert make_server_names(["a b", "a.b", "a-b"], {})[2] == "a-b"
    assert make_server_names(["a b", "x"], {"a b": "x"})[0] == "x"
    assert make_server_names(["a b"], {}) == make_server_names(["a b", "c d"], {})[:1]

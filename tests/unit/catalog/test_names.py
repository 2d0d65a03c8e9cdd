"""Names of servers and of what they offer."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexus_hub.catalog.names import check_server_name, make_namespaced
from nexus_hub.errors import InvalidName

SERVERS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]|_(?=[A-Za-z0-9-])){0,31}", fullmatch=True).filter(
    lambda name: len(name) <= 32
)
TOOLS = st.text(max_size=200) | st.from_regex(r"[a-z_.]{1,80}", fullmatch=True)
FOR_PROVIDERS = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@given(SERVERS)
def test_a_name_of_the_allowed_form_is_taken(name: str) -> None:
    assert check_server_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "_a", "-a", "a_", "a__b", "a.b", "a b", "a/b", "é", "a" * 33, "a\n", "\x00", "a\x00", "a" * 10_000, "\ud800"],
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

"""Search mode: its schemas are exact, and what goes wrong tells a model what to do next."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from nexus_hub.access.permissions import OPERATORS
from nexus_hub.errors import InvalidArguments, NotFound
from nexus_hub.gateway import search
from nexus_hub.gateway.entries import KINDS, Entry, Kind, OfferingServer, Offers
from nexus_hub.gateway.views import View
from nexus_hub.json_text import write
from nexus_hub.models import Principal

USER = Principal(UUID(int=9))


def offers(names: Mapping[str, list[str]], **definition: Any) -> Offers:
    """The tools of servers by these names."""
    servers = {name: OfferingServer("system", UUID(int=at), name, None) for at, name in enumerate(names, 1)}
    text = write({"inputSchema": {"type": "object"}, **definition})
    tools = tuple(
        Entry(servers[server].ref, server, tool, f"{server}__{tool}", text, time.monotonic(), named=True)
        for server, tools in names.items()
        for tool in sorted(tools)
    )
    entries: dict[Kind, tuple[Entry, ...]] = {kind: tools if kind == "tool" else () for kind in KINDS}
    return Offers(servers, entries)


def view(names: Mapping[str, list[str]], server: str | None = None, **definition: Any) -> View:
    system = offers(names, **definition)
    return View(USER, system, Offers(), system.servers[server] if server else None, "search", permissions=OPERATORS)


GIT = {"git": ["git_status", "git_log", "create_branch"], "files": ["read_file", "listDirectory"]}


@pytest.mark.parametrize("server", [None, "git"])
def test_the_schemas_of_search_mode_are_valid_and_exact(server: str | None) -> None:
    tools = search.definitions(view(GIT, server))
    assert [tool["name"] for tool in tools] == sorted(search.NAMES), "in the order in which every list is"
    for tool in tools:
        for member in ("inputSchema", "outputSchema"):
            Draft202012Validator.check_schema(tool.get(member, {}))
        assert tool["inputSchema"]["additionalProperties"] is False


def test_only_a_view_of_all_servers_lets_one_be_chosen() -> None:
    by_name = {one: search.definitions(view(GIT, one)) for one in (None, "git")}
    offered = {
        one: set(tool["inputSchema"]["properties"])
        for one, tools in by_name.items()
        for tool in tools
        if tool["name"] == search.SEARCH
    }
    assert offered == {None: {"query", "limit", "server"}, "git": {"query", "limit"}}


def test_a_call_is_that_of_the_named_tool() -> None:
    found = search.resolve_call(view(GIT), {"name": "git__git_log", "arguments": {"n": 3}})
    assert found == ("git__git_log", {"n": 3})
    assert search.resolve_call(view(GIT), {"name": "git__git_log"}) == ("git__git_log", {})
    assert search.resolve_call(view(GIT, "git"), {"name": "git_log"}) == ("git_log", {})


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("git__git_stauts", "git__git_status"),
        ("git_log", "git__git_log"),
        ("read_file", "files__read_file"),
        ("files__list_directory", "files__listDirectory"),
        ("GIT__GIT_LOG", "git__git_log"),
        ("github__create_branch", "git__create_branch"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(NotFound, match=f"Nearest: {nearest}") as refused:
        search.resolve_call(view(GIT), {"name": wrong})
    assert "search_tools" in refused.value.message


def test_a_name_that_is_like_nothing_says_how_to_search() -> None:
    with pytest.raises(NotFound) as refused:
        search.resolve_call(view(GIT), {"name": "§§§"})
    assert "Nearest" not in refused.value.message
    assert "search_tools" in refused.value.message


@pytest.mark.parametrize("name", ["hub__job_wait", "search_tools", "call_tool", "describe_tool"])
def test_the_hubs_own_tools_are_called_by_themselves(name: str) -> None:
    with pytest.raises(NotFound, match="called by themselves"):
        search.resolve_call(view(GIT), {"name": name})


def test_no_servers_tool_is_called_by_a_name_of_the_hubs_own() -> None:
    with pytest.raises(NotFound):
        search.resolve_call(view({"hub": ["job_wait"]}), {"name": "hub__job_wait"})


def test_the_nearest_names_are_few_and_always_the_same() -> None:
    names = [f"server{number}__tool" for number in range(5000)]
    found = search.find_nearest("server__tool", names)
    assert len(found) == search.MOST_NEAREST
    assert found == search.find_nearest("server__tool", names)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "'name' is required"),
        ({"name": 5}, "name: must be of type string"),
        ({"name": ""}, "name"),
        ({"name": "git__git_log", "arguments": []}, "arguments: must be of type object"),
        ({"name": "git__git_log", "args": {}}, "unknown properties; known are: name, arguments"),
    ],
)
def test_arguments_of_call_tool_itself_are_checked(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArguments, match="call_tool") as refused:
        search.resolve_call(view(GIT), arguments)
    assert problem in refused.value.message


async def test_a_tool_is_described_by_what_a_model_needs() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    seen = view(GIT, title="T", description="D", inputSchema=schema, icons=[], _meta={"a": 1})
    answering = search.Search(None, None, None)  # type: ignore[arg-type]
    found = await answering.answer(seen, search.DESCRIBE, {"name": "git__git_log"})
    assert found["structuredContent"] == {
        "name": "git__git_log",
        "title": "T",
        "description": "D",
        "inputSchema": schema,
    }


async def test_what_a_server_says_wrongly_of_a_tool_is_left_out() -> None:
    seen = view(GIT, title=5, description=None, inputSchema=[], annotations="x")
    answering = search.Search(None, None, None)  # type: ignore[arg-type]
    found = await answering.answer(seen, search.DESCRIBE, {"name": "git__git_log"})
    assert found["structuredContent"] == {"name": "git__git_log", "inputSchema": {"type": "object"}}
    schema = next(tool for tool in search.definitions(seen) if tool["name"] == search.DESCRIBE)["outputSchema"]
    Draft202012Validator(schema).validate(found["structuredContent"])

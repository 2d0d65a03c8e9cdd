"""Arguments against schemas: what is refused, and what is said about it."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_hub.calls.arguments import check_prompt_arguments, check_tool_arguments
from nexus_hub.errors import InvalidArguments
from nexus_hub.telemetry.bus import subscribe

CANARY = "canary-7f3a"
SCALARS: st.SearchStrategy[Any] = st.sampled_from([CANARY, 7, -1.5, None, True, f"x{CANARY}"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["city", "list", CANARY, f"{CANARY}-2"]), inner, max_size=3)
    ),
    max_leaves=8,
)
RULES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *({"type": "string"}, {"type": ["integer", "null"]}, {"enum": ["a", "b"]}, {"const": "a"}, {"maxLength": 2}),
        *({"minimum": 100}, {"minItems": 9}, {"uniqueItems": True, "type": "array"}, {"format": "uri"}),
        *(
            {"not": {}},
            {"anyOf": [{"type": "boolean"}, {"required": ["x"]}]},
            {"oneOf": [{}, {}]},
            {"minProperties": 9},
        ),
        *({"dependentRequired": {"city": ["x"]}}, {"contains": {"type": "boolean"}}, {"pattern": "^a$"}, False),
        *({"additionalProperties": False}, {"additionalProperties": {"type": "boolean"}}, {"required": ["city", "x"]}),
        *({"propertyNames": {"maxLength": 2}}, {"propertyNames": {"enum": ["a"]}}, {"items": {"type": "boolean"}}),
        *({"unevaluatedProperties": False}, {"patternProperties": {"^c": {"type": "boolean"}}}, {"multipleOf": 4}),
        {"if": {"type": "string"}, "then": False},
    ]
)
SCHEMAS = st.builds(
    lambda rules, own: {"type": "object", "properties": rules} | (own if isinstance(own, dict) else {}),
    st.dictionaries(st.sampled_from(["city", "list"]), RULES),
    RULES,
)


def message(schema: Any, arguments: dict[str, Any]) -> str:
    try:
        check_tool_arguments("srv__tool", schema, arguments)
    except InvalidArguments as error:
        return error.message + "".join(error.problems)
    return ""


@settings(max_examples=300)
@given(SCHEMAS, st.dictionaries(st.sampled_from(["city", "list", CANARY]), VALUES))
def test_what_is_said_holds_no_value_and_no_unknown_name(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert CANARY not in message(schema, arguments)


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([{"name": "city", "required": True}, {"name": "list"}])),
    st.dictionaries(st.sampled_from(["city", "list", CANARY]), VALUES),
)
def test_what_is_said_of_a_prompts_arguments_holds_none_either(declared: list[Any], arguments: dict[str, Any]) -> None:
    said = ""
    try:
        check_prompt_arguments("srv__prompt", {"arguments": declared}, arguments)
    except InvalidArguments as error:
        said = error.message
    assert CANARY not in said


@pytest.mark.parametrize(
    ("schema", "arguments", "said"),
    [
        ({"required": ["city"]}, {}, "'city' is required"),
        (
            {"properties": {"a": {"properties": {"b": {"type": "string"}}}}},
            {"a": {"b": 1}},
            "a.b: must be of type string",
        ),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [1, "x"]}, "a.1: must be of type integer"),
        ({"properties": {"a": {"enum": ["x", "y"]}}}, {"a": "z"}, "a: must be one of x, y"),
        ({"properties": {"a": {"minimum": 5}}}, {"a": 1}, "a: must satisfy minimum 5"),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"b": 1}, "unknown properties; known are: a"),
        ({"properties": {"a": False}}, {"a": 1}, "is not allowed"),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "required": ["city"]}, {}, "'city' is required"),
        ({"required": [f"n{number}" for number in range(30)]}, {}, "'n19', ... is required"),
        (
            {"properties": {"a": {"enum": [[1] * 9, {"x": 1}, True, None]}}},
            {"a": 1},
            "one of a list, an object, true, null",
        ),
        ({"properties": {"a": {"const": 10**5000}}}, {"a": 1}, "must satisfy const a large number"),
        ({"properties": {"a": {"enum": ["x" * 900]}}}, {"a": 1}, f"must be one of {'x' * 80}..."),
    ],
)
def test_a_refusal_names_the_place_and_the_rule(schema: Any, arguments: dict[str, Any], said: str) -> None:
    assert said in message(schema, arguments)


def test_a_refusal_has_at_most_ten_lines_of_moderate_length() -> None:
    with pytest.raises(InvalidArguments) as caught:
        check_tool_arguments("t", {"required": [f"{number}-{'x' * 5000}" for number in range(50)]}, {})
    assert len(caught.value.message) < 10_000
    with pytest.raises(InvalidArguments) as caught:
        check_tool_arguments("t", {"properties": {"a": {"items": {"type": "string"}}}}, {"a": [1] * 50})
    assert len(caught.value.problems) == 10


def test_a_prompts_malformed_declarations_cost_only_themselves() -> None:
    declared = ["city", 7, {}, {"name": 7}, {"name": ["x"]}, {"name": "city", "required": True}]
    with pytest.raises(InvalidArguments, match="'city' is required"):
        check_prompt_arguments("p", {"arguments": declared}, {})
    check_prompt_arguments("p", {"arguments": declared}, {"city": "Paris"})
    check_prompt_arguments("p", {"arguments": "city"}, {"city": 1})


def test_what_is_said_of_many_names_is_short() -> None:
    names = [{"name": f"{number}-{'x' * 5000}", "required": True} for number in range(1000)]
    with pytest.raises(InvalidArguments) as caught:
        check_prompt_arguments("p", {"arguments": names}, {f"other{number}": 1 for number in range(100_000)})
    assert len(caught.value.message) < 10_000
    with pytest.raises(InvalidArguments) as caught:
        check_prompt_arguments("p", {"arguments": [{"name": "a"}]}, {f"other{number}": 1 for number in range(100_000)})
    assert caught.value.problems == ["unknown arguments; known are: a"]


def test_arguments_that_are_not_checked_in_full_are_told_of() -> None:
    told: list[str] = []
    with subscribe(lambda event: told.append(str(event))):
        check_tool_arguments("srv__slow", {"items": {}, "allOf": [{"$ref": "#"}] * 2}, {})
        check_prompt_arguments("srv__wide", {"arguments": [{"name": "a"}] * 1001}, {})
        check_tool_arguments("srv__plain", {"pattern": "x"}, {})
    assert told == ["unchecked tool=srv__slow", "unchecked tool=srv__wide"]


async def test_a_remote_reference_is_not_fetched() -> None:
    asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nfalse")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/schema.json"
    async with server:
        for schema in ({"$ref": url}, {"properties": {"a": {"$ref": f"{url}#/x"}}}, {"$schema": url}, {"$id": url}):
            await asyncio.to_thread(check_tool_arguments, "t", schema, {"a": 1})
    assert not asked.is_set()


def test_a_local_file_is_not_read(tmp_path: Any) -> None:
    file = tmp_path / "schema.json"
    file.write_text("false")
    check_tool_arguments("t", {"$ref": file.as_uri()}, {"a": 1})

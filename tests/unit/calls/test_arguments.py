"""Arguments against schemas: what is refused, what is said about it, and what a hostile schema can do."""

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_hub.calls.arguments import check_prompt_arguments, check_tool_arguments
from nexus_hub.errors import InvalidArguments

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
        (
            {"$schema": "http://json-schema.org/draft-03/schema#", "properties": {"a": {"required": True}}},
            {},
            "must satisfy required",
        ),
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


@pytest.mark.parametrize(
    "schema",
    [
        *(
            {},
            {"type": "no-such-type"},
            {"properties": 7},
            {"required": "city"},
            {"properties": {"a": {"pattern": "("}}},
        ),
        *({"$schema": 7}, {"$schema": ["x"]}, {"$schema": {"x": 1}}, {"$schema": "urn:unknown"}, {"$id": 5}),
        *({"$ref": "#/nowhere"}, {"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"$dynamicRef": "#nowhere"}, {"$ref": 7}),
        *({"$ref": "http://["}, {"$id": "http://["}, {"$schema": "http://["}, {"$ref": "urn:x:y"}),
        {"patternProperties": {"(": {}}},
    ],
)
def test_a_broken_schema_checks_nothing(schema: Any) -> None:
    check_tool_arguments("t", schema, {"a": "b"})


def test_a_schema_that_is_nested_without_end_checks_nothing() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"properties": {"a": deep}}
    check_tool_arguments("t", deep, {"a": {}})


def test_arguments_that_are_nested_deeper_than_a_recursive_schema_can_be_followed_are_not_checked() -> None:
    arguments: dict[str, Any] = {}
    for _ in range(900):
        arguments = {"a": arguments}
    check_tool_arguments("t", {"properties": {"a": {"$ref": "#"}}}, arguments)


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


def test_a_reference_within_the_schema_and_to_the_drafts_own_is_followed() -> None:
    schema = {"$defs": {"city": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/city"}}}
    assert "a: must be of type string" in message(schema, {"a": 1})
    draft = {"properties": {"a": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}}
    assert "a" in message(draft, {"a": {"type": 7}})


DRAFT_7 = "http://json-schema.org/draft-07/schema#"
TREE = {f"a{number}": {"allOf": [{"$ref": f"#/$defs/a{number + 1}"}] * 2} for number in range(40)} | {"a40": {}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, "a" * 40 + "!"),
        ({"properties": {"a": {"$schema": DRAFT_7, "pattern": "^(a+)+$"}}}, "a" * 40 + "!"),
        ({"patternProperties": {"^(a|a)*$": {}}, "additionalProperties": False}, "b"),
        ({"patternProperties": {"^(a|a)*$": {}}, "unevaluatedProperties": False}, "b"),
        ({"propertyNames": {"pattern": "^(a|a)*$"}}, "b"),
        ({"$defs": TREE, "$ref": "#/$defs/a0"}, "b"),
        ({"properties": {"a": {"uniqueItems": True}}}, [{"x": number} for number in range(60_000)]),
        ({"properties": {"a": {"items": {"anyOf": [{"type": "string"}] * 200}}}}, [1] * 100_000),
    ],
)
def test_a_schema_that_would_never_end_is_given_up(schema: Any, value: Any) -> None:
    """Without the bounds this test does not end either: each of the cases takes from minutes to ages."""
    key = "a" if not re.search("patternProperties|propertyNames", str(schema)[:60]) else "a" * 40 + "!"
    message(schema, {key: value})

"""Schemas are read by the draft that they name: a keyword that it does not know says nothing."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.protocols import Validator
from jsonschema.validators import (
    Draft3Validator,
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)

from nexus_hub.calls.evaluation import Evaluation, EvaluationEndedError
from nexus_hub.calls.keywords import find_dialect

JUDGES: dict[str, type[Validator]] = {
    "http://json-schema.org/draft-03/schema#": Draft3Validator,
    "http://json-schema.org/draft-04/schema#": Draft4Validator,
    "http://json-schema.org/draft-06/schema#": Draft6Validator,
    "http://json-schema.org/draft-07/schema#": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
UNKNOWN: list[Any] = ["http://json-schema.org/schema#", "urn:x", 7, {}, [], "x" * 1000 + "draft-07"]
D3, D4, D6, D7, D2019, D2020 = JUDGES
DRAFTS = dict(zip(JUDGES, (3, 4, 6, 7, 2019, 2020), strict=True))


def verdict(schema: Any, value: Any) -> bool | None:
    with suppress(EvaluationEndedError):
        return Evaluation(schema, find_dialect).follow(schema, value, None)
    return None


@pytest.mark.parametrize(
    ("since", "rule", "value"),
    [
        (4, {"allOf": [{"type": "string"}]}, 1),
        (4, {"anyOf": [{"type": "string"}]}, 1),
        (4, {"oneOf": [{"type": "string"}]}, 1),
        (4, {"not": {}}, 1),
        (4, {"multipleOf": 2}, 1),
        (4, {"minProperties": 1}, {}),
        (4, {"maxProperties": 0}, {"a": 1}),
        (6, {"const": 2}, 1),
        (6, {"contains": {"type": "string"}}, [1]),
        (6, {"contains": False}, []),
        (6, {"propertyNames": {"maxLength": 0}}, {"a": 1}),
        (7, {"if": {}, "then": {"type": "string"}}, 1),
        (7, {"if": {"type": "string"}, "else": {"type": "string"}}, 1),
        (2019, {"dependentRequired": {"a": ["b"]}}, {"a": 1}),
        (2019, {"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}),
        (2019, {"contains": {}, "maxContains": 1}, [1, 2]),
        (2019, {"contains": {}, "minContains": 2}, [1]),
        (2020, {"prefixItems": [{"type": "string"}]}, [1]),
    ],
    ids=str,
)
def test_a_keyword_says_nothing_before_the_draft_that_brought_it(since: int, rule: dict[str, Any], value: Any) -> None:
    for name, judge in JUDGES.items():
        assert judge({"$schema": name, **rule}).is_valid(value) is (DRAFTS[name] < since), name
        assert (verdict({"$schema": name, **rule}, value) is not False) is (DRAFTS[name] < since), name
    assert verdict(rule, value) is False


@pytest.mark.parametrize(
    ("rule", "value", "refused"),
    [
        ({"items": [{"type": "string"}], "additionalItems": False}, ["a", 1], {D3, D4, D6, D7, D2019}),
        ({"items": [{"type": "string"}]}, [1], {D3, D4, D6, D7, D2019}),
        ({"prefixItems": [{}], "items": False}, [1], {D3, D4, D6, D7, D2019}),
        ({"minimum": 1, "exclusiveMinimum": True}, 1, {D3, D4}),
        ({"exclusiveMinimum": 1}, 1, {D6, D7, D2019, D2020}),
        ({"dependencies": {"a": ["b"]}}, {"a": 1}, {D3, D4, D6, D7}),
        ({"$ref": "#/definitions/any", "definitions": {"any": {}}, "maxLength": 0}, "x", {D2019, D2020}),
        ({"type": "integer"}, 1.0, set()),
        ({"type": "integer"}, 1.5, set(JUDGES)),
        ({"required": ["a"]}, {}, set(JUDGES) - {D3}),
    ],
    ids=lambda one: str(sorted(one) if isinstance(one, set) else one),
)
def test_a_keyword_means_what_its_draft_says(rule: dict[str, Any], value: Any, refused: set[str]) -> None:
    assert {name for name in JUDGES if verdict({"$schema": name, **rule}, value) is False} == refused


@pytest.mark.parametrize(
    ("name", "draft"),
    [
        *((f"{scheme}://json-schema.org/draft-07/schema{end}", 7) for scheme in ("http", "https") for end in ("", "#")),
        ("https://json-schema.org/draft/2020-12/schema#", 2020),
        ("http://json-schema.org/draft-05/schema#", 4),
        *((unknown, None) for unknown in UNKNOWN),
    ],
    ids=str,
)
def test_a_dialect_is_found_by_its_name(name: Any, draft: int | None) -> None:
    found = find_dialect(name)
    assert (found.newest if found else None) == draft
    assert verdict({"$schema": name, "type": "string"}, 1) is False


def test_a_part_of_another_dialect_is_read_by_its_own() -> None:
    inner = {"$schema": D4, "const": 1}
    assert verdict({"properties": {"a": inner, "b": {"const": 1}}}, {"a": 2}) is True
    assert verdict({"properties": {"a": inner, "b": {"const": 1}}}, {"a": 2, "b": 2}) is False
    assert verdict({"$schema": D4, "properties": {"a": {"$schema": D7, "const": 1}}, "const": 1}, {"a": 2}) is False


def test_the_drafts_before_6_begin_a_document_with_id() -> None:
    inner = {"id": "http://a/inner", "definitions": {"t": {"type": "string"}}, "allOf": [{"$ref": "#/definitions/t"}]}
    outer = {"definitions": {"t": {}}, "properties": {"a": inner}}
    assert verdict({"$schema": D4, **outer}, {"a": 1}) is False
    assert verdict({"$schema": D7, **outer}, {"a": 1}) is True


SCALARS = st.sampled_from([None, True, 0, 1, 2, 1.0, 1.5, "", "a", "bb"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
NAMES = st.lists(st.sampled_from("abc"), max_size=2, unique=True)
TYPES = st.sampled_from(["string", "object", "array", "number", "integer", "boolean", "null"])


def rules(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some, named = st.lists(inner, min_size=1, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    counts = ("minimum", "maximum", "maxLength", "minItems", "maxProperties", "minContains", "maxContains")
    schemas = ("not", "if", "then", "else", "contains", "additionalProperties", "additionalItems", "propertyNames")
    members: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(counts, st.integers(0, 2)),
        **dict.fromkeys(schemas, inner),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), some),
        **dict.fromkeys(("properties", "dependentSchemas"), named),
        **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), st.integers(0, 2) | st.booleans()),
        **dict.fromkeys(("multipleOf", "divisibleBy"), st.sampled_from([1, 2])),
        "items": inner | some,
        "dependencies": st.dictionaries(st.sampled_from("abc"), NAMES | inner, max_size=2),
        "dependentRequired": st.dictionaries(st.sampled_from("abc"), NAMES, max_size=2),
        "required": NAMES | st.booleans(),
        "type": TYPES | st.just("any"),
        "enum": st.lists(VALUES, max_size=2),
        "const": VALUES,
        "$ref": st.just("#/definitions/a"),
    }
    return st.sets(st.sampled_from(sorted(members)), max_size=4).flatmap(
        lambda chosen: st.fixed_dictionaries({name: members[name] for name in sorted(chosen)})
    )


DOCUMENTS: st.SearchStrategy[Any] = st.recursive(st.booleans() | st.just({}), rules, max_leaves=6)


@pytest.mark.parametrize("name", JUDGES)
@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, DOCUMENTS, st.lists(VALUES, min_size=1, max_size=4))
def test_what_is_sure_is_so_in_every_draft(name: str, document: Any, definition: Any, values: list[Any]) -> None:
    """The library of the reference implementation in Python is the judge, of what that draft takes for a schema."""
    whole = {"$schema": name, "definitions": {"a": definition}, "properties": {"a": document}, "items": document}
    judge = JUDGES[name]
    meta = judge(judge.META_SCHEMA)
    if not (meta.is_valid(whole) and meta.is_valid(definition)):  # draft 3 knows no `definitions`
        return
    for value in values:
        for held in ({"a": value}, [value]):
            if (told := verdict(whole, held)) is None:
                continue
            # The judge itself fails at references in circles, and at `additionalItems` beside a boolean `items`.
            with suppress(RecursionError, TypeError):
                assert told is judge(whole).is_valid(held)

"""Schemas: what surely breaks them, what only their server can say, and that nothing makes a check long."""

import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator

from nexus_hub.calls.evaluation import MOST_PROBLEMS, MOST_STEPS, Evaluation, EvaluationEndedError
from nexus_hub.calls.keywords import KEYWORDS, find_dialect
from nexus_hub.calls.schemas import Findings, Schema
from tests.fixtures.hostile_schemas import HOSTILE, Pair

MOST_CALLS = 30 * MOST_STEPS
"""Calls of functions, those written in C among them, that a check may make."""
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def verdict(schema: Any, value: Any) -> bool | None:
    with suppress(EvaluationEndedError):
        return Evaluation(schema, find_dialect).follow(schema, value, None)
    return None


def type_name(value: Any) -> str:
    """Name a case: the largest numbers can't be written out."""
    return value[:30] if isinstance(value, str) else type(value).__name__


class TooManyCallsError(BaseException):
    pass


def count_calls(work: Callable[[], Any]) -> int:
    calls = 0

    def count(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls > MOST_CALLS:
            raise TooManyCallsError

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_no_schema_and_no_value_make_a_check_long(make: Callable[[], Pair]) -> None:
    """It ends early if it must, and then says so, and says the same again whatever the machine does beside it."""
    document, value = make()
    findings: list[Findings] = []
    assert count_calls(lambda: findings.append(Schema(document).check(value))) < MOST_CALLS
    assert findings[0].is_complete or len(findings[0].problems) < MOST_PROBLEMS
    assert findings == [Schema(document).check(value)]


class Spy(str):
    """A text that counts how often it is written out."""

    __slots__ = ()
    written = 0

    def __repr__(self) -> str:
        Spy.written += 1
        return "..."

    __str__ = __repr__


@pytest.mark.parametrize("keyword", sorted(KEYWORDS), ids=type_name)
def test_no_keyword_writes_out_a_value(keyword: str) -> None:
    rules: list[Any] = [
        False,
        True,
        0,
        0.5,
        "x",
        "string",
        [],
        [False],
        ["x"],
        {},
        {"a": False},
        {"a": ["b"]},
        {"not": {}},
    ]
    Spy.written = 0
    for rule in rules:
        for value in (Spy("x"), [Spy("x"), Spy("x")], {"a": Spy("x")}, {"a": [Spy("x")]}):
            Schema({"$schema": DRAFT_7, keyword: rule}).check(value)
            Schema({keyword: rule, "additionalItems": False}).check(value)
    assert Spy.written == 0


@pytest.mark.parametrize(
    ("value", "of", "is_multiple"),
    [
        *((19.99, 0.01, True), (0.3, 0.1, True), (4.35, 0.01, True), (1.1, 0.1, True), (-19.99, 0.01, True)),
        *((19.999, 0.01, False), (0.35, 0.1, False), (7.5, 2.5, True), (7.5, 1, False), (7, 0.5, True), (7, 2, False)),
        *((1e308, 0.01, True), (1e308, 3, False), (5e-324, 5e-324, True), (1e-7, 1e-8, True), (1e-8, 1e-7, False)),
        *((1.7e308, 5e-324, True), (0, 0.01, True), (0.0, 0.01, True), (0, 7, True), (12.0, 3, True), (True, 2, True)),
        *(
            (10**400, 10, True),
            (10**400 + 1, 10, False),
            (2**53 + 1, 2, False),
            (123456789.01, 0.01, True),
            ("x", 2, True),
        ),
        *((10**400, 0.01, True), (Decimal("19.99"), 0.01, True), (19.999, Decimal("0.01"), False), (1, 1e308, False)),
    ],
    ids=type_name,
)
def test_decimals_are_divided_as_on_paper(value: Any, of: Any, is_multiple: bool) -> None:
    assert verdict({"multipleOf": of}, value) is is_multiple


@pytest.mark.parametrize(
    ("value", "of"),
    [
        *((5, 0), (5, -1), (5, 0.0), (5, "x"), (5, None), (5, True), (5, float("inf")), (5, float("nan"))),
        *((float("inf"), 2), (1 << 100_000, 3), (3, 1 << 100_000), (Decimal("1" * 9000), 3)),
        *((Decimal("1e999999999"), 3), (3, Decimal("1e-999999999"))),
    ],
    ids=type_name,
)
def test_a_division_that_makes_no_sense_or_is_too_long_is_left_to_the_server(value: Any, of: Any) -> None:
    assert verdict({"multipleOf": of}, value) is None


NUMBERS: list[Any] = [
    0,
    -0.0,
    1,
    1.0,
    0.1,
    1e308,
    -1e308,
    5e-324,
    10**400,
    -(10**5000),
    1 << 200_000,
    float("inf"),
    float("nan"),
]
NUMBERS += [Decimal("0.1"), Decimal("1e999999999"), Decimal("-1e-999999999"), Decimal("NaN"), Decimal("Infinity")]


@pytest.mark.parametrize("keyword", sorted(KEYWORDS), ids=type_name)
@pytest.mark.parametrize(
    "rule",
    [1, 0.1, 10**400, 1e308, Decimal("0.1"), [1, 10**400], {"type": "integer"}, {"minimum": 0}, True],
    ids=type_name,
)
def test_a_number_of_any_size_or_form_ends_no_check(keyword: str, rule: Any) -> None:
    for number in NUMBERS:
        for value in (number, [number, number], {"a": number}):
            check = Evaluation({}, find_dialect)
            check.follow({keyword: rule}, value, None)


@pytest.mark.parametrize(
    ("schema", "value", "right"),
    [
        *(
            ({"const": 1}, 1.0, True),
            ({"const": 1}, True, False),
            ({"enum": [0]}, False, False),
            ({"const": 0.1}, Decimal("0.1"), True),
        ),
        *(({"uniqueItems": True}, [1, 1.0], False), ({"uniqueItems": True}, [1, True, "1", None, [1]], True)),
        *(
            ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
            ({"uniqueItems": True}, ["a", "a"], False),
        ),
        *(
            ({"uniqueItems": True}, [0.5, Decimal("0.50")], False),
            ({"uniqueItems": True}, [1e22, Decimal("1E+22")], False),
        ),
        *(({"uniqueItems": True}, [["a,b"], ["a", "b"]], True), ({"uniqueItems": False}, [1, 1], True)),
        *(
            ({"minimum": 0.1}, Decimal("0.1"), True),
            ({"maximum": 10**400}, 1e308, True),
            ({"type": "integer"}, 1.0, True),
        ),
        *(
            ({"type": "number"}, True, False),
            ({"minLength": 2}, "\U0001f600", False),
            ({"maxItems": 1.0}, [1, 2], False),
        ),
        *(
            ({"items": [{"type": "string"}], "additionalItems": False}, ["a", 1], False),
            ({"minContains": 0, "contains": False}, [], True),
        ),
        ({"$schema": DRAFT_4, "minimum": 1, "exclusiveMinimum": True}, 1, False),
        ({"$schema": DRAFT_7, "$ref": "#/definitions/a", "type": "string", "definitions": {"a": {}}}, 1, True),
        ({"$schema": DRAFT_7, "dependencies": {"a": ["b"]}}, {"a": 1}, False),
        ({"$schema": DRAFT_7, "dependencies": {"a": {"required": ["b"]}}}, {"a": 1}, False),
        ({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "string"}}}, 1, False),
        ({"$ref": "#/allOf/1", "allOf": [{}, {"type": "string"}]}, 1, False),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["b"]}, {"b": 1, "a": {}}, False),
        (
            {
                "$defs": {"a": {"$id": "inner", "$defs": {"b": False}, "$ref": "#/$defs/b"}, "b": {}},
                "$ref": "#/$defs/a",
            },
            1,
            False,
        ),
    ],
    ids=type_name,
)
def test_a_rule_is_read_as_its_draft_means_it(schema: Any, value: Any, right: bool) -> None:
    assert verdict(schema, value) is right


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        *(
            ({"pattern": "^a$"}, "b"),
            ({"format": "uri"}, "b"),
            ({"not": {"pattern": "^a$"}}, "b"),
            ({"not": {"format": "uri"}}, "b"),
        ),
        ({"oneOf": [{"pattern": "^a$"}, {"pattern": "^b$"}]}, "b"),
        ({"oneOf": [{"type": "string"}, {"pattern": "^b$"}]}, "b"),
        ({"anyOf": [{"pattern": "^a$"}, {"type": "null"}]}, "b"),
        ({"if": {"pattern": "^a$"}, "then": False}, "b"),
        ({"if": {"pattern": "^a$"}, "else": False}, "b"),
        ({"contains": {"pattern": "^a$"}}, ["b"]),
        ({"contains": {"pattern": "^a$"}, "maxContains": 1}, ["b", "c"]),
        ({"not": {"additionalProperties": False, "patternProperties": {"^a$": {}}}}, {"b": 1}),
        ({"propertyNames": {"not": {"pattern": "^a$"}}}, {"b": 1}),
        ({"not": {"$ref": "other.json"}}, 1),
        ({"not": {"$ref": "#/nowhere"}}, 1),
        ({"not": {"type": "no-such-type"}}, 1),
        ({"not": {"minimum": "x"}}, 1),
        ({"not": {"unevaluatedProperties": False}}, {"a": 1}),
        ({"oneOf": [{"items": {"$dynamicRef": "#x"}}, {"type": "array"}]}, [1]),
    ],
    ids=type_name,
)
def test_what_only_the_server_can_say_is_no_error_in_any_place(schema: Any, value: Any) -> None:
    assert verdict(schema, value) is None


@pytest.mark.parametrize(
    "schema",
    [
        *({}, True, None, 7, "none", [], [1], {"type": "no-such-type"}, {"properties": 7}, {"required": "city"}),
        *({"properties": {"a": {"pattern": "("}}}, {"$schema": 7}, {"$schema": ["x"]}, {"$schema": {"x": 1}}),
        *({"$schema": "urn:unknown"}, {"$id": 5}, {"$ref": "#/nowhere"}, {"$ref": "#"}, {"allOf": [{"$ref": "#"}]}),
        *({"$dynamicRef": "#nowhere"}, {"$ref": 7}, {"$ref": "http://["}, {"$id": "http://["}, {"$schema": "http://["}),
        *(
            {"$ref": "urn:x:y"},
            {"patternProperties": {"(": {}}},
            {"$ref": "#/allOf/9", "allOf": [{}]},
            {"$ref": "#/allOf/x"},
        ),
        *(
            {keyword: rule}
            for keyword in KEYWORDS
            for rule in ("x", None, [7], {"x": 7})
            if keyword not in ("const", "enum", "not")
        ),
    ],
    ids=type_name,
)
def test_a_broken_rule_checks_nothing(schema: Any) -> None:
    for value in ({"a": "b"}, {}):
        assert Schema(schema).check(value).problems == []


def test_a_broken_rule_costs_only_itself() -> None:
    schema = {
        "properties": {"a": {"type": "no-such-type"}, "b": {"type": "string"}},
        "required": 7,
        "minProperties": "x",
    }
    (problem,) = Schema(schema).check({"a": 1, "b": 1}).problems
    assert (problem.place, problem.keyword) == (("b",), "type")


def test_what_is_sure_is_said_also_when_the_rest_takes_too_long() -> None:
    schema = {"required": ["city"], "allOf": [{"$ref": "#/$defs/a"}] * 90_000, "$defs": {"a": {"maxProperties": 9}}}
    findings = Schema(schema).check({})
    assert not findings.is_complete
    assert [problem.names for problem in findings.problems] == [("city",)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"properties": {f"p{n}": {"type": "string", "description": "d" * 200} for n in range(700)}},
            {f"p{n}": "x" for n in range(700)},
        ),
        ({"properties": {"a": {"type": "string", "maxLength": 900_000}}, "required": ["a"]}, {"a": "x" * 700_000}),
        ({"properties": {"a": {"items": {"type": "string"}}}}, {"a": ["x" * 200] * 3_000}),
        (
            {"properties": {"a": {"uniqueItems": True, "items": {"type": "string"}}}},
            {"a": [f"{n}" for n in range(3_000)]},
        ),
        ({"properties": {"a": {"enum": [f"model-{n}" for n in range(10_000)]}}}, {"a": "model-9999"}),
        (
            {
                "$defs": {"t": {"properties": {"c": {"items": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/t"}]}}}}},
                "$ref": "#/$defs/t",
            },
            {"c": [{"c": [{"c": [None, {}]}] * 5}] * 20},
        ),
    ],
    ids=type_name,
)
def test_an_ordinary_large_tool_is_checked_in_full(schema: Any, value: Any) -> None:
    assert Schema(schema).check(value).is_complete
    assert verdict(schema, value) is True


SCALARS = st.sampled_from([None, True, False, 0, 1, 2, 1.0, 1.5, -3, "", "a", "bb", "x" * 5])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
)
NAMES = st.lists(st.sampled_from("abcd"), max_size=3, unique=True)
COUNTS = st.integers(0, 3)
TYPES = st.sampled_from(["string", "object", "array", "number", "integer", "boolean", "null"])


def rules(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some, named = st.lists(inner, min_size=1, max_size=3), st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    counts = dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), COUNTS)
    counts |= dict.fromkeys(("minContains", "maxContains", "minimum", "exclusiveMaximum"), COUNTS)
    lists = dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), some)
    one = dict.fromkeys(
        ("not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames"), inner
    )
    members: dict[str, st.SearchStrategy[Any]] = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
        "required": NAMES,
        "properties": named,
        "enum": st.lists(VALUES, max_size=3),
        "const": VALUES,
        "uniqueItems": st.booleans(),
        "dependentSchemas": named,
        "dependentRequired": st.dictionaries(st.sampled_from("abcd"), NAMES, max_size=2),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "pattern": st.just("^a"),
        **counts,
        **lists,
        **one,
    }
    return st.sets(st.sampled_from(sorted(members)), max_size=4).flatmap(
        lambda chosen: st.fixed_dictionaries({name: members[name] for name in sorted(chosen)})
    )


DOCUMENTS: st.SearchStrategy[Any] = st.recursive(st.booleans() | st.just({"$ref": "#/$defs/a"}), rules, max_leaves=6)


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, DOCUMENTS, st.lists(VALUES, min_size=1, max_size=4))
def test_what_is_sure_is_so(document: Any, definition: Any, values: list[Any]) -> None:
    """The library of the reference implementation in Python is the judge, where it comes to an end."""
    whole = {"$defs": {"a": definition}, "allOf": [document]}
    for value in values:
        if (told := verdict(whole, value)) is not None:
            try:
                right = Draft202012Validator(whole).is_valid(value)
            except BaseException as error:
                if "RecursionError" not in f"{type(error).__name__} {error}":
                    raise
                continue  # its library of persistent maps, in Rust, panics instead
            assert told is right

"""Keywords of JSON Schema, drafts 3 to 2020-12, each at a cost that it pays for.

A keyword says nothing if its rule has not the form that it must have, or can't be followed in a bounded time: what a
server says badly costs only what it said badly. No regular expression is run, since one can take for ever and can't be
stopped, and formats are left to the server, which may know more or fewer of them.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sized
from decimal import Decimal
from itertools import islice
from typing import Any

from nexus_hub.calls import json_values
from nexus_hub.calls.evaluation import Dialect, Evaluation, Keyword, Place, Verdict
from nexus_hub.calls.json_values import MOST_NAMES_SHOWN, cost_of, is_number, show

Schema = dict[str, Any]

_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "number": is_number,
    "integer": json_values.is_whole,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _unsaid(*_: Any) -> Verdict:
    return None


def _type(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    names = rule if isinstance(rule, list) else [rule]
    check.spend(len(names) * (1 + (cost_of(value) if isinstance(value, Decimal) else 0)) >> 2)
    unknown = False
    for name in names:
        is_type = _TYPES.get(name) if isinstance(name, str) else None
        if is_type is None:
            unknown = True
        elif is_type(value):
            if name == "integer" and check.dialect.newest <= 4 and not isinstance(value, int):
                unknown = True  # 1.0 is none by the letter of these drafts, and is one for many who read them
                continue
            return True
    return None if unknown or not names else check.tell(place, "type", rule)


def _enum(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(rule, list):
        return None
    check.spend(len(rule) >> 3)
    likely = rule
    if isinstance(value, str):
        likely = [one for one in rule if isinstance(one, str) and len(one) == len(value)]
    return any(json_values.equal(one, value, check.spend) for one in likely) or check.tell(place, "enum", rule)


def _const(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    return json_values.equal(rule, value, check.spend) or check.tell(place, "const", rule)


def _limit(keyword: str, exclusive: str, is_over: Callable[[Any, Any], bool]) -> Keyword:
    """Make a limit of numbers; draft 4 says beside it whether the number itself is allowed."""

    def limit(check: Evaluation, rule: Any, value: Any, schema: Schema, place: Place) -> Verdict:
        if not exclusive and check.dialect.oldest <= 4 and isinstance(rule, bool):
            return True
        if not is_number(rule) or (not exclusive and check.dialect.newest <= 4):
            return None
        if not is_number(value):
            return True
        check.spend(cost_of(value))
        bound, number = json_values.order(rule, value)
        beside = schema.get(exclusive) if check.dialect.oldest <= 4 else None
        if check.dialect.newest <= 4 and not isinstance(beside, bool | None):
            return None
        if is_over(number, bound) or (beside is True and number == bound):
            return check.tell(place, keyword, rule)
        return True

    return limit


def _size(keyword: str, kind: type[Sized], is_over: Callable[[int, Any], bool]) -> Keyword:
    def size(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
        if not is_number(rule):
            return None
        return not (isinstance(value, kind) and is_over(len(value), rule)) or check.tell(place, keyword, rule)

    return size


def _multiple_of(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not is_number(rule):
        return None
    told = not is_number(value) or json_values.is_multiple(value, rule, check.spend)
    return check.tell(place, "multipleOf", rule) if told is False else told


def _required(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(rule, list) or check.dialect.newest == 3:
        return None
    missing = _missing(check, rule, value) if isinstance(value, dict) else ()
    return not missing or check.tell(place, "required", rule, missing)


def _missing(check: Evaluation, names: list[Any], value: Schema) -> tuple[str, ...]:
    """Find names that a value lacks, as many as are shown and one more."""
    return tuple(
        islice((show(name) for name in names if isinstance(name, str) and not _has(check, value, name)), _ENOUGH)
    )


def _has(check: Evaluation, members: Schema, name: str) -> bool:
    check.spend(1)
    if name not in members:
        return False
    check.spend(cost_of(name))
    return True


def _dependent_required(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(rule, dict):
        return None
    for name in _shared(check, rule, value):
        if isinstance(rule[name], list) and (missing := _missing(check, rule[name], value)):
            return check.tell(place, "required", rule[name], missing)
    return True


def _dependent_schemas(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(rule, dict):
        return None
    return check.follow_each((rule[name], value, place) for name in _shared(check, rule, value))


def _dependencies(check: Evaluation, rule: Any, value: Any, schema: Schema, place: Place) -> Verdict:
    """Take both in one, as drafts up to 7 do."""
    if check.dialect.newest > 7 or not isinstance(rule, dict):
        return None
    check.spend(len(rule))
    schemas = {name: one for name, one in rule.items() if not isinstance(one, list)}
    named = _dependent_required(check, rule, value, schema, place)
    return named and _dependent_schemas(check, schemas, value, schema, place)


def _shared(check: Evaluation, rule: Schema, value: Any) -> Iterator[str]:
    """Find names that a rule and a value have in common, going through the fewer ones."""
    if isinstance(value, dict):
        fewer, others = (rule, value) if len(rule) <= len(value) else (value, rule)
        check.spend(len(fewer) >> 3)
        for name in fewer:
            if name in others:
                check.spend(cost_of(name))
                yield name


def _properties(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(rule, dict):
        return None
    verdict = check.follow_each((rule[name], value[name], (place, name)) for name in _shared(check, rule, value))
    return None if verdict and check.dialect.newest == 3 else verdict  # there each says itself that it is required


def _additional_properties(check: Evaluation, rule: Any, value: Any, schema: Schema, place: Place) -> Verdict:
    if not isinstance(value, dict) or rule is True:
        return True
    known = schema.get("properties") or {}
    if not isinstance(known, dict):
        return None
    additional = (name for name in value if not _has(check, known, name))
    if schema.get("patternProperties"):  # only regular expressions tell which ones are additional
        return None if any(True for _ in additional) else True
    if rule is False:
        names = tuple(show(name) for name in islice(known, _ENOUGH))
        return not any(True for _ in additional) or check.tell(place, "additionalProperties", rule, names)
    return check.follow_each((rule, value[name], (place, "*")) for name in additional)


def _pattern_properties(_check: Evaluation, rule: Any, value: Any, _: Schema, _place: Place) -> Verdict:
    return None if rule and isinstance(value, dict) and value else True


def _property_names(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    return not isinstance(value, dict) or check.follow_each((rule, name, place) for name in value)


def _items(check: Evaluation, rule: Any, value: Any, schema: Schema, place: Place) -> Verdict:
    if not isinstance(value, list):
        return True
    if isinstance(rule, list):
        return _by_position(check, rule, value, place) if check.dialect.oldest < 2020 else None
    first = schema.get("prefixItems") if check.dialect.newest >= 2020 else None
    return _rest(check, rule, value, len(first) if isinstance(first, list) else 0, place)


def _prefix_items(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(rule, list):
        return None
    return not isinstance(value, list) or _by_position(check, rule, value, place)


def _additional_items(check: Evaluation, rule: Any, value: Any, schema: Schema, place: Place) -> Verdict:
    first = schema.get("items")
    return not (isinstance(value, list) and isinstance(first, list)) or _rest(check, rule, value, len(first), place)


def _by_position(check: Evaluation, rules: list[Any], value: list[Any], place: Place) -> Verdict:
    pairs = enumerate(zip(rules, value, strict=False))
    return check.follow_each((rule, item, (place, index)) for index, (rule, item) in pairs)


def _rest(check: Evaluation, rule: Any, value: list[Any], start: int, place: Place) -> Verdict:
    if rule is True:
        return True
    return check.follow_each((rule, value[index], (place, index)) for index in range(start, len(value)))


def _contains(check: Evaluation, rule: Any, value: Any, schema: Schema, place: Place) -> Verdict:
    if not isinstance(value, list):
        return True
    counts = schema if check.dialect.newest >= 2019 else {}
    least, most = counts.get("minContains", 1), counts.get("maxContains", len(value))
    if not is_number(least) or not is_number(most):
        return None
    found, unsure = _count(check, (check.attempt(rule, item) for item in value))
    if found > most or found + unsure < least:
        return check.tell(place, "contains")
    return True if found >= least and found + unsure <= most else None


def _count(check: Evaluation, verdicts: Iterable[Verdict]) -> tuple[int, int]:
    """Count what surely fits, and what may."""
    found = unsure = 0
    for verdict in verdicts:
        found += verdict is True
        unsure += verdict is None
    return found, unsure


def _unique_items(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(value, list) or rule is False:
        return True
    if rule is not True:
        return None
    return not json_values.has_repeats(value, check.spend) or check.tell(place, "uniqueItems")


def _all_of(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    return check.follow_each((one, value, place) for one in rule) if isinstance(rule, list) else None


def _any_of(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(rule, list):
        return None
    unsure = not rule
    for one in rule:
        verdict = check.attempt(one, value)
        if verdict:
            return True
        unsure |= verdict is None
    return None if unsure else check.tell(place, "anyOf")


def _one_of(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    if not isinstance(rule, list) or not rule:
        return None
    found, unsure = _count(check, (check.attempt(one, value) for one in rule))
    if found > 1 or found + unsure == 0:
        return check.tell(place, "oneOf")
    return None if unsure else True


def _not(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    verdict = check.attempt(rule, value)
    return check.tell(place, "not") if verdict else None if verdict is None else True


def _if(check: Evaluation, rule: Any, value: Any, schema: Schema, place: Place) -> Verdict:
    if "then" not in schema and "else" not in schema:
        return True
    verdict = check.attempt(rule, value)
    return None if verdict is None else check.follow(schema.get("then" if verdict else "else", True), value, place)


def _ref(check: Evaluation, rule: Any, value: Any, _: Schema, place: Place) -> Verdict:
    return check.refer(rule, value, place)


_ENOUGH = MOST_NAMES_SHOWN + 1

KEYWORDS: dict[str, Keyword] = {
    "$ref": _ref,
    "additionalItems": _additional_items,
    "additionalProperties": _additional_properties,
    "allOf": _all_of,
    "anyOf": _any_of,
    "const": _const,
    "contains": _contains,
    "dependencies": _dependencies,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "enum": _enum,
    "exclusiveMaximum": _limit("exclusiveMaximum", "", operator.ge),
    "exclusiveMinimum": _limit("exclusiveMinimum", "", operator.le),
    "if": _if,
    "items": _items,
    "maxItems": _size("maxItems", list, operator.gt),
    "maxLength": _size("maxLength", str, operator.gt),
    "maxProperties": _size("maxProperties", dict, operator.gt),
    "maximum": _limit("maximum", "exclusiveMaximum", operator.gt),
    "minItems": _size("minItems", list, operator.lt),
    "minLength": _size("minLength", str, operator.lt),
    "minProperties": _size("minProperties", dict, operator.lt),
    "minimum": _limit("minimum", "exclusiveMinimum", operator.lt),
    "multipleOf": _multiple_of,
    "not": _not,
    "oneOf": _one_of,
    "patternProperties": _pattern_properties,
    "prefixItems": _prefix_items,
    "properties": _properties,
    "propertyNames": _property_names,
    "required": _required,
    "type": _type,
    "uniqueItems": _unique_items,
}
KEYWORDS |= dict.fromkeys(("format", "pattern", "unevaluatedItems", "unevaluatedProperties"), _unsaid)
KEYWORDS |= dict.fromkeys(("$dynamicRef", "$recursiveRef", "extends", "disallow", "divisibleBy"), _unsaid)

_DRAFT_3 = {
    *("$ref", "additionalItems", "additionalProperties", "dependencies", "disallow", "divisibleBy", "enum"),
    *("exclusiveMaximum", "exclusiveMinimum", "extends", "format", "items", "maxItems", "maxLength", "maximum"),
    *("minItems", "minLength", "minimum", "pattern", "patternProperties", "properties", "required", "type"),
    "uniqueItems",
}
_DRAFT_4 = (_DRAFT_3 - {"disallow", "divisibleBy", "extends"}) | {
    *("allOf", "anyOf", "maxProperties", "minProperties", "multipleOf", "not", "oneOf"),
}
_DRAFT_6 = _DRAFT_4 | {"const", "contains", "propertyNames"}
_DRAFT_7 = _DRAFT_6 | {"if"}
_DRAFT_2019 = _DRAFT_7 | {
    *("$recursiveRef", "dependentRequired", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties"),
}
_DRAFT_2020 = (_DRAFT_2019 - {"$recursiveRef", "additionalItems"}) | {"$dynamicRef", "prefixItems"}


def _dialect(draft: int, names: set[str]) -> Dialect:
    return Dialect(draft, draft, {name: KEYWORDS[name] for name in names})


_UNDECLARED = Dialect(3, 2020, KEYWORDS)
"""The dialect where no `$schema` says which: what some draft means by a keyword counts."""
_DIALECTS = {
    "draft-03": _dialect(3, _DRAFT_3),
    "draft-04": _dialect(4, _DRAFT_4),
    "draft-05": _dialect(4, _DRAFT_4),
    "draft-06": _dialect(6, _DRAFT_6),
    "draft-07": _dialect(7, _DRAFT_7),
    "2019-09": _dialect(2019, _DRAFT_2019),
    "2020-12": _dialect(2020, _DRAFT_2020),
}


def find_dialect(name: Any) -> Dialect | None:
    """Find the dialect that a `$schema` names, or that of schemas without one; None for what nobody knows."""
    if name is None:
        return _UNDECLARED
    said = name[:200] if isinstance(name, str) else ""
    return next((dialect for part, dialect in _DIALECTS.items() if part in said), None)

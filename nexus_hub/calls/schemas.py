"""JSON schemas of upstream servers, followed within bounds.

Whoever runs an upstream server writes them: nothing that one names is fetched, and checking never takes long. No
regular expression of a schema is run, since one can take for ever and can't be stopped; the server itself checks those.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from itertools import islice
from typing import Any

import attrs
from jsonschema import ValidationError, validators
from jsonschema.validators import Draft202012Validator, validator_for
from jsonschema_specifications import REGISTRY

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

LONGEST_SECONDS = 0.5
LONGEST_SECONDS_IN_ALL = 2.0
"""Time that one schema is followed for all values that are held against it; afterwards it checks nothing."""
MOST_ERRORS = 100
_MOST_UNIQUE_ITEMS = 200
_IGNORED = {"pattern", "patternProperties", "unevaluatedProperties", "unevaluatedItems"}
_DEADLINE: ContextVar[float] = ContextVar("nexus_hub_schema_deadline")


class Schema:
    """A schema to hold values against; one that is broken, or takes too long to follow, checks nothing."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._left = LONGEST_SECONDS_IN_ALL
        self._validator: Any = None
        with self._bounded():
            kind = _bounded(validator_for(schema, default=Draft202012Validator))
            if not any(True for _ in kind(kind.META_SCHEMA, registry=REGISTRY).iter_errors(schema)):
                self._validator = kind(schema, registry=REGISTRY)

    def errors(self, value: Any) -> list[ValidationError]:
        """Find where a value breaks the schema, at most 100 places."""
        errors: list[ValidationError] = []
        if self._validator is not None and self._left > 0:
            with self._bounded():
                errors = list(islice(self._validator.iter_errors(value), MOST_ERRORS))
        return errors

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Follow it for a while only; it can be broken in more ways than can be named, endless recursion among them."""
        began = time.monotonic()
        _DEADLINE.set(began + LONGEST_SECONDS)
        with suppress(Exception):
            yield
        self._left -= time.monotonic() - began


@cache
def _bounded(kind: Any) -> Any:
    keywords: dict[str, Any] = {name: _timed(check) for name, check in kind.VALIDATORS.items() if name not in _IGNORED}
    keywords |= {name: limit(keywords[name]) for name, limit in _LIMITED.items() if name in keywords}
    bounded: Any = validators.create(
        meta_schema=kind.META_SCHEMA, validators=keywords, type_checker=kind.TYPE_CHECKER, id_of=kind.ID_OF
    )
    # A `$schema` somewhere within a schema would put a validator without bounds in place of this one.
    bounded.evolve = attrs.evolve
    return bounded


def _timed(check: Keyword) -> Keyword:
    def timed(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError] | None:
        if time.monotonic() > _DEADLINE.get():
            raise TimeoutError
        return check(validator, rule, value, schema)

    return timed


def _few_items(check: Keyword) -> Keyword:
    """Comparing every item with every other one is for few of them."""

    def few(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError] | None:
        if isinstance(value, list) and len(value) > _MOST_UNIQUE_ITEMS:
            return None
        return check(validator, rule, value, schema)

    return few


def _named_properties(check: Keyword) -> Keyword:
    """Beside `patternProperties`, only regular expressions tell which properties are additional."""

    def named(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError] | None:
        return None if "patternProperties" in schema else check(validator, rule, value, schema)

    return named


_LIMITED = {"uniqueItems": _few_items, "additionalProperties": _named_properties}

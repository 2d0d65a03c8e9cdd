"""Evaluation of a JSON schema, in so many steps at most.

Upstream servers write the schemas and users the values, so that nothing in either may decide what an evaluation costs.
Each step takes about a microsecond whatever stands in it, and the steps are counted: loops, texts that are compared and
names that are looked up are paid for before they are gone through. A clock would make the answer depend on the
machine's load.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

Verdict = bool | None
"""True and False are sure. None: nothing here says, and the server itself will."""
Place = tuple[Any, str | int] | None
"""The way to a value, the last step first; a name that the schema does not know stands as `*`."""

MOST_STEPS = 12_000
DEEPEST = 150
MOST_PROBLEMS = 100
_LONGEST_REFERENCE = 1_000


class EvaluationEndedError(Exception):
    """The steps are used up, or enough has been found."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A place that breaks a rule; it knows nothing of the value there. `names` are the schema's own."""

    place: tuple[str, ...]
    keyword: str | None
    rule: Any = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dialect:
    """A draft of JSON Schema by its number or year, or where nobody says which one all of them, and its keywords."""

    oldest: int
    newest: int
    keywords: Mapping[str, "Keyword"]


class Evaluation:
    """A value held against a schema; keywords get it, their rule, the value, the schema around it and the place.

    `find_dialect` gives the dialect of what `$schema` says, and that of schemas without it for None.
    """

    def __init__(self, document: Any, find_dialect: Callable[[Any], Dialect | None], steps: int = MOST_STEPS) -> None:
        dialect = find_dialect(None)
        if dialect is None:
            raise ValueError("there is no dialect of schemas that name none")
        self.dialect = dialect
        self._find_dialect = find_dialect
        self.problems: list[Violation] = []
        self.is_complete = True
        self.quiet = 0
        self._steps = steps
        self._depth = 0
        self._resource = document
        self._found: dict[tuple[int, str], Any] = {}

    def run(self, value: Any) -> None:
        """Follow the whole schema, until it ends or has to be ended."""
        try:
            self.follow(self._resource, value, None)
        except EvaluationEndedError:
            pass
        except Exception:  # of a schema or a value that nobody has thought of, too deep a recursion among them
            self.is_complete = False

    def spend(self, steps: int) -> None:
        """Pay for what comes next."""
        self._steps -= steps
        if self._steps < 0:
            self.is_complete = False
            raise EvaluationEndedError

    def tell(self, place: Place, keyword: str | None, rule: Any = None, names: tuple[str, ...] = ()) -> bool:
        """Note that a rule is broken, unless that is only being tried."""
        if not self.quiet:
            self.spend(20)
            self.problems.append(Violation(_steps(place), keyword, rule, names))
            if len(self.problems) >= MOST_PROBLEMS:
                raise EvaluationEndedError
        return False

    def attempt(self, schema: Any, value: Any) -> Verdict:
        """Try a schema, noting nothing."""
        self.quiet += 1
        verdict = self.follow(schema, value, None)
        self.quiet -= 1
        return verdict

    def follow(self, schema: Any, value: Any, place: Place) -> Verdict:
        """Hold a value against a schema within the document; what is no schema says nothing."""
        if not isinstance(schema, dict):
            self.spend(1)
            return self.tell(place, None) if schema is False else schema is True or None
        self.spend(2 + (len(schema) >> 3))
        if self._depth >= DEEPEST:
            self.is_complete = False
            return None
        dialect = self.dialect
        if "$schema" in schema:
            self.dialect = self._find_dialect(schema["$schema"]) or dialect
        if self.dialect.newest <= 7 and "$ref" in schema:
            schema = {"$ref": schema["$ref"]}  # they look at nothing beside it
        outer, self._resource = self._resource, schema if self._begins_resource(schema) else self._resource
        self._depth += 1
        verdict: Verdict = True
        for keyword, rule in schema.items():
            if (check := self.dialect.keywords.get(keyword)) is None:
                continue
            told = check(self, rule, value, schema, place)
            if told is False:
                verdict = False
                if self.quiet:
                    break
            elif told is None and verdict:
                verdict = None
        self._depth -= 1
        self._resource, self.dialect = outer, dialect
        return verdict

    def follow_each(self, held: Iterable[tuple[Any, Any, Place]]) -> Verdict:
        """Hold several values against a schema each."""
        verdict: Verdict = True
        for schema, value, place in held:
            told = self.follow(schema, value, place)
            if told is False:
                verdict = False
                if self.quiet:
                    break
            elif told is None and verdict:
                verdict = None
        return verdict

    def refer(self, reference: Any, value: Any, place: Place) -> Verdict:
        """Hold a value against what a reference points to; only pointers within the document are followed."""
        if not isinstance(reference, str) or not reference.startswith("#") or len(reference) > _LONGEST_REFERENCE:
            return None
        key = id(self._resource), reference
        if key not in self._found:
            self._found[key] = self._find(reference)
        if self._found[key] is None:
            return None
        outer, (self._resource, schema) = self._resource, self._found[key]
        verdict = self.follow(schema, value, place)
        self._resource = outer
        return verdict

    def _find(self, reference: str) -> tuple[Any, Any] | None:
        """Walk along a pointer: the schema it leads to, and the part of the document that this one's pointers mean."""
        resource = here = self._resource
        names = unquote(reference[1:]).split("/")
        self.spend(2 + len(names) + (len(reference) >> 3))
        if names.pop(0):
            return None
        for name in names:
            if here is not resource and isinstance(here, dict) and self._begins_resource(here):
                resource = here
            match here:
                case dict():
                    here = here.get(name.replace("~1", "/").replace("~0", "~"))
                case list() if name.isdecimal() and len(name) < 10 and int(name) < len(here):
                    here = here[int(name)]
                case _:
                    return None
        return resource, here

    def _begins_resource(self, schema: dict[str, Any]) -> bool:
        name = schema.get("id" if self.dialect.newest <= 4 else "$id")
        return isinstance(name, str) and not name.startswith("#")


Keyword = Callable[[Evaluation, Any, Any, dict[str, Any], Place], Verdict]


def _steps(place: Place) -> tuple[str, ...]:
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(str(step)[:80])
    return tuple(reversed(steps))

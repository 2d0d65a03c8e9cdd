"""Omissions: what a server says badly is left out, and named in the hub's own words."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

MOST_NAMED = 20
"""The omissions of one server that are named one by one; of the others only the number is told."""
LONGEST_NAME = 80
_OWN_KEYS = {"properties", "_meta", "patternProperties", "$defs", "definitions"}
"""Members whose own members are named by the server."""
_KEY = re.compile(r"[A-Za-z_$]{1,32}")
_WORDS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a number",
    "float_type": "must be a number",
}
"""Words for pydantic's kinds of errors, whose own messages may repeat what the server sent."""


@dataclass(frozen=True, slots=True)
class Omission:
    """Something that was left out: the place in the server's answers, the entry's name, and the reason."""

    place: str
    reason: str
    name: str | None = None


class Omissions:
    """The omissions of one server, of which the first 20 are named."""

    def __init__(self) -> None:
        self._named: list[Omission] = []
        self._more = 0

    def add(self, place: str, reason: str, name: object = None) -> None:
        """Note an omission; the name is cut and loses what can't be printed."""
        if len(self._named) < MOST_NAMED:
            self._named.append(Omission(place, reason, _printable(name) if isinstance(name, str) else None))
        else:
            self._more += 1

    def as_list(self) -> list[dict[str, Any]]:
        """Give them as JSON objects, the last of which tells how many more there are."""
        more = [Omission("", f"and {self._more} more")] if self._more else []
        return [asdict(one) for one in (*self._named, *more)]


def _printable(name: str) -> str:
    return "".join(each if each.isprintable() else "\ufffd" for each in name[:LONGEST_NAME])


def explain_invalid(error: ValidationError, *, skip: int) -> str:
    """Say what is wrong with an entry: the first place, without the `skip` outer steps of it, and the rule."""
    first = error.errors(include_url=False, include_input=False)[0]
    steps: list[str] = []
    for step in first["loc"][skip:]:
        if steps and steps[-1] in _OWN_KEYS:
            steps.append("*")
        elif isinstance(step, int):
            steps.append(f"[{step}]")
        elif _KEY.fullmatch(step):
            steps.append(step)
    place = ".".join(steps).replace(".[", "[")
    rule = _rule(first["type"], first.get("ctx", {}))
    return f"{place} {rule}" if place else f"it {rule}"


def _rule(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        return f"must be {context['expected']}"
    return _WORDS.get(kind, "does not conform to the protocol")

"""Differences between two definitions of a tool, a prompt or a resource: member by member, and word by word."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal

from nexus_hub.json_text import write

Part = dict[Literal["op", "text"], str]
Difference = dict[Literal["member", "parts"], Any]
MOST_PAIRS = 40_000
"""Pairs of words that are held against each other; a longer text that changed is shown as gone and new."""
MOST_PAIRS_IN_ALL = 400_000
"""The same of all texts that are shown together."""
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")


@dataclass
class Effort:
    """The pairs of words that may still be compared; what is over it is shown as gone and new."""

    pairs: int = MOST_PAIRS_IN_ALL

    def take(self, pairs: int) -> bool:
        """Take so many pairs, if a text may have them."""
        if pairs > min(MOST_PAIRS, self.pairs):
            return False
        self.pairs -= pairs
        return True


def list_differences(
    old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, effort: Effort | None = None
) -> list[Difference]:
    """List the members that differ, in the order of the new definition, those that are gone last.

    A member is named by the way to it, such as `inputSchema.properties.city.description`, and no two by the same. A
    text that was something else before, such as a number, is shown in quotes.
    """
    before, after = (dict(_flatten(one)) if one else {} for one in (old, new))
    names = [*after, *(name for name in before if name not in after)]
    effort = effort or Effort()
    return [
        {"member": name, "parts": _compare_values(before.get(name), after.get(name), effort)}
        for name in names
        if before.get(name) != after.get(name)
    ]


def compare_words(old: str, new: str, effort: Effort | None = None) -> list[Part]:
    """Compare two texts word by word: `same`, `del` and `ins`, which together hold all of both."""
    before, after = _WORD.findall(old), _WORD.findall(new)
    start = _count_common(before, after)
    end = _count_common(before[start:][::-1], after[start:][::-1])
    middle = before[start : len(before) - end], after[start : len(after) - end]
    parts = [
        ("same", before[:start]),
        *_compare(*middle, effort or Effort()),
        ("same", before[len(before) - end :]),
    ]
    return [{"op": op, "text": "".join(words)} for op, words in parts if words]


def _compare_values(old: "_Value | None", new: "_Value | None", effort: Effort) -> list[Part]:
    is_other_kind = old is not None and new is not None and isinstance(old.value, str) != isinstance(new.value, str)
    is_empty = "" in {one.value for one in (old, new) if one is not None and isinstance(one.value, str)}
    quoted = is_other_kind or is_empty
    return compare_words(_show(old, quoted=quoted), _show(new, quoted=quoted), effort)


def _show(value: "_Value | None", *, quoted: bool) -> str:
    if value is None:
        return ""
    return value.value if isinstance(value.value, str) and not quoted else value.text


def _compare(old: list[str], new: list[str], effort: Effort) -> Iterator[tuple[str, list[str]]]:
    if not effort.take(len(old) * len(new)):
        yield from (("del", old), ("ins", new))
        return
    for op, *(old_start, old_end, new_start, new_end) in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if op == "equal":
            yield "same", old[old_start:old_end]
        else:
            yield from (("del", old[old_start:old_end]), ("ins", new[new_start:new_end]))


def _count_common(one: list[str], other: list[str]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class _Value:
    """A text, number or empty value, or a list of them, with its JSON, by which two are told apart."""

    value: Any = field(compare=False)
    text: str


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, _Value]]:
    """Give each value with the way to it; a list of plain values is one."""
    match value:
        case dict() if value:
            for key, item in value.items():
                yield from _flatten(item, _step(name, str(key)))
        case dict() if not name:
            return
        case list() if any(isinstance(item, dict | list) for item in value):
            for place, item in enumerate(value):
                yield from _flatten(item, f"{name}[{place}]")
        case _:
            yield name, _Value(value, write(value).decode())


def _step(name: str, key: str) -> str:
    """Name a member; a key that could be taken for a way, such as `a.b`, stands in brackets."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{name}[{write(key).decode()}]"
    return f"{name}.{key}" if name else key

"""Tools as the search knows them."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolDocument:
    """The searchable text of one tool, and the `key` under which its owner knows it.

    `name` is the public one, as `<server>__<tool>`, `own_name` that on its server. A parameter is its name, or
    `<name>: <description>`.
    """

    key: Hashable
    name: str
    own_name: str
    title: str | None = None
    description: str | None = None
    parameters: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def server(self) -> str:
        """Name of the server in the public name; empty if that has none."""
        server, mark, _ = self.name.partition("__")
        return server if mark else ""


Visibility = Callable[[Hashable, Sequence[ToolDocument]], bool | Sequence[bool]]
"""The documents of a group that a caller may find: all, none, or one answer for each.

It must give the same answer for as long as the group is not replaced.
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """Limits of one request, within what its caller may find."""

    groups: frozenset[Hashable] | None = None
    read_only: bool | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A part of an answer, the best first, and the number of all documents that the request speaks of."""

    items: list[tuple[ToolDocument, float]]
    total: int

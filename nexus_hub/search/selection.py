"""Documents that one caller may find."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from nexus_hub.search.document import ToolDocument, Visibility
from nexus_hub.search.postings import Flags


class Selection:
    """A flag for each place of the index; after a change only the groups that changed are asked about again."""

    __slots__ = ("_count", "_flags", "_version", "_visibility")

    def __init__(self, visibility: Visibility | None) -> None:
        self._visibility = visibility
        self._flags: Flags = np.zeros(0, np.bool_)
        self._version = 0
        self._count = 0

    @property
    def version(self) -> int:
        """Version of the index that the flags are of."""
        return self._version

    def follow(
        self, version: int, alive: Flags, changed: Iterable[tuple[Hashable, Sequence[int], Sequence[ToolDocument]]]
    ) -> None:
        """Set the flags of the groups that changed."""
        flags = np.zeros(len(alive), np.bool_)
        flags[: len(self._flags)] = self._flags[: len(alive)]
        for group, places, documents in changed:
            flags[places] = self._visibility(group, documents) if self._visibility else True
        self._flags = flags & alive
        self._count = int(np.count_nonzero(self._flags))
        self._version = version

    @property
    def flags(self) -> Flags:
        """The flags; they are not to be written to."""
        return self._flags

    @property
    def count(self) -> int:
        """Number of documents that may be found."""
        return self._count

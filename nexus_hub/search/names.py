"""Names that are a request, begin with it, or hold it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, chain

import numpy as np

from nexus_hub.search.document import ToolDocument
from nexus_hub.search.postings import Flags, Numbers, Places

LONGEST_NAME = 256
EXACT, BEGINS = 2_000_000.0, 1_000_000.0
"""Scores above all that words and vectors can give."""


class NameTable:
    """All names of a group in one text, which is searched faster than a name after another."""

    def __init__(self, places: Mapping[ToolDocument, int]) -> None:
        self._places = list(places.values())
        lines = [f"\t{document.name}\t{document.own_name}\t".lower() for document in places]
        self._ends = list(accumulate(map(len, lines)))
        self._text = "".join(lines)

    def __contains__(self, sought: str) -> bool:
        return sought in self._text

    def find(self, sought: str) -> Iterator[tuple[int, float]]:
        """Find the places whose names hold a text, each time with a score: 0 if it is neither name nor beginning."""
        at = self._text.find(sought)
        while at >= 0:
            begins, ends = self._text[at - 1] == "\t", self._text[at + len(sought)] == "\t"
            yield self._places[bisect_right(self._ends, at)], (EXACT if ends else BEGINS) if begins else 0.0
            at = self._text.find(sought, at + 1)


def find_names(tables: Iterable[NameTable], query: str, seen: Flags) -> tuple[Places, Numbers]:
    """Find the places that are seen and have a name which holds a query, and the best score of each."""
    sought, scores = query.lower(), dict[int, float]()
    if 0 < len(sought) <= LONGEST_NAME and "\t" not in sought:
        for place, score in chain.from_iterable(table.find(sought) for table in tables if sought in table):
            scores[place] = max(scores.get(place, 0.0), score)
    places, best = np.fromiter(scores.keys(), np.intp), np.fromiter(scores.values(), np.float64)
    return places[seen[places]], best[seen[places]]

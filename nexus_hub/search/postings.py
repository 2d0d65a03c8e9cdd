"""Lists of the places at which a term stands."""

from array import array
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Places = NDArray[np.signedinteger]


class Postings:
    """For each term the places that have it, and how much it says of each.

    Views of a list are only good until the next change.
    """

    def __init__(self) -> None:
        self._lists: dict[str, tuple[array[int], array[float]]] = {}

    def add(self, place: int, impacts: Mapping[str, float]) -> None:
        """Put a place into the lists of its terms."""
        for term, impact in impacts.items():
            places, weights = self._lists.get(term) or self._lists.setdefault(term, (array("i"), array("f")))
            places.append(place)
            weights.append(impact)

    def drop(self, terms: Iterable[str], gone: Flags) -> None:
        """Take the places that are gone out of the lists of these terms."""
        for term in set(terms):
            places, weights = self.find(term)
            kept = ~gone[places]
            if kept.any():
                self._lists[term] = array("i", places[kept].tobytes()), array("f", weights[kept].tobytes())
            else:
                self._lists.pop(term, None)

    def find(self, term: str) -> tuple[Places, NDArray[np.float32]]:
        """Find the places of a term, and its impacts there."""
        places, weights = self._lists.get(term) or (array("i"), array("f"))
        return np.frombuffer(places, np.intc), np.frombuffer(weights, np.float32)

    def count(self, term: str, seen: Flags) -> int:
        """Count the places of a term among those that are seen."""
        return int(np.count_nonzero(seen[self.find(term)[0]])) if term in self._lists else 0

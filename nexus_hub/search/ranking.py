"""Order of the documents that a request speaks of.

Everything is counted among the documents that the caller sees: hidden ones have no part in rarities or best scores.
"""

import math
from collections import Counter

import numpy as np

from nexus_hub.search.postings import Flags, Numbers, Places, Postings
from nexus_hub.search.vectors import SCALE, Vectors
from nexus_hub.search.words import find_stems

MEANING = 2.0
"""Weight of the vectors against that of the words."""
MOST_WORDS = 64
NEAR, NEAREST = 0.4, 0.3
"""Likeness from which a document is found without a common word: a share of the best one's, and at least so much."""


class WordRanking:
    """BM25 among the documents that are seen."""

    def __init__(self, postings: Postings, seen: Flags, count: int) -> None:
        self._postings, self._seen, self._count = postings, seen, count
        self._known: dict[str, tuple[Places, Numbers]] = {}

    def score(self, text: str) -> Numbers:
        """Score all documents, those with more and rarer words of the text higher."""
        scores = np.zeros(len(self._seen))
        for term, times in Counter(find_stems(text)[:MOST_WORDS]).items():
            places, impacts = self._known.get(term) or self._known.setdefault(term, self._weigh(term))
            scores[places] += times * impacts
        return scores

    def _weigh(self, term: str) -> tuple[Places, Numbers]:
        places, impacts = self._postings.find(term)
        own = self._seen[places]
        places = places[own]
        rarity = math.log(1 + (self._count - len(places) + 0.5) / (len(places) + 0.5))
        return places, impacts[own].astype(np.float64) * rarity


def fuse(words: Numbers, likeness: Numbers | None, seen: Flags) -> tuple[Numbers, Flags]:
    """Add both scores, the best of each being the measure, and flag the documents that are found."""
    scores, found = _by_best(words), words > 0
    if likeness is not None and seen.any():
        best = float(likeness[seen].max())
        found = found | (likeness >= max(NEAR * best, NEAREST)) if best > 0 else found
        scores = scores + (MEANING / best * likeness if best > 0 else 0)
    return scores, found & seen


def compare(vectors: Vectors, requests: Vectors) -> Numbers:
    """Compare all documents with each request; the sums are exact, so that equal documents are equally like it."""
    products: Numbers = (vectors @ requests.T).astype(np.float64).T
    return products / SCALE**2


def _by_best(scores: Numbers) -> Numbers:
    best = scores.max(initial=0)
    return scores / best if best > 0 else scores

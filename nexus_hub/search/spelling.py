"""Words of a request that were misspelled."""

import re

from nexus_hub.search.postings import Flags, Postings
from nexus_hub.search.vectors import Embedder
from nexus_hub.search.words import find_misspellings, stem

SHORTEST_WORD = 7
"""Letters from which a word is corrected: among shorter ones too many are one slip apart."""
MOST_WORDS = 8
LONGEST_WORD = 40
"""Longer ones are no slips, and each letter more is another fifty words to look up."""
_WORD = re.compile(rf"\b[a-z]{{{SHORTEST_WORD},{LONGEST_WORD}}}\b")


def correct(text: str, postings: Postings, seen: Flags, embedder: Embedder | None) -> str:
    """Put in place of a word that no document has, and that is none of the language, the likeliest that some have."""
    unknown = (word for word in dict.fromkeys(_WORD.findall(text)) if not postings.count(stem(word), seen))
    wrong = [word for word in unknown if not (embedder and embedder.knows(word))][:MOST_WORDS]
    right = {word: near for word in wrong if (near := _find_nearest(stem(word), postings, seen))}
    return _WORD.sub(lambda found: right.get(found[0], found[0]), text)


def _find_nearest(term: str, postings: Postings, seen: Flags) -> str | None:
    counts = {near: count for near in find_misspellings(term) if (count := postings.count(near, seen))}
    return min(counts, key=lambda near: (-counts[near], near), default=None)

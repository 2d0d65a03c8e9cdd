"""Weights of a document's terms: BM25F, with a usual length for each field instead of the mean of all documents.

So a weight depends on its own document alone: it is computed once, and tells nothing about other documents.
"""

from collections import Counter
from collections.abc import Iterator

from nexus_hub.search.document import ToolDocument
from nexus_hub.search.words import find_stems

SATURATION = 1.2
LENGTH_SHARE = 0.5
"""Part of a field's length that counts against its words."""
FIELDS = {
    "server": (1.0, 2),
    "name": (2.0, 3),
    "text": (1.0, 25),
    "parameters": (0.5, 3),
    "parameter_texts": (0.3, 15),
}
"""Weight of a field, and its usual number of words."""
LONGEST_FIELD = 4000


def weigh_terms(document: ToolDocument) -> dict[str, float]:
    """Weigh the terms of a document, each between 0 and 1."""
    totals: dict[str, float] = {}
    for field, text in _fields(document):
        terms = find_stems(text[:LONGEST_FIELD])
        weight, usual = FIELDS[field]
        share = weight / (1 - LENGTH_SHARE + LENGTH_SHARE * len(terms) / usual)
        for term, times in Counter(terms).items():
            totals[term] = totals.get(term, 0) + share * times
    return {term: total / (total + SATURATION) for term, total in totals.items()}


def _fields(document: ToolDocument) -> Iterator[tuple[str, str]]:
    parts = [parameter.partition(":") for parameter in document.parameters]
    yield "server", document.server
    yield "name", document.own_name
    yield "text", f"{document.title or ''} {document.description or ''}"
    yield "parameters", " ".join(name for name, _, _ in parts)
    yield "parameter_texts", " ".join(text for _, _, text in parts)

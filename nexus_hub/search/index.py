"""An index of tools in memory: it ranks for each caller as if the tools that are hidden from them were not there."""

from collections.abc import Hashable, Iterator, Sequence
from threading import Lock

import numpy as np

from nexus_hub.search.document import Filters, Found, ToolDocument, Visibility
from nexus_hub.search.names import NameTable, find_names
from nexus_hub.search.postings import Flags, Numbers, Places, Postings
from nexus_hub.search.ranking import WordRanking, compare, fuse
from nexus_hub.search.selection import Selection
from nexus_hub.search.spelling import correct
from nexus_hub.search.terms import weigh_terms
from nexus_hub.search.vectors import Embedder, Vectors
from nexus_hub.search.words import split_clauses

LONGEST_QUERY = 2000
MOST_CLAUSES = 8
HELD = 0.5
"""Least word score of a document whose name holds the request, as a share of the best one's."""


class ToolIndex:
    """Groups of documents, such as the tools of one server; a group is replaced as a whole.

    Each document has a place in arrays, which another takes when it has gone. It may be used by several threads; the
    work for new documents is done before others have to wait.
    """

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder
        self._lock, self._changing = Lock(), Lock()
        self._groups: dict[Hashable, dict[ToolDocument, int]] = {}
        self._versions: dict[Hashable, int] = {}
        self._version = 0
        self._documents: list[ToolDocument | None] = []
        self._free: list[int] = []
        self._alive: Flags = np.zeros(0, np.bool_)
        self._vectors: Vectors = np.zeros((0, embedder.width if embedder else 0), np.float32)
        self._read_only: Flags = np.zeros(0, np.bool_)
        self._words = Postings()
        self._names: dict[Hashable, NameTable] = {}

    def __len__(self) -> int:
        return int(np.count_nonzero(self._alive))

    def replace(self, group: Hashable, documents: Sequence[ToolDocument]) -> None:
        """Let a group consist of these documents; those that were there before cost nothing."""
        with self._changing:
            before = self._groups.get(group, {})
            wanted = dict.fromkeys(documents)
            added = [document for document in wanted if document not in before]
            gone = [document for document in before if document not in wanted]
            terms = [weigh_terms(document) for document in added]
            gone_terms = {term for document in gone for term in weigh_terms(document)}
            vectors = self._embedder.embed_documents(added) if self._embedder and added else self._vectors[:0]
            with self._lock:
                self._drop([before[document] for document in gone], gone_terms)
                places = dict(zip(added, self._put(added, terms, vectors), strict=True))
                self._note(
                    group,
                    {document: before[document] if document in before else places[document] for document in wanted},
                )

    def remove(self, group: Hashable) -> None:
        """Forget a group; one that is not there is no error."""
        self.replace(group, [])

    def select(self, visibility: Visibility | None = None) -> Selection:
        """Select the documents that a caller may find; without `visibility` all."""
        return Selection(visibility)

    def search(
        self, query: str, selection: Selection, *, limit: int, offset: int = 0, filters: Filters | None = None
    ) -> Found:
        """Find what a query speaks of; names that are the query or begin with it come first."""
        query = query[:LONGEST_QUERY].strip()
        with self._lock:
            self._follow(selection)
            shown = self._filter(selection.flags, filters)
            if not query or not shown.any():
                return Found([], 0)
            scores, found = self._rank(query, selection)
            return self._page(scores, np.flatnonzero(found & shown), limit, offset)

    def _rank(self, query: str, selection: Selection) -> tuple[Numbers, Flags]:
        seen = selection.flags
        ranking = WordRanking(self._words, seen, selection.count)
        text = correct(query, self._words, seen, self._embedder)
        texts = [text, *split_clauses(text, MOST_CLAUSES)]
        words = [ranking.score(one) for one in texts]
        named, bonuses = find_names(self._names.values(), query, seen)
        holding = named[bonuses == 0]
        words[0][holding] = np.maximum(words[0][holding], HELD * (words[0].max() or 1))
        likeness = (
            compare(self._vectors, self._embedder.embed_requests(texts)) if self._embedder else [None] * len(texts)
        )
        ranked = [fuse(one, like, seen) for one, like in zip(words, likeness, strict=True)]
        scores, found = ranked[0][0], np.logical_or.reduce([flags for _, flags in ranked])
        if len(ranked) > 1:
            scores = scores + np.max([score for score, _ in ranked[1:]], axis=0)
        scores[named] += bonuses
        found[named] = True
        return scores, found

    def _page(self, scores: Numbers, places: Places, limit: int, offset: int) -> Found:
        total, last = len(places), min(offset + limit, len(places))
        if 0 < last < total:
            places = places[scores[places] >= np.partition(scores[places], total - last)[total - last]]
        hits = [(document, float(scores[place])) for place in places if (document := self._documents[place])]
        hits.sort(key=lambda hit: (-hit[1], hit[0].name, str(hit[0].key)))
        return Found(hits[offset:last], total)

    def _filter(self, flags: Flags, filters: Filters | None) -> Flags:
        if filters is None:
            return flags
        shown = flags.copy()
        if filters.groups is not None:
            wanted = np.zeros(len(flags), np.bool_)
            for group in filters.groups:
                wanted[list(self._groups.get(group, {}).values())] = True
            shown &= wanted
        if filters.read_only is not None:
            shown &= self._read_only == filters.read_only
        return shown

    def _follow(self, selection: Selection) -> None:
        if selection.version != self._version:
            selection.follow(self._version, self._alive, self._changed_since(selection.version))

    def _changed_since(self, version: int) -> Iterator[tuple[Hashable, list[int], list[ToolDocument]]]:
        for group, changed in reversed(self._versions.items()):
            if changed <= version:
                return
            places = self._groups[group]
            yield group, list(places.values()), list(places)

    def _note(self, group: Hashable, places: dict[ToolDocument, int]) -> None:
        self._version += 1
        self._versions.pop(group, None)
        self._groups.pop(group, None)
        self._names.pop(group, None)
        if places:
            self._groups[group], self._versions[group] = places, self._version
            self._names[group] = NameTable(places)

    def _drop(self, places: list[int], terms: set[str]) -> None:
        gone = np.zeros(len(self._alive), np.bool_)
        gone[places] = True
        self._words.drop(terms, gone)
        self._alive[places] = False
        for place in places:
            self._documents[place] = None
        self._free += places

    def _put(self, documents: list[ToolDocument], terms: list[dict[str, float]], vectors: Vectors) -> list[int]:
        self._grow(len(documents) - len(self._free))
        places = [self._free.pop() for _ in documents]
        for place, document, weights in zip(places, documents, terms, strict=True):
            self._documents[place] = document
            self._words.add(place, weights)
        self._alive[places] = True
        self._read_only[places] = [document.read_only for document in documents]
        if self._embedder:
            self._vectors[places] = vectors
        return places

    def _grow(self, missing: int) -> None:
        if missing <= 0:
            return
        size = len(self._documents)
        more = max(missing, size // 4, 64)
        self._documents += [None] * more
        self._free += range(size + more - 1, size - 1, -1)
        self._alive = np.append(self._alive, np.zeros(more, np.bool_))
        self._read_only = np.append(self._read_only, np.zeros(more, np.bool_))
        self._vectors = np.concatenate([self._vectors, np.zeros((more, self._vectors.shape[1]), np.float32)])

"""Ways of ranking tools in this process, which benchmarks/tool_search.py compares with those in PostgreSQL."""

import math
import random
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nexus_hub.catalog.documents import list_offers, make_offered, read_offers
from nexus_hub.db.pool import Database
from nexus_hub.models import Principal
from nexus_hub.search.index import ToolIndex
from nexus_hub.search.vectors import Embedder
from nexus_hub.search.words import split_parts

Ask = Callable[[str], Awaitable[list[int]]]
SATURATION, LENGTH_SHARE = 1.2, 0.75
RESAMPLES = 2000
IDS = b"SELECT id, definition ->> 'x-id' AS tool FROM tool_cache"


def by_plain_bm25(tools: list[dict[str, Any]], limit: int) -> Ask:
    """BM25 as in books: server, name twice, description, names of parameters; words and parts of names as they are."""
    entries = {tool["id"]: Counter(_plain_words(_plain_text(tool))) for tool in tools}
    tools_with = Counter(word for words in entries.values() for word in words)
    mean = statistics.mean(words.total() for words in entries.values())

    def score(words: Counter[str], sought: list[str]) -> float:
        base = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * words.total() / mean)
        rarity = {word: math.log(1 + (len(tools) - n + 0.5) / (n + 0.5)) for word in sought if (n := tools_with[word])}
        return sum(rarity[word] * words[word] / (words[word] + base) for word in sought if words[word])

    async def ask(query: str) -> list[int]:
        scores = {key: score(words, _plain_words(query)) for key, words in entries.items()}
        return sorted((key for key in scores if scores[key]), key=lambda key: (-scores[key], key))[:limit]

    return ask


async def by_index(database: Database, limit: int, embedder: Embedder | None) -> Ask:
    """As the hub searches in memory, of what is in the catalog."""
    index = ToolIndex(embedder)
    for row in await read_offers(database, await list_offers(database, None)):
        index.replace(row.ref, make_offered(row).documents)
    selection = index.select()
    async with database.transaction(Principal(None)) as transaction:
        ids = {row["id"]: int(row["tool"]) for row in await transaction.all(IDS)}

    async def ask(query: str) -> list[int]:
        return [ids[document.key] for document, _ in index.search(query, selection, limit=limit).items]

    return ask


def interval(values: Sequence[float]) -> str:
    """The mean, and between what bounds 95 of 100 means of requests drawn anew lie."""
    draw = random.Random(16)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    low, high = means[RESAMPLES // 40], means[-RESAMPLES // 40]
    return f"{statistics.fmean(values):.2f} ({low:.2f} to {high:.2f})"


def _plain_text(tool: dict[str, Any]) -> str:
    parameters = " ".join((tool["inputSchema"] or {}).get("properties") or {})
    return f"{tool['server']} {tool['name']} {tool['name']} {tool['description'] or ''} {parameters}"


def _plain_words(text: str) -> list[str]:
    return [part.lower() for part in split_parts(text)]

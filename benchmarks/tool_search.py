"""How well does `GET /v1/tools?query=` find the tools that a request needs, and how many tokens does that save?

The tools and labelled requests of LiveMCPBench lie in the catalog as those of system servers, and each request is asked
as a user asks it. A `task` is a whole request for an agent, which needs several tools; a `step` is one step of it and
needs one. Recall@k is the share of the needed tools among the first k, MRR the mean of 1 / place of the best placed
one. `hub` is the search in memory, `hub, words alone` the same without the package wordllama,
`hub of before` the search in PostgreSQL, which plain SQL still has; `plain BM25` is that of books. Two floors run on
the same rows: the text as a substring of name, title and description, and PostgreSQL's `plainto_tsquery`, which asks
for every word. How fast the search is with many tools is measured by benchmarks/tool_search_speed.py.

A few weights were chosen with these requests: docs/search.md tells which, and how. One request more or less is about
2%; the intervals hold 95 of 100 means of as many requests that are drawn anew from these.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from benchmarks.report import machine, percentile, publish, table
from benchmarks.tool_ranking import Ask, by_index, by_plain_bm25, interval
from nexus_hub.catalog import read
from nexus_hub.catalog.store import store
from nexus_hub.db.migrate import migrate
from nexus_hub.db.pool import Database
from nexus_hub.models import Principal, ServerRef
from nexus_hub.search.vectors import load_embedder
from nexus_hub.upstream.snapshot import Snapshot
from tests.fixtures.postgres import APP, OWNER, created_database, embedded_server, ensure_role

VARIABLE = "NEXUS_LIVEMCPBENCH"
SOURCE = (
    f"This benchmark reads tools.json and queries_dev.json from the directory of --data or {VARIABLE}. They are made "
    "of LiveMCPBench (https://github.com/icip-cas/LiveMCPBench, Apache-2.0: tools.json and all_annotations.json) and "
    "are no part of this repository."
)
EMPTY = Snapshot("2025-11-25", None, None, {})
KS = (1, 5, 10, 20)
KINDS = ("task", "step")
SUBSTRING = (
    b"SELECT definition ->> 'x-id' AS tool FROM tool_cache "
    b"WHERE strpos(lower(concat_ws(' ', namespaced_name, title, description)), lower(%(query)s)) > 0 "
    b"ORDER BY namespaced_name LIMIT 20"
)
EVERY_WORD = (
    b"SELECT definition ->> 'x-id' AS tool FROM tool_cache, plainto_tsquery('english', %(query)s) AS sought "
    b"WHERE search @@ sought ORDER BY ts_rank_cd(search, sought) DESC, namespaced_name LIMIT 20"
)


@dataclass
class Score:
    """How one way did on requests of one kind."""

    recall: dict[int, list[float]] = field(default_factory=lambda: {k: [] for k in KS})
    reciprocal: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, found: list[int], gold: list[list[int]]) -> None:
        """One answer."""
        places = [min((found.index(tool) for tool in entry if tool in found), default=None) for entry in gold]
        for k, shares in self.recall.items():
            shares.append(sum(place is not None and place < k for place in places) / len(places))
        best = min((place for place in places if place is not None), default=None)
        self.reciprocal.append(0 if best is None else 1 / (best + 1))

    def cells(self) -> list[str]:
        """Recall, MRR and times as they stand in a table."""
        recall = [f"{statistics.mean(self.recall[k]):.2f}" for k in KS]
        times = [f"{percentile(self.seconds, p) * 1000:.1f} ms" for p in (50, 95)]
        return [*recall, f"{statistics.mean(self.reciprocal):.2f}", *times]

    def intervals(self) -> list[str]:
        """Recall and MRR, each with the bounds of chance."""
        return [interval(values) for values in (*self.recall.values(), self.reciprocal)]


async def fill(database: Database, tools: list[dict[str, Any]]) -> None:
    """Put the tools in as what system servers offer."""
    servers: dict[str, list[dict[str, Any]]] = {}
    for tool in tools:
        kept = {name: tool[name] for name in ("name", "description", "inputSchema", "annotations") if tool.get(name)}
        servers.setdefault(tool["server"], []).append(kept | {"x-id": tool["id"]})
    for name, offered in servers.items():
        ref = ServerRef("system", uuid4())
        async with database.transaction() as transaction:
            await store(transaction, ref, name.replace(" ", "-"), None, replace(EMPTY, tools=offered))


async def scored(ask: Ask, queries: list[dict[str, Any]]) -> dict[str, Score]:
    """Ask all requests in one way."""
    scores = {kind: Score() for kind in KINDS}
    for query in queries:
        began = time.perf_counter()
        found = await ask(query["query"])
        scores[query["kind"]].seconds.append(time.perf_counter() - began)
        scores[query["kind"]].add(found, query["gold"])
    return scores


def by_postgresql(database: Database, user: Principal) -> Ask:
    """As `GET /v1/tools?query=...&limit=20` answered before there was an index in memory."""

    async def ask(query: str) -> list[int]:
        found = asdict(await read.list_entries(database, user, "tools", query=query, limit=max(KS)))
        return [item["definition"]["x-id"] for item in found["items"]]

    return ask


def by_sql(database: Database, user: Principal, statement: bytes) -> Ask:
    """By a statement of this file."""

    async def ask(query: str) -> list[int]:
        async with database.transaction(user) as transaction:
            return [int(row["tool"]) for row in await transaction.all(statement, query=query)]

    return ask


async def saved(database: Database, user: Principal, queries: list[dict[str, Any]]) -> list[list[str]]:
    """Tokens of an answer against those of all tools, on the average."""
    rows = []
    for limit in KS:
        for compact in (False, True):
            counts = [
                asdict(
                    await read.list_entries(database, user, "tools", query=one["query"], limit=limit, compact=compact)
                )["tokens"]
                for one in queries
            ]
            shown, everything = statistics.mean(count["shown"] for count in counts), counts[0]["all"]
            form = "compact" if compact else "full"
            rows.append([f"limit={limit}, {form}", f"{shown:,.0f}", f"{everything:,}", f"{1 - shown / everything:.1%}"])
    everything_brief = asdict(await read.list_entries(database, user, "tools", limit=1000, compact=True))["tokens"]
    share = f"{everything_brief['saved'] / everything_brief['all']:.1%}"
    return [*rows, ["no query, compact", f"{everything_brief['shown']:,}", f"{everything_brief['all']:,}", share]]


async def measured(app_url: str, data: Path) -> str:
    """Measure all ways; the report."""
    tools = json.loads((data / "tools.json").read_text(encoding="utf-8"))
    queries = json.loads((data / "queries_dev.json").read_text(encoding="utf-8"))
    on, user = machine(app_url), Principal(UUID(int=1))
    async with Database(app_url, name="benchmark") as database:
        await fill(database, tools)
        ways = {
            "floor: substring": by_sql(database, user, SUBSTRING),
            "floor: every word": by_sql(database, user, EVERY_WORD),
            "plain BM25": by_plain_bm25(tools, max(KS)),
            "hub of before": by_postgresql(database, user),
            "hub, words alone": await by_index(database, max(KS), None),
            "hub": await by_index(database, max(KS), load_embedder()),
        }
        rows = []
        for way, ask in ways.items():
            await scored(ask, queries)
            scores = await scored(ask, queries)
            rows += [[kind, way, *scores[kind].cells()] for kind in KINDS]
        tokens = await saved(database, user, queries)
    head = ["kind", "way", *(f"recall@{k}" for k in KS), "MRR", "p50", "p95"]
    counts = {kind: sum(one["kind"] == kind for one in queries) for kind in KINDS}
    parts = [
        f"# {(__doc__ or '').strip()}",
        f"{len(tools)} tools of {len({tool['server'] for tool in tools})} servers; {counts['task']} tasks and "
        f"{counts['step']} steps.",
        table(head, sorted(rows, key=lambda row: KINDS.index(row[0]))),
        "The last row of each kind, the hub's, with intervals:",
        table(head[:-2], [[kind, "hub", *scores[kind].intervals()] for kind in KINDS]),
        "Tokens of an answer (4 bytes each, an estimate), the mean over all requests, against the full definitions of "
        "all tools:",
        table(["answer", "shown", "all", "saved"], tokens),
        on,
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Start a PostgreSQL of its own, measure, and stop it; without the data say where it comes from."""
    parser = argparse.ArgumentParser(description="Measure how well tools are found.")
    parser.add_argument("--data", default=os.environ.get(VARIABLE), help=f"the directory of the data; or {VARIABLE}")
    data = Path(parser.parse_args().data or "livemcpbench")
    if not (data / "tools.json").is_file() or not (data / "queries_dev.json").is_file():
        sys.stdout.write(f"{SOURCE}\n")
        return
    with embedded_server() as admin_url:
        with psycopg.connect(admin_url, autocommit=True) as connection:
            ensure_role(connection, OWNER, "LOGIN CREATEROLE PASSWORD 'nexus-test'")
            ensure_role(connection, APP, "LOGIN PASSWORD 'nexus-test'")
        with created_database(admin_url, template=None) as made:
            asyncio.run(migrate(made.owner_url, app_url=made.app_url))
            publish("tool_search", asyncio.run(measured(made.app_url, data)))


if __name__ == "__main__":
    main()

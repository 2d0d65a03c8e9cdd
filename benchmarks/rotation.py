"""How long does a rotation of 100,000 sealed values take, and does anybody notice it?

A third of the values are system servers', a third users', a third without a key's id, as the seed wrote them. Two ways
to seal them anew, each in a process of its own and on its own copy of the same database, in turns:

- rotation: the hub's own. It opens, seals and opens each value, keeps a backup of what it replaces, compares before it
  writes, and opens every value once more in the end;
- floor: the plainest script with the same cipher work. It reads 500 rows, opens, seals and opens each twice, and
  updates them by their ids, all in one transaction.

Each alone; then beside 8 readers, which open values at random as calls do, and 4 writers, which seal other
configurations and store them; then the rotation is killed five times (SIGKILL) and started again. A failed open is one
that raises or gives something else than what was stored; a lost write is a configuration that was stored and is not
there in the end. What the script overwrites is the price of its plainness.
"""

import argparse
import asyncio
import json
import random
import resource
import secrets
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import sql

from benchmarks.many_jobs import copied, server
from benchmarks.report import machine, milliseconds, percentile, publish, table
from nexus_hub.db.migrate import migrate
from nexus_hub.db.pool import Database
from nexus_hub.errors import HubError, RotationRunning
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.vault.keyring import FixedKeyring, Keyring, KeyringFile
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.rotation import Rotation
from nexus_hub.vault.sealing import Vault, seal
from tests.fixtures.postgres import HubDatabase, created_database
from tests.fixtures.sealed import SealedRow, sealed_row, unbound_row

VALUES, FEW, ROUNDS = 100_000, 10_000, 3
READERS, WRITERS, PAUSE = 8, 4, 0.02
KILLS = (0.1, 0.25, 0.45, 0.65, 0.85)
FLOOR_BATCH = 500
FLOOR, HUB = "floor", "rotation"
TABLES = {"system": "system_servers", "user": "user_servers"}


# What runs in a process of its own.


def seal_plainly(url: str, old: VaultKey, new: VaultKey) -> int:
    """Seal all values anew, without a thought of anybody else; their number."""
    done = 0
    with psycopg.connect(url, options="-c nexus.scope=service") as connection:
        for kind, name in TABLES.items():
            owner = "NULL" if kind == "system" else "user_id"
            page = (
                f"SELECT id, {owner}, key_id, config_encrypted FROM {name} WHERE id > %s ORDER BY id LIMIT %s".encode()
            )
            update = (
                f"UPDATE {name} AS server SET config_encrypted = value.data, key_id = %s "
                "FROM unnest(%s::uuid[], %s::bytea[]) AS value (id, data) WHERE server.id = value.id"
            ).encode()
            after = UUID(int=0)
            while rows := connection.execute(page, [after, FLOOR_BATCH]).fetchall():
                sealed = [_sealed_plainly(old, new, name, *row) for row in rows]
                connection.execute(update, [new.id, [row[0] for row in rows], sealed])
                done, after = done + len(rows), rows[-1][0]
                connection.commit()
    return done


def _sealed_plainly(
    old: VaultKey, new: VaultKey, name: str, row_id: UUID, owner: UUID | None, key_id: str | None, data: bytes
) -> bytes:
    before = None if key_id is None else _bound_to(name, row_id, key_id, owner)
    plaintext = AESGCM((new if key_id == new.id else old).material).decrypt(data[:12], data[12:], before)
    iv, bound_to = secrets.token_bytes(12), _bound_to(name, row_id, new.id, owner)
    sealed = AESGCM(new.material).encrypt(iv, plaintext, bound_to)
    for _ in range(2):
        assert AESGCM(new.material).decrypt(iv, sealed, bound_to) == plaintext
    return iv + sealed


def _bound_to(name: str, row_id: UUID, key_id: str, owner: UUID | None) -> bytes:
    parts = (name, "config_encrypted", str(row_id), key_id, "" if owner is None else str(owner))
    return b"".join(struct.pack(">I", len(part)) + part for part in map(str.encode, parts))


async def rotate(url: str, path: Path, new_key_id: str) -> int:
    """Rotate as the flow does, telling how far it is; the number of values."""

    async def tell(progress: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(progress) + "\n")
        sys.stdout.flush()

    async with Database(url, name="benchmark") as database:
        rotation = Rotation(database, KeyringFile(path))
        plan = await rotation.plan(None, new_key_id)
        while True:
            try:
                report = await rotation.run(plan, tell)
            except RotationRunning:  # the server has not seen yet that the last one was killed
                await asyncio.sleep(0.05)
            else:
                assert not report.errors, report.errors[:3]
                return report.updated


def work(way: str, url: str, path: Path, new_key_id: str) -> None:
    """Seal all values anew in this process, and say what it took."""
    began = time.perf_counter()
    if way == FLOOR:
        ring = KeyringFile(path).current()
        done = seal_plainly(url, ring.primary, ring.with_primary(new_key_id).primary)
    else:
        done = asyncio.run(rotate(url, path, new_key_id))
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = {"seconds": time.perf_counter() - began, "processor": used.ru_utime + used.ru_stime}
    sys.stdout.write(json.dumps({"updated": done, "megabytes": used.ru_maxrss / 1024, **spent}) + "\n")


async def worked(way: str, url: str, path: Path, new: VaultKey, *, kill_at: float | None = None) -> dict[str, Any]:
    """Have a process seal all values anew, or kill it on the way; the last thing that it said."""
    command = (sys.executable, "-m", "benchmarks.rotation", "--work", way, url, str(path), new.id)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    said: dict[str, Any] = {}
    async for line in process.stdout:
        said = json.loads(line)
        if kill_at is not None and said.get("done", 0) >= kill_at:
            process.kill()
            break
    assert await process.wait() == (0 if kill_at is None else -9)
    return said


# What runs beside it.


@dataclass
class Neighbours:
    """Readers and writers of the same values, until they are told to stop; seconds that each of their steps took."""

    servers: Servers
    database: Database
    path: Path
    urls: dict[UUID, str]
    rows: Sequence[SealedRow]
    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    failed: int = 0
    writing: set[UUID] = field(default_factory=set)
    stopped: bool = False

    async def read(self) -> None:
        while not self.stopped:
            row = random.choice(self.rows)
            row_id = row.ref.server_ref_id
            before, began = self.urls[row_id], time.perf_counter()
            try:
                target, _ = await self.servers.open(row.ref)
            except HubError:
                self.failed += 1
            else:
                assert isinstance(target.config, HttpConfig)
                known = {before, self.urls[row_id]}
                self.failed += target.config.url not in known and row_id not in self.writing
            self.reads.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE)

    async def write(self, number: int) -> None:
        mine, source = self.rows[number::WRITERS], KeyringFile(self.path)
        while not self.stopped:
            row = random.choice(mine)
            row_id, url = row.ref.server_ref_id, f"https://{secrets.token_hex(16)}.example"
            query = f"UPDATE {TABLES[row.ref.server_type]} SET config_encrypted = %s, key_id = %s WHERE id = %s"
            self.writing.add(row_id)
            began = time.perf_counter()
            async with self.database.transaction() as transaction:
                sealed = seal(source.current(), row.context, _config(url))
                await transaction.connection.execute(query.encode(), [sealed.data, sealed.key_id, row_id])
            self.writes.append(time.perf_counter() - began)
            self.urls[row_id] = url
            self.writing.remove(row_id)
            await asyncio.sleep(PAUSE)


def _config(url: str) -> bytes:
    return json.dumps({"transport": "http", "url": url}).encode()


@dataclass
class Outcome:
    """What one round came to."""

    seconds: float
    said: dict[str, Any]
    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    failed: int = 0
    lost: int = 0


async def measured(way: str, database: HubDatabase, filled: "Filled", *, busy: bool, kills: Sequence[float]) -> Outcome:
    """One round of one way."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "keyring.json"
        path.write_text(Keyring(filled.old, (filled.new,)).render())
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(Database(database.app_url, name="neighbours", max_size=12))
            connections = await stack.enter_async_context(Connections(log_dir=None))
            servers = Servers(pool, Vault(KeyringFile(path)), connections, allow_private=True)
            urls = {row.ref.server_ref_id: str(row.config["url"]) for row in filled.rows}
            neighbours = Neighbours(servers, pool, path, urls, filled.rows)
            tasks = [asyncio.create_task(neighbours.read()) for _ in range(READERS * busy)]
            tasks += [asyncio.create_task(neighbours.write(number)) for number in range(WRITERS * busy)]
            began = time.perf_counter()
            for part in kills:
                await worked(way, database.app_url, path, filled.new, kill_at=part * len(filled.rows))
            said = await worked(way, database.app_url, path, filled.new)
            seconds = time.perf_counter() - began
            neighbours.stopped = True
            await asyncio.gather(*tasks)
        ring = Keyring(filled.new, (filled.old,))
        lost = _count_lost(database, ring, neighbours)
    return Outcome(seconds, said, neighbours.reads, neighbours.writes, neighbours.failed, lost)


def _count_lost(database: HubDatabase, ring: Keyring, neighbours: Neighbours) -> int:
    """Open all values: how many are not what was stored last."""
    stored: dict[UUID, tuple[bytes, str | None]] = {}
    with psycopg.connect(database.admin_url) as connection:
        for name in TABLES.values():
            query = sql.SQL("SELECT id, config_encrypted, key_id FROM {}").format(sql.Identifier(name))
            stored |= {row[0]: (row[1], row[2]) for row in connection.execute(query)}
    vault, lost = Vault(FixedKeyring(ring)), 0
    for row in neighbours.rows:
        data, key_id = stored[row.ref.server_ref_id]
        lost += vault.open_config(row.context, data, key_id)["url"] != neighbours.urls[row.ref.server_ref_id]
    return lost


# The values, and the report.


@dataclass(frozen=True)
class Filled:
    """A database with sealed values, and the keys: the one they are under, and the one they go to."""

    database: HubDatabase
    old: VaultKey
    new: VaultKey
    rows: list[SealedRow]


@contextmanager
def filled(server_url: str, values: int) -> Iterator[Filled]:
    """A database with so many sealed values."""
    old, new = VaultKey.generate(), VaultKey.generate()
    kinds = (lambda: sealed_row(old), lambda: sealed_row(old, "user"), lambda: unbound_row(old))
    rows = [kinds[number % 3]() for number in range(values)]
    with created_database(server_url, template=None) as database:
        asyncio.run(migrate(database.owner_url, app_url=database.app_url))
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            for name in TABLES.values():
                admin.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER".encode())
            _copy(admin, "system_servers", [row for row in rows if row.owner is None])
            _copy(admin, "user_servers", [row for row in rows if row.owner is not None])
            for kind, name in TABLES.items():
                owner = "NULL" if kind == "system" else "user_id"
                admin.execute(
                    f"INSERT INTO server_state (server_type, server_ref_id, user_id, name) "
                    f"SELECT '{kind}', id, {owner}, name FROM {name}".encode()
                )
                admin.execute(f"ALTER TABLE {name} ENABLE TRIGGER USER".encode())
            admin.execute("VACUUM ANALYZE")
        yield Filled(database, old, new, rows)


def _copy(admin: psycopg.Connection[Any], name: str, rows: Sequence[SealedRow]) -> None:
    owned = name == "user_servers"
    columns = "id, name, transport, config_encrypted, key_id, endpoint" + (", user_id" if owned else "")
    with admin.cursor().copy(f"COPY {name} ({columns}) FROM STDIN".encode()) as copy:
        for row in rows:
            row_id = row.ref.server_ref_id
            values = [row_id, f"s{row_id.hex[:30]}", "http", row.data, row.key_id, "x"]
            copy.write_row([*values, row.owner] if owned else values)


CASES: dict[str, tuple[str, bool, Sequence[float]]] = {
    "floor, alone": (FLOOR, False, ()),
    "rotation, alone": (HUB, False, ()),
    "floor, with readers and writers": (FLOOR, True, ()),
    "rotation, with readers and writers": (HUB, True, ()),
    "rotation, killed 5 times": (HUB, True, KILLS),
}


def _row(case: str, outcomes: Sequence[Outcome]) -> list[str]:
    said = [outcome.said for outcome in outcomes]
    reads = [seconds for outcome in outcomes for seconds in outcome.reads]
    writes = [seconds for outcome in outcomes for seconds in outcome.writes]
    killed = bool(CASES[case][2])
    seconds = median(outcome.seconds if killed else outcome.said["seconds"] for outcome in outcomes)
    return [
        case,
        f"{seconds:.1f} s",
        "-" if killed else f"{median(one['processor'] for one in said):.1f} s",
        f"{median(one['megabytes'] for one in said):.0f} MiB",
        f"{len(reads):,}",
        f"{sum(outcome.failed for outcome in outcomes):,}",
        _times(reads),
        f"{len(writes):,}",
        f"{sum(outcome.lost for outcome in outcomes):,}",
        _times(writes),
    ]


def _times(seconds: Sequence[float]) -> str:
    return f"{milliseconds(percentile(seconds, 99))}, {milliseconds(max(seconds))}" if seconds else "-"


def _report(found: dict[str, list[Outcome]], few: float, many: float, values: int, on: str) -> str:
    head = ["way", "took", "processor", "memory", "opens", "failed", "p99, longest", "writes", "lost", "p99, longest"]

    def rate(name: str) -> float:
        return values / float(median(outcome.said["seconds"] for outcome in found[name]))

    alone, busy = (rate(f"rotation, {how}") / rate(f"floor, {how}") for how in ("alone", "with readers and writers"))
    lines = (
        f"{values:,} values; medians of {len(found['floor, alone'])} rounds. The last way starts six processes.",
        table(head, [_row(case, outcomes) for case, outcomes in found.items()]),
        f"Values per second, the rotation's against the floor's: {alone:.2f}x alone, {busy:.2f}x with readers and "
        f"writers. Most memory of the rotating process: {few:.0f} MiB for {FEW:,} values, {many:.0f} MiB for "
        f"{values:,}.",
    )
    return "\n\n".join([f"# {(__doc__ or '').strip()}", *lines, on]) + "\n"


def main(values: int, rounds: int) -> None:
    """Fill two databases, and measure all ways on copies of them."""
    found: dict[str, list[Outcome]] = {case: [] for case in CASES}
    with server() as url, filled(url, values) as many, filled(url, FEW) as few:
        on = machine(url)
        for _ in range(rounds):
            for case, (way, busy, kills) in CASES.items():
                with copied(url, many.database) as database:
                    found[case].append(asyncio.run(measured(way, database, many, busy=busy, kills=kills)))
                    sys.stderr.write(f"{case}: {found[case][-1].said}\n")
        with copied(url, few.database) as database:
            least = asyncio.run(measured(HUB, database, few, busy=False, kills=())).said
    most = max(outcome.said["megabytes"] for outcome in found["rotation, alone"])
    for case in ("rotation, with readers and writers", "rotation, killed 5 times"):
        assert sum(outcome.failed + outcome.lost for outcome in found[case]) == 0
    publish("rotation", _report(found, least["megabytes"], most, values, on))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--values", type=int, default=VALUES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is None:
        main(arguments.values, arguments.rounds)
    else:
        way, url, path, new_key_id = arguments.work
        work(way, url, Path(path), new_key_id)

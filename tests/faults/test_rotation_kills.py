"""A rotation that is killed twice and resumed, while others open what it seals anew."""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.db.pool import Database
from nexus_hub.errors import HubError
from nexus_hub.servers.registry import Servers
from nexus_hub.upstream.config import HttpConfig
from nexus_hub.upstream.connections import Connections
from nexus_hub.vault.keyring import Keyring, KeyringFile
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.rotation import Rotation
from nexus_hub.vault.sealing import Vault
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.sealed import SealedRow, insert, sealed_row, stored, unbound_row
from tests.fixtures.upstreams import ROOT

ROWS, READERS = 2500, 4
KILLED_AT = (700, 1600)
SCRIPT = str(ROOT / "tests" / "faults" / "rotating.py")


def mixed(key: VaultKey) -> list[SealedRow]:
    """System and user servers, and some of the latter as the seed wrote them."""
    third, rest = ROWS // 3, ROWS - 2 * (ROWS // 3)
    return [
        *(sealed_row(key) for _ in range(third)),
        *(sealed_row(key, "user") for _ in range(third)),
        *(unbound_row(key) for _ in range(rest)),
    ]


@asynccontextmanager
async def reading(servers: Servers, rows: list[SealedRow]) -> AsyncIterator[Counter[str]]:
    """Open rows at random all the while; how many opens there were, and how many failed."""
    counts: Counter[str] = Counter()

    async def read() -> None:
        while True:
            row = random.choice(rows)
            counts["opens"] += 1
            try:
                target, _ = await servers.open(row.ref)
            except HubError as error:
                counts["failed"] += 1
                counts[error.code] += 1
            else:
                assert isinstance(target.config, HttpConfig)
                counts["wrong"] += target.config.url != row.config["url"]

    tasks = [asyncio.create_task(read()) for _ in range(READERS)]
    try:
        yield counts
    finally:
        for task in tasks:
            await cancel_and_wait(task)


async def rotated(*arguments: str, kill_at: int | None = None) -> dict[str, Any]:
    """Rotate in a process of its own, killed once it has done so many; the last thing that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        SCRIPT,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1024 * 1024,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said: dict[str, Any] = {}
    async for line in process.stdout:
        said = json.loads(line)
        if kill_at is not None and said["done"] >= kill_at:
            process.kill()
            break
    complaint = (await process.stderr.read()).decode()
    assert await process.wait() == (0 if kill_at is None else -9), complaint
    return said


async def test_a_rotation_killed_twice_loses_nothing(
    database: HubDatabase, hub_database: Database, connections: Connections, tmp_path: Path
) -> None:
    old, new = VaultKey.generate(), VaultKey.generate()
    path = tmp_path / "keyring.json"
    path.write_text(Keyring(old, (new,)).render())
    rows = mixed(old)
    insert(database.owner_url, *rows)
    before = stored(database.owner_url)
    servers = Servers(hub_database, Vault(KeyringFile(path)), connections, allow_private=True)
    arguments = (database.app_url, str(path), new.id)

    async with reading(servers, rows) as counts:
        under_new = list[int]()
        for kill_at in KILLED_AT:
            await rotated(*arguments, kill_at=kill_at)
            under_new.append(sum(row["key_id"] == new.id for row in stored(database.owner_url).values()))
        report = await rotated(*arguments)
        opens_during = counts["opens"]
        while counts["opens"] < opens_during + 100:
            await asyncio.sleep(0.01)

    after = stored(database.owner_url)
    rotation = Rotation(hub_database, KeyringFile(path))
    backups = (await rotation.status())["backups"]
    restored = await rotation.restore(new.id)
    sys.stdout.write(
        f"\n{ROWS} values, killed at {under_new} of them; opens during the rotation: {opens_during}, "
        f"failed: {counts['failed']}, wrong: {counts['wrong']}; report: {report}; backups: {backups}, "
        f"put back: {restored['restored']}\n"
    )
    assert 0 < under_new[0] < under_new[1] < ROWS
    assert report == {"updated": ROWS, "errors": [], "promoted": True}
    assert (counts["failed"], counts["wrong"]) == (0, 0)
    assert {row["key_id"] for row in after.values()} == {new.id}
    assert {row["revision"] for row in after.values()} == {1}
    assert KeyringFile(path).current() == Keyring(new, (old,))
    assert (backups, restored) == (ROWS, {"restored": ROWS, "left": []})
    assert stored(database.owner_url) == before

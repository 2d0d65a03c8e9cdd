"""What becomes of logins at an upstream server that end all at once, in all processes of the hub?

Two processes of the API and one that works on jobs share a PostgreSQL. 100 users are logged in at a real MCP server
whose authorization server rotates refresh tokens. Ten times it refuses all access tokens at once, and each user calls
at each process at the same time; the tool answers whose token came. A refresh token that comes twice ends its login.

- quiet: nothing else happens;
- 500s: the authorization server answers half of all exchanges with 500;
- killed, with a grace time: in each round one process of the API is killed (SIGKILL) while the answer of an exchange is
  on its way, and started again; the authorization server takes the token before the newest once more for 30 s;
- killed, without: the same where it takes each token once. The tokens of an exchange whose answer died with the process
  can't be had any more, so that its users have to log in anew: no client can help that.

Then a rotation of 10,000 sealed logins while they are renewed and opened in two processes' worth of stores.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from benchmarks.many_jobs import server
from benchmarks.report import machine, milliseconds, percentile, publish, table
from nexus_hub.db.migrate import migrate
from nexus_hub.db.pool import Database
from nexus_hub.errors import CannotOpen, HubError
from nexus_hub.servers.login_rows import LoginKey
from nexus_hub.servers.logins import Logins
from nexus_hub.vault.keyring import Keyring, KeyringFile
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.rotation import Rotation, RotationPlan
from tests.fixtures.login_storm import LoginStorm, Outcomes, storming
from tests.fixtures.logins import KEY, PlayedIssuer, add_server, open_logins, site_of
from tests.fixtures.postgres import HubDatabase, created_database

USERS, EXPIRIES, KILLS, LOGINS = 100, 10, 5, 10_000
GRACE_SECONDS, ANSWER_MS = 30, 200
READERS, RENEWERS = 8, 16


@dataclass
class Storm:
    """What came of a storm."""

    outcomes: Outcomes
    seconds: float
    exchanges: Counter[int]
    """How many users had so many exchanges."""
    counted: dict[str, Any]
    fewest_tools: int
    logins: Counter[str]


async def expire(storm: LoginStorm, outcomes: Outcomes, rounds: int) -> int:
    """Refuse all tokens so many times, and let everybody call everywhere each time; the fewest tools there were."""
    tools = []
    for _ in range(rounds):
        await storm.control(expire=True)
        await storm.call_everywhere(outcomes)
        tools.append(storm.count_tools())
    return min(tools)


async def expire_and_kill(storm: LoginStorm, outcomes: Outcomes, rounds: int) -> int:
    """Kill a process of the API in each round, and start it again."""
    tools = []
    for _ in range(rounds):
        doomed = next(iter(storm.apis))
        await storm.control(expire=True, answer_ms=ANSWER_MS)
        calls = asyncio.create_task(storm.call_at(doomed, outcomes))
        await storm.exchanging()
        await storm.kill(doomed)
        await calls
        await storm.control(answer_ms=0)
        await storm.start_api(doomed)
        await storm.call_everywhere(outcomes)
        tools.append(storm.count_tools())
    return min(tools)


Rounds = Callable[[LoginStorm, Outcomes, int], Awaitable[int]]


async def storm_of(database: HubDatabase, users: int, rounds: int, work: Rounds, **knobs: Any) -> Storm:
    """Let a storm happen."""
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory() as home:
        async with storming(database, Path(home), users) as storm:
            await storm.call_everywhere(Outcomes())  # connections are there
            await storm.control(**knobs)
            began = time.perf_counter()
            tools = await work(storm, outcomes, rounds)
            seconds = time.perf_counter() - began
            counted = await storm.control(fail_share=0)
            exchanges = Counter(counted["exchanges"].get(user.name, 0) for user in storm.users)
            return Storm(outcomes, seconds, exchanges, counted, tools, storm.count_logins())


@dataclass
class Beside:
    """What happened beside a rotation."""

    opens: list[float] = field(default_factory=list)
    renewals: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    strangers: int = 0


async def rotate(database: HubDatabase, count: int) -> tuple[Beside, dict[str, Any]]:
    """Rotate the keys of so many logins, which are opened and renewed meanwhile."""
    new, issuer, beside, chance = VaultKey.generate(), PlayedIssuer(), Beside(), Random(15)
    ref = add_server(database)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "keyring.json"
        path.write_text(Keyring(KEY, (new,)).render())
        async with AsyncExitStack() as stack:
            stores = [
                await stack.enter_async_context(
                    open_logins(database.app_url, issuer, patience=30, keyring=KeyringFile(path))
                )
                for _ in range(2)
            ]
            pool = await stack.enter_async_context(Database(database.app_url, name="rotation"))
            keys = [LoginKey(ref, uuid4()) for _ in range(count)]
            for number, key in enumerate(keys):
                await stores[0].rows.store(key, issuer.log_in(f"user-{number}"))
            over = asyncio.Event()
            busy = [
                *(_open(over, stores[at % 2], keys, beside, chance) for at in range(READERS)),
                *(_renew(over, stores[at % 2], keys, beside, chance, issuer) for at in range(RENEWERS)),
            ]
            tasks = [asyncio.create_task(one) for one in busy]
            report = await Rotation(pool, KeyringFile(path)).run(RotationPlan(new.id), _silent)
            over.set()
            await asyncio.gather(*tasks)
            status = await Rotation(pool, KeyringFile(path)).status()
            rows = {one["key_id"]: one["rows"] for one in status["keys"]}
            said = {"updated": report.updated, "errors": report.errors, "seconds": report.seconds}
            return beside, said | {"under_new": rows[new.id], "under_old": rows[KEY.id]}


async def _silent(_progress: dict[str, Any]) -> None:
    """Listens to no progress."""


async def _open(over: asyncio.Event, logins: Logins, keys: list[LoginKey], beside: Beside, chance: Random) -> None:
    while not over.is_set():
        key, began = chance.choice(keys), time.perf_counter()
        try:
            row = await logins.rows.read(key)
            assert row is not None
            logins.rows.open(row)
        except CannotOpen as error:
            beside.failed[error.code] += 1
        beside.opens.append(time.perf_counter() - began)


async def _renew(
    over: asyncio.Event, logins: Logins, keys: list[LoginKey], beside: Beside, chance: Random, issuer: PlayedIssuer
) -> None:
    while not over.is_set():
        number = chance.randrange(len(keys))
        source = logins.source(keys[number], site_of(issuer))
        try:
            headers = await source.renew(await source.headers())
        except HubError as error:
            beside.failed[error.code] += 1
        else:
            beside.renewals += 1
            beside.strangers += not headers["Authorization"].startswith(f"Bearer user-{number}.")


def _storm_row(name: str, storm: Storm) -> list[str]:
    counts = storm.outcomes.counts
    exchanges = ", ".join(f"{count}: {users}" for count, users in sorted(storm.exchanges.items()))
    return [
        name,
        f"{counts.total():,}",
        f"{storm.outcomes.failed:,}",
        f"{counts['cut']:,}",
        f"{counts[_ANOTHERS]:,}",
        exchanges,
        f"{storm.counted['failed']:,}",
        f"{storm.counted['again']:,}",
        f"{storm.counted['reused']:,}",
        f"{storm.logins['needed']:,}",
        f"{storm.fewest_tools}",
        f"{storm.seconds:.1f} s",
    ]


_ANOTHERS = "another's"
_HEAD = (
    "storm",
    "calls",
    "failed",
    "cut off by the kill",
    "another's token",
    "exchanges: users",
    "500s",
    "taken once more",
    "came twice",
    "logins lost",
    "fewest tools",
    "took",
)


def main(users: int, expiries: int, kills: int, logins: int) -> None:
    """Let all storms happen, each on a database of its own."""
    cases: dict[str, tuple[Rounds, int, dict[str, Any]]] = {
        "quiet": (expire, expiries, {}),
        "500s": (expire, expiries, {"fail_share": 0.5}),
        "killed, with a grace time": (expire_and_kill, kills, {"grace_seconds": GRACE_SECONDS}),
        "killed, without": (expire_and_kill, kills, {}),
    }
    rows, found = [], dict[str, Storm]()
    with server() as url:
        on = machine(url)
        for name, (work, rounds, knobs) in cases.items():
            with created_database(url, template=None) as database:
                asyncio.run(migrate(database.owner_url, app_url=database.app_url))
                found[name] = asyncio.run(storm_of(database, users, rounds, work, **knobs))
                rows.append(_storm_row(name, found[name]))
                sys.stderr.write(f"{name}: {found[name]}\n")
        with created_database(url, template=None) as database:
            asyncio.run(migrate(database.owner_url, app_url=database.app_url))
            beside, said = asyncio.run(rotate(database, logins))
            sys.stderr.write(f"rotation: {said} {beside.renewals} {beside.failed}\n")
    parts = [
        f"{users} users; {expiries} expiries, {kills} with kills. Calls that were under way at a process that was "
        "killed are counted apart: their clients saw the connection end.",
        table(_HEAD, rows),
        f"A rotation of {logins:,} sealed logins took {said['seconds']:.1f} s; {said['updated']:,} were sealed anew "
        f"and opened afterwards, {len(said['errors'])} lines of errors; under the new key: {said['under_new']:,}, "
        f"under the old one: {said['under_old']:,}. Meanwhile {len(beside.opens):,} opens (p99 "
        f"{milliseconds(percentile(beside.opens, 99))}) and {beside.renewals:,} renewals: failed "
        f"{beside.failed.total()}, another's token {beside.strangers}.",
        on,
    ]
    publish("logins", "\n\n".join([f"# {(__doc__ or '').strip()}", *parts]) + "\n")
    for name in ("quiet", "500s", "killed, with a grace time"):
        assert found[name].outcomes.failed == found[name].logins["needed"] == 0, name
    assert beside.failed.total() == beside.strangers == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--expiries", type=int, default=EXPIRIES)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--logins", type=int, default=LOGINS)
    given = parser.parse_args()
    main(given.users, given.expiries, given.kills, given.logins)

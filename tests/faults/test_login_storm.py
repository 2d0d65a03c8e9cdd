"""Logins that end all at once in two processes of a hub, one of which dies while it renews them.

The full storm, with its numbers, is benchmarks/logins.py.
"""

import asyncio
from pathlib import Path

from tests.fixtures.login_storm import Outcomes, storming
from tests.fixtures.postgres import HubDatabase

USERS = 10


async def test_an_expiry_costs_one_exchange_and_a_killed_process_costs_no_login(
    database: HubDatabase, tmp_path: Path
) -> None:
    """The authorization server answers 500 half of the time, and takes the token before the newest once more."""
    outcomes = Outcomes()
    async with storming(database, tmp_path, USERS, apis=1) as storm:
        for fail_share in (0, 0.5):
            await storm.control(expire=True, fail_share=fail_share)
            await storm.call_everywhere(outcomes)
        counted = await storm.control(expire=True, fail_share=0, answer_ms=300, grace_seconds=60)
        assert outcomes.counts == {"good": 2 * 2 * USERS}
        assert (set(counted["exchanges"].values()), counted["reused"]) == ({2}, 0)
        assert counted["failed"] > 0

        (doomed,) = storm.apis
        calls = asyncio.create_task(storm.call_at(doomed, outcomes))
        await storm.exchanging()
        await storm.kill(doomed)
        await calls
        await storm.control(answer_ms=0)
        await storm.work_for_all(outcomes)
        counted = await storm.control()
        assert (storm.count_logins(), storm.count_tools()) == ({"ready": USERS}, 1)
    assert outcomes.failed == 0, outcomes.counts
    assert outcomes.counts["cut"] > 0
    assert (counted["reused"], counted["again"] > 0) == (0, True)

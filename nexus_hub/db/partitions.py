"""Jobs in partitions by day: the change of the table's form, which loses nothing and holds others up only shortly."""

import asyncio
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from nexus_hub.db.migrate import as_owner, find_newer, only_one, pending
from nexus_hub.db.pool import Transaction
from nexus_hub.db.queries import load
from nexus_hub.errors import CannotMigrate

PARTITIONS = load("partitions")
_KEYS_AT_ONCE = 10_000
_TRIES, _PAUSE_SECONDS = 30, 2


async def partition_jobs(owner_url: str) -> bool:
    """Put the jobs into partitions by day; False: they were so already.

    Raises:
        CannotMigrate: the schema is not up to date, something is in the way, or somebody holds the table.
        DatabaseUnavailable: the database does not answer.
    """
    if await find_newer(owner_url) is not None:
        raise CannotMigrate("A later release has migrated this database; put its jobs into partitions with that one.")
    if missing := await pending(owner_url):
        raise CannotMigrate(f"{len(missing)} migrations are missing; run nexus-hub migrate first.")
    async with as_owner(owner_url) as connection, only_one(connection):
        if await _are_in_days(connection):
            return False
        await _refuse_hurdles(connection)
        await _run_shortly(connection, "prepare_partitions")
        try:
            await _copy_keys(connection)
            await _validate(connection)
            await _run_shortly(connection, "partition_jobs")
        finally:
            # The bound that is left behind would refuse the jobs of the day after tomorrow.
            if not connection.broken and not await _are_in_days(connection):
                await _run_shortly(connection, "take_back")
    return True


async def _are_in_days(connection: AsyncConnection[DictRow]) -> bool:
    return await Transaction(connection).only(PARTITIONS["are_in_days"], bool)


async def _refuse_hurdles(connection: AsyncConnection[DictRow]) -> None:
    hurdles = await Transaction(connection).all(PARTITIONS["hurdles"], str)
    if hurdles:
        raise CannotMigrate(
            f"These mean job_results itself, and would go on meaning its oldest partition: {'; '.join(hurdles)}. "
            "Drop them, put the jobs into partitions, and make them again; a publication with "
            "publish_via_partition_root = true."
        )


async def _run_shortly(connection: AsyncConnection[DictRow], step: str) -> None:
    """Take a step that needs the table alone; it waits for it for moments only, and comes again."""
    for _ in range(_TRIES):
        try:
            async with connection.transaction():
                await connection.execute(PARTITIONS["wait_shortly"])
                await connection.execute(PARTITIONS[step])
                return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            await asyncio.sleep(_PAUSE_SECONDS)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise CannotMigrate(f"The step {step} failed and changed nothing: {error.diag.message_primary}") from None
    raise CannotMigrate(
        "Somebody has held job_results for a minute; see pg_stat_activity for a long transaction, and try again."
    )


async def _copy_keys(connection: AsyncConnection[DictRow]) -> None:
    after = {"after_key": "", "after_owner": UUID(int=0)}
    while True:
        async with connection.transaction():
            page = await Transaction(connection).one(PARTITIONS["copy_keys"], limit=_KEYS_AT_ONCE, **after)
        if page is None:
            return
        after = page


async def _validate(connection: AsyncConnection[DictRow]) -> None:
    """Prove what the partition is to promise; everybody reads and writes meanwhile."""
    for statement in await Transaction(connection).all(PARTITIONS["constraints_to_validate"], str):
        try:
            await connection.execute(statement.encode())
        except psycopg.errors.CheckViolation as error:
            raise CannotMigrate(
                f"Some jobs are not as {error.diag.constraint_name} says; job_results_until: none was created later "
                "than tomorrow. Correct or delete them, and try again."
            ) from None

"""Switches: servers that are on or off."""

from nexus_hub.db.pool import Database, Transaction
from nexus_hub.models import ServerRef
from nexus_hub.servers.policies import SERVERS


async def switch_server(database: Database, ref: ServerRef, *, enabled: bool) -> bool:
    """Switch a server on or off; true if it was not so before.

    One that is off is not contacted and offers nothing. One that is switched on is due to be read.
    """
    async with database.transaction(bounded=True) as transaction:
        return await store_switch(transaction, ref, enabled=enabled)


async def store_switch(transaction: Transaction, ref: ServerRef, *, enabled: bool) -> bool:
    """Switch a server in a transaction; see `switch_server`."""
    query = SERVERS[f"switch_{ref.server_type}_server"]
    return bool(await transaction.run(query, id=ref.server_ref_id, enabled=enabled))

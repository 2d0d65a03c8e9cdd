"""Tasks that read upstream servers' catalogs anew."""

from nexus_hub.servers.refresh import Due, RefreshReport
from tasks.context import current
from tasks.options import DATABASE, hub_task


@hub_task("find-due-servers", retry=DATABASE)
async def find_due_servers(server: str) -> list[Due]:
    """Find the server of that name or id, or all that are due."""
    return await current().refresher.find_due(server or None)


@hub_task("refresh-server", run_name="refresh-server {due.name}", retry=DATABASE)
async def refresh_server(due: Due) -> RefreshReport:
    """Read what one server offers, and store it."""
    return await current().refresher.refresh_due(due)

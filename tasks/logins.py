"""Tasks that look after the logins at upstream servers."""

from nexus_hub.servers.logins import DueLogins
from tasks.context import current
from tasks.options import DATABASE, hub_task

__all__ = ["DueLogins", "refresh_due_logins"]


@hub_task("refresh-due-logins", retry=DATABASE)
async def refresh_due_logins() -> DueLogins:
    """Renew the logins that end soon and are used often."""
    return await current().logins.refresh_due()

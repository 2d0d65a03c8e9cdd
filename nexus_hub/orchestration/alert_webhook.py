"""Webhook of the documented alert: told once when the table grows too large, and once when it no longer is."""

from datetime import UTC, datetime
from typing import Any, Literal

from nexus_hub.db.pool import Database
from nexus_hub.jobs.monitoring import MONITORING, TableAlert
from nexus_hub.orchestration.webhooks import Webhook
from nexus_hub.settings import Settings

NAME = "job_results"
OK = "OK"
Told = Literal["told", "known", "off"]


class AlertWebhook:
    """Tells the webhook of the settings of each change of the alert's state, by one process at a time.

    A change that could not be told counts as not told. The URL and the secret are shown nowhere.
    """

    def __init__(self, database: Database, settings: Settings, *, first_pause: float = 1.0) -> None:
        self._database = database
        url, secret = settings.alert_webhook, settings.alert_secret
        self._webhook = None if url is None else Webhook("NEXUS_ALERT_WEBHOOK", url, secret, first_pause)

    async def tell(self, alert: TableAlert) -> Told:
        """Tell of the alert's state, unless it was told already.

        Raises:
            AlertUndelivered: the webhook does not take it.
            DatabaseUnavailable: what was told last is not known.
        """
        if self._webhook is None:
            return "off"
        async with self._database.exclusive_lock("nexus_hub.alert") as is_ours:
            if not is_ours or await self._read_told() == alert.status:
                return "known"
            await self._webhook.send("the alert", _write(alert))
            async with self._database.transaction() as transaction:
                await transaction.run(MONITORING["note_told_status"], name=NAME, status=alert.status)
        return "told"

    async def _read_told(self) -> str:
        async with self._database.transaction() as transaction:
            return await transaction.one(MONITORING["told_status"], str, name=NAME) or OK


def _write(alert: TableAlert) -> dict[str, Any]:
    message = f"{alert.status} ({alert.row_count:,} rows)"
    payload = {"alert": NAME, "status": alert.status, "row_count": alert.row_count, "message": message}
    return payload | {"at": datetime.now(UTC).isoformat(timespec="seconds")}

"""Rounds over what waits for a person's yes: ended when its time is over, and told to NEXUS_APPROVAL_WEBHOOK."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nexus_hub.db.pool import Database
from nexus_hub.errors import ApprovalExpired, PrefectUnavailable
from nexus_hub.jobs.approvals import APPROVALS
from nexus_hub.jobs.endings import tell_closed
from nexus_hub.orchestration.approvals import name_call
from nexus_hub.orchestration.prefect_runs import PrefectRuns
from nexus_hub.orchestration.webhooks import AlertUndelivered, Webhook
from nexus_hub.settings import Settings
from nexus_hub.telemetry.loops import keep_running, outlasting, tell_failure

INTERVAL_SECONDS = 2.0
UNDELIVERED_SECONDS = 60.0
"""A webhook that does not take what it is told is left alone for so long."""
FORGET_SECONDS = 3600.0
"""Approvals whose jobs a clean-up has taken away are forgotten so often."""
AT_ONCE = 200


@dataclass
class ApprovalRounds:
    """Ends what waits too long, and tells of what begins to wait; of all processes one at a time does a round."""

    database: Database
    prefect_client: PrefectRuns
    base_url: str
    webhook: Webhook | None = None

    @classmethod
    def from_settings(cls, settings: Settings, database: Database, prefect_client: PrefectRuns) -> "ApprovalRounds":
        """Make them for the webhook of the settings, if there is one."""
        url = settings.approval_webhook
        webhook = None if url is None else Webhook("NEXUS_APPROVAL_WEBHOOK", url, settings.alert_secret)
        return cls(database, prefect_client, settings.public_base, webhook)

    def loops(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Make the loops: waits end, what is of no job is forgotten, and the webhook is told if there is one."""
        yield keep_running("approvals", self._keep_expiring)
        yield keep_running("approvals-forget", self._keep_forgetting)
        if self.webhook is not None:
            yield keep_running("approval-webhook", self._keep_telling)

    async def _keep_expiring(self) -> None:
        while True:
            with outlasting("approvals"):
                await self.expire()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _keep_forgetting(self) -> None:
        while True:
            with outlasting("approvals-forget"):
                async with self.database.transaction() as transaction:
                    await transaction.run(APPROVALS["forget_approvals"])
            await asyncio.sleep(FORGET_SECONDS)

    async def _keep_telling(self) -> None:
        while True:
            pause = INTERVAL_SECONDS
            with outlasting("approval-webhook"):
                try:
                    await self.tell()
                except AlertUndelivered as error:
                    tell_failure("approval-webhook", error)
                    pause = UNDELIVERED_SECONDS
            await asyncio.sleep(pause)

    async def expire(self) -> int:
        """End the jobs that waited too long, and their flow runs; how many."""
        message = ApprovalExpired().message
        async with self.database.transaction() as transaction:
            ended = await transaction.all(APPROVALS["expire"], error=message, limit=AT_ONCE)
        tell_closed(ended, "failed", ApprovalExpired.code)
        with suppress(PrefectUnavailable):  # the reconciler ends the runs
            for row in ended:
                if row["flow_run_id"] is not None:
                    await self.prefect_client.settle(row["flow_run_id"], "cancelled")
        return len(ended)

    async def tell(self) -> int:
        """Tell the webhook of each call that waits, once; how many.

        Raises:
            AlertUndelivered: it does not take one; the others wait for it.
        """
        if self.webhook is None:
            return 0
        async with self.database.exclusive_lock("nexus_hub.approvals") as is_ours:
            rows = await self._read_untold() if is_ours else []
            for row in rows:
                await self.webhook.send("a call that waits for a yes", self._write(row))
                async with self.database.transaction() as transaction:
                    await transaction.run(APPROVALS["note_told"], id=row["id"])
        return len(rows)

    async def _read_untold(self) -> list[dict[str, Any]]:
        async with self.database.transaction() as transaction:
            return await transaction.all(APPROVALS["untold"], limit=AT_ONCE)

    def _write(self, row: dict[str, Any]) -> dict[str, Any]:
        """Say what waits and where a person answers; arguments are shown there, and to nobody else."""
        return {
            "approval": str(row["id"]),
            "tool": name_call(row),
            "user": row["user"],
            "asked_at": row["asked_at"].isoformat(timespec="seconds"),
            "expires_at": row["expires_at"].isoformat(timespec="seconds"),
            "link": f"{self.base_url}/approvals/{row['id']}",
        }

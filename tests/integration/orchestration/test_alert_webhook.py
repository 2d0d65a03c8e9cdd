"""Webhooks hear of the alert's changes and of calls that wait for a yes, once, signed, and nothing of them is shown."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
from pydantic import SecretStr, ValidationError

from nexus_hub.db.pool import Database
from nexus_hub.jobs.monitoring import TableAlert
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.orchestration.alert_webhook import AlertWebhook
from nexus_hub.orchestration.webhooks import ATTEMPTS, AlertUndelivered, Webhook, sign
from nexus_hub.settings import Settings
from tests.fixtures.approvals import ApprovalDesk
from tests.fixtures.bundles import add_catalog, tool

LARGE = TableAlert("ALERT: job_results table exceeds 1M rows", 1_000_001)
SMALL = TableAlert("OK", 12)
SECRET = "s3cret-of-the-webhook"


@dataclass
class Receiver:
    """A webhook that answers with these statuses in turn, then with 204."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/{SECRET}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        status = self.statuses.pop(0) if self.statuses else 204
        location = "Location: /elsewhere\r\n" if status == 302 else ""
        writer.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{location}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with await asyncio.start_server(receiver.serve, "127.0.0.1", 0) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver


def webhook(database: Database, url: str | None) -> AlertWebhook:
    settings = Settings(alert_webhook=SecretStr(url) if url else None, alert_secret=SecretStr(SECRET))
    return AlertWebhook(database, settings, first_pause=0)


async def test_each_change_is_told_once_and_signed(hub_database: Database, receiver: Receiver) -> None:
    hook = webhook(hub_database, receiver.url)
    told = [
        await hook.tell(alert) for alert in (SMALL, LARGE, LARGE, TableAlert(LARGE.status, 2_000_000), SMALL, SMALL)
    ]
    assert told == ["known", "told", "known", "known", "told", "known"]
    (headers, body), (_, recovery) = receiver.got
    said = json.loads(body)
    assert said.pop("at")
    assert said == {
        "alert": "job_results",
        "status": LARGE.status,
        "row_count": 1_000_001,
        "message": "ALERT: job_results table exceeds 1M rows (1,000,001 rows)",
    }
    assert json.loads(recovery)["status"] == "OK"
    assert headers["x-nexus-signature"] == sign(body, SECRET)
    assert headers["content-type"] == "application/json"


async def test_what_could_not_be_told_is_tried_again_and_told_the_next_time(
    hub_database: Database, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="nexus_hub")
    hook = webhook(hub_database, receiver.url)
    receiver.statuses = [500, 429]
    assert await hook.tell(LARGE) == "told"
    receiver.statuses = [503] * ATTEMPTS
    with pytest.raises(AlertUndelivered, match="it answers 503") as failure:
        await hook.tell(SMALL)
    assert SECRET not in str(failure.value) + caplog.text
    receiver.got.clear()
    receiver.statuses = [302]
    with pytest.raises(AlertUndelivered, match="it answers 302"):
        await hook.tell(SMALL)
    assert len(receiver.got) == 1, "what is refused, or sent elsewhere, is not repeated"
    assert await hook.tell(SMALL) == "told"


async def test_a_webhook_that_is_away_fails_without_its_address_and_none_is_no_fault(
    hub_database: Database, receiver: Receiver
) -> None:
    assert await webhook(hub_database, None).tell(LARGE) == "off"
    with pytest.raises(AlertUndelivered) as failure:
        await webhook(hub_database, f"http://127.0.0.1:9/{SECRET}").tell(LARGE)
    assert str(failure.value) == "NEXUS_ALERT_WEBHOOK could not be told of the alert: ConnectError."


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://localhost/x", "example.com"])
def test_only_tls_or_this_machine_is_told(url: str) -> None:
    with pytest.raises(ValidationError, match="must begin with https://"):
        Settings(alert_webhook=SecretStr(url))
    assert Settings(alert_webhook=SecretStr("https://example.com/x"), alert_secret=None).alert_webhook


async def test_a_call_that_waits_is_told_once_and_without_its_arguments(
    hub_database: Database, receiver: Receiver
) -> None:
    ref = await add_catalog(hub_database, "bank", tool("transfer", "to"))
    desk = await ApprovalDesk.open(hub_database)
    await desk.guard(ref.server_ref_id)
    ann = await desk.user("ann")
    (job_id,) = await desk.ask_batch(ann, JobRequest("tool_invoke", "bank__transfer", {"to": "a-secret-place"}))
    desk.rounds.webhook = Webhook("NEXUS_APPROVAL_WEBHOOK", SecretStr(receiver.url), SecretStr(SECRET), first_pause=0)
    receiver.statuses = [503] * ATTEMPTS
    with pytest.raises(AlertUndelivered, match=r"NEXUS_APPROVAL_WEBHOOK .* it answers 503"):
        await desk.rounds.tell()
    assert [await desk.rounds.tell(), await desk.rounds.tell()] == [1, 0]
    headers, body = receiver.got[-1]
    assert headers["x-nexus-signature"] == sign(body, SECRET)
    said = json.loads(body)
    asked = await desk.of_job(job_id)
    assert {name: said[name] for name in ("approval", "tool", "user", "link")} == {
        "approval": str(asked["id"]),
        "tool": "bank__transfer",
        "user": "ann",
        "link": f"http://hub/approvals/{asked['id']}",
    }
    assert b"a-secret-place" not in body

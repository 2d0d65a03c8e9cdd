"""What Prefect has written down is judged by Prefect's clock, whatever that of this machine says."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from nexus_hub.orchestration import health
from nexus_hub.orchestration.prefect_client import PrefectClient

HOURS = pytest.mark.parametrize("hours", [-1, 0, 1])


class OtherClock:
    """A Prefect whose machine is hours off, and that gives an answer of its own time."""

    def __init__(self, hours: int) -> None:
        self.apart = timedelta(hours=hours)
        self.answer: Any = []
        self.asked: list[bytes] = []

    def ago(self, seconds: float) -> str:
        """Write a time that is so long ago."""
        return (datetime.now(UTC) + self.apart - timedelta(seconds=seconds)).isoformat()

    def client(self) -> PrefectClient:
        made = PrefectClient("http://prefect/api", None)
        made._http = httpx.AsyncClient(transport=httpx.MockTransport(self._give), base_url="http://prefect/api")
        return made

    def _give(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.content)
        date = format_datetime(datetime.now(UTC) + self.apart, usegmt=True)
        return httpx.Response(200, json=self.answer, headers={"Date": date})


def flow_run(run: UUID, since: str) -> dict[str, Any]:
    state = {"type": "RUNNING", "timestamp": since}
    return {"id": str(run), "name": "lively-crow", "state": state, "parameters": {}, "run_count": 1}


@HOURS
async def test_a_state_is_as_old_as_prefect_has_it(hours: int) -> None:
    prefect, run = OtherClock(hours), uuid4()
    prefect.answer = [flow_run(run, prefect.ago(100))]
    state = (await prefect.client().states([run]))[run]
    assert state.age == pytest.approx(100, abs=60)


@HOURS
async def test_a_worker_was_heard_of_when_prefect_says(hours: int) -> None:
    prefect = OtherClock(hours)
    prefect.answer = [{"name": "one", "last_heartbeat_time": prefect.ago(100)}]
    assert await health.read_workers(prefect.client()) == {"one": pytest.approx(100, abs=60)}


@HOURS
async def test_runs_that_began_long_ago_are_asked_for_in_prefects_time(hours: int) -> None:
    prefect = OtherClock(hours)
    client = prefect.client()
    await client.begun(100, 0)  # its answer tells the time
    await client.begun(100, 0)
    asked = httpx.Response(200, content=prefect.asked[-1]).json()
    before = datetime.fromisoformat(asked["flow_runs"]["expected_start_time"]["before_"])
    assert abs((datetime.fromisoformat(prefect.ago(100)) - before).total_seconds()) < 60

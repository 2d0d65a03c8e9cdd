"""What a flow tells Prefect of its own run, while Prefect gives no answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.states import Cancelling, Running

from flows import this_run

LATE = httpx.ReadTimeout("late")


class Client:
    """Fails so many times before it takes anything, and shows a state of the run."""

    def __init__(self, failures: int, error: Exception, state: "State[Any]") -> None:
        self.failures = failures
        self.error = error
        self.state = state
        self.taken: list[Any] = []

    def _try(self, what: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error
        self.taken.append(what)

    async def read_flow_run(self, _run: Any) -> Any:
        return SimpleNamespace(state=self.state)

    async def set_flow_run_state(self, _run: Any, state: Any, **_: Any) -> None:
        self._try(state.type.value)

    async def update_flow_run(self, _run: Any, **members: Any) -> None:
        self._try(members)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Prefect as it fails so many times."""

    def use(failures: int, error: Exception = LATE, state: "State[Any] | None" = None) -> Client:
        client = Client(failures, error, state or Running())

        @asynccontextmanager
        async def get_client() -> AsyncIterator[Client]:
            yield client

        monkeypatch.setattr(this_run, "get_client", get_client)
        monkeypatch.setattr(this_run, "flow_run", SimpleNamespace(id=str(uuid4())))
        monkeypatch.setattr(this_run, "AGAIN_SECONDS", 0)
        monkeypatch.setattr(this_run, "write_line", lambda *_: None)
        return client

    return use


async def test_a_run_that_has_to_wait_says_so_until_prefect_has_heard_it(told: Any) -> None:
    client = told(5)
    with pytest.raises(Pause):
        await this_run.wait(datetime.now(UTC), "database-unavailable")
    assert client.taken == ["SCHEDULED"]


async def test_a_run_that_was_cancelled_meanwhile_is_not_begun_anew(told: Any) -> None:
    client = told(1, state=Cancelling())
    with pytest.raises(Pause) as paused:
        await this_run.wait(datetime.now(UTC), "database-unavailable")
    assert client.taken == []
    assert paused.value.state is not None
    assert paused.value.state.is_cancelling()


async def test_a_run_that_is_never_heard_fails(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(this_run, "PATIENCE_SECONDS", 0)
    told(1000)
    with pytest.raises(httpx.ReadTimeout):
        await this_run.wait(datetime.now(UTC), "database-unavailable")


async def test_what_prefect_refuses_is_not_said_again(told: Any) -> None:
    answer = httpx.Response(409, request=httpx.Request("POST", "http://127.0.0.1:1/api"))
    client = told(1, httpx.HTTPStatusError("no", request=answer.request, response=answer))
    with pytest.raises(httpx.HTTPStatusError):
        await this_run.wait(datetime.now(UTC), "database-unavailable")
    assert client.taken == []


async def test_a_run_goes_on_without_its_name(told: Any) -> None:
    client = told(1)
    await this_run.rename("time__now", uuid4())
    assert client.taken == []

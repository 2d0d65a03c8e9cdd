"""What a flow tells Prefect of its own run, while Prefect gives no answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.exceptions import Pause

from flows import this_run


class Client:
    """Fails so many times before it takes anything."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.taken: list[Any] = []

    def _try(self, what: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise httpx.ReadTimeout("late")
        self.taken.append(what)

    async def set_flow_run_state(self, _run: Any, state: Any, **_: Any) -> None:
        self._try(state.type.value)

    async def update_flow_run(self, _run: Any, **members: Any) -> None:
        self._try(members)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Prefect as it fails so many times."""

    def use(failures: int) -> Client:
        client = Client(failures)

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
    client = told(this_run.TRIES - 1)
    with pytest.raises(Pause):
        await this_run.wait(datetime.now(UTC), "database-unavailable")
    assert client.taken == ["SCHEDULED"]


async def test_a_run_that_is_never_heard_fails(told: Any) -> None:
    told(this_run.TRIES)
    with pytest.raises(httpx.ReadTimeout):
        await this_run.wait(datetime.now(UTC), "database-unavailable")


async def test_a_run_goes_on_without_its_name(told: Any) -> None:
    client = told(1)
    await this_run.rename("time__now", uuid4())
    assert client.taken == []

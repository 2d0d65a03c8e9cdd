"""The steps of a call in their order, whoever takes them, and the retries of each."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from nexus_hub.calls import retries
from nexus_hub.calls.pipeline import CallSteps
from nexus_hub.errors import DatabaseUnavailable, HubError, NotFound, UpstreamUnavailable

AWAY = UpstreamUnavailable("srv", "It refused the connection.")


@dataclass
class Journal:
    """A call that is nobody's but the test's: the steps that were taken, and errors that they meet first."""

    wait: float = 0
    errors: dict[str, list[HubError]] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)

    def take(self, step: str) -> None:
        self.taken.append(step)
        if errors := self.errors.get(step):
            raise errors.pop(0)


async def open_server(call: Journal) -> None:
    call.take("open")


async def admit(call: Journal) -> float:
    call.take("admit")
    return call.wait


async def send(call: Journal) -> None:
    call.take("call")


PLAIN = CallSteps(open_server, admit, send)
LANES: list[Callable[[], CallSteps[Journal]]] = [lambda: PLAIN, PLAIN.with_retries]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "DATABASE", retries.RetryPolicy((0, 0), retries.DATABASE.errors))
    monkeypatch.setattr(retries, "UPSTREAM", retries.RetryPolicy((0, 0), retries.UPSTREAM.errors))


@pytest.mark.parametrize("lane", LANES)
async def test_a_call_is_opened_admitted_and_made_in_every_lane(lane: Callable[[], CallSteps[Journal]]) -> None:
    call = Journal()
    assert await lane().run(call) == 0
    assert call.taken == ["open", "admit", "call"]


@pytest.mark.parametrize("lane", LANES)
async def test_a_call_over_the_limit_is_not_made(lane: Callable[[], CallSteps[Journal]]) -> None:
    call = Journal(wait=7)
    assert await lane().run(call) == 7
    assert call.taken == ["open", "admit"]


@pytest.mark.parametrize("lane", LANES)
async def test_a_step_that_fails_for_good_is_the_last(lane: Callable[[], CallSteps[Journal]]) -> None:
    call = Journal(errors={"open": [NotFound("server", "x")]})
    with pytest.raises(NotFound):
        await lane().run(call)
    assert call.taken == ["open"]


async def test_a_step_whose_error_passes_is_taken_again_from_itself_on() -> None:
    call = Journal(errors={"open": [DatabaseUnavailable()], "admit": [DatabaseUnavailable()], "call": [AWAY, AWAY]})
    assert await PLAIN.with_retries().run(call) == 0
    assert call.taken == ["open", "open", "admit", "admit", "call", "call", "call"]


async def test_the_third_failure_is_the_last() -> None:
    call = Journal(errors={"call": [AWAY] * 9})
    with pytest.raises(UpstreamUnavailable):
        await PLAIN.with_retries().run(call)
    assert call.taken == ["open", "admit", "call", "call", "call"]


async def test_a_server_that_names_a_time_is_not_called_again_before_it() -> None:
    call = Journal(errors={"call": [UpstreamUnavailable("srv", "Too many requests.", 90)]})
    with pytest.raises(UpstreamUnavailable):
        await PLAIN.with_retries().run(call)
    assert call.taken == ["open", "admit", "call"]


@pytest.mark.parametrize(("step", "error"), [("open", AWAY), ("admit", AWAY), ("call", DatabaseUnavailable())])
async def test_only_the_errors_of_its_own_kind_make_a_step_repeat(step: str, error: HubError) -> None:
    call = Journal(errors={step: [error]})
    with pytest.raises(type(error)):
        await PLAIN.with_retries().run(call)
    assert call.taken.count(step) == 1

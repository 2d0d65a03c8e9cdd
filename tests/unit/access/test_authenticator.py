"""The authenticator with verifiers of other kinds of tokens."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import pytest

from nexus_hub.access.tokens import Authenticator, Bearer
from nexus_hub.db.pool import Database
from nexus_hub.errors import NotAuthenticated, TooMany
from nexus_hub.models import OPERATOR, Principal

KEY = "the-service-key-of-this-test"
ANN = Bearer(Principal(UUID(int=1), frozenset({"jobs"})), "/mcp", 3.0)


class Marked:
    """Tokens that begin with a mark; what is told of each is counted."""

    def __init__(self, mark: str, bearers: dict[str, Bearer]) -> None:
        self.mark = mark
        self.bearers = bearers
        self.asked: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    def takes(self, token: str) -> bool:
        return token.startswith(self.mark)

    async def verify(self, token: str) -> Bearer | None:
        self.asked.append(token)
        await self.go_on.wait()
        if token.endswith("bad"):
            raise NotAuthenticated("It is bad.")
        return self.bearers.get(token)


def authenticator(*verifiers: Marked, clock: Callable[[], float] = lambda: 0.0) -> Authenticator:
    nowhere = Database("postgresql://127.0.0.1:1/none", name="none")
    return Authenticator(nowhere, KEY, clock, verifiers)


async def test_the_first_verifier_that_takes_a_token_says_whose_it_is() -> None:
    first, second = Marked("a", {"a1": ANN}), Marked("", {"b1": Bearer(OPERATOR), "a2": ANN})
    known = authenticator(first, second)
    assert await known.bearer("a1") is ANN
    assert (await known.bearer("b1")).principal == OPERATOR
    with pytest.raises(NotAuthenticated):
        await known.bearer("a2")
    assert (first.asked, second.asked) == (["a1", "a2"], ["b1"])


async def test_the_reason_of_a_bad_token_is_told() -> None:
    with pytest.raises(NotAuthenticated) as refused:
        await authenticator(Marked("a", {})).bearer("a bad")
    assert refused.value.reason == "It is bad."


async def test_the_service_key_is_asked_of_nobody() -> None:
    every = Marked("", {})
    assert (await authenticator(every).bearer(KEY)).principal == OPERATOR
    assert not every.asked


async def test_a_token_is_trusted_for_as_long_as_it_is_good_at_most() -> None:
    now, kind = [0.0], Marked("a", {"a1": ANN})
    known = authenticator(kind, clock=lambda: now[0])
    known.notice(True)
    for now[0] in (0.0, 2.9, 3.1):
        await known.bearer("a1")
    assert len(kind.asked) == 2
    known.forget()
    await known.bearer("a1")
    assert len(kind.asked) == 3


async def test_while_notices_can_not_be_heard_every_look_asks_anew() -> None:
    kind = Marked("a", {"a1": ANN})
    known = authenticator(kind)
    await known.bearer("a1")
    await known.bearer("a1")
    assert len(kind.asked) == 2


async def test_unknown_tokens_of_an_address_take_turns_and_one_that_held_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nexus_hub.access.turns.MOST_WAITING", 1)
    kind = Marked("a", {"a1": ANN})
    known = authenticator(kind)
    await known.bearer("a1", "192.0.2.1")
    kind.go_on.clear()
    waiting = [asyncio.create_task(known.bearer(f"a{number} bad", "192.0.2.1")) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooMany):
        await known.bearer("a3 bad", "192.0.2.1")
    hers = asyncio.create_task(known.bearer("a1", "192.0.2.1"))
    while kind.asked.count("a1") < 2:
        await asyncio.sleep(0)
    kind.go_on.set()
    assert await hers is ANN
    assert all(isinstance(one, NotAuthenticated) for one in await asyncio.gather(*waiting, return_exceptions=True))


async def test_of_a_token_that_is_good_no_more_nothing_is_kept() -> None:
    now, kind = [0.0], Marked("a", {"a1": ANN})
    known = authenticator(kind, clock=lambda: now[0])
    known.notice(True)
    await known.bearer("a1")
    now[0], kind.bearers = 6.0, {}
    with pytest.raises(NotAuthenticated):
        await known.bearer("a1")
    assert not known._held
    assert not known._trusted


@pytest.mark.parametrize(
    ("resource", "path", "reaches"),
    [
        (None, "/v1/jobs", True),
        ("/mcp", "/mcp", True),
        ("/mcp", "/mcp/notes", True),
        ("/mcp", "/mcpx", False),
        ("/mcp", "/v1/jobs", False),
        ("/mcp/notes", "/mcp", False),
        ("/mcp/notes", "/mcp/notes2", False),
        ("/mcp/notes", "/mcp/notes", True),
    ],
)
def test_a_token_is_good_at_its_path_and_below(resource: str | None, path: str, reaches: bool) -> None:
    assert Bearer(OPERATOR, resource).reaches(path) is reaches

"""States of requests that wait for input: what opens them, and how often."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from mcp import MCPError

from nexus_hub.clock import RemoteClock
from nexus_hub.db.pool import Database
from nexus_hub.gateway.states import MAX_SEALED_CHARACTERS, Binding, State, StateSeal
from nexus_hub.models import OPERATOR, Principal, ServerRef
from nexus_hub.upstream.requests import PromptGet, ResourceRead, ToolCall
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.postgres import HubDatabase

KEY = VaultKey.generate()
REF = ServerRef("system", uuid4())
ADA = Principal(uuid4())
CALL = ToolCall("name", {"b": 1, "a": [1, 2.5, None]})


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def seal_of(database: Any = None, ring: Keyring | None = None, clock: Clock | None = None) -> StateSeal:
    """A seal; only to use a state up takes a database."""
    return StateSeal(database, FixedKeyring(ring or Keyring(KEY)), RemoteClock(local=clock or Clock()))


def reason(caught: pytest.ExceptionInfo[MCPError]) -> str:
    assert caught.value.error.code == -32602
    found: str = caught.value.error.data["reason"]
    return found


async def test_a_state_is_opened_by_any_process_and_used_by_one(database: HubDatabase) -> None:
    bound = Binding.of(ADA, REF, CALL)
    async with Database(database.app_url, name="states") as pool:
        first, second = seal_of(pool), seal_of(pool)
        sealed = first.seal(bound, State(upstream="secret-of-the-server"))
        assert "secret" not in sealed
        opened = [one.open(bound, sealed) for one in (first, second)]
        assert [one.state.upstream for one in opened] == ["secret-of-the-server"] * 2
        pairs = zip((first, second) * 3, opened * 3, strict=True)
        uses = await asyncio.gather(*(one.use(state) for one, state in pairs), return_exceptions=True)
    assert [use for use in uses if use is None] == [None]
    refused = [use for use in uses if isinstance(use, MCPError)]
    assert {one.error.data["reason"] for one in refused} == {"used"}
    assert len(refused) == 5


@pytest.mark.parametrize("length", [0, 1, 60_000])
def test_a_state_comes_back_as_it_was(length: int) -> None:
    state = "é\ud800\0" * (length // 3) + "x" * (length % 3)
    bound = Binding.of(ADA, REF, CALL)
    seal = seal_of()
    sealed = seal.seal(bound, State(upstream=state))
    assert len(sealed) <= MAX_SEALED_CHARACTERS
    assert seal.open(bound, sealed).state == State(upstream=state)


def test_the_order_of_arguments_does_not_matter() -> None:
    seal = seal_of()
    sealed = seal.seal(Binding.of(ADA, REF, CALL), State("s"))
    assert (
        seal.open(Binding.of(ADA, REF, ToolCall("name", {"a": [1, 2.5, None], "b": 1})), sealed).state.upstream == "s"
    )


def test_a_retry_is_the_same_request_as_the_first() -> None:
    seal = seal_of()
    retry = ToolCall(CALL.name, CALL.arguments, input_responses={"q": {}}, request_state="sealed")
    assert seal.open(Binding.of(ADA, REF, retry), seal.seal(Binding.of(ADA, REF, CALL), State("s")))


@pytest.mark.parametrize(
    "other",
    [
        Binding.of(ADA, REF, ToolCall("other", CALL.arguments)),
        Binding.of(ADA, REF, ToolCall("name", {"b": 1, "a": [1, 2.5]})),
        Binding.of(ADA, REF, ToolCall("name", {"b": "1", "a": [1, 2.5, None]})),
        Binding.of(ADA, REF, ToolCall("name", {"b": True, "a": [1, 2.5, None]})),
        Binding.of(ADA, REF, ToolCall("name")),
        Binding.of(ADA, REF, PromptGet("name")),
        Binding.of(ADA, REF, ResourceRead("name")),
        Binding.of(ADA, ServerRef("system", uuid4()), CALL),
        Binding.of(ADA, ServerRef("user", REF.server_ref_id), CALL),
    ],
)
def test_a_state_of_one_request_opens_for_no_other(other: Binding) -> None:
    seal = seal_of()
    with pytest.raises(MCPError, match="another request") as caught:
        seal.open(other, seal.seal(Binding.of(ADA, REF, CALL), State("s")))
    assert reason(caught) == "other-request"


@pytest.mark.parametrize("other", [OPERATOR, Principal(uuid4()), Principal(UUID(int=0))])
def test_a_state_of_one_caller_opens_for_no_other(other: Principal) -> None:
    seal = seal_of()
    sealed = seal.seal(Binding.of(ADA, REF, CALL), State("s"))
    with pytest.raises(MCPError, match="another caller") as caught:
        seal.open(Binding.of(other, REF, CALL), sealed)
    assert reason(caught) == "other-caller"
    assert str(ADA.user_id) not in str(caught.value)


def test_a_state_is_good_for_ten_minutes() -> None:
    clock = Clock()
    seal = seal_of(clock=clock)
    bound = Binding.of(ADA, REF, CALL)
    sealed = seal.seal(bound, State("s"))
    clock.now += 599
    assert seal.open(bound, sealed)
    clock.now += 1
    with pytest.raises(MCPError, match="10 minutes") as caught:
        seal.open(bound, sealed)
    assert reason(caught) == "expired"


def forgeries() -> dict[str, object]:
    other = Keyring(VaultKey.generate())
    bound = Binding.of(ADA, REF, CALL)
    good = seal_of().seal(bound, State("s"))
    return {
        "empty": "",
        "a word": "state",
        "not base64": "v1.!!!!",
        "another key": seal_of(None, other).seal(bound, State("s")),
        "another letter": good[:-3] + ("A" if good[-3] != "A" else "B") + good[-2:],
        "cut": good[:-1],
        "longer": good + "A",
        "another format": "v2" + good[2:],
        "huge": "v1." + "A" * MAX_SEALED_CHARACTERS,
        "no ascii": "v1.é",
        "a surrogate": "v1.\ud800",
        "a number": 5,
        "a list": [good],
        "a table's value": KEY.id,
    }


@pytest.mark.parametrize("forged", forgeries().values(), ids=forgeries().keys())
def test_a_forged_state_is_not_opened(forged: object) -> None:
    with pytest.raises(MCPError, match="did not make it") as caught:
        seal_of().open(Binding.of(ADA, REF, CALL), forged)
    assert reason(caught) == "forged"


def test_a_state_survives_a_change_of_the_vaults_key_while_the_old_one_is_there() -> None:
    bound = Binding.of(ADA, REF, CALL)
    sealed = seal_of().seal(bound, State("s"))
    new = VaultKey.generate()
    assert seal_of(None, Keyring(new, (KEY,))).open(bound, sealed).state.upstream == "s"
    with pytest.raises(MCPError, match="did not make it"):
        seal_of(None, Keyring(new)).open(bound, sealed)


def test_two_states_of_one_request_are_two() -> None:
    seal, bound = seal_of(), Binding.of(ADA, REF, CALL)
    assert seal.seal(bound, State("s")) != seal.seal(bound, State("s"))


async def test_what_nobody_can_use_any_more_is_forgotten(database: HubDatabase) -> None:
    clock = Clock()
    async with Database(database.app_url, name="states") as pool:
        for now in (0.0, 4e9):
            clock.now = now
            seal, bound = seal_of(pool, clock=clock), Binding.of(ADA, REF, CALL)
            await seal.use(seal.open(bound, seal.seal(bound, State("s"))))
            await seal.use(seal.open(bound, seal.seal(bound, State("s"))))
    async with await psycopg.AsyncConnection.connect(database.admin_url) as connection:
        cursor = await connection.execute("SELECT count(*) FROM used_states WHERE expires_at < now()")
        assert await cursor.fetchone() == (0,)

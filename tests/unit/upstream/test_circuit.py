"""Circuits of servers: pauses that grow, what opens and closes one, and what another process says of it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from nexus_hub.models import ServerRef
from nexus_hub.upstream.backoff import FIRST_SECONDS, LONGEST_SECONDS
from nexus_hub.upstream.circuit import OPEN_AFTER, Circuit, Circuits

NOON = datetime(2026, 7, 28, 12, tzinfo=UTC)


@dataclass
class Time:
    """A clock that a test moves, and what the circuit told of its changes."""

    seconds: float = 0.0
    told: list[str] = field(default_factory=list)

    def circuit(self, chance: float = 1.0) -> Circuit:
        return Circuit(
            lambda: self.seconds,
            lambda: chance,
            on_change=lambda circuit: self.told.append(circuit.state),
            now=lambda: NOON + timedelta(seconds=self.seconds),
        )

    def opened(self) -> Circuit:
        circuit = self.circuit()
        for _ in range(OPEN_AFTER):
            circuit.fail("It refused.")
        return circuit


def test_a_pause_ends_with_the_time_and_failures_with_a_success() -> None:
    time = Time()
    circuit = time.circuit()
    assert circuit.seconds_left == 0
    circuit.fail()
    time.seconds = 0.5
    assert circuit.seconds_left == 0
    circuit.fail()
    circuit.connect()
    assert circuit.seconds_left == 0
    circuit.fail()
    assert circuit.seconds_left == FIRST_SECONDS


def test_it_opens_with_the_third_failure_in_a_row_and_is_half_open_after_the_pause() -> None:
    time = Time()
    circuit = time.circuit()
    states = []
    for _ in range(3):
        circuit.fail()
        states.append(circuit.state)
    assert states == ["closed", "closed", "open"]
    time.seconds = 2
    assert circuit.state == "half-open"
    circuit.fail()
    assert (circuit.state, circuit.seconds_left) == ("open", 4)
    circuit.succeed()
    assert (circuit.state, circuit.seconds_left) == ("closed", 0)
    assert time.told == ["open", "open", "closed"]


def test_a_session_between_two_failures_keeps_it_closed() -> None:
    circuit = Time().circuit()
    for _ in range(10):
        circuit.fail()
        circuit.connect()
    assert circuit.state == "closed"


def test_one_that_is_open_closes_by_an_answer_and_not_by_a_session() -> None:
    circuit = Time().opened()
    circuit.connect()
    assert circuit.is_open
    circuit.succeed()
    assert not circuit.is_open


def test_a_decisive_failure_opens_it_at_once() -> None:
    circuit = Time().circuit()
    circuit.fail(decisive=True)
    assert (circuit.state, circuit.seconds_left) == ("open", 2)


def test_a_server_that_turns_the_hub_away_is_not_silent() -> None:
    time = Time()
    circuit = time.circuit()
    for _ in range(5):
        circuit.fail(silent=False)
    assert (circuit.state, circuit.seconds_left, time.told) == ("closed", 8, [])
    circuit = time.opened()
    circuit.fail(silent=False)
    assert time.told == ["open", "closed"]


def test_calls_without_an_answer_ask_for_a_sign_of_life_and_an_answer_between_them_does_not() -> None:
    circuit = Time().circuit()
    assert [circuit.miss() for _ in range(4)] == [False, False, True, True]
    circuit.succeed()
    assert [circuit.miss(), circuit.miss()] == [False, False]
    circuit.succeed()
    assert [circuit.miss(), circuit.miss()] == [False, False]
    assert circuit.state == "closed"


def test_the_refusal_says_since_when_until_when_and_why() -> None:
    time = Time()
    circuit = time.circuit()
    circuit.fail()
    time.seconds = 64
    for _ in range(2):
        circuit.fail("It refused.")
    refusal = circuit.refusal("weather")
    assert refusal.message == (
        "The server 'weather' has not answered since 12:00:00Z; it is tried again at 12:01:06Z. "
        "The last try: It refused."
    )
    assert (refusal.code, refusal.status, refusal.retry_after) == ("circuit-open", 502, 2)
    time.seconds = 66
    assert "is being tried again just now" in circuit.refusal("weather").message
    assert circuit.refusal("weather").retry_after > 0


def test_a_silence_that_began_on_another_day_is_named_with_it() -> None:
    time = Time()
    circuit = time.opened()
    time.seconds = 86_400
    circuit.fail()
    assert "since 2026-07-28T12:00:00Z; it is tried again at 2026-07-29T12:00:04Z" in circuit.refusal("x").message


def test_it_follows_another_process_without_telling_of_it() -> None:
    time = Time(seconds=100)
    circuit = time.circuit()
    circuit.follow(30, 8)
    assert (circuit.state, circuit.seconds_left, time.told) == ("open", 8, [])
    assert circuit.refusal("x").since == NOON + timedelta(seconds=70)
    circuit.follow(31, 3)
    assert circuit.seconds_left == 8
    circuit.try_now()
    assert circuit.state == "half-open"
    circuit.succeed()
    assert time.told == ["closed"]


def test_it_knows_better_if_the_server_has_answered_here_since() -> None:
    time = Time(seconds=100)
    circuit = time.circuit()
    circuit.succeed()
    time.seconds = 110
    circuit.follow(20, 8)
    states = [circuit.state]
    circuit.follow(5, 8)
    assert [*states, circuit.state] == ["closed", "open"]


def test_no_process_can_hold_another_one_for_longer_than_a_pause_lasts() -> None:
    circuit = Time().circuit()
    circuit.follow(0, 1e9)
    assert circuit.seconds_left == LONGEST_SECONDS


def test_a_changed_configuration_begins_anew_and_the_former_one_tells_no_more() -> None:
    circuits = Circuits(lambda: 0.0, lambda: 1.0)
    told: list[ServerRef] = []
    circuits.on_change = told.append
    ref = ServerRef("system", uuid4())
    former = circuits.of(ref)
    former.fail(decisive=True)
    assert circuits.find_open(ref) is not None
    assert circuits.renew(ref).state == "closed"
    assert circuits.find_open(ref) is None
    former.fail(decisive=True)
    assert told == [ref, ref]


def test_only_a_closed_one_is_forgotten() -> None:
    circuits = Circuits(lambda: 0.0, lambda: 1.0)
    ref = ServerRef("user", uuid4())
    first = circuits.of(ref)
    circuits.forget(ref)
    second = circuits.of(ref)
    assert second is not first
    second.fail(decisive=True)
    circuits.forget(ref)
    assert circuits.of(ref) is second

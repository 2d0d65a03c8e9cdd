"""Clocks of other machines: what they said last goes on, whatever this machine's own clock does."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from nexus_hub.clock import DATE_SECONDS, JUMP_SECONDS, RemoteClock, parse_date

HOUR = 3600.0
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Machine:
    """The two clocks of this machine, which a test moves."""

    def __init__(self, wall: float = NOON.timestamp()) -> None:
        self.wall = wall
        self.since_start = 77.0
        self.clock = RemoteClock(lambda: self.since_start, lambda: self.wall)

    def let(self, seconds: float) -> None:
        """Let time go on."""
        self.wall += seconds
        self.since_start += seconds


def header(date: datetime) -> str:
    return format_datetime(date, usegmt=True)


def test_before_anything_was_told_it_is_this_machines_clock() -> None:
    machine = Machine()
    machine.wall += HOUR
    assert machine.clock.time() == machine.wall
    assert machine.clock.now() == NOON.replace(hour=13)


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_was_told_goes_on_while_this_machines_clock_jumps(hours: int) -> None:
    machine = Machine()
    machine.clock.note(1000.0)
    machine.wall += hours * HOUR
    machine.let(20)
    assert machine.clock.time() == 1020.0


def test_a_date_that_agrees_leaves_the_finer_clock_of_this_machine() -> None:
    machine = Machine(NOON.timestamp() + 0.75)
    machine.clock.note_date(header(NOON))
    assert machine.clock.time() == NOON.timestamp() + 0.75


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_date_that_does_not_agree_is_believed_to_the_second(hours: int) -> None:
    machine = Machine(NOON.timestamp() + hours * HOUR)
    machine.clock.note_date(header(NOON))
    assert abs(machine.clock.time() - NOON.timestamp()) <= DATE_SECONDS


@pytest.mark.parametrize("said", [None, "", "soon", "Wed, 99 Oct 2015 07:28:00 GMT"])
def test_what_is_no_date_says_nothing(said: str | None) -> None:
    machine = Machine()
    machine.clock.note(1000.0)
    machine.clock.note_date(said)
    assert parse_date(said) is None
    assert machine.clock.time() == 1000.0


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_jump_of_the_other_machines_clock_is_known_for_a_while(hours: int) -> None:
    machine = Machine()
    machine.clock.note(1000.0)
    machine.let(2)
    machine.clock.note(1002.0 + JUMP_SECONDS / 2)
    assert not machine.clock.jumped_within(30)
    machine.let(2)
    machine.clock.note(1004.0 + hours * HOUR)
    assert machine.clock.jumped_within(30)
    machine.let(30)
    assert not machine.clock.jumped_within(30)


def test_a_jump_of_this_machines_clock_is_none_of_the_others() -> None:
    machine = Machine()
    machine.clock.note_date(header(NOON))
    machine.wall += HOUR
    machine.let(1)
    machine.clock.note_date(header(NOON.replace(second=1)))
    assert not machine.clock.jumped_within(30)

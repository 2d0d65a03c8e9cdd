"""The calm that has to last before anything is taken from those who may live."""

from nexus_hub.clock import RemoteClock
from nexus_hub.orchestration.calm import Calm

LEASE = 30.0


class Moment:
    """A clock that a test moves, and the calm that goes by it."""

    def __init__(self) -> None:
        self.now = 500.0
        self.clock = RemoteClock(lambda: self.now, lambda: self.now)
        self.full = False
        self.calm = Calm(self.clock, 6.0, lambda: self.full, lambda: self.now)

    def see(self, seconds: float, *, every: float = 2.0, ahead: float = 0.0) -> None:
        """See the database all the time for so long."""
        for _ in range(round(seconds / every)):
            self.now += every
            self.clock.note(self.now + ahead)
            self.calm.see()


def test_who_was_not_told_to_wait_does_not() -> None:
    assert Moment().calm.lasts(LEASE)


def test_a_process_that_begins_waits_once() -> None:
    moment = Moment()
    moment.calm.begin()
    moment.see(28)
    assert not moment.calm.lasts(LEASE)
    moment.see(2)
    assert moment.calm.lasts(LEASE)


def test_a_time_without_the_database_breaks_it() -> None:
    moment = Moment()
    moment.see(60)
    moment.now += 10
    assert moment.calm.lasts(LEASE), "nobody knows yet"
    moment.calm.see()
    assert not moment.calm.lasts(LEASE)
    moment.see(LEASE)
    assert moment.calm.lasts(LEASE)


def test_a_database_without_room_breaks_it() -> None:
    moment = Moment()
    moment.see(60)
    moment.full = True
    moment.see(60)
    moment.full = False
    assert not moment.calm.lasts(LEASE)
    moment.see(LEASE)
    assert moment.calm.lasts(LEASE)


def test_a_jump_of_the_databases_clock_breaks_it() -> None:
    moment = Moment()
    moment.see(60)
    moment.see(2, ahead=3600)
    assert not moment.calm.lasts(LEASE)
    moment.see(LEASE, ahead=3600)
    assert moment.calm.lasts(LEASE)

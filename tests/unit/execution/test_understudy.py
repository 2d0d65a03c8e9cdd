"""Understudy: does the heartbeat's work while the event loop is late, and leaves it alone otherwise."""

import threading

import pytest

from nexus_hub.execution.understudy import Understudy


@pytest.mark.parametrize(("now", "steps_in"), [(101.0, False), (115.1, True), (399.0, True), (400.1, False)])
def test_it_steps_in_while_the_loop_is_late_and_not_dead(now: float, steps_in: bool) -> None:
    done: list[float] = []
    understudy = Understudy(lambda: 100.0, lambda: done.append(now), late_seconds=15, dead_seconds=300)
    assert understudy.step_in(now) is steps_in
    assert done == [now] * steps_in


def test_an_error_does_not_end_it() -> None:
    def fail() -> None:
        raise OSError

    assert Understudy(lambda: 0.0, fail, late_seconds=1, dead_seconds=300).step_in(2.0)


def test_it_works_in_a_thread_of_its_own_until_the_block_ends() -> None:
    worked = threading.Event()
    names: set[str] = set()
    others = set(threading.enumerate())  # of a hub that another test keeps running here

    def work() -> None:
        names.add(threading.current_thread().name)
        worked.set()

    with Understudy(lambda: 0.0, work, late_seconds=0.03, dead_seconds=1e9).watch():
        assert worked.wait(30)
    assert names == {"lease-understudy"}
    for thread in set(threading.enumerate()) - others:
        if thread.name == "lease-understudy":
            thread.join(30)
            assert not thread.is_alive()

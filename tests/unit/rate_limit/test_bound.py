"""The bound within a process: never more than the limit in any sliding minute, whatever the times are."""

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.rate_limit.bound import SOON, Bound

PAUSES = st.lists(st.floats(min_value=0, max_value=40, allow_nan=False), max_size=120)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(PAUSES, st.integers(min_value=1, max_value=8))
def test_no_sliding_minute_holds_more_calls_than_the_limit(pauses: list[float], limit: int) -> None:
    clock = Clock()
    bound, calls = Bound(clock), list[float]()
    for pause in pauses:
        clock.now += pause
        if bound.wait("srv", limit) <= 0:
            bound.note("srv")
            calls.append(clock.now)
    for start in calls:
        assert sum(start <= call < start + 60 for call in calls) <= limit


@given(PAUSES, st.integers(min_value=1, max_value=8))
def test_who_waits_as_long_as_told_gets_through_and_not_much_earlier(pauses: list[float], limit: int) -> None:
    clock = Clock()
    bound = Bound(clock)
    for pause in pauses:
        clock.now += pause
        wait = bound.wait("srv", limit)
        if wait > 0:
            assert wait <= 61
            clock.now += wait + 0.001
            assert bound.wait("srv", limit) <= 0
        bound.note("srv")


def test_keys_are_counted_apart_and_forgotten_after_a_minute() -> None:
    clock = Clock()
    bound = Bound(clock)
    bound.note("srv", ("srv", "ann"))
    assert bound.wait(("srv", "ann"), 1) > 0
    assert bound.wait(("srv", "bob"), 1) == 0
    clock.now += 62
    assert bound.wait("srv", 1) == 0
    assert not bound._calls


@given(
    st.lists(st.tuples(st.sampled_from(["reserve", "go", "stay"]), st.floats(0, 40)), max_size=120),
    st.integers(min_value=1, max_value=4),
)
def test_calls_that_wait_for_their_answer_have_their_place_in_the_minute(
    steps: list[tuple[str, float]], limit: int
) -> None:
    clock = Clock()
    bound, calls, waiting = Bound(clock), list[float](), list[ExitStack]()
    for step, pause in steps:
        clock.now += pause
        if step == "reserve" and bound.wait("srv", limit) <= 0:
            place = ExitStack()
            place.enter_context(bound.reserve("srv"))
            waiting.append(place)
        elif step != "reserve" and waiting:
            waiting.pop(0).close()
            if step == "go":
                bound.note("srv")
                calls.append(clock.now)
    for start in calls:
        assert sum(start <= call < start + 60 for call in calls) <= limit


def test_a_place_that_is_only_reserved_is_asked_for_again_soon() -> None:
    bound = Bound(Clock())
    with bound.reserve("srv"):
        assert bound.wait("srv", 1) == SOON
        assert bound.wait("srv", 2) == 0
    assert bound.wait("srv", 1) == 0

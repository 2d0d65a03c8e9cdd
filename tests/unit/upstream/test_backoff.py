from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.upstream.backoff import FIRST_SECONDS, LONGEST_SECONDS, ConnectBackoff


def test_the_pause_doubles_up_to_its_longest() -> None:
    backoff = ConnectBackoff(lambda: 0.0, lambda: 1.0)
    pauses = []
    for _ in range(9):
        backoff.fail()
        pauses.append(backoff.seconds_left)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_pause_stays_within_half_and_all_of_its_length(failures: int, chance: float) -> None:
    backoff = ConnectBackoff(lambda: 0.0, lambda: chance)
    for _ in range(min(failures, 40)):
        backoff.fail()
    assert FIRST_SECONDS / 2 <= backoff.seconds_left <= LONGEST_SECONDS


def test_a_pause_ends_with_time_and_with_success() -> None:
    now = 0.0
    backoff = ConnectBackoff(lambda: now, lambda: 1.0)
    assert backoff.seconds_left == 0
    backoff.fail()
    now = 0.5
    assert backoff.seconds_left == 0
    backoff.fail()
    backoff.succeed()
    assert backoff.seconds_left == 0
    backoff.fail()
    assert backoff.seconds_left == FIRST_SECONDS

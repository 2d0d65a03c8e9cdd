"""Whose job is next."""

from collections import Counter
from dataclasses import replace
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.execution.fair_queue import FairQueue, PendingJob, Places

ANN, BOB, EVE = uuid4(), uuid4(), uuid4()


def jobs(user: UUID | None, count: int, server: str = "a") -> list[PendingJob]:
    return [PendingJob(uuid4(), server, user) for _ in range(count)]


def users(taken: list[PendingJob]) -> Counter[UUID | None]:
    return Counter(job.user_id for job in taken)


def test_a_user_alone_gets_half_of_the_places() -> None:
    queue = FairQueue(Places(10, 10))
    queue.add(jobs(ANN, 30))
    assert len(queue.take(30)) == 5
    assert queue.take(30) == []
    assert len(queue) == 25


def test_a_place_that_gets_free_is_taken_again() -> None:
    queue = FairQueue(Places(10, 10))
    queue.add(jobs(ANN, 30))
    first, *_ = queue.take(30)
    queue.give_back(first.id)
    assert len(queue.take(30)) == 1


def test_whoever_comes_after_a_flood_gets_half_of_what_is_left() -> None:
    queue = FairQueue(Places(16, 16))
    queue.add(jobs(ANN, 100))
    assert len(queue.take(100)) == 8
    queue.add(jobs(BOB, 100))
    queue.add(jobs(EVE, 100))
    assert users(queue.take(100)) == {BOB: 3, EVE: 2}


def test_users_take_turns_and_the_operator_is_one_of_them() -> None:
    queue = FairQueue(Places(100, 100))
    for user in (ANN, BOB, None):
        queue.add(jobs(user, 10))
    assert users(queue.take(9)) == {ANN: 3, BOB: 3, None: 3}


def test_a_first_job_gets_a_place_though_all_are_taken() -> None:
    queue = FairQueue(Places(4, 4, user_share=1))
    queue.add(jobs(ANN, 10))
    assert len(queue.take(10)) == 4
    for user in (BOB, EVE, None):
        queue.add(jobs(user, 2))
    assert users(queue.take(10)) == {BOB: 1, EVE: 1, None: 1}


def test_first_places_have_an_end() -> None:
    queue = FairQueue(Places(2, 100))
    for _ in range(50):
        queue.add(jobs(uuid4(), 1))
    assert len(queue.take(50)) == 8


def test_a_server_that_hangs_leaves_places_for_the_users_other_servers() -> None:
    queue = FairQueue(Places(100, 8))
    queue.add(jobs(ANN, 30, "hangs"))
    assert len(queue.take(30)) == 4
    queue.add(jobs(ANN, 3, "works"))
    assert [job.server_id for job in queue.take(30)] == ["works"] * 3


def test_users_share_a_server_too() -> None:
    queue = FairQueue(Places(100, 8))
    queue.add(jobs(ANN, 30, "hangs"))
    queue.take(30)
    queue.add(jobs(BOB, 30, "hangs"))
    assert users(queue.take(30)) == {BOB: 2}


def test_a_users_servers_take_turns() -> None:
    queue = FairQueue(Places(100, 100))
    for server in ("a", "b", "c"):
        queue.add(jobs(ANN, 10, server))
    assert Counter(job.server_id for job in queue.take(9)) == {"a": 3, "b": 3, "c": 3}


def test_the_oldest_of_a_server_comes_first_and_is_added_once() -> None:
    queue, waiting = FairQueue(Places()), jobs(ANN, 3)
    queue.add(waiting)
    queue.add(reversed(waiting))
    assert queue.take(10) == waiting


def test_what_is_dropped_is_of_one_user_and_one_server() -> None:
    queue = FairQueue(Places())
    hers, other, his = jobs(ANN, 2), jobs(ANN, 1, "b"), jobs(BOB, 1)
    queue.add([*hers, *other, *his])
    assert queue.drop(hers[0]) == [job.id for job in hers]
    assert queue.drop(hers[0]) == []
    assert len(queue) == 2
    assert set(queue.take(10)) == {*other, *his}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 20)), max_size=30),
    st.lists(st.integers(0, 40), max_size=30),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_nobody_starves_and_no_bound_is_broken(
    floods: list[tuple[int, int, int]], ends: list[int], in_all: int, per_server: int
) -> None:
    places, known = Places(in_all, per_server), [uuid4() for _ in range(6)]
    queue, under_way = FairQueue(places), list[PendingJob]()
    for number, (user, server, count) in enumerate(floods):
        queue.add(jobs(known[user], count, str(server)))
        under_way += queue.take(1000)
        counts = users(under_way)
        assert len(under_way) <= max(in_all, len(counts)) + len(counts)
        assert all(count <= max(1, in_all / 2) for count in counts.values())
        for end in ends[number : number + 1]:
            for job in under_way[:end]:
                queue.give_back(job.id)
            del under_way[:end]
    under_way += queue.take(1000)
    total, waiting = len(under_way) + len(queue), set(under_way)
    while under_way:
        queue.give_back(under_way.pop(0).id)
        taken = queue.take(1000)
        assert not waiting & set(taken), "each is taken once"
        waiting |= set(taken)
        under_way += taken
    assert (len(queue), len(waiting)) == (0, total)


def test_a_job_that_two_are_said_to_own_is_taken_and_counted_once() -> None:
    queue, (hers,) = FairQueue(Places()), jobs(ANN, 1)
    queue.add([hers, replace(hers, user_id=BOB), replace(hers, server_id="b")])
    assert queue.take(10) == [hers]
    queue.add([replace(hers, user_id=BOB)])
    assert len(queue) == 0, "it is under way"
    queue.charge(hers.id, BOB)
    queue.give_back(hers.id)
    queue.add(jobs(BOB, 100))
    assert len(queue.take(100)) == 32, "nothing is left of it in any count"


def test_what_waits_no_more_makes_room() -> None:
    queue, waiting = FairQueue(Places()), jobs(ANN, 3)
    queue.add(waiting)
    queue.remove(waiting[1].id)
    queue.remove(uuid4())
    assert queue.count_of(ANN) == len(queue) == 2
    assert queue.take(10) == [waiting[0], waiting[2]]

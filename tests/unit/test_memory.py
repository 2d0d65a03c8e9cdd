"""Memory: what a process has made when it starts is gone through by no collection."""

import gc
from collections.abc import Iterator

import pytest

from nexus_hub import memory


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_was_made_at_the_start_is_left_out_of_collections() -> None:
    kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    memory.keep_started()
    assert gc.get_freeze_count() > len(kept)
    assert all(one is not kept for one in gc.get_objects())


def test_what_was_garbage_by_then_is_not_kept() -> None:
    class Ring:
        other: "Ring"

    first = Ring()
    first.other = first
    del first
    memory.keep_started()
    gc.unfreeze()
    assert not any(isinstance(one, Ring) for one in gc.get_objects())

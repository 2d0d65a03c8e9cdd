"""Places of defects: frames, and nothing of what the error or the frames hold."""

import asyncio
import traceback

import pytest

from nexus_hub.telemetry.defects import FRAMES, place_of, read_traceback

CANARY = "canary-7f3a"


def fail(secret: str) -> None:
    raise ValueError(f"multi\nline {secret}")


def caught() -> Exception:
    try:
        fail(CANARY)
    except ValueError as error:
        return error
    raise AssertionError


def test_a_place_is_files_lines_and_functions_without_values() -> None:
    place = place_of(caught())
    outer, inner = place.split(" > ")
    assert outer.startswith("telemetry/test_defects.py:")
    assert outer.endswith(" caught")
    assert inner.endswith(" fail")
    assert CANARY not in place


def test_only_the_innermost_frames_are_shown() -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            fail(CANARY)
        dive(depth - 1)

    with pytest.raises(ValueError, match=CANARY) as failure:
        dive(50)
    frames = place_of(failure.value).split(" > ")
    assert len(frames) == FRAMES
    assert frames[-1].endswith(" fail")


async def test_of_a_group_the_first_error_counts() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        fail(CANARY)

    with pytest.raises(ExceptionGroup) as failure:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
    assert place_of(failure.value).endswith(" fail")


def test_an_error_that_was_never_raised_has_no_frame() -> None:
    assert place_of(ValueError(CANARY)) == "no frame"


def test_a_traceback_in_a_text_is_read_without_its_message() -> None:
    kind, place = read_traceback("".join(traceback.format_exception(caught())))
    assert kind == "ValueError"
    assert place == place_of(caught())


@pytest.mark.parametrize("text", ["", CANARY, f"Traceback (most recent call last):\n{CANARY}"])
def test_a_text_without_frames_says_nothing(text: str) -> None:
    assert read_traceback(text) == ("an error", "no frame")

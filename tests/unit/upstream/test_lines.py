"""Messages out of a stream of bytes, however it is cut: by lines, without them, over many."""

import json
from typing import Any

import pytest
from mcp_types import JSONRPCResponse

from nexus_hub.upstream.lines import Lines, LineTooLongError
from nexus_hub.upstream.messages import CUT_OFF, Item, Unreadable, read_messages

ANSWER: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": 'a}\n"b'}]}}
LINE = json.dumps(ANSWER).encode()


def ids(items: list[Item]) -> list[object]:
    found: list[object] = []
    for item in items:
        if isinstance(item, JSONRPCResponse):
            found.append(item.id)
        elif isinstance(item, Unreadable) and item.is_answer:
            found.append(item.reason)
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \n"])
def test_lines_are_read_however_they_are_cut(size: int, end: bytes) -> None:
    lines, data = Lines(1000), (LINE + end) * 3
    items = [item for start in range(0, len(data), size) for item in lines.feed(data[start : start + size])]
    assert ids(items) == [7, 7, 7]
    assert not lines.waiting


@pytest.mark.parametrize("indent", [0, 1, 4, "\t"])
def test_a_message_over_many_lines_is_read_with_its_last(indent: int | str) -> None:
    lines = Lines(1000)
    pretty = json.dumps(ANSWER, indent=indent).encode()
    assert ids(list(lines.feed(pretty))) == []
    items = [*lines.feed(b"\n"), *lines.settle()]
    assert ids(items) == [7]
    assert not lines.waiting


def test_lines_of_a_message_between_which_nothing_is_pretty_are_read_after_a_pause() -> None:
    lines = Lines(1000)
    assert list(lines.feed(LINE[:18] + b"\n" + LINE[18:-2] + b"\n" + LINE[-2:])) == []
    assert ids(lines.settle()) == [7]


def test_a_message_without_its_newline_is_read_after_a_pause() -> None:
    lines = Lines(1000)
    assert list(lines.feed(LINE)) == []
    assert lines.waiting
    assert ids(lines.settle()) == [7]
    assert not lines.waiting


def test_a_line_that_stops_in_the_middle_is_waited_for_and_then_given_up() -> None:
    lines = Lines(1000)
    list(lines.feed(LINE[:-10]))
    assert lines.settle() == []
    assert ids(list(lines.feed(LINE[-10:] + b"\n"))) == [7]
    list(lines.feed(LINE[:-10]))
    assert ids(lines.settle(give_up=True)) == [CUT_OFF]


def test_a_broken_line_costs_only_itself() -> None:
    lines = Lines(1000)
    assert ids(list(lines.feed(LINE[:-10] + b"\n" + LINE + b"\n"))) == [CUT_OFF, 7]


def test_noise_costs_nothing() -> None:
    lines = Lines(1000)
    noise = b'[db] connected\n\n   \n{}\n[]\nnull\n42\n{"level":"info"}\n{ not json\n\xff\xfe\n'
    assert ids([*lines.feed(noise), *lines.feed(LINE + b"\n")]) == [7]
    assert ids([*lines.feed(b"loading... "), *lines.feed(LINE + b"\n")]) == [7]


@pytest.mark.parametrize("data", [b"x" * 101, b"x" * 101 + b"\n", b"{\n" * 60, LINE[:50] + b"\n" + b"y" * 60])
def test_a_message_over_the_limit_ends_it(data: bytes) -> None:
    with pytest.raises(LineTooLongError) as caught:
        list(Lines(100).feed(data))
    assert caught.value.size > 100


def test_a_long_line_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is bounded by the bytes, not by how many pieces they come in."""
    looked_at = 0

    def count(raw: bytes) -> list[Item]:
        nonlocal looked_at
        looked_at += len(raw)
        return read_messages(raw)

    monkeypatch.setattr("nexus_hub.upstream.lines.read_messages", count)
    size = 200_000
    lines, line = Lines(10 * size), LINE.replace(b"a}", b"a" * size) + b"\n"
    items = [item for start in range(0, len(line), 64) for item in lines.feed(line[start : start + 64])]
    assert ids(items) == [7]
    assert looked_at == len(line) - 1


def test_the_work_on_lines_that_never_become_a_message_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def count(raw: bytes) -> list[Item]:
        nonlocal looked_at
        looked_at += len(raw)
        return read_messages(raw)

    monkeypatch.setattr("nexus_hub.upstream.lines.read_messages", count)
    data = b'{"jsonrpc":\n' + b'"\n}\n' * 20_000
    list(Lines(len(data)).feed(data))
    assert looked_at < 10 * len(data)

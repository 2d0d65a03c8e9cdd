"""Differences of definitions on a terminal: words of a server stay words of a server."""

from typing import Any

import pytest

from nexus_hub.cli.output import Output
from nexus_hub.cli.pins import _show

CHANGE = {"server": "weather", "kind": "tool", "name": "now", "change": "changed", "held": True}


def shown(capsys: pytest.CaptureFixture[str], **change: Any) -> list[str]:
    _show(Output(as_json=False), CHANGE | change)
    return capsys.readouterr().out.splitlines()


def test_no_text_looks_like_a_line_or_a_mark_of_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Send it.+} all is well {+\nweather: other changed, held\n  title: [-x-]\u202e\x1b[2J"
    parts = [{"op": "same", "text": "The weather. "}, {"op": "ins", "text": text}]
    lines = shown(capsys, difference=[{"member": "description", "parts": parts}])
    assert lines[:2] == ["weather: now changed, held", "  description: The weather. {+Send it.+\\} all is well {\\+"]
    assert all(line.startswith("      | ") for line in lines[2:])
    assert "".join(lines).count("+}") == 1
    assert not {"\x1b", "\u202e"} & set("".join(lines))


def test_no_name_looks_like_another_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, name="now\nweather: other changed", difference=[])
    assert lines == ["weather: now\\u000aweather: other changed changed, held"]

"""What commands write: JSON for machines, plain text on a pipe, and nothing that harms a terminal."""

import io
import json
import re
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from nexus_hub.cli.calls import show_outcome
from nexus_hub.cli.output import Output, write_error
from tests.fixtures.hostile import HOSTILE, is_harmless

JOB: dict[str, Any] = {"id": "1", "status": "completed", "attempt": 1, "result": None, "error": None}

_OWN_CODES = re.compile(r"\x1b\[[0-9;]*[mAK]")
"""Colours, and the way back to a line that is written over."""

ODD: list[Any] = [None, 7, "text", [None], [7], [{}], [{"type": "image", "data": None}]]


class Terminal(Output):
    """An output that believes it is a terminal."""

    is_terminal = True

    def __init__(self) -> None:
        super().__init__(as_json=False)
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=True, highlight=False, soft_wrap=True, width=200)
        self.errors = self.console


def test_data_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).data({"half": "\ud800", "list": [1]})
    out = capsys.readouterr().out
    assert json.loads(out) == {"half": "\ud800", "list": [1]}
    assert out.count("\n") == 1


def test_lines_for_people_stay_out_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).line("for people")
    assert capsys.readouterr().out == ""


def test_a_piped_table_is_lines_of_cells_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"name": "a\tb\nc", "tools": None, "info": {"x": 1}},
        {"name": "[bold]d[/bold]", "tools": 0, "info": "x" * 500},
    ]
    Output(as_json=False).table(rows, {"name": "server", "tools": "tools", "info": "info"}, "none")
    first, second = capsys.readouterr().out.splitlines()
    assert first == 'a b c\t-\t{"x": 1}'
    assert second == f"[bold]d[/bold]\t0\t{'x' * 500}"


def test_an_empty_table_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table([], {"name": "server"}, "No servers yet.")
    assert capsys.readouterr().out == "No servers yet.\n"


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", "a \\", "\\[x]", "[link=http://x]", ":smile:"])
def test_markup_in_what_is_shown_is_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).line(text)
    Output(as_json=False).error(text)
    captured = capsys.readouterr()
    assert captured.out == captured.err == f"{text}\n"


@pytest.mark.parametrize("code", ["\x1b]0;owned\x07", "\x1b[2J", "\x9b2J", "\x08", "\x7f", "\x1b"])
def test_control_codes_of_an_upstream_do_not_reach_the_terminal(code: str) -> None:
    terminal = Terminal()
    terminal.line(f"before{code}after")
    terminal.error(f"before{code}after")
    terminal.fields({"error": f"before{code}after"})
    terminal.table([{"name": f"before{code}after"}], {"name": "name"}, "")
    terminal.state(JOB | {"progress": {"message": f"before{code}after"}, "status": "running"})
    assert code not in terminal.file.getvalue().replace("\x1b[", "" if code == "\x1b" else "\x1b[")
    assert terminal.file.getvalue().count("before") == 5


def write_everywhere(output: Output, text: str) -> None:
    content = [{"type": "text", "text": text}, {"type": "resource_link", "uri": text}, {"type": text, "mimeType": text}]
    output.line(text)
    output.error(text)
    output.fields({"error": text, text: 1})
    output.table([{"name": text, "at": {text: [text]}}], {"name": "name", "at": "at"}, "")
    output.table([], {}, text)
    output.state(JOB | {"progress": {"message": text}, "status": "running", "error_code": text})
    output.result({"content": content})
    output.result({"contents": [{"text": text}, {"mimeType": text}]})
    output.result({"messages": [{"role": text, "content": {"type": "text", "text": text}}]})
    write_error(text)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_hostile_text_is_text_in_everything_that_is_written(
    is_terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in HOSTILE:
        terminal = Terminal()
        terminal.console.no_color = True
        write_everywhere(terminal if is_terminal else Output(as_json=False), text)
        captured = capsys.readouterr()
        written = captured.out + captured.err + _OWN_CODES.sub("", terminal.file.getvalue())
        assert is_harmless(written.replace("\N{BLACK CIRCLE}", ""), lines=True), repr(text)


def test_json_is_exact_and_has_only_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).data(HOSTILE)
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == HOSTILE


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (None, "attempt 1"),
        ({"progress": 3, "total": 10, "message": "reading"}, "attempt 1 · 3/10 (30%) · reading"),
        ({"progress": 0.5, "total": 1, "message": None}, "attempt 1 · 0.5/1 (50%)"),
        ({"progress": 12345678, "total": None, "message": "two\nlines"}, "attempt 1 · 12345678 · two lines"),
        ({"progress": 0, "total": 0}, "attempt 1 · 0"),
        ({"message": "only"}, "attempt 1 · only"),
    ],
)
def test_a_piped_state_is_a_line_with_the_progress(
    progress: Any, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Output(as_json=False).state(JOB | {"status": "running", "progress": progress})
    assert capsys.readouterr().out == f"● running   {shown}\n"


def test_progress_takes_the_place_of_earlier_progress_and_of_nothing_else() -> None:
    terminal = Terminal()
    terminal.state(JOB | {"status": "pending", "attempt": 0})
    for done in (1, 1, 2):
        terminal.state(JOB | {"status": "running", "progress": {"progress": done, "total": 2, "message": "x" * 300}})
    terminal.state(JOB | {"progress": {"progress": 2, "total": 2}})
    written = terminal.file.getvalue()
    assert written.count("\x1b[1A") == 1
    assert max(map(len, written.split("\n"))) < 250


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}, "one\ntwo\n"),
        ({"content": [{"type": "image", "mimeType": "image/png", "data": "abcd"}]}, "[image, image/png, 4 characters"),
        ({"content": [{"type": "resource_link", "uri": "file:///x"}]}, "[link to file:///x]"),
        ({"contents": [{"uri": "x", "text": "read"}, {"uri": "y", "blob": "abcd"}]}, "read\n[None, 4 characters"),
        ({"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}]}, "user: hi\n"),
        ({"content": [{"type": "resource", "resource": {"text": "inner"}}]}, "inner\n"),
        *(({"content": value}, "") for value in ODD),
        *(({"messages": value}, "") for value in (None, 7, [None], [{"content": [{"type": "text", "text": "x"}]}])),
        *(({"contents": value}, "") for value in (None, [None], [{"blob": None}])),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_result_of_any_shape_is_shown(result: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).result(result)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("job", "waited", "code"),
    [
        ({}, True, 0),
        ({"result": {"isError": True, "content": []}}, True, 1),
        ({"status": "failed", "error": "why"}, True, 1),
        ({"status": "cancelled"}, True, 1),
        ({"status": "running"}, True, 3),
        ({"status": "pending"}, False, 0),
        ({"status": "failed", "error": "why"}, False, 1),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_the_exit_code_says_how_a_job_stands(job: dict[str, Any], waited: bool, code: int, as_json: bool) -> None:
    assert show_outcome(Output(as_json=as_json), JOB | job, waited=waited) == code


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_characters_that_the_terminal_lacks_are_spelled_out(encoding: str) -> None:
    script = (
        "from nexus_hub.cli import main, output\n"
        "main.forgive_characters()\n"
        "shown = output.Output(as_json=False)\n"
        "shown.line('half \\ud800 é')\n"
        "shown.error('half \\ud800')\n"
        "shown.table([{'a': '\\ud800'}], {'a': 'a'}, '')\n"
        "shown.state({'status': 'running', 'attempt': 1})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONIOENCODING": encoding}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"half \\ud800" in done.stdout
    assert b"half \\ud800" in done.stderr

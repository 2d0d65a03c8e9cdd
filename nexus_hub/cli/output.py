"""Output of the commands: tables and colours on a terminal, plain text on a pipe, JSON on request.

Everything that a command writes passes here: what a server or a user wrote is shown as the text that it is, with
nothing left that a terminal would obey. The exact characters are in `--json`.

rich takes a tenth of a second to import, and is imported where something is drawn with it.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nexus_hub.telemetry.text import SPACES, spell_out

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STATUS_STYLE = {
    "pending": "yellow",
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "ready": "green",
    "failing": "red",
    "ok": "green",
    "wrong": "red",
}
_WHOLE = {"id", "status", "state", "pid", "port", "ends", "last_used"}
"""Columns that are never cut or wrapped: an id is there to be copied."""
_TERMINAL_VARIABLES = {"FORCE_COLOR", "TTY_COMPATIBLE"}
"""Variables that make rich take something else for a terminal."""


class Output:
    """The output of one command: JSON on request, tables and colours on a terminal, plain lines elsewhere."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._state = ""
        self._stage: object = None

    @cached_property
    def console(self) -> Console:
        """Standard output as rich draws on it."""
        from rich.console import Console

        return Console(highlight=False, soft_wrap=True)

    @cached_property
    def errors(self) -> Console:
        """Standard error as rich draws on it."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        """True if a person reads along."""
        possible = sys.stdout.isatty() or not _TERMINAL_VARIABLES.isdisjoint(os.environ)
        return possible and self.console.is_terminal

    def data(self, value: Any) -> None:
        """Write one JSON document."""
        sys.stdout.write(json.dumps(value, indent=2 if self.is_terminal else None) + "\n")

    def json_line(self, value: Any) -> None:
        """Write one JSON document as a line, of which there may be many."""
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    def line(self, text: str = "", style: str | None = None) -> None:
        """Write a line for people; nothing with --json."""
        if not self.as_json:
            self.console.print(_text(text, style)) if self.is_terminal else sys.stdout.write(f"{_safe(text)}\n")
            sys.stdout.flush()  # what a child process writes next comes after it

    def error(self, text: str, style: str | None = "red") -> None:
        """Write a line about an error."""
        self.errors.print(_text(text, style))

    def table(self, rows: list[dict[str, Any]], columns: dict[str, str], empty: str) -> None:
        """Write rows as a table; on a pipe as lines with tabs between the cells."""
        if not rows:
            self.line(empty)
        elif not self.is_terminal:
            for row in rows:
                sys.stdout.write("\t".join(_cell(row.get(key)) for key in columns) + "\n")
        else:
            from rich.table import Table

            table = Table(box=None, header_style="bold", pad_edge=False)
            for key, title in columns.items():
                table.add_column(title, no_wrap=key in _WHOLE, overflow="fold")
            for row in rows:
                table.add_row(*(_style_cell(key, row.get(key)) for key in columns))
            self.console.print(table)

    def fields(self, row: dict[str, Any]) -> None:
        """Write one thing, field by field."""
        from rich.text import Text

        width = max(map(len, row), default=0)
        for key, value in row.items():
            self.console.print(Text.assemble("  ", _text(f"{key:<{width}}", "dim"), "  ", _style_cell(key, value)))

    def result(self, result: dict[str, Any] | None) -> None:
        """Write a tool's, resource's or prompt's result as a person reads it: its text, and what else there is."""
        for text in _texts(result or {}):
            self.line(text)

    def state(self, job: dict[str, Any]) -> None:
        """Write one state of a job, unless it looks like the one before; nothing with --json.

        On a terminal, progress takes the place of what was said of the same stage.
        """
        if self.as_json:
            return
        from rich.text import Text

        stage = (job["status"], job["attempt"], job.get("error_code"))
        note = f" ({job['error_code']})" if job.get("error_code") else ""
        progress = _progress(job.get("progress") or {}) if job["status"] == "running" else []
        detail = " · ".join([f"attempt {job['attempt']}{note}", *progress])
        shown = Text.assemble(("●", STATUS_STYLE[job["status"]]), f" {job['status']:<9} ", _text(detail, "dim"))
        if shown.plain == self._state:
            return
        if stage == self._stage:
            self._go_back_a_line()
        self._state, self._stage = shown.plain, stage
        if progress and self.is_terminal:  # one line at most, since it is written over
            self.console.print(shown, soft_wrap=False, no_wrap=True, overflow="ellipsis")
        else:
            self.console.print(shown)

    def _go_back_a_line(self) -> None:
        from rich.control import Control
        from rich.segment import ControlType

        back = (ControlType.CURSOR_UP, 1), ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)
        self.console.control(Control(*back))


def write_error(text: str) -> None:
    """Write a line about an error without rich, which is not imported for it."""
    sys.stderr.write(f"{_safe(text)}\n")


def shorten_time(text: str) -> str:
    """Shorten a time to what people read of it: the second, in UTC."""
    return text.replace("T", " ")[:19]


def _safe(text: str) -> str:
    """Take text that somebody else wrote as it is, with nothing that a terminal would obey."""
    return spell_out(text.replace("\r\n", "\n"), keep=SPACES)


def _text(text: str, style: str | None = None) -> Text:
    """Make rich's form of such a text, without markup."""
    from rich.text import Text

    return Text(_safe(text), style=style or "")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return _safe(" ".join(text.split()))


def _style_cell(key: str, value: Any) -> Text:
    text = _cell(value)
    if key.endswith("_at") and value is not None:
        text = shorten_time(text)
    return _text(text, STATUS_STYLE.get(text) if key in {"status", "state"} else None)


def _progress(note: dict[str, Any]) -> list[str]:
    """Say how far the call is, and what the server says of it."""
    done, total, message = note.get("progress"), note.get("total"), note.get("message")
    far = [] if done is None else [f"{done:.10g}" + (f"/{total:.10g} ({done / total:.0%})" if total else "")]
    return far + ([" ".join(message.split())] if message else [])


def _texts(result: dict[str, Any]) -> list[str]:
    if "contents" in result:
        return [_resource(one) for one in _objects(result["contents"])]
    if "messages" in result:
        return [f"{one.get('role')}: {_message(one)}" for one in _objects(result["messages"])]
    return [_content(one) for one in _objects(result.get("content"))]


def _objects(value: Any) -> list[dict[str, Any]]:
    """Pick the objects of a list: an upstream may send anything in its place."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _message(message: dict[str, Any]) -> str:
    content = message.get("content")
    return "\n".join(_content(one) for one in _objects(content if isinstance(content, list) else [content]))


def _content(content: dict[str, Any]) -> str:
    match content.get("type"):
        case "text":
            return str(content.get("text", ""))
        case "resource":
            return "\n".join(_resource(one) for one in _objects([content.get("resource")]))
        case "resource_link":
            return f"[link to {content.get('uri')}]"
        case kind:
            return f"[{kind}, {_size(content, 'data')}]"


def _resource(resource: dict[str, Any]) -> str:
    return str(resource["text"]) if "text" in resource else f"[{_size(resource, 'blob')}]"


def _size(holder: dict[str, Any], member: str) -> str:
    return f"{holder.get('mimeType')}, {len(str(holder.get(member) or ''))} characters of base64"

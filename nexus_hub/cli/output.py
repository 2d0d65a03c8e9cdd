"""How things look on a terminal, and how machines get them: rich, plain text or JSON."""

import json
import re
import sys
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.table import Table
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
_WHOLE = {"id", "status", "state", "pid", "port"}
"""Columns that are never cut or wrapped: an id is there to be copied."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that would command the terminal instead of being shown."""
_PREVIOUS_LINE = Control((ControlType.CURSOR_UP, 1), ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


class Output:
    """Where a command writes: JSON on request, tables and colours on a terminal, plain lines elsewhere."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._state = ""
        self._stage: object = None
        self.console = Console(highlight=False, soft_wrap=True)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def data(self, value: Any) -> None:
        """One JSON document."""
        sys.stdout.write(json.dumps(value, indent=2 if self.console.is_terminal else None) + "\n")

    def line(self, text: str = "", style: str | None = None) -> None:
        """A line for people; nothing with --json."""
        if not self.as_json:
            self.console.print(_text(text, style)) if self.console.is_terminal else sys.stdout.write(text + "\n")
            sys.stdout.flush()  # what a child process writes next comes after it

    def error(self, text: str) -> None:
        """One line on what went wrong."""
        self.errors.print(_text(text, "red"))

    def table(self, rows: list[dict[str, Any]], columns: dict[str, str], empty: str) -> None:
        """Rows as a table; on a pipe as lines with tabs between the cells."""
        if not rows:
            self.line(empty)
        elif not self.console.is_terminal:
            for row in rows:
                sys.stdout.write("\t".join(_cell(row.get(key)) for key in columns) + "\n")
        else:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for key, title in columns.items():
                table.add_column(title, no_wrap=key in _WHOLE, overflow="fold")
            for row in rows:
                table.add_row(*(_styled(key, row.get(key)) for key in columns))
            self.console.print(table)

    def fields(self, row: dict[str, Any]) -> None:
        """One thing, field by field."""
        width = max(map(len, row), default=0)
        for key, value in row.items():
            self.console.print(Text.assemble("  ", _text(f"{key:<{width}}", "dim"), "  ", _styled(key, value)))

    def result(self, result: dict[str, Any] | None) -> None:
        """A tool's, resource's or prompt's result as a person reads it: its text, and what else there is."""
        for text in _texts(result or {}):
            self.line(text)

    def state(self, job: dict[str, Any]) -> None:
        """One state of a job, unless it looks like the one before; nothing with --json.

        On a terminal, progress takes the place of what was said of the same stage.
        """
        stage = (job["status"], job["attempt"], job.get("error_code"))
        note = f" ({job['error_code']})" if job.get("error_code") else ""
        progress = _progress(job.get("progress") or {}) if job["status"] == "running" else []
        detail = " · ".join([f"attempt {job['attempt']}{note}", *progress])
        shown = Text.assemble(("●", STATUS_STYLE[job["status"]]), f" {job['status']:<9} ", _text(detail, "dim"))
        if self.as_json or shown.plain == self._state:
            return
        if stage == self._stage:
            self.console.control(_PREVIOUS_LINE)
        self._state, self._stage = shown.plain, stage
        if progress and self.console.is_terminal:  # one line at most, since it is written over
            self.console.print(shown, soft_wrap=False, no_wrap=True, overflow="ellipsis")
        else:
            self.console.print(shown)


def _text(text: str, style: str | None = None) -> Text:
    """What somebody else wrote, as it is: no markup, and nothing that a terminal would obey."""
    text = text.replace("\r\n", "\n")
    return Text(_CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text), style=style or "")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split())


def _styled(key: str, value: Any) -> Text:
    text = _cell(value)
    if key.endswith("_at") and value is not None:
        text = text.replace("T", " ")[:19]
    return _text(text, STATUS_STYLE.get(text) if key in {"status", "state"} else None)


def _progress(note: dict[str, Any]) -> list[str]:
    """How far the call is, and what the server says of it."""
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
    """The objects of a list: an upstream may send anything in its place."""
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

"""How things look on a terminal, and how machines get them: rich, plain text or JSON."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

STATUS_STYLE = {
    "pending": "yellow",
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "ready": "green",
    "failing": "red",
}


class Output:
    """Where a command writes: JSON on request, tables and colours on a terminal, plain lines elsewhere."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def data(self, value: Any) -> None:
        """One JSON document."""
        sys.stdout.write(json.dumps(value, indent=2 if self.console.is_terminal else None) + "\n")

    def line(self, text: str = "", style: str | None = None) -> None:
        """A line for people; nothing with --json."""
        if not self.as_json:
            self.console.print(escape(text), style=style)

    def error(self, text: str) -> None:
        """One line on what went wrong."""
        self.errors.print(escape(text), style="red")

    def table(self, rows: list[dict[str, Any]], columns: dict[str, str], empty: str) -> None:
        """Rows as a table; on a pipe as lines with tabs between the cells."""
        if not rows:
            self.line(empty)
        elif not self.console.is_terminal:
            for row in rows:
                sys.stdout.write("\t".join(_cell(row.get(key)) for key in columns) + "\n")
        else:
            table = Table(*columns.values(), box=None, header_style="bold", pad_edge=False)
            for row in rows:
                table.add_row(*(_styled(key, row.get(key)) for key in columns))
            self.console.print(table)

    def fields(self, row: dict[str, Any]) -> None:
        """One thing, field by field."""
        width = max(map(len, row), default=0)
        for key, value in row.items():
            self.console.print(f"  [dim]{key:<{width}}[/dim]  {_styled(key, value)}")

    def result(self, result: dict[str, Any] | None) -> None:
        """A tool's, resource's or prompt's result as a person reads it: its text, and what else there is."""
        for text in _texts(result or {}):
            self.line(text)

    def state(self, job: dict[str, Any]) -> None:
        """One state of a job."""
        status = job["status"]
        note = f" ({job['error_code']})" if job.get("error_code") else ""
        progress = (job.get("progress") or {}).get("message")
        self.console.print(
            f"[{STATUS_STYLE[status]}]●[/] {status:<9} [dim]attempt {job['attempt']}{escape(note)}"
            f"{' · ' + escape(progress) if progress else ''}[/dim]"
        )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split())


def _styled(key: str, value: Any) -> str:
    text = escape(_cell(value))
    style = STATUS_STYLE.get(text) if key in {"status", "state"} else None
    return f"[{style}]{text}[/]" if style else text


def _texts(result: dict[str, Any]) -> list[str]:
    if "contents" in result:
        return [_resource(one) for one in result["contents"]]
    if "messages" in result:
        return [f"{one.get('role')}: {_content(one.get('content') or {})}" for one in result["messages"]]
    return [_content(one) for one in result.get("content", [])]


def _content(content: dict[str, Any]) -> str:
    match content.get("type"):
        case "text":
            return str(content.get("text", ""))
        case "resource":
            return _resource(content.get("resource") or {})
        case "resource_link":
            return f"[link to {content.get('uri')}]"
        case kind:
            return f"[{kind}, {content.get('mimeType')}, {len(content.get('data', ''))} characters of base64]"


def _resource(resource: dict[str, Any]) -> str:
    if "text" in resource:
        return str(resource["text"])
    return f"[{resource.get('mimeType')}, {len(resource.get('blob', ''))} characters of base64]"

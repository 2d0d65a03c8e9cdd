"""Advice on a hub that is not well: what is wrong, what to do about it, and where to look."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from nexus_hub.orchestration.health_figures import Figures
from nexus_hub.orchestration.parts import PartHealth

LONG_SECONDS = 60.0
"""A job that could begin and has waited for longer is worth a word."""
MANY_FAILED = 0.2
ENOUGH_JOBS = 20
"""Of fewer jobs a share says little."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Piece of advice; `href` is the page of the console that shows more."""

    severity: Literal["error", "warn", "info"]
    title: str
    what_to_do: str
    href: str


def advise(parts: list[PartHealth], figures: Figures) -> list[Advice]:
    """Give all advice there is, the worst first."""
    of_figures = [*_on_servers(figures), *_on_logins(figures), *_on_approvals(figures), *_on_table(figures)]
    found = [*_on_parts(parts), *_on_queue(parts, figures), *of_figures]
    return sorted(found, key=lambda advice: ("error", "warn", "info").index(advice.severity))


def _on_parts(parts: list[PartHealth]) -> Iterator[Advice]:
    for part in parts:
        if part.state != "ok":
            severity: Literal["error", "warn"] = "error" if part.state == "down" else "warn"
            yield Advice(severity, f"{part.name.capitalize()}: {part.detail}", part.what_to_do or "", "/health")


def _on_queue(parts: list[PartHealth], figures: Figures) -> Iterator[Advice]:
    waits = figures.queue.oldest_seconds or 0.0
    if waits > LONG_SECONDS and all(part.state == "ok" for part in parts if part.name in {"worker", "prefect"}):
        yield Advice(
            "warn",
            f"The oldest waiting job has waited for {waits:.0f} s.",
            "Start another worker (nexus-hub worker), or give each more places (NEXUS_WORKER_PLACES). "
            "If nothing runs at all, see the worker's log.",
            "/jobs?status=pending",
        )


def _on_servers(figures: Figures) -> Iterator[Advice]:
    for server in figures.unwell:
        path = f"/servers/{server.server_type}/{server.server_ref_id}"
        if server.is_silent:
            title, what_to_do = (
                "gives no sign of life",
                "See that it runs and can be reached; calls are refused until then.",
            )
        else:
            title, what_to_do = "can't be read", "Test it; what it offered last stays in the catalog, marked stale."
        yield Advice("warn", f"The server {server.name} {title}.", what_to_do, path)
    for one in figures.by_server:
        jobs = f"/jobs?server={one.server_ref_id}"
        if one.ended >= ENOUGH_JOBS and one.failed >= one.ended * MANY_FAILED:
            share = f"{one.failed} of the last {one.ended} jobs of {one.server} failed"
            yield Advice("warn", f"{share}, mostly {one.top_error}.", "Look at what they say.", f"{jobs}&status=failed")
        if one.unknown:
            yield Advice(
                "warn",
                f"Calls of {one.server} whose effect is unknown: {one.unknown}.",
                "Look there what they did before you run them again.",
                f"{jobs}&search={quote('outcome-unknown')}",
            )


def _on_logins(figures: Figures) -> Iterator[Advice]:
    for login in figures.logins:
        way = "Log in there" if login.kind == "oauth" else "Set the header that it takes"
        title = f"The server {login.name} wants your login{f': {login.reason}' if login.reason else ''}."
        path = f"/servers/{login.server_type}/{login.server_ref_id}?connect=1"
        yield Advice("warn", title, f"{way}; calls of it are refused until then.", path)


def _on_approvals(figures: Figures) -> Iterator[Advice]:
    if figures.approvals:
        calls = "A call waits" if figures.approvals == 1 else f"{figures.approvals} calls wait"
        yield Advice("warn", f"{calls} for a yes that you may give.", "Look at what would be sent.", "/approvals")


def _on_table(figures: Figures) -> Iterator[Advice]:
    if figures.is_large:
        yield Advice(
            "warn",
            "There are more than 1,000,000 jobs.",
            "Keep them for fewer days (nexus-hub cleanup --days-completed N), and see that cleanup-jobs runs.",
            "/jobs",
        )

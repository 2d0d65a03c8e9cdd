"""Metrics of a process: a subscriber of the bus that counts its events, for Prometheus to read.

No label holds a user, a tool, an address or anything of a call: see docs/metrics.md.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from prometheus_client.core import Metric

from nexus_hub import __version__
from nexus_hub.telemetry.events import (
    AttemptEnded,
    BatchStored,
    CallAnswered,
    CallRefused,
    CallReturned,
    CallsUnrecorded,
    CatalogChanged,
    CircuitChanged,
    DefectFound,
    JobClaimed,
    JobClosed,
    JobDispatched,
    JobRescued,
    JobStored,
    JobTags,
    KeysRotated,
    LimitDecided,
    LoopFailed,
    RequestAnswered,
    RequestRejected,
    ServerRefreshed,
    TelemetryEvent,
)
from nexus_hub.telemetry.server_labels import ServerLabels
from nexus_hub.telemetry.tally import OTHER, Bounded, Counter, Histogram, Labels, MetricSpec, Rename

SERVER: Final = "server"
MOST_CODES = 100
MOST_ROUTES = 200
UNKNOWN: Final = "outcome-unknown"
NO_ERRORS = frozenset({"cancelled", "released", "claim-stale"})
"""Codes of calls that came to no end for reasons that lie on this side."""
_COUNTERS = (
    ("jobs_stored", (), "Jobs that were stored as pending."),
    ("jobs_ended", ("type", "server", "outcome"), "Jobs that ended: each row of job_results once."),
    ("job_retries", ("code",), "Attempts that failed and were followed by another one."),
    ("jobs_rescued", ("outcome",), "Jobs whose process was gone: taken up again, or failed."),
    ("outcomes_unknown", ("type",), "Jobs that failed without anybody knowing if the call had its effect."),
    ("direct_calls", ("outcome",), "Calls of the direct lane, as /mcp makes them; handed: it went on as a job."),
    ("calls_unrecorded", (), "Direct calls that were answered and have no row, since the database was away."),
    ("upstream_errors", ("server", "code"), "Calls that failed, by the code of their error."),
    ("limit_decisions", ("server", "decision"), "Calls to servers with a limit: allowed, refused, or not asked."),
    ("calls_refused", ("server", "code"), "Attempts of jobs that had to wait for a limit or a circuit."),
    ("circuit_changes", ("server", "state"), "Circuits that opened or closed here."),
    ("catalog_refreshes", ("server", "outcome"), "Servers that were read anew, or could not be."),
    ("catalog_changes", ("server", "change"), "Tools, prompts and resources that were added, changed or removed."),
    ("key_rotations", ("outcome",), "Rotations of the vault's keys that ended."),
    ("http_requests", ("route", "status"), "Requests to the API that were answered, those to /mcp among them."),
    ("loop_failures", ("loop",), "Rounds of loops beside the work that met an error."),
    ("defects", (), "Errors that nobody expected."),
)
_HISTOGRAMS = (
    ("job_wait_seconds", ("type",), "From a job's being due to its claim, at each attempt."),
    ("job_run_seconds", ("type",), "From the last attempt's claim, or a direct call's beginning, to its end."),
    ("job_total_seconds", ("type",), "From the storing of a job, or a direct call's beginning, to its end."),
    ("upstream_seconds", ("server",), "Calls to servers, from the request to its answer or failure."),
    ("dispatch_seconds", (), "Telling Prefect of a job."),
    ("http_request_seconds", ("route",), "Requests to the API that were not refused, streams to their end."),
)
FROM_ZERO: dict[str, tuple[Labels, ...]] = {
    **dict.fromkeys(("jobs_stored", "calls_unrecorded", "defects"), ((),)),
    "outcomes_unknown": (("tool_invoke",), ("resource_fetch",), ("prompt_execute",)),
    "jobs_rescued": (("requeued",), ("failed",)),
}
"""Series that are there before anything happens: the first event is an increase, too."""
BUILD = MetricSpec("nexus_build_info", "gauge", ("version",), "Always 1; the version is the hub's.")
COUNTER_SPECS = {name: MetricSpec(f"nexus_{name}_total", "counter", labels, text) for name, labels, text in _COUNTERS}
HISTOGRAM_SPECS = {name: MetricSpec(f"nexus_{name}", "histogram", labels, text) for name, labels, text in _HISTOGRAMS}
PROCESS_SPECS = (BUILD, *COUNTER_SPECS.values(), *HISTOGRAM_SPECS.values())
"""All that a process counts by itself."""


class Metrics:
    """Counts the events of a process. It is called where the work is done, so that it does the least it can."""

    def __init__(self) -> None:
        self.servers = ServerLabels()
        self._codes = Bounded(MOST_CODES)
        self._routes = Bounded(MOST_ROUTES)
        self._loops = Bounded(MOST_CODES)
        self._counters = {name: Counter(spec) for name, spec in COUNTER_SPECS.items()}
        self._histograms = {name: Histogram(spec) for name, spec in HISTOGRAM_SPECS.items()}
        for name, series in FROM_ZERO.items():
            self._counters[name].counts |= dict.fromkeys(series, 0)
        self._ended = self._counters["jobs_ended"].counts
        self._direct = self._counters["direct_calls"].counts
        self._run = self._histograms["job_run_seconds"].observe
        self._total = self._histograms["job_total_seconds"].observe
        self._upstream = self._histograms["upstream_seconds"].observe
        self._on: dict[type[TelemetryEvent], Callable[[Any], None]] = {
            AttemptEnded: self._on_attempt_ended,
            BatchStored: lambda event: self._count("jobs_stored", by=event.jobs),
            CallAnswered: self._on_call_answered,
            CallRefused: self._on_call_refused,
            CallReturned: self._on_call_returned,
            CallsUnrecorded: lambda event: self._count("calls_unrecorded", by=event.calls),
            CatalogChanged: self._on_catalog_changed,
            CircuitChanged: lambda event: self._count("circuit_changes", self._slot(event), event.state),
            DefectFound: lambda _: self._count("defects"),
            JobClaimed: self._on_job_claimed,
            JobClosed: lambda event: self._note_end(event.job, event.outcome, event.code),
            JobDispatched: lambda event: self._histograms["dispatch_seconds"].observe((), event.ms / 1000),
            JobRescued: self._on_job_rescued,
            JobStored: lambda _: self._count("jobs_stored"),
            KeysRotated: lambda event: self._count("key_rotations", "failed" if event.failed else "completed"),
            LimitDecided: lambda event: self._count("limit_decisions", self._slot(event), event.decision),
            LoopFailed: lambda event: self._count("loop_failures", self._loops.of(event.loop)),
            RequestAnswered: self._on_request_answered,
            RequestRejected: self._on_request_rejected,
            ServerRefreshed: self._on_server_refreshed,
        }

    def __call__(self, event: TelemetryEvent) -> None:
        """Count an event."""
        on = self._on.get(type(event))
        if on is not None:
            on(event)

    def collect(self) -> Iterator[Metric]:
        """Write out all that was counted."""
        build = BUILD.family()
        build.add_sample(BUILD.name, {"version": __version__}, 1)
        yield build
        for tally in self._tallies():
            yield tally.collect(self._namer(tally.spec))

    def drop(self, slots: frozenset[str]) -> None:
        """Forget the series of servers that were removed."""
        for tally in self._tallies() if slots else ():
            if SERVER in tally.spec.labels:
                tally.drop(partial(_is_of, tally.spec.labels.index(SERVER), slots))

    def _tallies(self) -> tuple[Counter | Histogram, ...]:
        return (*self._counters.values(), *self._histograms.values())

    def _namer(self, spec: MetricSpec) -> Rename:
        """Give what puts a server's name in its slot's place."""
        if SERVER not in spec.labels:
            return _keep
        at = spec.labels.index(SERVER)
        return lambda labels: (*labels[:at], self.servers.name_of(labels[at]), *labels[at + 1 :])

    def _count(self, name: str, *labels: str, by: float = 1) -> None:
        self._counters[name].counts[labels] += by

    def _slot(self, part: Any) -> str:
        """Give the slot of the server that an event, or its job, names."""
        return self.servers.slot_of(part.server_id, getattr(part, "server", None))

    def _on_call_answered(self, event: CallAnswered) -> None:
        """Count a direct call, the hot one: what it is a job for, and what it was upstream."""
        code = event.code
        outcome = "completed" if code is None else "cancelled" if code == "cancelled" else "failed"
        self._direct["handed" if event.handed else outcome,] += 1
        if event.handed:
            return
        job, seconds = event.job, event.ms / 1000
        slot, kind = self.servers.slot_of(job.server_id, job.server), job.job_type or OTHER
        self._upstream((slot,), seconds)
        if code is not None:
            self._note_error(slot, code)
        if not event.rowless:
            self._ended[kind, slot, outcome] += 1
            self._run((kind,), seconds)
            self._total((kind,), seconds)
            if code == UNKNOWN:
                self._count("outcomes_unknown", kind)

    def _on_call_returned(self, event: CallReturned) -> None:
        slot = self._slot(event.job)
        self._upstream((slot,), event.ms / 1000)
        if event.code is not None:
            self._note_error(slot, event.code)

    def _on_attempt_ended(self, event: AttemptEnded) -> None:
        """Count an end that this attempt wrote; whoever cancelled its job, or failed it for it, has told so."""
        if event.outcome == "requeued":
            self._count("job_retries", self._codes.of(event.code or OTHER))
        elif event.outcome == "completed" or (event.outcome == "failed" and event.code != "claim-stale"):
            kind = (event.job.job_type or OTHER,)
            self._run(kind, event.ms / 1000)
            self._total(kind, max(event.total_ms or 0, event.ms) / 1000)
            self._note_end(event.job, event.outcome, event.code)

    def _on_job_claimed(self, event: JobClaimed) -> None:
        if event.waited_ms is not None:
            wait = self._histograms["job_wait_seconds"].observe
            wait((event.job.job_type or OTHER,), max(event.waited_ms, 0) / 1000)

    def _on_job_rescued(self, event: JobRescued) -> None:
        self._count("jobs_rescued", "failed" if event.status == "failed" else "requeued")
        if event.status == "failed":
            self._note_end(event.job, event.status, event.code)

    def _on_call_refused(self, event: CallRefused) -> None:
        self._count("calls_refused", self._slot(event.job), self._codes.of(event.code))

    def _on_server_refreshed(self, event: ServerRefreshed) -> None:
        self._count("catalog_refreshes", self._slot(event), "failed" if event.code else "completed")

    def _on_catalog_changed(self, event: CatalogChanged) -> None:
        counts = {"added": event.added, "changed": event.changed, "removed": event.removed}
        for change, count in counts.items():
            if count:
                self._count("catalog_changes", self._slot(event), change, by=count)

    def _on_request_answered(self, event: RequestAnswered) -> None:
        route = self._routes.of(event.route)
        self._counters["http_requests"].counts[route, str(event.status)] += 1
        self._histograms["http_request_seconds"].observe((route,), event.ms / 1000)

    def _on_request_rejected(self, event: RequestRejected) -> None:
        self._count("http_requests", self._routes.of(event.route), str(event.status))

    def _note_end(self, job: JobTags, outcome: str, code: str | None) -> None:
        kind, slot = job.job_type or OTHER, self._slot(job)
        self._ended[kind, slot, outcome] += 1
        if code == UNKNOWN:
            self._count("outcomes_unknown", kind)

    def _note_error(self, slot: str, code: str) -> None:
        if code not in NO_ERRORS:
            self._count("upstream_errors", slot, self._codes.of(code))


def _keep(labels: Labels) -> Labels:
    return labels


def _is_of(at: int, slots: frozenset[str], labels: Labels) -> bool:
    return labels[at] in slots

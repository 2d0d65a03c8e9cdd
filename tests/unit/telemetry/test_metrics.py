"""Metrics count events once, by bounded labels that give nothing away."""

from uuid import UUID, uuid4

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from nexus_hub.telemetry.bus import emit, subscribe
from nexus_hub.telemetry.events import (
    AttemptEnded,
    BatchStored,
    CallAnswered,
    CallReturned,
    CircuitChanged,
    DefectFound,
    JobClaimed,
    JobClosed,
    JobRescued,
    JobStored,
    JobTags,
    LimitDecided,
    RequestAnswered,
    RequestRejected,
)
from nexus_hub.telemetry.exposition import write_page
from nexus_hub.telemetry.metrics import MOST_CODES, MOST_ROUTES, Metrics
from nexus_hub.telemetry.server_labels import MOST_SERVERS

SERVER = UUID(int=7)
HOSTILE = 'a"} 1\n# HELP forged\\ \u202eback'


def tags(server_id: UUID | None = SERVER, server: str | None = "srv", **more: str) -> JobTags:
    return JobTags(uuid4(), 1, server_id, server, "secret-tool", UUID(int=9), job_type=more.get("type", "tool_invoke"))


def samples(metrics: Metrics, accept: str = "") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples as a reader of the page has them."""
    page, _ = write_page(metrics.collect(), accept)
    families: list[Metric] = list(text_string_to_metric_families(page.decode()))
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_a_job_counts_once_by_who_ended_it(metrics: Metrics) -> None:
    job = tags()
    ended = {"type": "tool_invoke", "server": "srv"}
    for event in (
        CallAnswered(job, 20),
        CallAnswered(job, 20, "cancelled"),
        AttemptEnded(job, "completed", 1500, None, 2500),
        AttemptEnded(job, "failed", 1500, "outcome-unknown", 2500),
        JobRescued(job, "failed", "outcome-unknown"),
        JobClosed(job, "cancelled", "cancelled"),
    ):
        metrics(event)
    for other in (
        CallAnswered(job, 20, handed=True),
        CallAnswered(job, 20, "cancelled", rowless=True),
        AttemptEnded(job, "requeued", 10, "upstream-unavailable"),
        AttemptEnded(job, "stale", 10, "claim-stale"),
        AttemptEnded(job, "cancelled", 10, "claim-stale"),
        AttemptEnded(job, "failed", 10, "claim-stale"),
        JobRescued(job, "pending", "lease-expired"),
    ):
        metrics(other)
    counts = {one: value(metrics, "nexus_jobs_ended_total", outcome=one, **ended) for one in ("completed", "failed")}
    assert counts == {"completed": 2, "failed": 2}
    assert value(metrics, "nexus_jobs_ended_total", outcome="cancelled", **ended) == 2
    assert value(metrics, "nexus_outcomes_unknown_total", type="tool_invoke") == 2
    assert value(metrics, "nexus_job_retries_total", code="upstream-unavailable") == 1
    assert value(metrics, "nexus_jobs_rescued_total", outcome="requeued") == 1
    assert value(metrics, "nexus_direct_calls_total", outcome="handed") == 1


def test_times_are_histograms_in_seconds(metrics: Metrics) -> None:
    metrics(JobClaimed(tags(), 300))
    metrics(AttemptEnded(tags(), "completed", 1500, None, 2600))
    metrics(CallReturned(tags(), 1400))
    kind = {"type": "tool_invoke"}
    assert value(metrics, "nexus_job_wait_seconds_bucket", le="0.25", **kind) == 0
    assert value(metrics, "nexus_job_wait_seconds_bucket", le="0.5", **kind) == 1
    assert value(metrics, "nexus_job_run_seconds_sum", **kind) == 1.5
    assert value(metrics, "nexus_job_total_seconds_bucket", le="2.5", **kind) == 0
    assert value(metrics, "nexus_job_total_seconds_count", **kind) == 1
    assert value(metrics, "nexus_upstream_seconds_bucket", le="+Inf", server="srv") == 1


def test_what_is_stored_limited_and_answered_is_counted(metrics: Metrics) -> None:
    for event in (
        JobStored(tags(), 1),
        BatchStored(uuid4(), 5, None, 1),
        LimitDecided(SERVER, "refused"),
        CircuitChanged(SERVER, "open", 5),
        DefectFound("ValueError", "place"),
        RequestAnswered("POST /mcp", 200, 12),
        RequestRejected("POST /mcp", 401, "not-authenticated"),
        CallAnswered(tags(), 5),
    ):
        metrics(event)
    assert value(metrics, "nexus_jobs_stored_total") == 6
    assert value(metrics, "nexus_limit_decisions_total", server="srv", decision="refused") == 1
    assert value(metrics, "nexus_circuit_changes_total", server="srv", state="open") == 1
    assert value(metrics, "nexus_defects_total") == 1
    assert value(metrics, "nexus_http_requests_total", route="POST /mcp", status="200") == 1
    assert value(metrics, "nexus_http_requests_total", route="POST /mcp", status="401") == 1
    assert value(metrics, "nexus_http_request_seconds_count", route="POST /mcp") == 1


def test_labels_are_bounded_and_what_is_beyond_is_counted_together(metrics: Metrics) -> None:
    for number in range(MOST_SERVERS + 50):
        metrics(CallAnswered(tags(UUID(int=number), f"srv{number}"), 1))
        metrics(JobClosed(tags(UUID(int=number), None), "cancelled"))
    for number in range(MOST_CODES + 5):
        metrics(CallReturned(tags(), 1, f"code-{number}"))
    for number in range(MOST_ROUTES + 5):
        metrics(RequestAnswered(f"M{number} /mcp", 200, 1))
    found = samples(metrics)
    servers = {dict(labels)["server"] for name, labels in found if name == "nexus_jobs_ended_total"}
    assert len(servers) == MOST_SERVERS + 1
    beyond = {"type": "tool_invoke", "server": "other"}
    assert value(metrics, "nexus_jobs_ended_total", outcome="completed", **beyond) == 50
    assert value(metrics, "nexus_jobs_ended_total", outcome="cancelled", **beyond) == 50
    codes = {dict(labels)["code"] for name, labels in found if name == "nexus_upstream_errors_total"}
    routes = {dict(labels)["route"] for name, labels in found if name == "nexus_http_requests_total"}
    assert (len(codes), len(routes)) == (MOST_CODES + 1, MOST_ROUTES + 1)


def test_a_removed_server_takes_its_series_along_and_a_renamed_one_keeps_its_counts(metrics: Metrics) -> None:
    kept, gone, new = UUID(int=1), UUID(int=2), UUID(int=3)
    for server_id, name in ((kept, "kept"), (gone, "gone"), (new, "new")):
        metrics(CallAnswered(tags(server_id, name), 1))
    metrics.drop(metrics.servers.update({kept: "kept", gone: "gone"}))  # the third is newer than this list
    metrics.drop(metrics.servers.update({kept: "renamed", new: "new"}))
    servers = {dict(labels)["server"] for name, labels in samples(metrics) if name == "nexus_jobs_ended_total"}
    assert servers == {"renamed", "new"}
    metrics(CallAnswered(tags(UUID(int=4), "next"), 1))
    assert value(metrics, "nexus_upstream_seconds_count", server="next") == 1


def test_servers_of_one_name_are_one_series(metrics: Metrics) -> None:
    for number in (1, 2):
        metrics(CallAnswered(tags(UUID(int=number), "same"), 30))
    assert value(metrics, "nexus_upstream_seconds_count", server="same") == 2
    assert value(metrics, "nexus_upstream_seconds_sum", server="same") == 0.06


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0", "text/plain; version=1.0.0"])
def test_no_name_breaks_out_of_the_page_and_no_user_or_tool_is_in_it(metrics: Metrics, accept: str) -> None:
    metrics(CallAnswered(tags(server=HOSTILE), 1, "failed"))
    page, content_type = write_page(metrics.collect(), accept)
    text = page.decode()
    assert not any(line.startswith("# HELP forged") for line in text.splitlines())
    assert "\u202e" not in text
    assert "secret-tool" not in text
    assert str(UUID(int=9)) not in text
    assert content_type.startswith("application/openmetrics-text" if "open" in accept else "text/plain")


def test_it_counts_what_the_bus_tells(metrics: Metrics) -> None:
    with subscribe(metrics):
        emit(JobStored(tags(), 1))
    emit(JobStored(tags(), 1))
    assert value(metrics, "nexus_jobs_stored_total") == 1

"""One trace through all parts of a whole hub, with Prefect among them."""

import psycopg
import pytest

from tests.fixtures.hub import Hub
from tests.fixtures.traces import Collector, caller_context, only, tree

pytestmark = pytest.mark.stack


def test_a_job_is_one_trace_through_api_prefect_worker_and_server(
    fragile_hub: Hub, fragile_collector: Collector
) -> None:
    fragile_hub.until_idle()
    parent, trace_id = caller_context()
    with fragile_hub.api() as api:
        job = api.post("/v1/jobs", json={"name": "habits__echo"}, headers={"traceparent": parent}).json()
    ended = fragile_hub.ended(job["id"])
    spans = fragile_collector.arrived(trace_id, "POST /v1/jobs", "job.dispatch", "job.record", "job.attempt")
    places = {span.name: span.process for span in spans}
    assert places == {
        "POST /v1/jobs": "api",
        "job.store": "api",
        "job.dispatch": "api",
        "job.attempt": "worker",
        "job.claim": "worker",
        "call.open": "worker",
        "call.admit": "worker",
        "tools/call echo": "worker",
        "job.record": "worker",
    }, tree(spans)
    attempt = only(spans, "job.attempt")
    assert attempt.parent == only(spans, "job.store").id
    assert attempt.attributes["nexus.flow_run.id"] == ended["flow_run_id"]
    assert {only(spans, name).parent for name in ("call.open", "call.admit", "tools/call echo", "job.record")} == {
        attempt.id
    }
    assert ended["trace_id"] == trace_id
    assert {span.scope for span in fragile_collector.spans()} == {"nexus-hub"}, "nothing of Prefect's and the SDK's"
    with psycopg.connect(fragile_hub.prefect_database_url) as connection:
        for table in (b"flow_run", b"task_run"):
            labelled = b"SELECT count(*) FROM %b WHERE labels::text LIKE '%%TRACEPARENT%%'" % table
            assert connection.execute(labelled).fetchone() == (0,), "and nothing of traces is in Prefect"

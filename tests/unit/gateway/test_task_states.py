"""Jobs in the words of tasks."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from nexus_hub.gateway.task_states import TTL_MS, core_task_of, detailed_task_of, related
from nexus_hub.json_object import JsonObject

JOB = UUID("7d444840-9dc0-11d1-b245-5ffdce74fad2")
RESULT = {"content": [{"type": "text", "text": "done"}], "isError": False}


def row(status: str, **columns: Any) -> dict[str, Any]:
    at = datetime(2026, 7, 28, 12, 0, 0, 123456, tzinfo=UTC)
    known = {"id": JOB, "job_type": "tool_invoke", "status": status, "error": None, "error_code": None}
    times = {"created_at": at, "started_at": at, "completed_at": None}
    return known | times | {"progress": None, "result": None} | columns


@pytest.mark.parametrize(
    ("status", "known"), [("pending", "working"), ("running", "working"), ("cancelled", "cancelled")]
)
def test_what_has_no_outcome_has_only_the_fields_of_a_task(status: str, known: str) -> None:
    task = detailed_task_of(row(status))
    task.pop("statusMessage", None)
    assert task == {
        "taskId": str(JOB),
        "status": known,
        "createdAt": "2026-07-28T12:00:00.123Z",
        "lastUpdatedAt": "2026-07-28T12:00:00.123Z",
        "ttlMs": TTL_MS,
        "pollIntervalMs": 1000,
    }


@pytest.mark.parametrize("is_error", [True, False])
def test_a_result_is_in_a_completed_task_also_if_it_is_an_error_of_the_tool(is_error: bool) -> None:
    sent = JsonObject.of(RESULT | {"isError": is_error})
    task = detailed_task_of(row("completed", result=sent))
    assert task["status"] == "completed"
    assert task["result"]["isError"] is is_error
    assert "error" not in task


def test_a_result_is_as_it_was_sent_but_for_who_sent_it() -> None:
    text = (
        b'{"resultType":"complete","content":[],"structuredContent":{"n":1e400,"m":1.10},'
        b'"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x"},"a/b":2}}'
    )
    task = detailed_task_of(row("completed", result=JsonObject(text)))
    sent = b'{"content":[],"structuredContent":{"n":1e400,"m":1.10},"_meta":{"a/b":2}}'
    assert JsonObject.of(task["result"]).text == sent


def test_a_failure_is_an_error_of_the_protocol_with_the_hubs_code() -> None:
    task = detailed_task_of(row("failed", error="No.", error_code="outcome-unknown"))
    assert task["status"] == "failed"
    data = {"code": "outcome-unknown", "nexus-hub/job": str(JOB)}
    assert task["error"] == {"code": -32603, "message": "No.", "data": data}
    assert "result" not in task


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("The server 'x' refused the request (JSON-RPC -32050): no", -32050),
        ("The server 'x' refused the request (JSON-RPC 7): (JSON-RPC 8): no", 7),
        ("The server 'x' refused the request (status 405): no", -32603),
    ],
)
def test_a_server_that_refused_is_repeated_with_its_own_code(error: str, code: int) -> None:
    assert detailed_task_of(row("failed", error=error, error_code="upstream-rejected"))["error"]["code"] == code
    assert detailed_task_of(row("failed", error=error, error_code="else"))["error"]["code"] == -32603


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_task_whose_server_asks_needs_input(status: str) -> None:
    asked = {"q": {"method": "elicitation/create", "params": {}}}
    task = detailed_task_of(row(status), asked)
    assert task["status"] == "input_required"
    assert task["inputRequests"] == asked


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_task_that_has_ended_asks_for_nothing(status: str) -> None:
    task = detailed_task_of(row(status, result=JsonObject.of(RESULT)), {"q": {}})
    assert task["status"] == status
    assert "inputRequests" not in task


def test_progress_is_the_status_message() -> None:
    assert detailed_task_of(row("running", progress={"progress": 1, "message": "half"}))["statusMessage"] == "half"


@pytest.mark.parametrize("progress", [None, {}, {"message": None}, {"message": 5}, [], "x", {"message": ""}])
def test_odd_progress_is_no_status_message(progress: Any) -> None:
    assert "statusMessage" not in detailed_task_of(row("running", progress=progress))


def test_a_core_task_has_the_older_names() -> None:
    task = core_task_of(row("running"))
    assert {"ttl", "pollInterval"} <= task.keys()
    assert not {"ttlMs", "pollIntervalMs"} & task.keys()


def test_a_result_of_a_core_task_names_it_beside_what_its_server_said() -> None:
    found = related({"content": [], "_meta": {"a/b": 1}}, JOB)
    assert found["_meta"] == {"a/b": 1, "io.modelcontextprotocol/related-task": {"taskId": str(JOB)}}

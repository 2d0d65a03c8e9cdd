"""Results of jobs in answers: the stored text, which nobody on the way reads."""

from typing import Any

import httpx
import pytest

from nexus_hub.json_object import JsonObject
from tests.fixtures.served import SERVICE_KEY, Served

TEXT = '{ "z":1.10, "a":[1E400, 12345678901234567890123], "s":"\\ud800\u00e9\u2028", "content":[] }'


async def ended(served: Served, text: str = TEXT) -> str:
    attempt = await served.claimed(await served.stored())
    attempt.result = JsonObject(text.encode())
    assert await served.execution.record(attempt) == "completed"
    return str(attempt.id)


def client(served: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {SERVICE_KEY}"}, timeout=60)


def refuse_to_read(_self: JsonObject) -> Any:
    raise AssertionError("a result was read on its way")


async def test_a_result_is_answered_byte_by_byte_and_read_by_nobody(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await ended(served)
    monkeypatch.setattr(JsonObject, "_value", property(refuse_to_read))
    async with client(served) as api:
        answer = await api.get(f"/v1/jobs/{job_id}")
        stream = await api.get(f"/v1/jobs/{job_id}/events")
        listed = await api.get("/v1/jobs")
    assert answer.headers["content-type"] == "application/json"
    assert f',"result":{TEXT},"error":null,' in answer.text
    assert f',"result":{TEXT},"error":null,' in stream.text
    assert "result" not in listed.json()["items"][0]


async def test_the_answer_is_the_row_in_the_order_of_its_columns(served: Served) -> None:
    job_id = await ended(served, '{"content":[{"type":"text","text":"\\"result\\":null"}]}')
    async with client(served) as api:
        row = (await api.get(f"/v1/jobs/{job_id}")).json()
        cancelled = await api.delete(f"/v1/jobs/{job_id}")
    assert list(row)[:9] == [
        "id", "user_id", "job_type", "server_id", "server_type", "server_ref_id", "tool_name", "params", "status",
    ]  # fmt: skip
    assert row["result"] == {"content": [{"type": "text", "text": '"result":null'}]}
    assert row["completed_at"].endswith("Z")
    assert cancelled.status_code == 409

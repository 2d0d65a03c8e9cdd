"""Results of jobs in answers: the stored text, which nobody on the way reads."""

from typing import Any

import httpx
import pytest

from nexus_hub.json_object import JsonObject
from tests.fixtures.served import SERVICE_KEY, Served
from tests.fixtures.upstreams import own_server

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


async def test_numbers_of_a_request_and_of_a_definition_keep_their_form(served: Served) -> None:
    await served.runtime.servers.register("literal", own_server("literal"))
    arguments = '{"text":"t","more":[1.10,1E5,-0,-0.0,1e400,12345678901234567890123,0.1000000000000000055,1.0,1]}'
    job = f'{{"name":"literal__say","arguments":{arguments}}}'
    async with client(served) as api:
        api.headers["Content-Type"] = "application/json"
        single = await api.post("/v1/jobs", content=job)
        assert single.status_code == 202, single.text
        assert f'"params":{arguments},' in single.text
        many = await api.post("/v1/jobs:batch", content=f"[{job},{job}]")
        for job_id in (single.json()["id"], *many.json()["ids"]):
            assert f'"params":{arguments},' in (await api.get(f"/v1/jobs/{job_id}")).text
        for path in ("/v1/tools/literal__say", "/v1/tools", "/v1/tools?query=say"):
            shown = (await api.get(path)).text
            assert '"default":1E5,"maximum":1e400,"examples":[-0,-0.0,1.10,0.1000000000000000055,1234567890' in shown


@pytest.mark.parametrize(("levels", "status"), [(100, 202), (101, 422), (251, 422), (900, 422), (40_000, 422)])
async def test_arguments_that_are_nested_too_deep_are_refused_with_the_bound(
    served: Served, levels: int, status: int
) -> None:
    await served.runtime.servers.register("literal", own_server("literal"))
    text = '{"text":"t","more":' + '{"a":' * (levels - 2) + "{}" + "}" * (levels - 1)
    async with client(served) as api:
        body = f'{{"name":"literal__say","arguments":{text}}}'
        answer = await api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert status == 202 or "100 levels" in answer.json()["detail"]


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

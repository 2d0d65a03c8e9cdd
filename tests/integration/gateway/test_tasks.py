"""Tasks at `/mcp`: the extension of 2026-07-28 and the core ones of 2025-11-25, with Prefect played."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from nexus_hub.jobs import lists, store
from nexus_hub.models import OPERATOR, ServerRef
from nexus_hub.servers import registry
from nexus_hub.servers.policies import PolicyChange, change_policy
from tests.fixtures.mcp_raw import CORE, TASKS, RawClient
from tests.fixtures.served import SERVICE_KEY
from tests.fixtures.tasked import Place
from tests.fixtures.upstreams import own_server

PREFIX = "tasks__"
RELATED = "io.modelcontextprotocol/related-task"
METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
ENDED = {"completed", "failed", "cancelled"}


async def begun(client: RawClient, tool: str, **arguments: Any) -> str:
    """The id of the task that a call is answered with."""
    answer = await client.modern("tools/call", {"name": PREFIX + tool, "arguments": arguments})
    assert answer["result"]["resultType"] == "task", answer
    task_id: str = answer["result"]["taskId"]
    return task_id


async def until(client: RawClient, task_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            task: dict[str, Any] = (await client.modern("tasks/get", {"taskId": task_id}))["result"]
            if holds(task):
                return task
            await asyncio.sleep(0.05)


async def ended(client: RawClient, task_id: str) -> dict[str, Any]:
    return await until(client, task_id, lambda task: task["status"] in ENDED)


async def test_a_marked_tool_is_a_task_from_its_start_and_its_result_is_in_it(tasked: Place) -> None:
    client = await tasked.client()
    answer = await client.modern("tools/call", {"name": "tasks__slow_compute", "arguments": {"label": "x"}})
    created = answer["result"]
    assert {key: created[key] for key in ("resultType", "status")} == {"resultType": "task", "status": "working"}
    assert created.keys() >= {"taskId", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs"}
    assert not created.keys() & {"result", "error", "inputRequests", "task", "ttl", "requestState"}
    working = await client.modern("tasks/get", {"taskId": created["taskId"]})
    assert working["result"]["status"] == "working"
    assert working["result"]["resultType"] == "complete"
    await tasked.worker()
    task = await ended(client, created["taskId"])
    assert task["status"] == "completed"
    assert task["result"]["content"] == [{"type": "text", "text": "computed x"}]
    assert RELATED not in task["result"].get("_meta", {})


async def test_an_error_of_the_tool_completes_a_task_and_one_of_the_protocol_fails_it(tasked: Place) -> None:
    client = await tasked.client()
    await tasked.worker()
    task = await ended(client, await begun(client, "failing_job"))
    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    task = await ended(client, await begun(client, "protocol_error_job"))
    assert (task["status"], task["error"]["code"]) == ("failed", -32050)
    assert "result" not in task


async def test_a_client_without_the_extension_waits_for_the_result_as_ever(tasked: Place) -> None:
    client = await tasked.client()
    answer = await client.modern("tools/call", {"name": "tasks__slow_compute", "arguments": {}}, capabilities={})
    assert answer["result"]["resultType"] == "complete"
    assert answer["result"]["content"][0]["text"].startswith("computed")


async def test_a_client_that_does_not_declare_the_extension_is_told_to(tasked: Place) -> None:
    client = await tasked.client()
    for method in METHODS:
        answer = await client.modern(method, {"taskId": str(uuid4()), "inputResponses": {}}, capabilities={})
        assert (answer["status"], answer["error"]["code"]) == (400, -32021)
        assert answer["error"]["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    declared: list[Any] = [{TASKS: None}, {TASKS: True}, {"x": {}}, [], None]
    for odd in declared:
        answer = await client.modern("tasks/get", {"taskId": str(uuid4())}, capabilities={"extensions": odd})
        assert answer["error"]["code"] in {-32021, -32602}


async def test_what_a_server_wants_called_as_a_task_needs_a_client_that_knows_tasks(tasked: Place) -> None:
    client = await tasked.client()
    answer = await client.modern("tools/call", {"name": "tasks__failing_job", "arguments": {}}, capabilities={})
    assert answer["error"]["code"] == -32021


async def test_methods_that_the_extension_does_not_have_are_not_found(tasked: Place) -> None:
    client = await tasked.client()
    for method in ("tasks/list", "tasks/result", "tasks/other"):
        for capabilities in (None, dict[str, Any]()):
            answer = await client.modern(method, {"taskId": str(uuid4())}, capabilities=capabilities)
            assert (answer["status"], answer["error"]["code"]) == (404, -32601)


async def test_a_header_that_names_another_task_is_refused(tasked: Place) -> None:
    client = await tasked.client()
    task_id = await begun(client, "slow_compute", seconds=60)
    params = {"taskId": task_id, "inputResponses": {}}
    for method in METHODS:
        for name in (str(uuid4()), "", task_id.upper(), "=?base64?!?="):
            answer = await client.modern(method, params, headers={"Mcp-Name": name})
            assert (answer["status"], answer["error"]["code"]) == (400, -32020)
    assert "result" in await client.modern("tasks/get", {"taskId": task_id})


async def test_an_unknown_task_is_an_invalid_parameter(tasked: Place) -> None:
    client = await tasked.client()
    unknown: list[Any] = [str(uuid4()), "no-id", "", None, 5, {"a": 1}, "x" * 3000]
    for method in METHODS:
        for task_id in unknown:
            answer = await client.modern(method, {"taskId": task_id, "inputResponses": {}})
            assert answer["error"]["code"] == -32602


async def test_another_users_task_is_not_there_and_stays_as_it_is(tasked: Place) -> None:
    anna, token = await tasked.served.user("anna")
    _, other = await tasked.served.user("bert")
    task_id = await begun(await tasked.client(token), "slow_compute", seconds=60)
    stranger = await tasked.client(other)
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        answer = await stranger.modern(method, {"taskId": task_id, "inputResponses": {}})
        assert answer["error"]["code"] == -32602
        assert answer["error"]["message"] == f"There is no task {task_id!r}."
    assert (await store.get(tasked.served.database, anna, UUID(task_id)))["status"] == "pending"


async def test_at_the_address_of_one_server_jobs_of_others_are_not_there(tasked: Place) -> None:
    await tasked.served.runtime.servers.register("other", own_server("literal"))
    task_id = await begun(await tasked.client(), "slow_compute", label="x")
    there, elsewhere = await tasked.client(path="/mcp/tasks"), await tasked.client(path="/mcp/other")
    for method in METHODS:
        answer = await elsewhere.modern(method, {"taskId": task_id, "inputResponses": {}})
        assert answer["error"]["code"] == -32602, method
    for name in ("hub__job_wait", "hub__job_result", "hub__job_cancel"):
        arguments = {"id": task_id} | ({"seconds": 0} if name == "hub__job_wait" else {})
        answer = await elsewhere.modern("tools/call", {"name": name, "arguments": arguments})
        assert answer["result"]["isError"], name
        assert answer["result"]["content"][0]["text"].startswith(f"There is no job '{task_id}'."), name
    named = await elsewhere.modern("tools/call", {"name": "hub__jobs", "arguments": {"server": "tasks"}})
    assert named["result"]["isError"]
    for client, seen in ((elsewhere, []), (there, [task_id])):
        listed = await client.modern("tools/call", {"name": "hub__jobs", "arguments": {}})
        assert [job["id"] for job in listed["result"]["structuredContent"]["jobs"]] == seen
    assert (await there.modern("tasks/get", {"taskId": task_id}))["result"]["status"] == "working"


async def test_a_job_that_calls_no_tool_is_no_task(tasked: Place) -> None:
    client = await tasked.client()
    job_id = await tasked.served.stored()
    async with tasked.served.database.transaction() as transaction:
        await transaction.connection.execute(
            "INSERT INTO job_results (id, job_type, server_id) VALUES (%s, 'resource_fetch', 'x')", [other := uuid4()]
        )
    assert "result" in await client.modern("tasks/get", {"taskId": str(job_id)})
    assert (await client.modern("tasks/get", {"taskId": str(other)}))["error"]["code"] == -32602


async def test_cancelling_is_acknowledged_however_often_and_ends_the_task(tasked: Place) -> None:
    client = await tasked.client()
    task_id = await begun(client, "slow_compute", seconds=60)
    for _ in range(2):
        answer = await client.modern("tasks/cancel", {"taskId": task_id})
        assert answer["result"].keys() == {"resultType", "_meta"}
        assert answer["result"]["resultType"] == "complete"
    assert (await ended(client, task_id))["status"] == "cancelled"


async def test_a_task_is_stored_before_it_is_answered_and_another_api_goes_on_with_it(tasked: Place) -> None:
    client = await tasked.client()
    task_id = await begun(client, "slow_compute", seconds=0, label="late")
    row = await store.get(tasked.served.database, OPERATOR, UUID(task_id))
    assert (row["status"], row["attempt"]) == ("pending", 0)
    await tasked.restart()
    await tasked.worker()
    again = await tasked.client()
    assert (await ended(again, task_id))["result"]["content"][0]["text"] == "computed late"


async def test_a_task_whose_worker_dies_is_repeated_by_another_one_if_its_tool_may_be(tasked: Place) -> None:
    client, worker = await tasked.client(), await tasked.worker()
    task_id = await begun(client, "slow_compute", seconds=2, label="again")
    async with asyncio.timeout(60):
        while (await store.get(tasked.served.database, OPERATOR, UUID(task_id)))["status"] != "running":
            await asyncio.sleep(0.02)
    await worker.kill()
    await tasked.worker()
    task = await ended(client, task_id)
    assert task["result"]["content"][0]["text"] == "computed again"
    assert (await store.get(tasked.served.database, OPERATOR, UUID(task_id)))["attempt"] == 2


async def test_a_call_that_takes_long_becomes_a_task_though_its_tool_is_not_marked(tasked: Place) -> None:
    client = await tasked.client()
    answer = await client.modern("tools/call", {"name": "tasks__test_tool_with_task", "arguments": {}})
    assert answer["result"]["resultType"] == "input_required"
    again = {
        "name": "tasks__test_tool_with_task",
        "arguments": {},
        "inputResponses": {"user_name": {"action": "accept", "content": {"name": "Alice"}}},
        "requestState": answer["result"]["requestState"],
    }
    created = (await client.modern("tools/call", again))["result"]
    assert created["resultType"] == "task"
    assert not created.keys() & {"requestState", "inputRequests"}
    task = await ended(client, created["taskId"])
    assert task["result"]["content"][0]["text"] == "Hello, Alice!"


async def test_a_server_asks_in_the_middle_of_a_task_and_goes_on_with_the_answer(tasked: Place) -> None:
    client = await tasked.client()
    await tasked.worker()
    task_id = await begun(client, "confirm_delete", filename="x")
    task = await until(client, task_id, lambda task: task["status"] == "input_required")
    ((key, asked),) = task["inputRequests"].items()
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["message"] == "Delete it?"
    for odd in ({"unknown": {"action": "accept"}}, {str(uuid4()): {"action": "accept"}}, {key: "no object"}, {}):
        answer = await client.modern("tasks/update", {"taskId": task_id, "inputResponses": odd})
        assert answer["result"]["resultType"] == "complete"
    assert (await client.modern("tasks/get", {"taskId": task_id}))["result"]["status"] == "input_required"
    given = {key: {"action": "accept", "content": {"confirm": True}}}
    answer = await client.modern("tasks/update", {"taskId": task_id, "inputResponses": given})
    assert not answer["result"].keys() & {"taskId", "status", "result"}
    assert (await ended(client, task_id))["result"]["content"][0]["text"] == "confirm=accept"


async def test_questions_are_answered_one_at_a_time_and_each_only_once(tasked: Place) -> None:
    client = await tasked.client()
    await tasked.worker()
    task_id = await begun(client, "multi_input")
    task = await until(client, task_id, lambda task: len(task.get("inputRequests", {})) == 2)
    keys = {asked["params"]["message"]: key for key, asked in task["inputRequests"].items()}
    first, second = keys["The first?"], keys["The second?"]
    await client.modern("tasks/update", {"taskId": task_id, "inputResponses": {first: {"action": "accept"}}})
    task = (await client.modern("tasks/get", {"taskId": task_id}))["result"]
    assert task["status"] == "input_required"
    assert list(task["inputRequests"]) == [second]
    answers = {first: {"action": "cancel"}, second: {"action": "decline"}}
    await client.modern("tasks/update", {"taskId": task_id, "inputResponses": answers})
    assert (await ended(client, task_id))["result"]["content"][0]["text"] == "first=accept second=decline"


async def test_a_stranger_can_not_answer_what_a_task_asks(tasked: Place) -> None:
    _, token = await tasked.served.user("anna")
    _, other = await tasked.served.user("bert")
    client, stranger = await tasked.client(token), await tasked.client(other)
    await tasked.worker()
    task_id = await begun(client, "confirm_delete")
    task = await until(client, task_id, lambda task: task["status"] == "input_required")
    given = {key: {"action": "accept"} for key in task["inputRequests"]}
    answer = await stranger.modern("tasks/update", {"taskId": task_id, "inputResponses": given})
    assert answer["error"]["code"] == -32602
    own = await begun(stranger, "slow_compute", seconds=60)
    await stranger.modern("tasks/update", {"taskId": own, "inputResponses": given})
    assert (await client.modern("tasks/get", {"taskId": task_id}))["result"]["status"] == "input_required"


async def test_a_task_whose_client_can_not_be_asked_ends_with_what_its_server_makes_of_that(tasked: Place) -> None:
    client = await tasked.client()
    await tasked.worker()
    answer = await client.modern(
        "tools/call",
        {"name": "tasks__confirm_delete", "arguments": {}},
        capabilities={"extensions": {TASKS: {}}},
    )
    assert (await ended(client, answer["result"]["taskId"]))["status"] == "failed"


async def test_a_cancelled_task_asks_for_nothing_any_more(tasked: Place) -> None:
    client = await tasked.client()
    await tasked.worker()
    task_id = await begun(client, "confirm_delete")
    await until(client, task_id, lambda task: task["status"] == "input_required")
    await client.modern("tasks/cancel", {"taskId": task_id})
    task = await ended(client, task_id)
    assert task["status"] == "cancelled"
    assert "inputRequests" not in task


async def test_whoever_listens_for_a_task_of_its_own_is_told_of_it_as_a_whole(tasked: Place) -> None:
    _, token = await tasked.served.user("anna")
    foreign = await begun(await tasked.client(), "slow_compute", seconds=60)
    client = await tasked.client(token)
    task_id = await begun(client, "slow_compute", label="x")
    async with client.listening(taskIds=[str(uuid4()), task_id, "no-id", foreign]) as notices:
        assert (await anext(notices))["params"]["notifications"]["taskIds"] == [task_id]
        await tasked.worker()
        while (notice := await anext(notices))["params"].get("status") not in ENDED:
            assert notice["method"] == "notifications/tasks"
    told = {key: value for key, value in notice["params"].items() if key != "_meta"}
    known = (await client.modern("tasks/get", {"taskId": task_id}))["result"]
    assert told == {key: value for key, value in known.items() if key not in {"_meta", "resultType"}}


async def test_whoever_listens_for_a_task_is_told_what_it_asks(tasked: Place) -> None:
    client = await tasked.client()
    task_id = await begun(client, "confirm_delete", filename="x")
    async with client.listening(taskIds=[task_id]) as notices:
        await anext(notices)
        await tasked.worker()
        while (notice := await anext(notices))["params"]["status"] != "input_required":
            pass
        ((key, asked),) = notice["params"]["inputRequests"].items()
        assert asked["params"]["message"] == "Delete it?"
        given = {key: {"action": "accept", "content": {"confirm": True}}}
        await client.modern("tasks/update", {"taskId": task_id, "inputResponses": given})
        while (notice := await anext(notices))["params"]["status"] != "completed":
            pass


async def test_whoever_listens_for_tasks_declares_the_extension(tasked: Place) -> None:
    client = await tasked.client()
    params = {"notifications": {"taskIds": [str(uuid4())]}}
    answer = await client.modern("subscriptions/listen", params, capabilities={})
    assert (answer["status"], answer["error"]["code"]) == (400, -32021)


async def test_tasks_are_an_extension_for_the_newer_era_and_a_capability_for_the_one_version_before(
    tasked: Place,
) -> None:
    client = await tasked.client()
    found = (await client.modern("server/discover"))["result"]["capabilities"]
    assert found["extensions"][TASKS] == {}
    assert "tasks" not in found
    capabilities = (await client.initialize(CORE))["capabilities"]
    assert capabilities["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    assert "tasks" not in (await client.initialize("2025-06-18"))["capabilities"]


async def test_a_core_task_is_made_on_request_and_its_result_waited_for(tasked: Place) -> None:
    client = await tasked.client()
    await client.initialize(CORE)
    await tasked.worker()
    params = {"name": "tasks__greet", "arguments": {"name": "x"}, "task": {"ttl": 60_000}}
    created = (await client.legacy("tools/call", params))["result"]["task"]
    assert created["status"] == "working"
    assert created.keys() >= {"taskId", "createdAt", "lastUpdatedAt", "ttl", "pollInterval"}
    result = (await client.legacy("tasks/result", {"taskId": created["taskId"]}))["result"]
    assert result["content"] == [{"type": "text", "text": "Hello, x!"}]
    assert result["_meta"][RELATED] == {"taskId": created["taskId"]}
    task = (await client.legacy("tasks/get", {"taskId": created["taskId"]}))["result"]
    assert task["status"] == "completed"
    assert "result" not in task


async def test_a_session_is_told_of_the_states_of_its_core_tasks(tasked: Place) -> None:
    client, other = await tasked.client(), await tasked.client()
    await client.initialize(CORE)
    await other.initialize(CORE)
    params: dict[str, Any] = {"name": "tasks__slow_compute", "arguments": {"label": "x"}, "task": {}}
    early = (await client.legacy("tools/call", params))["result"]["task"]["taskId"]
    foreign = (await other.legacy("tools/call", params))["result"]["task"]["taskId"]
    async with asyncio.timeout(60), client.hearing() as notices:
        while not tasked.served.app.state.gateway.subscriptions._open:
            await asyncio.sleep(0.01)
        late = (await client.legacy("tools/call", params))["result"]["task"]["taskId"]
        await tasked.worker()
        states: dict[str, list[str]] = {}
        while [known[-1] for known in states.values()] != ["completed"] * 2:
            notice = await anext(notices)
            assert notice["method"] == "notifications/tasks/status"
            task = notice["params"]
            assert task.keys() >= {"taskId", "status", "createdAt", "lastUpdatedAt", "ttl", "pollInterval"}
            states.setdefault(task["taskId"], []).append(task["status"])
    assert states.keys() == {early, late}
    assert foreign not in states


async def test_a_core_client_is_asked_on_the_stream_of_its_result(tasked: Place) -> None:
    client = await tasked.client()
    await client.initialize(CORE, elicitation={})
    await tasked.worker()
    params: dict[str, Any] = {"name": "tasks__multi_input", "arguments": {}, "task": {}}
    task_id = (await client.legacy("tools/call", params))["result"]["task"]["taskId"]
    asked: list[str] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        assert request["method"] == "elicitation/create"
        assert request["params"]["_meta"][RELATED] == {"taskId": task_id}
        asked.append(request["params"]["message"])
        return {"action": "accept", "content": {}}

    found = await client.legacy_answering("tasks/result", {"taskId": task_id}, answer)
    assert found["result"]["content"][0]["text"] == "first=accept second=accept"
    assert sorted(asked) == ["The first?", "The second?"]
    headers = {"Authorization": f"Bearer {SERVICE_KEY}"}
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=tasked.served.url, headers=headers) as api:
        while not (noted := (await api.get("/v1/audit", params={"action": "job.answer"})).json()["items"]):
            await asyncio.sleep(0.05)
    assert [(entry["job_id"], entry["outcome"]) for entry in noted] == [(task_id, "ok")]


async def test_a_core_task_that_failed_or_was_cancelled_has_an_error_for_a_result(tasked: Place) -> None:
    client = await tasked.client()
    await client.initialize(CORE)
    await tasked.worker()
    params: dict[str, Any] = {"name": "tasks__protocol_error_job", "arguments": {}, "task": {}}
    failed = (await client.legacy("tools/call", params))["result"]["task"]["taskId"]
    assert (await client.legacy("tasks/result", {"taskId": failed}))["error"]["code"] == -32050
    params = {"name": "tasks__slow_compute", "arguments": {"seconds": 60}, "task": {}}
    task_id = (await client.legacy("tools/call", params))["result"]["task"]["taskId"]
    assert (await client.legacy("tasks/cancel", {"taskId": task_id}))["result"]["status"] == "cancelled"
    assert (await client.legacy("tasks/cancel", {"taskId": task_id}))["error"]["code"] == -32602
    assert (await client.legacy("tasks/result", {"taskId": task_id}))["error"]["code"] == -32602


async def test_core_tasks_are_listed_in_pages_that_are_ones_own(tasked: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_hub.gateway.tasks.LISTED", 2)
    anna, token = await tasked.served.user("anna")
    await tasked.served.stored(OPERATOR)
    jobs = [str(await tasked.served.stored(anna)) for _ in range(5)]
    client = await tasked.client(token)
    await client.initialize(CORE)
    found: list[str] = []
    params: dict[str, Any] = {}
    while True:
        page = (await client.legacy("tasks/list", params))["result"]
        found += [task["taskId"] for task in page["tasks"]]
        if "nextCursor" not in page:
            break
        params = {"cursor": page["nextCursor"]}
    assert found == jobs[::-1]
    tools = (await client.legacy("tools/list"))["result"].get("nextCursor")
    for cursor in ("x", 5, (await lists.list_jobs(tasked.served.database, anna, limit=1))["next_cursor"], tools or "y"):
        assert (await client.legacy("tasks/list", {"cursor": cursor}))["error"]["code"] == -32602


async def test_core_clients_may_call_with_or_without_a_task_but_not_against_the_servers_word(tasked: Place) -> None:
    client = await tasked.client()
    await client.initialize(CORE)
    tools = {tool["name"]: tool for tool in (await client.legacy("tools/list"))["result"]["tools"]}
    assert tools["tasks__failing_job"]["execution"] == {"taskSupport": "optional"}
    assert tools["tasks__slow_compute"]["execution"] == {"taskSupport": "optional"}
    assert tools["tasks__never_a_task"]["execution"] == {"taskSupport": "forbidden"}
    assert "execution" not in tools["tasks__greet"]
    plain = await client.legacy("tools/call", {"name": "tasks__failing_job", "arguments": {}})
    assert plain["result"]["isError"]
    for name in ("tasks__never_a_task", "hub__jobs"):
        forbidden: dict[str, Any] = {"name": name, "arguments": {}, "task": {}}
        assert (await client.legacy("tools/call", forbidden))["error"]["code"] == -32601


async def test_older_versions_have_no_tasks(tasked: Place) -> None:
    client = await tasked.client()
    await client.initialize("2025-06-18")
    for method in ("tasks/get", "tasks/list", "tasks/result", "tasks/cancel", "tasks/update"):
        assert (await client.legacy(method, {"taskId": str(uuid4())}))["error"]["code"] == -32601
    answer = await client.legacy("tools/call", {"name": "tasks__greet", "arguments": {"name": "x"}, "task": {}})
    assert answer["result"]["content"][0]["text"] == "Hello, x!"


async def test_a_task_parameter_means_nothing_in_the_newer_era(tasked: Place) -> None:
    client = await tasked.client()
    answer = await client.modern("tools/call", {"name": "tasks__greet", "arguments": {"name": "x"}, "task": {"ttl": 1}})
    assert answer["result"]["resultType"] == "complete"


async def test_what_the_operator_makes_durable_is_a_job_from_its_start_and_a_task_for_those_who_know_tasks(
    tasked: Place,
) -> None:
    client = await tasked.client()
    server = await registry.find(tasked.served.database, OPERATOR, "tasks")
    change = PolicyChange(tools={"greet": "always"})
    await change_policy(tasked.served.database, ServerRef("system", server.id), change)
    params = {"name": "tasks__greet", "arguments": {"name": "x"}}
    async with asyncio.timeout(30):  # until the notice of the change is there
        while (created := (await client.modern("tools/call", params))["result"])["resultType"] != "task":
            pass
    await client.initialize(CORE)
    tools = {tool["name"]: tool for tool in (await client.legacy("tools/list"))["result"]["tools"]}
    assert tools["tasks__greet"]["execution"] == {"taskSupport": "optional"}
    handed = (await client.modern("tools/call", params, capabilities={}))["result"]
    assert "hub__job_wait" in handed["content"][0]["text"]
    await tasked.worker()
    assert (await ended(client, created["taskId"]))["result"]["content"][0]["text"] == "Hello, x!"
    wait = {"name": "hub__job_wait", "arguments": {"id": handed["structuredContent"]["id"]}}
    async with asyncio.timeout(60):
        while (result := (await client.modern("tools/call", wait))["result"])["content"][0]["text"] != "Hello, x!":
            assert not result.get("isError")


async def test_a_client_that_knows_no_tasks_gets_a_handle_and_then_the_result(tasked: Place) -> None:
    client = await tasked.client()
    for call in (client.modern, client.legacy):
        if call == client.legacy:
            await client.initialize(CORE)
            options: dict[str, Any] = {}
        else:
            options = {"capabilities": {}}
        params = {"name": "tasks__slow_compute", "arguments": {"seconds": 3, "label": "x"}}
        handed = (await call("tools/call", params, **options))["result"]
        assert not handed.get("isError")
        following = handed["structuredContent"]["next"]
        assert following["tool"] == "hub__job_wait"
        wait = {"name": "hub__job_wait", "arguments": following["arguments"]}
        async with asyncio.timeout(60):
            while True:
                result = (await call("tools/call", wait, **options))["result"]
                if result["content"][0]["text"] == "computed x":
                    break


async def test_arguments_that_do_not_fit_make_no_task(tasked: Place) -> None:
    client = await tasked.client()
    answer = await client.modern("tools/call", {"name": "tasks__slow_compute", "arguments": {"seconds": "x"}})
    assert answer["result"]["resultType"] == "complete"
    assert answer["result"]["isError"]
    assert "seconds" in answer["result"]["content"][0]["text"]
    unknown = await client.modern("tools/call", {"name": "tasks__nothing", "arguments": {}})
    assert unknown["error"]["code"] == -32602


async def test_wishes_in_the_address_that_can_not_be_are_refused(tasked: Place) -> None:
    for query in ("page=5", "page=x", "page=1e99", "handle=-1", "handle=nan"):
        client = await tasked.client(path=f"/mcp?{query}")
        answer = await client.modern("tools/list")
        assert answer["status"] == 400
        assert query.partition("=")[0] in answer["error"]["message"]

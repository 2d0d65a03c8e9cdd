"""Questions in the middle of calls through `/mcp`, between clients and servers of both eras."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from nexus_hub.gateway import input as room
from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.vault.keys import VaultKey
from tests.fixtures.peers import NAMED
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import Serve, free_port, own_server

VERSION = "2026-07-28"
CLIENTS = pytest.mark.parametrize("mode", ["auto", "legacy"], ids=["modern-client", "legacy-client"])
SERVERS = pytest.mark.parametrize("era", [["--legacy"], []], ids=["legacy-server", "modern-server"])
FORM: dict[str, Any] = {"elicitation": {"form": {}}}


class User:
    """A person with a client that answers what it is asked."""

    def __init__(self, name: str = "Ada") -> None:
        self.name = name
        self.asked: list[str] = []
        self.notices: list[Any] = []

    async def elicit(self, context: Any, params: Any) -> types.ElicitResult:
        del context
        self.asked.append(params.message)
        if params.mode == "url":
            return types.ElicitResult(action="accept")
        return types.ElicitResult(action="accept", content={"name": self.name})

    async def sample(self, context: Any, params: Any) -> types.CreateMessageResult:
        del context
        self.asked.append(params.messages[0].content.text)
        said = types.TextContent(type="text", text=f"Hello from {self.name}")
        return types.CreateMessageResult(role="assistant", content=said, model="small")

    async def list_roots(self, context: Any) -> types.ListRootsResult:
        del context
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri=f"file:///home/{self.name}")])

    async def hear(self, message: Any) -> None:
        self.notices.append(message)

    @asynccontextmanager
    async def at(self, served: Served, mode: str, token: str = SERVICE_KEY, **callbacks: Any) -> AsyncIterator[Client]:
        """The person's client at `/mcp`."""
        callbacks = callbacks or {
            "elicitation_callback": self.elicit,
            "sampling_callback": self.sample,
            "list_roots_callback": self.list_roots,
        }
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
            Client(
                streamable_http_client(f"{served.url}/mcp", http_client=http),
                mode=mode,
                message_handler=self.hear,
                **callbacks,
            ) as client,
        ):
            yield client


async def registered(served: Served, serve: Serve, *options: str, transport: str = "stdio", name: str = "srv") -> None:
    """Register the server that asks."""
    config: StdioConfig | HttpConfig = own_server("asking", *options)
    if transport == "http":
        config = HttpConfig(url=(await serve("asking", *options)).url)
    await served.runtime.servers.register(name, config)


def said(result: Any) -> str:
    text: str = result.content[0].text
    return text


async def post(
    served: Served,
    tool: str = "srv__name",
    arguments: dict[str, Any] | None = None,
    *,
    token: str = SERVICE_KEY,
    capabilities: dict[str, Any] | None = None,
    **params: Any,
) -> dict[str, Any]:
    """Call a tool as a client of 2026-07-28 does, with a body of our own; the JSON-RPC answer and its HTTP status."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": FORM if capabilities is None else capabilities,
    }
    params = {"name": tool, "arguments": arguments or {}, "_meta": meta, **params}
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with httpx2.AsyncClient(timeout=60) as http:
        response = await http.post(f"{served.url}/mcp", headers=headers, json=body)
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = next(line[6:] for line in text.splitlines() if line.startswith("data: "))
    answer: dict[str, Any] = json.loads(text)
    return {**answer, "status": response.status_code}


async def asked_first(served: Served, **options: Any) -> dict[str, Any]:
    """The wish that a first call is answered with."""
    answer = await post(served, **options)
    result: dict[str, Any] = answer["result"]
    assert result["resultType"] == "input_required", answer
    return result


def responses(wish: dict[str, Any]) -> dict[str, Any]:
    return {"inputResponses": dict.fromkeys(wish["inputRequests"], NAMED), "requestState": wish["requestState"]}


def refusal(answer: dict[str, Any]) -> str:
    assert answer["error"]["code"] == -32602, answer
    reason: str = answer["error"]["data"]["reason"]
    return reason


@CLIENTS
@SERVERS
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_client_is_asked_in_the_middle_of_its_call(
    served: Served, serve: Serve, mode: str, era: list[str], transport: str
) -> None:
    await registered(served, serve, *era, transport=transport)
    user = User()
    async with user.at(served, mode) as client:
        seen = {
            tool: said(await client.call_tool(f"srv__{tool}", {"who": "ada"})) for tool in ("name", "url", "sample")
        }
        twice = said(await client.call_tool("srv__two", {"who": "ada"}))
        twins = said(await client.call_tool("srv__twins", {"who": "ada"}))
    assert '"name": "Ada"' in seen["name"]
    assert '"action": "accept"' in seen["url"]
    assert "Hello from Ada" in seen["sample"]
    assert twice.count("Ada") == 2
    assert twins.count("Ada") == 2
    assert user.asked[:5] == ["Name of ada?", "Confirm, ada.", "Greet ada.", "Name of ada?", "Name of ada again?"]
    assert sorted(user.asked[5:]) == ["Name of ada 1?", "Name of ada 2?"]


@CLIENTS
@SERVERS
async def test_a_resource_and_a_prompt_may_need_input_too(
    served: Served, serve: Serve, mode: str, era: list[str]
) -> None:
    await registered(served, serve, *era, transport="http")
    async with User().at(served, mode) as client:
        (contents,) = (await client.read_resource("asking://resource")).contents
        prompt = await client.get_prompt("srv__asking")
    assert "Ada" in contents.text  # type: ignore[union-attr]
    assert "Ada" in prompt.messages[0].content.text  # type: ignore[union-attr]


@CLIENTS
@pytest.mark.parametrize(("era", "transport"), [([], "stdio"), ([], "http"), (["--legacy"], "http")])
async def test_a_clients_roots_are_told_where_that_does_no_harm(
    served: Served, serve: Serve, mode: str, era: list[str], transport: str
) -> None:
    await registered(served, serve, *era, transport=transport)
    async with User().at(served, mode) as client:
        assert "file:///home/Ada" in said(await client.call_tool("srv__roots", {}))


@CLIENTS
@SERVERS
async def test_a_client_that_can_not_be_asked_is_not(served: Served, serve: Serve, mode: str, era: list[str]) -> None:
    await registered(served, serve, *era)
    user = User()
    async with user.at(served, mode, sampling_callback=user.sample) as client:
        if mode == "auto" and not era:
            with pytest.raises(MCPError) as caught:
                await client.call_tool("srv__name", {})
            assert caught.value.error.code == -32021
            assert caught.value.error.data == {"requiredCapabilities": {"elicitation": {"form": {}}}}
        elif era:
            assert "does not offer elicitation.form" in said(await client.call_tool("srv__name", {}))
        else:
            with pytest.raises(MCPError, match=r"does not offer elicitation\.form"):
                await client.call_tool("srv__name", {})
    assert not user.asked


async def test_a_missing_capability_is_http_400_and_names_all_that_lack(served: Served, serve: Serve) -> None:
    await registered(served, serve)
    answer = await post(served, capabilities={"sampling": {}})
    assert (answer["status"], answer["error"]["code"]) == (400, -32021)
    answer = await post(served, tool="srv__url", capabilities=FORM)
    assert answer["error"]["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}


@SERVERS
async def test_the_state_is_sealed_and_goes_with_its_answers_once(served: Served, serve: Serve, era: list[str]) -> None:
    await registered(served, serve, *era)
    wish = await asked_first(served, arguments={"who": "ada"})
    assert '"who"' not in wish["requestState"]  # base64 may hold any letters
    (request,) = wish["inputRequests"].values()
    assert request["method"] == "elicitation/create"
    assert request["params"]["message"] == "Name of ada?"
    done = await post(served, arguments={"who": "ada"}, **responses(wish))
    assert "Ada" in done["result"]["content"][0]["text"]
    again = await post(served, arguments={"who": "ada"}, **responses(wish))
    assert refusal(again) in {"used", "lost"}
    assert "Ada" not in json.dumps(again)


@SERVERS
async def test_a_state_is_refused_to_others_and_for_other_requests(
    served: Served, serve: Serve, era: list[str]
) -> None:
    await registered(served, serve, *era)
    await registered(served, serve, *era, name="other")
    (_, ada), (_, bob) = [await served.user(name) for name in ("ada", "bob")]
    wish = await asked_first(served, arguments={"who": "ada"}, token=ada)
    answers = responses(wish)
    assert refusal(await post(served, arguments={"who": "ada"}, token=bob, **answers)) == "other-caller"
    assert refusal(await post(served, arguments={"who": "ada"}, **answers)) == "other-caller"
    changes: list[dict[str, Any]] = [
        {"tool": "srv__two"},
        {"tool": "other__name"},
        {"arguments": {"who": "bob"}},
        {"arguments": {}},
    ]
    for change in changes:
        options: dict[str, Any] = {"arguments": {"who": "ada"}, "token": ada} | change
        assert refusal(await post(served, **options, **answers)) == "other-request"
    done = await post(served, arguments={"who": "ada"}, token=ada, **answers)
    assert "Ada" in done["result"]["content"][0]["text"]


@SERVERS
@pytest.mark.parametrize("state", ["", "state of you", "v1.AAAA", "x" * 300_000])
async def test_a_made_up_state_is_refused(served: Served, serve: Serve, era: list[str], state: str) -> None:
    await registered(served, serve, *era)
    assert refusal(await post(served, requestState=state, inputResponses={"q": NAMED})) == "forged"


@pytest.mark.parametrize(
    "params",
    [
        {"requestState": 5},
        {"requestState": ["v1."]},
        {"inputResponses": []},
        {"inputResponses": {"q": 5}},
        {"inputResponses": "q"},
    ],
)
async def test_a_round_that_breaks_the_protocol_is_refused(
    served: Served, serve: Serve, params: dict[str, Any]
) -> None:
    await registered(served, serve)
    assert (await post(served, **params))["error"]["code"] == -32602


@SERVERS
async def test_answers_without_a_state_are_no_harm(served: Served, serve: Serve, era: list[str]) -> None:
    await registered(served, serve, *era)
    answer = await post(served, inputResponses={"q": NAMED})
    if era:
        assert answer["result"]["resultType"] == "input_required"
    else:
        assert "Ada" in answer["result"]["content"][0]["text"]


async def test_a_retry_without_the_answer_is_asked_again(served: Served, serve: Serve) -> None:
    await registered(served, serve, "--legacy")
    wish = await asked_first(served)
    again = await asked_first(served, requestState=wish["requestState"], inputResponses={"made-up": NAMED})
    assert again["inputRequests"] == wish["inputRequests"]
    assert again["requestState"] != wish["requestState"]
    done = await post(served, **responses(again))
    assert "Ada" in done["result"]["content"][0]["text"]


@asynccontextmanager
async def two_processes(database: HubDatabase, home: Path) -> AsyncIterator[tuple[Served, Served]]:
    """Two API processes of one hub."""
    key = SecretStr(VaultKey.generate().reveal())
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(serving(database, home, free_port(), vault_encryption_key=key))
            for _ in range(2)
        ]
        yield first, second


async def test_any_process_goes_on_with_a_server_that_keeps_no_session(
    database: HubDatabase, tmp_path: Path, serve: Serve
) -> None:
    async with two_processes(database, tmp_path) as (first, second):
        await registered(first, serve)
        wish = await asked_first(first, arguments={"who": "ada"})
        answers = await asyncio.gather(
            *(post(one, arguments={"who": "ada"}, **responses(wish)) for one in (first, second) * 3)
        )
    assert len([answer for answer in answers if "result" in answer]) == 1
    assert {refusal(answer) for answer in answers if "error" in answer} == {"used"}


async def test_a_call_that_one_process_holds_is_refused_by_another_in_so_many_words(
    database: HubDatabase, tmp_path: Path, serve: Serve
) -> None:
    async with two_processes(database, tmp_path) as (first, second):
        await registered(first, serve, "--legacy")
        wish = await asked_first(first)
        elsewhere = await post(second, **responses(wish))
        assert refusal(elsewhere) == "lost"
        assert "another process" in elsewhere["error"]["message"]
        done = await post(first, **responses(wish))
        assert "Ada" in done["result"]["content"][0]["text"]


@CLIENTS
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_question_never_reaches_another_user(served: Served, serve: Serve, mode: str, transport: str) -> None:
    await registered(served, serve, "--legacy", transport=transport)
    people = {name: User(name) for name in ("ada", "bob", "cyd")}
    tokens = {name: (await served.user(name))[1] for name in people}

    async def call(name: str) -> str:
        async with people[name].at(served, mode, tokens[name]) as client:
            return said(await client.call_tool("srv__name", {"who": name}))

    for last in (False, True):
        results = dict(zip(people, await asyncio.gather(*map(call, people)), strict=True))
        for name, user in people.items():
            assert set(user.asked) <= {f"Name of {name}?"}
            assert f'"name": "{name}"' in results[name] or ("refused" in results[name] and not last)


async def test_calls_that_are_held_are_bounded_by_user_and_in_all(
    served: Served, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(served, serve, "--legacy", transport="http")
    monkeypatch.setattr(room, "MOST_HELD_BY_USER", 2)
    monkeypatch.setattr(room, "MOST_HELD", 3)
    tokens = [(await served.user(name))[1] for name in ("ada", "bob")]
    wishes = [await asked_first(served, arguments={"who": str(n)}, token=tokens[0]) for n in range(2)]
    over = await post(served, arguments={"who": "over"}, token=tokens[0])
    assert "Too many calls wait" in over["result"]["content"][0]["text"]
    await asked_first(served, token=tokens[1])
    over = await post(served, arguments={"who": "over"}, token=tokens[1])
    assert "Too many calls wait" in over["result"]["content"][0]["text"]
    await post(served, arguments={"who": "0"}, token=tokens[0], **responses(wishes[0]))
    await asked_first(served, token=tokens[1])


async def test_a_client_that_does_not_come_back_is_waited_for_no_longer_than_its_state_holds(
    served: Served, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(served, serve, "--legacy")
    inputs = served.app.state.gateway.calls.inputs
    monkeypatch.setattr(room, "ANSWER_SECONDS", 0.05)
    wish = await asked_first(served)
    while inputs._held or inputs._tasks:
        await asyncio.sleep(0.01)
    assert refusal(await post(served, **responses(wish))) == "lost"


async def test_nothing_is_held_after_the_end_of_a_call_or_of_its_client(served: Served, serve: Serve) -> None:
    await registered(served, serve, "--legacy")
    inputs = served.app.state.gateway.calls.inputs
    wish = await asked_first(served)
    assert len(inputs._held) == 1
    await post(served, **responses(wish))
    assert not inputs._held
    assert not inputs._tasks


async def test_a_page_that_a_server_demands_by_an_error_is_shown_to_clients_of_both_eras(
    served: Served, serve: Serve, tmp_path: Path
) -> None:
    await registered(served, serve, "--legacy", "--folder", str(tmp_path))
    async with User().at(served, "legacy") as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("srv__url-error", {})
    assert caught.value.error.code == -32042
    assert caught.value.error.data["elicitations"][0]["url"] == "https://example.org/confirm"
    wish = await asked_first(served, tool="srv__url-error", capabilities={"elicitation": {"url": {}}})
    (request,) = wish["inputRequests"].values()
    assert (request["method"], request["params"]["mode"]) == ("elicitation/create", "url")
    (tmp_path / "visited-you").touch()
    accepted = {key: {"action": "accept"} for key in wish["inputRequests"]}
    done = await post(served, tool="srv__url-error", capabilities={"elicitation": {"url": {}}}, inputResponses=accepted)
    assert done["result"]["content"][0]["text"] == "visited"


async def test_the_end_of_a_visit_is_told_to_a_client_with_a_session(served: Served, serve: Serve) -> None:
    await registered(served, serve, "--legacy")
    user = User()
    async with user.at(served, "legacy") as client:
        for _ in range(20):
            await client.call_tool("srv__url", {})
            if any(isinstance(notice, types.ElicitCompleteNotification) for notice in user.notices):
                break
    (notice, *_) = [one for one in user.notices if isinstance(one, types.ElicitCompleteNotification)]
    assert notice.params.elicitation_id == "elicitation-1"


async def test_a_server_learns_of_each_client_what_that_can_be_asked(served: Served, serve: Serve) -> None:
    await registered(served, serve)
    more: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}}
    for capabilities in ({}, FORM, more):
        answer = await post(served, tool="srv__capabilities", capabilities=capabilities)
        seen = json.loads(answer["result"]["content"][0]["text"])["capabilities"]
        assert (seen or {}) == capabilities


@pytest.fixture(params=["stdio", "http"])
def everything(request: pytest.FixtureRequest) -> HttpConfig | StdioConfig:
    """The reference server, over either transport."""
    config: HttpConfig | StdioConfig = request.getfixturevalue(f"everything_{request.param}")
    return config


@pytest.mark.node
@CLIENTS
async def test_the_reference_server_asks_clients_of_both_eras(
    served: Served, everything: HttpConfig | StdioConfig, mode: str
) -> None:
    await served.runtime.servers.register("all", everything)
    user = User()
    page = {"url": "https://example.org/visit", "message": "Visit.", "elicitationId": "e-1"}
    async with user.at(served, mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        form = json.dumps((await client.call_tool("all__trigger-elicitation-request", {})).model_dump(mode="json"))
        visit = json.dumps((await client.call_tool("all__trigger-url-elicitation", page)).model_dump(mode="json"))
        sampled = said(await client.call_tool("all__trigger-sampling-request", {"prompt": "Hi", "maxTokens": 5}))
    assert "- Name: Ada" in form
    assert "accept" in visit
    assert "Hello from Ada" in sampled
    assert ("all__get-roots-list" in tools) == isinstance(everything, HttpConfig)
    assert len(user.asked) >= 3

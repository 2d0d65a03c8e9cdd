"""The API's client: whatever answers, its errors are its own."""

import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from nexus_hub import address
from nexus_hub import client as module
from nexus_hub.client import INSPECTION_SECONDS, Event, HubClient
from nexus_hub.errors import ApiProblem, HubUnavailable, InvalidSetting, RequestRefused
from nexus_hub.settings import load


def client(answer: httpx.Response, asked: list[httpx.Request]) -> HubClient:
    """A client whose hub always gives this answer."""

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer

    made = HubClient("http://hub", "token")
    headers = made._http.headers
    made._http = httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url="http://hub", headers=headers)
    return made


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(307),
        httpx.Response(500, text="broken"),
        httpx.Response(400, json={"code": "x"}),
        httpx.Response(400, json=[]),
    ],
)
async def test_what_is_not_the_hub_is_a_problem(answer: httpx.Response) -> None:
    with pytest.raises(ApiProblem) as caught:
        await client(answer, []).job("1")
    assert caught.value.status == answer.status_code


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, RequestRefused) for status in (400, 413, 422)),
        *((status, HubUnavailable) for status in (502, 503, 504)),
        *((status, ApiProblem) for status in (307, 401, 403, 404, 409, 429, 500)),
    ],
)
async def test_the_status_says_which_kind_of_problem_it_is(status: int, kind: type[ApiProblem]) -> None:
    for answer in (httpx.Response(status), httpx.Response(status, json={"code": "x", "detail": "y"})):
        with pytest.raises(ApiProblem) as caught:
            await client(answer, []).job("1")
        assert type(caught.value) is kind


async def test_a_problem_of_the_hub_keeps_its_code_and_message() -> None:
    answer = httpx.Response(404, json={"code": "not-found", "detail": "There is no job."})
    with pytest.raises(ApiProblem, match=r"There is no job\.") as caught:
        await client(answer, []).job("1")
    assert (caught.value.status, caught.value.code) == (404, "not-found")


async def test_no_answer_says_how_to_start_the_hub() -> None:
    with pytest.raises(ApiProblem, match="nexus-hub up") as caught:
        await HubClient("http://127.0.0.1:1", None).job("1")
    assert (caught.value.status, type(caught.value)) == (0, HubUnavailable)


async def test_arguments_with_odd_characters_arrive_as_they_are() -> None:
    asked: list[httpx.Request] = []
    body = {"arguments": {"a": "half \ud800, NUL \x00, é"}}
    await client(httpx.Response(202, json={}), asked).submit(body)
    assert json.loads(asked[0].content) == body
    assert asked[0].headers["content-type"] == "application/json"
    assert asked[0].headers["authorization"] == "Bearer token"


@pytest.mark.parametrize(
    ("method", "path", "patient"),
    [("POST", "/v1/servers", True), ("POST", "/v1/servers/system/1/sync", True), ("GET", "/v1/servers", False)],
)
async def test_a_request_that_reaches_a_server_waits_as_long_as_that_may_take(
    method: str, path: str, patient: bool
) -> None:
    asked: list[httpx.Request] = []
    await client(httpx.Response(200, json={}), asked).request(method, path, {})
    assert (asked[0].extensions["timeout"]["read"] == INSPECTION_SECONDS) is patient


@pytest.mark.parametrize("token", ["canary\n", "canaryé", "canary\x00", "canary\ud800"])
def test_a_token_that_no_header_can_hold_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        HubClient("http://hub", token)
    assert "canary" not in caught.value.message


def events(text: str) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, text=text)


def state(version: int, status: str, **more: Any) -> str:
    data = json.dumps({"id": "1", "version": version, "status": status} | more)
    return f"event: state\ndata: {data}\nid: {version}\n\n"


async def test_events_are_read_as_the_standard_says() -> None:
    text = ': a comment\n\nevent: state\nid:7\ndata: {"a":\ndata: 1}\nretry: 5\n\r\ndata:{}\r\n\r\ndata: {"cut": '
    found = [event async for event in client(events(text), []).events()]
    assert found == [Event("state", {"a": 1}, "7"), Event("message", {}, "7")]


async def test_only_line_breaks_end_a_line_of_an_event() -> None:
    text = 'data: {"a": "one\u2028two\x85three"}\n\n: still here\n\n'
    assert [event.data async for event in client(events(text), []).events()] == [{"a": "one\u2028two\x85three"}]


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, text="<html>"), httpx.Response(200, json={}), httpx.Response(307), events("data: {\n\n")],
)
async def test_what_is_no_stream_is_a_problem(answer: httpx.Response) -> None:
    with pytest.raises(ApiProblem):
        [event async for event in client(answer, []).events("1")]


async def test_watching_leaves_out_what_is_not_newer_and_keeps_the_row() -> None:
    text = state(1, "pending", params={"a": 1}) + "event: resync\ndata: {}\n\n" + state(1, "pending")
    text += state(2, "running") + state(1, "pending") + state(4, "failed", error="x")
    asked: list[httpx.Request] = []
    rows = [row async for row in client(events(text), asked).watch("1")]
    assert [(row["version"], row["status"], row["params"]) for row in rows] == [
        (1, "pending", {"a": 1}),
        (2, "running", {"a": 1}),
        (4, "failed", {"a": 1}),
    ]
    assert len(asked) == 1


async def test_watching_asks_again_where_a_stream_ended_too_early() -> None:
    answers = [events(state(1, "pending")), httpx.Response(503), events(state(1, "pending") + state(2, "cancelled"))]
    made = client(answers[0], [])
    made._http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answers.pop(0)), base_url="http://hub")
    assert [row["status"] async for row in made.watch("1")] == ["pending", "cancelled"]
    assert not answers


async def test_watching_gives_up_on_a_hub_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.05)
    with pytest.raises(ApiProblem, match="nexus-hub up"):
        [row async for row in HubClient("http://127.0.0.1:1", None).watch("1")]


NAMES = ("NEXUS_URL", "NEXUS_HOST", "NEXUS_PORT", "NEXUS_TOKEN", "NEXUS_SERVICE_KEY", "NEXUS_HOME")


def found(made: HubClient) -> tuple[str, str | None]:
    return made.url, made._http.headers.get("authorization")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"NEXUS_URL": "https://hub.example/"},
        {"NEXUS_HOST": "0.0.0.0", "NEXUS_PORT": "9"},
        {"NEXUS_HOST": "::", "NEXUS_URL": ""},
        {"NEXUS_PORT": " 9 "},
        {"NEXUS_TOKEN": "a", "NEXUS_SERVICE_KEY": "b"},
        {"NEXUS_TOKEN": "", "NEXUS_SERVICE_KEY": "b"},
        {"nexus_port": "9", "Nexus_Token": "a"},
        {"NEXUS_HOME": "/nowhere"},
    ],
)
def test_the_environment_is_read_as_the_settings_read_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: dict[str, str]
) -> None:
    (tmp_path / "service.key").write_text("of-the-home\n")
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"NEXUS_HOME": str(tmp_path)} | said).items():
        monkeypatch.setenv(name, value)
    assert found(HubClient.from_environment()) == found(HubClient.from_settings(load()))


@pytest.mark.parametrize("port", ["canary", "0", "65536", "-1", "٣"])
def test_a_port_that_is_none_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("NEXUS_PORT", port)
    with pytest.raises(InvalidSetting, match="NEXUS_PORT") as caught:
        HubClient.from_environment()
    assert "canary" not in caught.value.message


def test_without_a_home_of_its_own_the_key_is_looked_for_where_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    looked: list[Path] = []
    monkeypatch.setattr(address, "read_service_key", looked.append)
    HubClient.from_environment()
    assert looked == [load().home]


def test_certificates_are_left_out_only_where_no_tls_is_spoken() -> None:
    plain = module._trust("http://hub")
    assert isinstance(plain, ssl.SSLContext)
    assert (plain.verify_mode, plain.get_ca_certs()) == (ssl.CERT_REQUIRED, [])
    assert module._trust("https://hub") is True

"""The API's client: whatever answers, its errors are its own."""

import json

import httpx
import pytest

from nexus_hub.client import ApiProblem, HubClient


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


async def test_a_problem_of_the_hub_keeps_its_code_and_message() -> None:
    answer = httpx.Response(404, json={"code": "not-found", "detail": "There is no job."})
    with pytest.raises(ApiProblem, match=r"There is no job\.") as caught:
        await client(answer, []).job("1")
    assert (caught.value.status, caught.value.code) == (404, "not-found")


async def test_no_answer_says_how_to_start_the_hub() -> None:
    with pytest.raises(ApiProblem, match="nexus-hub up") as caught:
        await HubClient("http://127.0.0.1:1", None).job("1")
    assert caught.value.status == 0


async def test_arguments_with_odd_characters_arrive_as_they_are() -> None:
    asked: list[httpx.Request] = []
    body = {"arguments": {"a": "half \ud800, NUL \x00, é"}}
    await client(httpx.Response(202, json={}), asked).submit(body)
    assert json.loads(asked[0].content) == body
    assert asked[0].headers["content-type"] == "application/json"
    assert asked[0].headers["authorization"] == "Bearer token"


@pytest.mark.parametrize("token", ["canary\n", "canaryé", "canary\x00", "canary\ud800"])
def test_a_token_that_no_header_can_hold_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        HubClient("http://hub", token)
    assert "canary" not in caught.value.message

"""Errors as problems: their fields, and that they repeat nothing of what was sent."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.exceptions import HTTPException

from nexus_hub import errors
from nexus_hub.access.tokens import Bearer
from nexus_hub.api import middleware, problems
from nexus_hub.api.challenges import METADATA_PATH
from nexus_hub.gateway.endpoint import Sources
from nexus_hub.models import OPERATOR
from nexus_hub.telemetry.bus import subscribe
from nexus_hub.telemetry.events import DefectFound, RequestAnswered, RequestRejected, TelemetryEvent

CANARY = "canary-7f3a"


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = ""
    count: int = 0
    headers: dict[str, SecretStr] = {}
    arguments: dict[str, Any] = {}


class Everybody:
    async def bearer(self, _token: str | None, _address: str) -> Bearer:
        return Bearer(OPERATOR)


def build() -> FastAPI:
    app = FastAPI(default_response_class=problems.Json)
    problems.install(app)
    middleware.install(app, max_body_bytes=1000, max_body_values=1000, body_seconds=60, user_requests=8, user_calls=8)
    app.state.authenticator, app.state.public_url, app.state.sources = Everybody(), None, Sources(None, frozenset())

    @app.post("/body")
    async def take(body: Body) -> Any:
        return body.arguments

    @app.post("/raw")
    async def raw(request: Request) -> Any:
        return {"size": len(await request.body())}

    @app.get("/fail/{code}")
    async def fail(code: str) -> None:
        raise {
            "known": errors.RateLimited("srv", 1.2),
            "arguments": errors.InvalidArguments("t", ["a: must be of type string"]),
            "unknown": ValueError(CANARY),
            "authentication": errors.NotAuthenticated(),
            "http": HTTPException(418, "short and stout"),
        }[code]

    @app.get("/odd")
    async def odd() -> Any:
        return {"half": "\ud800", "none": [float("nan"), float("inf")]}

    return app


@pytest.fixture
async def api() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build()), base_url="http://hub") as client:
        yield client


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"] == f"urn:nexus-hub:problem:{body['code']}"
    assert body["title"]
    assert body["error"] == body["detail"]
    return body


async def test_an_error_of_ours_leaves_as_a_problem_with_its_code(api: httpx.AsyncClient) -> None:
    answer = await api.get("/fail/known")
    assert (answer.status_code, problem(answer)["code"]) == (429, "rate-limited")
    assert answer.headers["retry-after"] == "2"


async def test_arguments_that_do_not_fit_are_listed(api: httpx.AsyncClient) -> None:
    body = problem(await api.get("/fail/arguments"))
    assert body["problems"] == ["a: must be of type string"]


async def test_of_many_faults_the_first_are_listed(api: httpx.AsyncClient) -> None:
    body = problem(await api.post("/body", json={f"x{number}": 1 for number in range(80)}))
    assert len(body["problems"]) == 21
    assert body["problems"][-1] == "and 60 more"


async def test_a_missing_credential_names_the_scheme(api: httpx.AsyncClient) -> None:
    answer = await api.get("/fail/authentication")
    assert answer.headers["www-authenticate"] == (
        f'Bearer resource_metadata="http://hub{METADATA_PATH}", scope="tools:list tools:call jobs"'
    )
    assert problem(answer)["status"] == 401


async def test_an_unexpected_error_is_a_bare_500_and_only_its_place_is_told(api: httpx.AsyncClient) -> None:
    seen: list[TelemetryEvent] = []
    with subscribe(seen.append):
        answer = await api.get("/fail/unknown")
    assert problem(answer)["code"] == "internal-error"
    defect, answered = seen
    assert isinstance(defect, DefectFound)
    assert defect.kind == "ValueError"
    assert re.fullmatch(r".* > api/test_problems\.py:\d+ fail", defect.place)
    assert isinstance(answered, RequestAnswered)
    assert CANARY not in answer.text + repr(seen)


@pytest.mark.parametrize(
    ("method", "path", "code", "route"),
    [
        ("GET", "/fail/known", "rate-limited", "GET /fail/{code}"),
        ("POST", "/body", "invalid-request", "POST /body"),
        ("GET", f"/{CANARY}", "not-found", "no route"),
        ("POST", f"/raw?{CANARY}", "too-large", "no route"),
    ],
)
async def test_a_refused_request_is_told_by_its_code_and_route(
    api: httpx.AsyncClient, method: str, path: str, code: str, route: str
) -> None:
    seen: list[TelemetryEvent] = []
    with subscribe(seen.append):
        answer = await api.request(method, path, content=CANARY * 200 if method == "POST" and "?" in path else "{")
    assert seen == [RequestRejected(route, answer.status_code, code)]


async def test_an_answered_request_is_told_by_its_route_and_time(api: httpx.AsyncClient) -> None:
    seen: list[TelemetryEvent] = []
    with subscribe(seen.append):
        await api.post(f"/body?{CANARY}", json={"arguments": {"text": CANARY}})
    (answered,) = seen
    assert isinstance(answered, RequestAnswered)
    assert (answered.route, answered.status) == ("POST /body", 200)
    assert answered.ms > 0


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/fail/http", 418)])
async def test_the_frameworks_own_errors_are_problems_too(api: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await api.get(path)
    assert problem(answer)["status"] == status


async def test_a_wrong_method_says_which_are_allowed(api: httpx.AsyncClient) -> None:
    answer = await api.delete("/body")
    assert problem(answer)["code"] == "method-not-allowed"
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        {CANARY: 1},
        {"count": CANARY},
        {"name": {CANARY: CANARY}},
        {"headers": {CANARY: 7}},
        {"headers": CANARY},
        {"arguments": [CANARY]},
        [CANARY],
        CANARY,
    ],
)
async def test_what_does_not_fit_is_not_repeated(api: httpx.AsyncClient, body: Any) -> None:
    answer = await api.post("/body", json=body)
    assert problem(answer)["status"] == 422
    assert CANARY not in answer.text


@pytest.mark.parametrize("text", [CANARY, f'{{"name": {CANARY}}}', f'"{CANARY}', f'{{"{CANARY}": "\\x"}}', "[" * 900])
async def test_a_body_that_is_no_json_is_not_repeated(api: httpx.AsyncClient, text: str) -> None:
    answer = await api.post("/body", content=text, headers={"content-type": "application/json"})
    assert problem(answer)["status"] in {400, 422}
    assert CANARY not in answer.text


@pytest.mark.parametrize("name", ["dryRun", "dry-run", "days_completd", "user_id", "x"])
async def test_a_member_that_is_not_known_is_named(api: httpx.AsyncClient, name: str) -> None:
    assert problem(await api.post("/body", json={name: 1}))["problems"] == [
        f"body.{name}: Extra inputs are not permitted"
    ]


@pytest.mark.parametrize("name", ["nxh_" + "a1" * 21, "0123456789abcdef" * 4, "a" * 41, "a b", "", "_", "é", "x\n"])
async def test_a_member_whose_name_may_be_a_secret_is_not_named(api: httpx.AsyncClient, name: str) -> None:
    assert problem(await api.post("/body", json={name: 1}))["problems"] == ["body.*: Extra inputs are not permitted"]


async def test_the_place_of_a_fault_is_named(api: httpx.AsyncClient) -> None:
    body = problem(await api.post("/body", json={"count": "x"}))
    assert body["problems"][0].startswith("body.count: ")


@pytest.mark.parametrize("path", ["/body", "/raw"])
async def test_a_body_over_the_limit_is_refused_by_its_declared_length(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.post(path, json={"name": "x" * 1000})
    assert (answer.status_code, problem(answer)["code"]) == (413, "too-large")


@pytest.mark.parametrize("path", ["/body", "/raw"])
async def test_a_body_over_the_limit_is_refused_by_what_arrives(api: httpx.AsyncClient, path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"name": "'
        for _ in range(30):
            yield b"x" * 100
        yield b'"}'

    answer = await api.post(path, content=chunks(), headers={"content-type": "application/json"})
    assert (answer.status_code, problem(answer)["code"]) == (413, "too-large")


@pytest.mark.parametrize("length", ["-5", "x", "1e9", "٣"])
async def test_a_length_that_is_no_number_is_not_believed(api: httpx.AsyncClient, length: str) -> None:
    answer = await api.post("/raw", content=b"x" * 2000, headers=[(b"content-length", length.encode())])
    assert problem(answer)["status"] == 413


async def test_a_body_of_exactly_the_limit_passes(api: httpx.AsyncClient) -> None:
    assert (await api.post("/raw", content=b"x" * 1000)).json() == {"size": 1000}


async def test_an_answer_is_json_whatever_is_in_it(api: httpx.AsyncClient) -> None:
    answer = await api.get("/odd")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    assert json.loads(answer.content, parse_constant=refuse) == {"half": "\ud800", "none": [None, None]}


def every_error(root: type[errors.HubError]) -> list[type[errors.HubError]]:
    return [root, *(one for child in root.__subclasses__() for one in every_error(child))]


def test_codes_are_unique_and_stable_words() -> None:
    ours = [one for one in every_error(errors.HubError) if one.__module__ == "nexus_hub.errors"]
    codes = [one.code for one in ours if "code" in vars(one)]
    assert len(set(codes)) == len(codes) > 25
    assert all(code.replace("-", "").isalpha() and code.islower() for code in codes)
    assert all(400 <= one.status < 600 for one in ours)

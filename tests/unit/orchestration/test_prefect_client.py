"""Prefect's answers, and what the client makes of them."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import UUID, uuid4

import httpx
import pytest

from nexus_hub.errors import PrefectUnavailable
from nexus_hub.orchestration.health import refuses_strangers
from nexus_hub.orchestration.prefect_client import PrefectClient
from tests.fixtures.hostile import HOSTILE, is_harmless


def prefect_client(answer: httpx.Response) -> PrefectClient:
    """A client whose Prefect always gives this answer."""
    made = PrefectClient("http://prefect/api", None)
    made._http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer), base_url="http://prefect/api")
    return made


@pytest.fixture
def respond() -> Iterator[Callable[[int], str]]:
    """Starts a server that answers every request without credentials with this status; its URL."""
    with ExitStack() as stack:

        def start(status: int) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.send_response(400 if "Authorization" in self.headers else status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

                def log_message(self, *_: object) -> None:
                    """Be quiet."""

            server = stack.enter_context(HTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/api"

        yield start


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>the user interface</html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"id": 7}),
        httpx.Response(200, json=None),
        httpx.Response(500, text="broken"),
        httpx.Response(401),
        httpx.Response(404),
        httpx.Response(302, headers={"location": "http://elsewhere"}),
    ],
)
async def test_an_answer_that_is_not_prefects_api_counts_as_unavailable(answer: httpx.Response) -> None:
    with pytest.raises(PrefectUnavailable, match=r"Prefect"):
        await prefect_client(answer).start("tool_invoke", "a", uuid4(), 1)


async def test_no_answer_counts_as_unavailable() -> None:
    async with PrefectClient("http://127.0.0.1:1/api", None) as away:
        with pytest.raises(PrefectUnavailable):
            await away.states([uuid4()])


@pytest.mark.parametrize("name", [*HOSTILE, "half \ud800", "NUL \x00", "x" * 10_000, "line\nbreak", ""])
async def test_the_name_of_a_run_is_one_that_prefect_takes(name: str) -> None:
    asked: list[bytes] = []
    run = UUID(int=7)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(200, json={"id": str(run)})

    made = PrefectClient("http://prefect/api", None)
    made._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://prefect/api")
    assert await made.start("tool_invoke", name, uuid4(), 1) == run
    shown = json.loads(asked[-1])["name"]
    assert is_harmless(shown)
    assert len(shown) <= 155


@pytest.mark.parametrize(("status", "refuses"), [(200, False), (401, True), (403, True), (500, False)])
async def test_an_open_prefect_is_told_from_one_that_authenticates(
    respond: Callable[[int], str], status: int, refuses: bool
) -> None:
    async with PrefectClient(respond(status), "admin:secret") as prefect:
        assert await refuses_strangers(prefect) is refuses


@pytest.mark.parametrize(
    ("name", "parameters", "is_asked"),
    [
        ("lively-crow", {}, True),
        ("weather__today", {"tool": "weather__today"}, True),
        ("weather__today 04fa", {"tool": "weather__today"}, False),
        ("lively-crow", {"job_id": str(uuid4())}, False),
        ("lively-crow", {"batch_id": str(uuid4())}, False),
    ],
)
async def test_a_run_that_has_stored_its_job_is_not_one_that_begins_anew(
    name: str, parameters: dict[str, str], is_asked: bool
) -> None:
    """Though the job may be deleted by now: what it called would be called twice."""
    run, state = uuid4(), {"type": "RUNNING", "timestamp": "2026-01-01T00:00:00Z"}
    known = {"id": str(run), "name": name, "state": state, "parameters": parameters, "run_count": 1}
    async with prefect_client(httpx.Response(200, json=[known])) as client:
        assert (await client.states([run]))[run].is_asked is is_asked

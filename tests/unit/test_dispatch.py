"""What the dispatcher makes of Prefect's answers."""

from uuid import UUID, uuid4

import httpx
import pytest

from nexus_hub.dispatch import Dispatcher
from nexus_hub.errors import PrefectUnavailable


def dispatcher(answer: httpx.Response) -> Dispatcher:
    """A dispatcher whose Prefect always gives this answer."""
    made = Dispatcher("http://prefect/api", None)
    made._http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer), base_url="http://prefect/api")
    return made


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
        await dispatcher(answer).start("tool_invoke", "a", uuid4(), 1)


async def test_no_answer_counts_as_unavailable() -> None:
    async with Dispatcher("http://127.0.0.1:1/api", None) as away:
        with pytest.raises(PrefectUnavailable):
            await away.states([uuid4()])
        assert not await away.healthy()


@pytest.mark.parametrize("name", ["half \ud800", "NUL \x00", "x" * 10_000, "line\nbreak", ""])
async def test_the_name_of_a_run_is_one_that_prefect_takes(name: str) -> None:
    asked: list[bytes] = []
    run = UUID(int=7)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(200, json={"id": str(run)})

    made = Dispatcher("http://prefect/api", None)
    made._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://prefect/api")
    assert await made.start("tool_invoke", name, uuid4(), 1) == run
    assert len(asked[-1]) < 1000
    assert b"\\u0000" not in asked[-1]
    assert b"\\ud800" not in asked[-1]
    assert b"\\n" not in asked[-1]

"""Redirects: those within the origin are followed, so many at most, and a guarded client judges each step anew."""

from collections.abc import Callable

import httpx2
import pytest
from mcp.shared._httpx_utils import stream_within_origin

from nexus_hub.upstream.http import MAX_REDIRECTS, ContainedClient, GuardedTransport

PUBLIC = "93.184.215.14"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"text": "\u00e9"}}


class Leading(httpx2.AsyncBaseTransport):
    """A server that leads from each URL to the next one, and answers at the last."""

    def __init__(self, lead: Callable[[str], str | None], status: int = 307) -> None:
        self.lead = lead
        self.status = status
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        await request.aread()
        host = request.extensions.get("sni_hostname", request.url.host)
        following = self.lead(str(request.url.copy_with(host=host)))
        if following is None:
            return httpx2.Response(200, json={"jsonrpc": "2.0", "id": 1, "result": {}}, request=request)
        return httpx2.Response(self.status, headers={"location": following}, request=request)

    @property
    def urls(self) -> list[str]:
        return [str(request.url) for request in self.requests]


async def ask(transport: httpx2.AsyncBaseTransport, url: str) -> str:
    """The kind of failure that a ping ends with, or `answered`."""
    async with (
        ContainedClient(max_bytes=1000, transport=transport) as client,
        stream_within_origin(client, "POST", url, json=PING) as response,
    ):
        await response.aread()
        body = response.json()
    return "answered" if "result" in body else f"{body['error']['message']} {body['error']['data']['detail']}"


def number(url: str) -> int:
    return int(url.rpartition("/")[2])


@pytest.mark.parametrize(
    "lead",
    [
        lambda url: url,
        lambda url: url[:-1] + ("b" if url.endswith("a") else "a"),
        lambda url: f"{url}/a",
        lambda url: f"{url}?a" if "?" not in url else f"{url}a",
    ],
    ids=["itself", "two", "deeper", "query"],
)
@pytest.mark.parametrize("status", [307, 308])
async def test_a_loop_of_redirects_ends_after_so_many_and_says_so(lead: Callable[[str], str], status: int) -> None:
    server = Leading(lead, status)
    assert await ask(server, "http://a.example/a") == f"redirects {MAX_REDIRECTS}"
    assert len(server.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(("hops", "outcome"), [(1, "answered"), (MAX_REDIRECTS, "answered"), (6, "redirects 5")])
async def test_so_many_redirects_are_followed_with_the_same_body(hops: int, outcome: str) -> None:
    server = Leading(lambda url: url.replace(f"/{number(url)}", f"/{number(url) - 1}") if number(url) else None)
    assert await ask(server, f"http://a.example/{hops}") == outcome
    assert len({request.content for request in server.requests}) == 1
    assert "\u00e9".encode() in server.requests[-1].content


@pytest.mark.parametrize(
    ("url", "following", "outcome"),
    [
        ("http://a.example/", "https://a.example/", "answered"),
        ("http://a.example:80/", "https://a.example:443/", "answered"),
        ("http://a.example/", "https://a.example/elsewhere", "answered"),
        ("http://a.example/", "https://a.example:8443/", "redirect a.example"),
        ("http://a.example:8080/", "https://a.example/", "redirect a.example"),
        ("https://a.example/", "http://a.example/", "redirect a.example"),
        ("http://a.example/", "https://b.example/", "redirect b.example"),
        ("http://a.example/", "https://user:secret@a.example/", "redirect a.example"),
    ],
)
async def test_https_is_taken_up_on_the_same_host_and_never_given_up(url: str, following: str, outcome: str) -> None:
    server = Leading(lambda here: following if httpx2.URL(here) == httpx2.URL(url) else None)
    assert await ask(server, url) == outcome
    assert len(server.requests) == (2 if outcome == "answered" else 1)


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_makes_another_request_of_it_is_not_followed(status: int) -> None:
    server = Leading(lambda _: "http://a.example/b", status)
    assert await ask(server, "http://a.example/a") == "redirect a.example"
    assert len(server.requests) == 1


async def test_a_guarded_client_follows_to_the_judged_address_with_the_hosts_name() -> None:
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return [PUBLIC]

    server = Leading(lambda url: "https://a.example/b" if url.endswith("/a") else None)
    assert await ask(GuardedTransport(server, resolve, lambda: 0.0), "http://a.example/a") == "answered"
    assert server.urls == [f"http://{PUBLIC}/a", f"https://{PUBLIC}/b"]
    assert [request.headers["host"] for request in server.requests] == ["a.example"] * 2
    assert server.requests[1].extensions["sni_hostname"] == "a.example"
    assert asked == [("a.example", 80), ("a.example", 443)]


async def test_a_guarded_client_refuses_a_step_to_a_host_that_is_private_now() -> None:
    answers = [[PUBLIC], ["127.0.0.1"]]
    times = iter(range(0, 1000, 100))

    async def resolve(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    server = Leading(lambda url: "/b" if url.endswith("/a") else None)
    told = await ask(GuardedTransport(server, resolve, lambda: float(next(times))), "http://a.example/a")
    assert told == "forbidden a.example"
    assert server.urls == [f"http://{PUBLIC}/a"]


async def test_a_guarded_client_ends_a_loop_too() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return [PUBLIC]

    server = Leading(lambda url: url)
    assert await ask(GuardedTransport(server, resolve, lambda: 0.0), "http://a.example/a") == "redirects 5"
    assert len(server.requests) == MAX_REDIRECTS + 1

"""Exchanges with hosts that somebody else named: judged, bounded, and told without what they carry."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nexus_hub.errors import ExchangeFailed
from nexus_hub.upstream.documents import Document, fetch, origin_of


@asynccontextmanager
async def serve(answer: bytes, *, end: bool = True) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A host that answers each request with the same bytes; gives its origin and what it was sent."""
    sent: list[bytes] = []

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        sent.append(head + await reader.readexactly(size))
        writer.write(answer)
        await writer.drain()
        if not end:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(exchange, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", sent


def http(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


async def ask(origin: str, path: str = "/doc", **options: object) -> Document:
    return await fetch(origin + path, private=frozenset({origin}), **options)  # type: ignore[arg-type]


async def test_document_of_a_private_origin_that_was_named_is_read() -> None:
    async with serve(http(b'{"a": 1}')) as (origin, sent):
        document = await ask(origin)
    assert (document.status, document.json_object()) == (200, {"a": 1})
    assert sent[0].startswith(b"GET /doc HTTP/1.1")


async def test_refusal_is_an_answer_too() -> None:
    async with serve(http(b'{"error": "invalid_grant"}', "400 Bad Request")) as (origin, _):
        document = await ask(origin)
    assert (document.status, document.json_object()) == (400, {"error": "invalid_grant"})


async def test_form_is_posted() -> None:
    async with serve(http()) as (origin, sent):
        await ask(origin, form={"code": "a b"}, headers={"authorization": "Basic eA=="})
    assert sent[0].startswith(b"POST /doc HTTP/1.1")
    assert b"application/x-www-form-urlencoded" in sent[0]
    assert sent[0].endswith(b"\r\n\r\ncode=a+b")
    assert b"authorization: basic eA==".lower() in sent[0].lower()


async def test_json_is_posted() -> None:
    async with serve(http()) as (origin, sent):
        await ask(origin, json={"client_name": "x"})
    assert sent[0].startswith(b"POST")
    assert sent[0].endswith(b'{"client_name":"x"}')


async def test_private_address_is_not_reached_unless_it_is_named() -> None:
    async def lie(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.1"]

    for url in ("https://127.0.0.1:1/x", "https://name.example/x"):
        with pytest.raises(ExchangeFailed, match="not a host of the public internet") as failed:
            await fetch(url, resolve=lie)
        assert not failed.value.may_pass


async def test_naming_one_origin_frees_no_other() -> None:
    async with serve(http()) as (origin, sent):
        with pytest.raises(ExchangeFailed, match="not https"):
            await fetch(f"{origin}/x", private=frozenset({"http://127.0.0.1:1", "https://127.0.0.1"}))
    assert sent == []


@pytest.mark.parametrize("url", ["ftp://a.example/", "https:///x", "https://u:secret@a.example/", "https://a:b/", "x"])
async def test_url_that_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ExchangeFailed) as failed:
        await fetch(url)
    assert "secret" not in str(failed.value)


async def test_redirect_is_not_followed() -> None:
    async with serve(http(b"", "302 Found", "location: /secret")) as (origin, sent):
        with pytest.raises(ExchangeFailed, match="redirect"):
            await ask(origin)
    assert len(sent) == 1


async def test_answer_over_the_limit_is_cut_off() -> None:
    async with serve(http(b"x" * 2001)) as (origin, _):
        with pytest.raises(ExchangeFailed, match="over the limit of 2000 bytes"):
            await ask(origin, most_bytes=2000)


async def test_endless_answer_is_cut_off() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serve(head + b"400\r\n" + b"x" * 1024 + b"\r\n", end=False) as (origin, _):
        with pytest.raises(ExchangeFailed, match="over the limit"):
            await ask(origin, most_bytes=1000)


async def test_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b"0" * 1_000_000)
    async with serve(http(bomb, "200 OK", "content-encoding: gzip")) as (origin, _):
        with pytest.raises(ExchangeFailed, match="compressed"):
            await ask(origin)


async def test_slow_answer_ends_and_may_pass() -> None:
    async with serve(http(b"x" * 10)[:-5], end=False) as (origin, _):
        with pytest.raises(ExchangeFailed, match=r"no whole answer came within 0\.2 s") as failed:
            await ask(origin, seconds=0.2)
    assert failed.value.may_pass


async def test_broken_connection_may_pass() -> None:
    async with serve(b"") as (origin, _):
        with pytest.raises(ExchangeFailed, match="can't be reached") as failed:
            await ask(origin, "/doc?code=verysecret")
    assert failed.value.may_pass
    assert "verysecret" not in str(failed.value)
    assert failed.value.__context__ is None


@pytest.mark.parametrize("body", [b"[]", b"", b"nonsense", b"\xff", b"[" * 50_000, b'{"a": ' + b"9" * 5000 + b"}"])
async def test_what_is_no_object_is_told(body: bytes) -> None:
    with pytest.raises(ExchangeFailed, match="no JSON object"):
        Document(200, {}, body, "a.example").json_object()


def test_neither_body_nor_headers_are_shown() -> None:
    assert "secret" not in repr(Document(200, {"x": "secret"}, b"secret", "a.example"))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://A.example:443/x?y", "https://a.example"),
        ("HTTP://a.example:80", "http://a.example"),
        ("https://a.example:8443/", "https://a.example:8443"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
    ],
)
def test_origin(url: str, origin: str) -> None:
    assert origin_of(url) == origin

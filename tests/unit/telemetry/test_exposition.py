"""The port of its own: it gives the page to whom may have it, and nothing else."""

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response

from nexus_hub.errors import PortTaken
from nexus_hub.telemetry.exposition import serve_metrics
from nexus_hub.telemetry.metrics import Metrics


async def gather() -> list[object]:
    return list(Metrics().collect())


async def ask(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
        return await client.request(method, path)


async def test_who_has_the_token_reads_the_page_on_its_port() -> None:
    async with serve_metrics(gather, "127.0.0.1", 0, "the-token", setting="X") as port:  # type: ignore[arg-type]
        answers = [
            await ask(port),
            await ask(port, Authorization="Bearer another"),
            await ask(port, Authorization="Basic the-token"),
            await ask(port, "/", Authorization="Bearer the-token"),
            await ask(port, method="POST", Authorization="Bearer the-token"),
            await ask(port, Authorization="Bearer the-token"),
        ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 404, 404, 200]
    assert "nexus_jobs_stored_total 0.0" in answers[-1].text
    assert "process_resident_memory_bytes" in answers[-1].text
    assert not any("nexus_" in answer.text.lower().replace("nexus_metrics_token", "") for answer in answers[:-1])


async def test_without_a_token_whoever_reaches_the_port_reads_it() -> None:
    async with serve_metrics(gather, "127.0.0.1", 0, None, setting="X") as port:  # type: ignore[arg-type]
        assert (await ask(port)).status_code == 200
        with pytest.raises(PortTaken, match=f"{port} is taken.*set X to a free port"):
            async with serve_metrics(gather, "127.0.0.1", port, None, setting="X"):  # type: ignore[arg-type]
                pass
    with pytest.raises(httpx.ConnectError):
        await ask(port)


async def test_probes_are_answered_without_a_token() -> None:
    async def answer() -> Response:
        return PlainTextResponse("starting", 503)

    probes = {"/readyz": answer}
    async with serve_metrics(gather, "127.0.0.1", 0, "the-token", setting="X", probes=probes) as port:  # type: ignore[arg-type]
        found = await ask(port, "/readyz")
        assert (found.status_code, found.text) == (503, "starting")
        assert [(await ask(port, path)).status_code for path in ("/healthz", "/metrics")] == [404, 401]

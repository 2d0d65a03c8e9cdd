"""What a process remembers of Prefect, before a small server in its place."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import pytest_asyncio

from nexus_hub.orchestration.prefect_client import PrefectClient


class Deployments(ThreadingHTTPServer):
    """Prefect's API, as far as it knows deployments and makes runs of the present ones."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.present = str(uuid4())
        self.asked: list[str] = []
        """The paths, without their ids."""
        self.run_id = uuid4()


class Handler(BaseHTTPRequestHandler):
    server: Deployments

    def do_GET(self) -> None:
        self.server.asked.append("find")
        self.answer(200, {"id": self.server.present})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append("create")
        is_known = self.server.present in self.path
        self.answer(201 if is_known else 404, {"id": str(self.server.run_id)})

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest_asyncio.fixture
async def deployments() -> AsyncIterator[Deployments]:
    with Deployments() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        await asyncio.to_thread(server.shutdown)


async def test_a_deployment_that_was_made_anew_is_found(deployments: Deployments) -> None:
    """Whoever deploys at another machine takes nothing from this process but one request."""

    async def start() -> UUID:
        return await client.start_shared(uuid4())

    async with PrefectClient(f"http://127.0.0.1:{deployments.server_port}/api", None) as client:
        assert await start() == deployments.run_id
        assert await start() == deployments.run_id
        assert deployments.asked == ["find", "create", "create"]
        deployments.present = str(uuid4())
        assert await start() == deployments.run_id
    assert deployments.asked[3:] == ["create", "find", "create"]

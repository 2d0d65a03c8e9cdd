"""`/metrics` of the API: for whom it is, what it says, also while the database is away, and of the worker beside it."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from nexus_hub.home.layout import Home
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, Served, serving
from tests.fixtures.upstreams import free_port

TOKEN = "a-token-for-metrics"


async def get(url: str, token: str | None = TOKEN) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(headers=headers) as client:
        return await client.get(url)


@pytest.fixture
async def metered(database: HubDatabase, tmp_path: Path) -> AsyncIterator[Served]:
    Home(tmp_path).create()
    ports = {"metrics_port": free_port()}
    async with serving(database, tmp_path, free_port(), metrics_token=SecretStr(TOKEN), **ports) as api:
        yield api


async def test_the_service_key_and_the_token_open_the_pages_and_a_users_does_not(metered: Served) -> None:
    _, of_user = await metered.user("ann")
    for path in ("/metrics", "/metrics/worker"):
        refused = [await get(metered.url + path, token) for token in (None, "wrong", of_user)]
        assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(401, "not-authenticated")] * 3
    pages = [await get(f"{metered.url}/metrics", token) for token in (TOKEN, SERVICE_KEY)]
    pages.append(await get(f"http://127.0.0.1:{metered.runtime.settings.metrics_port}/metrics"))
    assert [page.status_code for page in pages] == [200] * 3
    for page in pages:
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'nexus_up{part="database"} 1.0' in page.text
        assert "nexus_mcp_sessions 0.0" in page.text
        assert TOKEN not in page.text
        assert SERVICE_KEY not in page.text
    assert 'nexus_http_requests_total{route="POST /v1/users",status="201"} 1.0' in pages[1].text
    assert (await get(f"{metered.url}/openapi.json")).json()["paths"].keys().isdisjoint({"/metrics", "/metrics/worker"})


async def test_the_worker_of_the_home_is_shown_as_long_as_it_lives(metered: Served) -> None:
    url, file = f"{metered.url}/metrics/worker", Home(metered.runtime.settings.home).worker_metrics_file
    assert (await get(url)).json()["code"] == "no-worker-metrics"
    file.write_text("nexus_jobs_stored_total 7.0\n")
    assert (await get(url)).text == "nexus_jobs_stored_total 7.0\n"
    os.utime(file, (time.time() - 60,) * 2)
    assert (await get(url)).status_code == 503

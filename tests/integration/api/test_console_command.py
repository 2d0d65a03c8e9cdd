"""`nexus-hub console` and the link of `nexus-hub up`, on a running API."""

import asyncio
import re
import webbrowser
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from nexus_hub.api import events
from nexus_hub.cli.console import make_link, make_operators_link, open_privately
from nexus_hub.settings import Settings
from tests.fixtures.served import Served


async def log_in(served: Served, url: str) -> httpx.Response:
    """Log in as the page at a link does."""
    address = urlsplit(url)
    assert url.startswith(f"{served.url}/login#code=nxc_")
    async with httpx.AsyncClient(base_url=served.url, headers={"Sec-Fetch-Site": "same-origin"}) as browser:
        assert (await browser.get(address.path)).status_code == 200
        return await browser.post("/v1/session", json={"code": address.fragment.removeprefix("code=")})


async def test_a_link_logs_its_maker_in_once(served: Served) -> None:
    _, token = await served.user("ann")
    async with served.client(token) as client:
        url, _ = await make_link(client)
    assert (await log_in(served, url)).json()["user"]["name"] == "ann"
    assert (await log_in(served, url)).status_code == 401


async def test_a_revoked_token_ends_the_streams_of_its_sessions(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.1)
    _, token = await served.user("ann")
    own = {"Sec-Fetch-Site": "same-origin"}
    async with served.client() as operator, httpx.AsyncClient(base_url=served.url, headers=own) as browser:
        assert (await browser.post("/v1/session", json={"token": token})).status_code == 200
        async with browser.stream("GET", "/v1/jobs/events") as stream, asyncio.timeout(30):
            lines = stream.aiter_lines()
            assert await anext(lines) == ": keep-alive"
            await operator.request("DELETE", "/v1/users/ann/tokens")
            assert {line async for line in lines} <= {": keep-alive", ""}


async def test_up_makes_a_link_for_the_operator_while_its_loop_runs(served: Served) -> None:
    url = await asyncio.to_thread(make_operators_link, served.runtime.settings)
    assert url is not None
    assert (await log_in(served, url)).json()["is_operator"] is True


async def test_up_goes_on_without_a_link_where_no_api_answers(served: Served) -> None:
    away = served.runtime.settings.model_copy(update={"port": 1})
    assert make_operators_link(Settings.model_validate(away)) is None


def test_no_command_line_of_a_browser_shows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(webbrowser, "open", opened.append)
    open_privately("http://127.0.0.1:1/login#code=nxc_x")
    (file,) = tmp_path.iterdir()
    assert opened == [file.as_uri()]
    assert file.stat().st_mode & 0o077 == 0
    assert re.findall(r"http://[^\"]+", file.read_text()) == ["http://127.0.0.1:1/login#code=nxc_x"] * 2

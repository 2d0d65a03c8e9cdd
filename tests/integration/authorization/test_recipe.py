"""The recipe of docs/connect.md: its issuer and its settings, as they stand there, with ports of the test."""

import asyncio
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.fixtures.oidc import MODULES, issuer_command
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import Served, serving_with, settings_of
from tests.fixtures.upstreams import ROOT, free_port, start

REDIRECT = "http://127.0.0.1:7/callback"
NODE_20 = "data:text/javascript,URL.parse ??= (one, base) => URL.canParse(one, base) ? new URL(one, base) : null"
"""What oidc-provider wants of its runtime, and Node.js 20 lacks."""
pytestmark = pytest.mark.node


def block(language: str) -> str:
    """The block in a language in the page's section about issuers."""
    section = (ROOT / "docs" / "connect.md").read_text().split("\n## Your own issuer\n")[1].split("\n## ")[0]
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", section, re.S | re.M)
    return str(found)


@asynccontextmanager
async def recipe(
    database: HubDatabase, place: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Served, str]]:
    """The issuer of the page, and a hub with the settings of the page; both on this machine."""
    hub_port, port = free_port(), free_port()
    hub, login = f"http://127.0.0.1:{hub_port}", f"http://127.0.0.1:{port}"

    def here(text: str) -> str:
        return (
            text.replace("https://hub.example", hub).replace("https://login.example", login).replace("3000", str(port))
        )

    script = place / "issuer.mjs"
    script.write_text(here(block("js")))
    (place / "node_modules").symlink_to(MODULES)
    for name, value in re.findall(r"^export (\w+)=(.+)$", here(block("sh")), re.M):
        monkeypatch.setenv(name, value)
    process = await start(issuer_command(port)[0], "--import", NODE_20, str(script), port=port)
    try:
        async with serving_with(settings_of(database, place, hub_port), database.admin_url) as served:
            yield served, login
    finally:
        await process.kill()


async def log_in(login: str, account: str, resource: str, scope: str) -> dict[str, Any]:
    """Register a client, sign in and consent on the issuer's own pages, and fetch the tokens."""
    verifier = secrets.token_urlsafe(48)
    wanted = {
        "redirect_uris": [REDIRECT],
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    }
    asked = {
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": scope,
        "resource": resource,
        "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    async with httpx.AsyncClient(base_url=login) as browser:
        client_id = (await browser.post("/reg", json=wanted)).json()["client_id"]
        answer = await browser.get("/auth", params={"client_id": client_id, **asked})
        for _ in range(10):
            if answer.is_redirect and answer.headers["location"].startswith(REDIRECT):
                break
            if answer.is_redirect:
                answer = await browser.get(answer.headers["location"])
                continue
            (action,) = re.findall(r'action="([^"]+)"', answer.text)
            (prompt,) = re.findall(r'name="prompt" value="(\w+)"', answer.text)
            answer = await browser.post(action, data={"prompt": prompt, "login": account, "password": "any"})
        found = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        assert "code" in found, found
        form = {"grant_type": "authorization_code", "client_id": client_id, "redirect_uri": REDIRECT}
        answer = await browser.post("/token", data={**form, "code": found["code"], "code_verifier": verifier})
        assert answer.is_success, answer.text
        return dict(answer.json())


async def test_the_recipe_of_the_page_works(
    database: HubDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recipe(database, tmp_path, monkeypatch) as (hub, login), httpx.AsyncClient(base_url=hub.url) as client:
        bob, ann = await asyncio.gather(
            log_in(login, "bob", f"{hub.url}/mcp", "tools:list tools:call offline_access"),
            log_in(login, "ann", hub.url, "tools:list admin"),
        )
        assert bob["refresh_token"]
        said = {"authorization": f"Bearer {bob['access_token']}", "accept": "application/json, text/event-stream"}
        begin = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        opened = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin}
        assert (await client.post("/mcp", json=opened, headers=said)).status_code == 200
        assert (await client.get("/v1/tools", headers=said)).status_code == 401  # made for /mcp alone
        listed = await client.get("/v1/users", headers={"authorization": f"Bearer {ann['access_token']}"})
        assert [user["name"] for user in listed.json()["items"]] == ["ann", "bob"]
        with pytest.raises(AssertionError, match="invalid_target"):
            await log_in(login, "bob", "https://other.example/mcp", "tools:list")

"""The console's files: who may have them, from where, and what a browser is told to refuse."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from nexus_hub.api import web
from nexus_hub.api.app import create_app
from nexus_hub.settings import Settings
from nexus_hub.vault.keys import VaultKey

ROOT = Path(__file__).parents[3]
PAGES = [
    *("/", "/login", "/jobs", "/jobs/0190", "/servers", "/servers/system/0190", "/tools", "/tools/srv__echo"),
    *("/keys", "/users", "/users/ann", "/health", "/audit", "/account", "/oauth/consent", "/oauth/callback"),
    *("/approvals", "/approvals/0190", "/bundles", "/bundles/travel", "/changes", "/access", "/access/everyone"),
]


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token, of an API whose database is away: files need none."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app_of(tmp_path)), base_url="http://localhost"
    ) as client:
        yield client


def app_of(home: Path) -> FastAPI:
    return create_app(
        Settings(
            home=home,
            database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"),
            service_key=SecretStr("the-service-key-of-this-test"),
            vault_encryption_key=SecretStr(VaultKey.generate().reveal()),
        )
    )


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_the_same_file_under_a_strict_policy(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    assert (answer.status_code, answer.content) == (200, (web.DIRECTORY / "index.html").read_bytes())
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_every_file_of_the_directory_is_served_as_its_kind(browser: httpx.AsyncClient) -> None:
    for file in (file for file in web.DIRECTORY.rglob("*") if file.is_file()):
        answer = await browser.get(f"/assets/{file.relative_to(web.DIRECTORY)}")
        assert (answer.status_code, answer.content) == (200, file.read_bytes())
        assert answer.headers["content-type"] == web.MEDIA_TYPES[file.suffix]
        assert answer.headers["cache-control"] == "no-cache"


async def test_a_file_that_the_browser_has_is_not_sent_again(browser: httpx.AsyncClient) -> None:
    first = await browser.get("/assets/index.html")
    again = await browser.get("/assets/index.html", headers={"If-None-Match": f'W/{first.headers["etag"]}, "other"'})
    assert (again.status_code, again.content) == (304, b"")
    other = await browser.get("/assets/index.html", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    files = web.WebFiles(tmp_path)
    before = files.find("a.js")
    (tmp_path / "a.js").write_text("22")
    after = files.find("a.js")
    assert before is not None
    assert after is not None
    assert after.content == b"22"
    assert after.etag != before.etag


@pytest.mark.parametrize(
    "path", ["../api/app.py", "../../secret.js", "/etc/hosts", "a.py", "", ".", "nowhere.js", "link.js", "a\0.js"]
)
def test_nothing_outside_and_no_other_kind_is_served(tmp_path: Path, path: str) -> None:
    inside = tmp_path / "x" / "inside"
    inside.mkdir(parents=True)
    (tmp_path / "secret.js").write_text("secret")
    (inside / "a.py").write_text("a")
    (inside / "link.js").symlink_to(tmp_path / "secret.js")
    assert web.WebFiles(inside).find(path) is None


@pytest.mark.parametrize("path", ["/assets/%2e%2e/api/app.py", "/assets/..%2f..%2fpyproject.toml", "/assets/x.js"])
async def test_a_file_that_is_not_there_is_a_problem(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_files_are_only_read(browser: httpx.AsyncClient) -> None:
    assert (await browser.head("/jobs")).status_code == 200
    assert not [method for method in ("POST", "PUT", "DELETE", "PATCH", "get") if web.is_public(method, "/jobs")]
    assert not web.is_public("GET", "/oauth/other")


@pytest.mark.parametrize(("host", "status"), [("evil.example", 403), ("127.0.0.1:8400", 200), ("[::1]:8400", 200)])
async def test_the_console_is_there_under_the_hubs_own_names_only(
    browser: httpx.AsyncClient, host: str, status: int
) -> None:
    assert (await browser.get("/", headers={"Host": host})).status_code == status


def test_no_other_module_knows_the_directory() -> None:
    named = re.compile(r"""["']web["']|nexus_hub/web""")
    found = {path.name for path in (ROOT / "nexus_hub").rglob("*.py") if named.search(path.read_text())}
    assert found == {"web.py"}

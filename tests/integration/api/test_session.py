"""Log-in of the console: cookies, links that are good once, their ends, and pages that may not use them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from nexus_hub.access.console import LONGEST_SECONDS
from nexus_hub.api.app import create_app
from tests.fixtures.postgres import HubDatabase
from tests.fixtures.served import SERVICE_KEY, settings_of

HOST = "localhost:8080"
COOKIE = "nexus_session_8080"
OWN = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def hub(database: HubDatabase, home: Path, key: str = SERVICE_KEY, **more: Any) -> AsyncIterator[FastAPI]:
    app = create_app(settings_of(database, home, service_key=SecretStr(key), **more))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def app(database: HubDatabase, tmp_path: Path) -> AsyncIterator[FastAPI]:
    async with hub(database, tmp_path) as started:
        yield started


def browser_of(app: FastAPI, scheme: str = "http") -> httpx.AsyncClient:
    """A browser with the console's page; it keeps cookies."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"{scheme}://{HOST}", headers=OWN)


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser_of(app) as client:
        yield client


@pytest.fixture
async def operator(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A program with the service key."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url=f"http://{HOST}",
        headers={"Authorization": f"Bearer {SERVICE_KEY}"},
    ) as client:
        yield client


async def token_of(operator: httpx.AsyncClient, name: str) -> str:
    await operator.post("/v1/users", json={"name": name})
    token: str = (await operator.post(f"/v1/users/{name}/tokens")).json()["token"]
    return token


async def log_in(browser: httpx.AsyncClient, **given: str) -> dict[str, Any]:
    answer = await browser.post("/v1/session", json=given)
    assert answer.status_code == 200, answer.text
    session: dict[str, Any] = answer.json()
    return session


async def test_the_operator_logs_in_is_known_by_the_cookie_and_logs_out(
    app: FastAPI, browser: httpx.AsyncClient
) -> None:
    assert (await browser.get("/v1/session")).status_code == 401
    session = await log_in(browser, token=SERVICE_KEY)
    assert session["user"] == {"id": None, "name": "operator"}
    assert session["is_operator"] is True
    assert session["prefect_url"] == "http://127.0.0.1:1"
    assert (await browser.get("/v1/session")).json() == session
    assert (await browser.get("/v1/users")).status_code == 200
    kept = browser.cookies[COOKIE]
    assert (await browser.delete("/v1/session")).status_code == 204
    assert COOKIE not in browser.cookies
    assert (await browser.get("/v1/session", headers={"Cookie": f"{COOKIE}={kept}"})).status_code == 401


async def test_a_user_is_a_user_by_the_cookie_too(browser: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    session = await log_in(browser, token=await token_of(operator, "ann"))
    assert (session["user"]["name"], session["is_operator"], session["prefect_url"]) == ("ann", False, None)
    assert (await browser.get("/v1/users")).status_code == 403


async def test_a_token_says_who_holds_it_without_a_session(operator: httpx.AsyncClient) -> None:
    session = (await operator.get("/v1/session")).json()
    assert (session["user"], session["expires_at"]) == ({"id": None, "name": "operator"}, None)


@pytest.mark.parametrize(
    ("scheme", "origin", "secure"),
    [
        ("http", None, False),
        ("https", None, True),
        ("http", f"https://{HOST}", True),
        ("http", f"http://{HOST}", False),
    ],
)
async def test_no_script_reads_the_cookie_and_no_other_site_sends_it(
    app: FastAPI, scheme: str, origin: str | None, secure: bool
) -> None:
    async with browser_of(app, scheme) as browser:
        headers = {"Origin": origin} if origin else {}
        answer = await browser.post("/v1/session", json={"token": SERVICE_KEY}, headers=headers)
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert cookie.startswith(f"{COOKIE}=nxs_")
    expected = {"HttpOnly", f"Max-Age={LONGEST_SECONDS}", "Path=/", "SameSite=strict"}
    assert set(attributes) == expected | ({"Secure"} if secure else set())


async def test_what_nobody_holds_opens_nothing(browser: httpx.AsyncClient) -> None:
    unknown = {"token": ("nxh_" + "a" * 43, "", f"{SERVICE_KEY}x"), "code": ("nxc_" + "a" * 43, "", SERVICE_KEY)}
    for given in ({name: value} for name, values in unknown.items() for value in values):
        answer = await browser.post("/v1/session", json=given)
        assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
        assert "set-cookie" not in answer.headers


async def test_a_log_in_that_is_none_is_refused_without_being_repeated(browser: httpx.AsyncClient) -> None:
    for body in (b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "a", "code": "b"}', b'{"token": "secret", "x": 1}'):
        answer = await browser.post("/v1/session", content=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
        assert "secret" not in answer.text
    answer = await browser.post("/v1/session", content=b" " * 10_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_a_link_logs_in_once_even_if_two_hubs_are_asked_at_the_same_time(
    database: HubDatabase, app: FastAPI, operator: httpx.AsyncClient, tmp_path: Path
) -> None:
    link = await operator.post("/v1/session/links")
    assert link.status_code == 201
    async with hub(database, tmp_path) as other, browser_of(app) as one, browser_of(other) as two:
        answers = await asyncio.gather(
            *(client.post("/v1/session", json={"code": link.json()["code"]}) for client in (one, two) for _ in range(3))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401, 401]
        (opened,) = (client for client in (one, two) if COOKIE in client.cookies)
        assert (await opened.get("/v1/session")).json()["is_operator"] is True


async def test_a_users_link_is_for_that_user(browser: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    headers = {"Authorization": f"Bearer {await token_of(operator, 'ann')}"}
    code = (await operator.post("/v1/session/links", headers=headers)).json()["code"]
    assert (await log_in(browser, code=code))["user"]["name"] == "ann"


async def test_a_link_that_is_too_old_or_whose_token_was_revoked_opens_nothing(
    database: HubDatabase, browser: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    old = (await operator.post("/v1/session/links")).json()["code"]
    await execute(database, "UPDATE console_links SET expires_at = now() - interval '1 second'")
    headers = {"Authorization": f"Bearer {await token_of(operator, 'ann')}"}
    revoked = (await operator.post("/v1/session/links", headers=headers)).json()["code"]
    await operator.delete("/v1/users/ann/tokens")
    for code in (old, revoked):
        assert (await browser.post("/v1/session", json={"code": code})).status_code == 401


async def test_a_session_makes_no_links(browser: httpx.AsyncClient) -> None:
    await log_in(browser, token=SERVICE_KEY)
    assert (await browser.post("/v1/session/links")).status_code == 403


async def test_revoking_the_token_ends_the_session_and_no_other(
    app: FastAPI, browser: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    await log_in(browser, token=await token_of(operator, "ann"))
    async with browser_of(app) as other:
        await log_in(other, token=await token_of(operator, "bob"))
        await operator.delete("/v1/users/ann/tokens")
        assert (await browser.get("/v1/session")).status_code == 401
        assert (await other.get("/v1/session")).status_code == 200


async def test_another_service_key_ends_the_operators_sessions_only(
    database: HubDatabase, app: FastAPI, operator: httpx.AsyncClient, tmp_path: Path
) -> None:
    cookies: list[str] = []
    for token in (SERVICE_KEY, await token_of(operator, "ann")):
        async with browser_of(app) as browser:
            await log_in(browser, token=token)
            cookies.append(browser.cookies[COOKIE])
    async with hub(database, tmp_path, key="another-service-key-of-this-test") as other, browser_of(other) as browser:
        answers = [await browser.get("/v1/session", headers={"Cookie": f"{COOKIE}={cookie}"}) for cookie in cookies]
    assert [answer.status_code for answer in answers] == [401, 200]


async def test_a_session_lasts_as_long_as_it_is_used_and_a_week_at_most(
    database: HubDatabase, browser: httpx.AsyncClient
) -> None:
    await log_in(browser, token=SERVICE_KEY)
    ages = "SELECT extract(epoch FROM expires_at - now()) / 3600 FROM console_sessions"
    await execute(
        database,
        "UPDATE console_sessions SET last_seen_at = now() - interval '11 hours',"
        " expires_at = now() + interval '1 hour'",
    )
    assert (await browser.get("/v1/session")).status_code == 200
    assert await execute(database, ages) == pytest.approx(12, abs=0.1)
    await execute(
        database,
        "UPDATE console_sessions SET last_seen_at = now() - interval '1 hour',"
        " created_at = now() - interval '6 days 23 hours'",
    )
    assert (await browser.get("/v1/session")).status_code == 200
    assert await execute(database, ages) == pytest.approx(1, abs=0.1)
    await execute(database, "UPDATE console_sessions SET expires_at = now() - interval '1 second'")
    assert (await browser.get("/v1/session")).status_code == 401


async def test_sessions_and_links_that_are_over_go_with_the_next_ones(
    database: HubDatabase, browser: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    await log_in(browser, token=SERVICE_KEY)
    await operator.post("/v1/session/links")
    await execute(database, "UPDATE console_sessions SET expires_at = now() - interval '1 second'")
    await execute(database, "UPDATE console_links SET expires_at = now() - interval '1 second'")
    await log_in(browser, token=SERVICE_KEY)
    await operator.post("/v1/session/links")
    assert await execute(database, "SELECT count(*) FROM console_sessions") == 1
    assert await execute(database, "SELECT count(*) FROM console_links") == 1


async def test_a_cookie_counts_only_where_the_consoles_own_page_asks(app: FastAPI) -> None:
    async with browser_of(app) as browser:
        await log_in(browser, token=SERVICE_KEY)
        cookie = f"{COOKIE}={browser.cookies[COOKIE]}"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{HOST}") as page:
        for site, get, change in (("same-origin", 200, 404), ("same-site", 403, 403), ("none", 200, 403)):
            sent = {"Sec-Fetch-Site": site, "Cookie": cookie}
            assert (await page.get("/v1/users", headers=sent)).status_code == get
            assert (await page.delete("/v1/users/nobody/tokens", headers=sent)).status_code == change
        rebound = OWN | {"Cookie": cookie, "Host": "evil.example:8080"}
        assert (await page.get("/v1/users", headers=rebound)).status_code == 403


async def test_no_other_page_logs_a_browser_in(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{HOST}") as page:
        for headers, status in (({}, 200), ({"Origin": "null"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403)):
            answer = await page.post("/v1/session", headers=headers, json={"token": SERVICE_KEY})
            assert answer.status_code == status
            assert ("set-cookie" in answer.headers) is (status == 200)


async def test_a_cookie_counts_nowhere_but_at_the_api(browser: httpx.AsyncClient) -> None:
    await log_in(browser, token=SERVICE_KEY)
    for path in ("/mcp", "/mcp/srv", "/functions/v1/nexus-hub", "/nowhere"):
        assert (await browser.post(path, json={})).status_code == 401


async def test_no_part_of_a_url_is_a_log_in(browser: httpx.AsyncClient) -> None:
    await log_in(browser, token=SERVICE_KEY)
    cookie = browser.cookies[COOKIE]
    browser.cookies.clear()
    for name in ("token", "code", "access_token", COOKIE):
        for value in (SERVICE_KEY, cookie):
            assert (await browser.get("/v1/jobs", params={name: value})).status_code == 401


async def test_a_token_beside_a_cookie_is_the_one_that_counts(
    browser: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    await log_in(browser, token=SERVICE_KEY)
    ann = {"Authorization": f"Bearer {await token_of(operator, 'ann')}"}
    assert (await browser.get("/v1/users", headers=ann)).status_code == 403
    assert (await browser.get("/v1/users", headers={"Authorization": "Bearer nonsense"})).status_code == 401


async def test_invented_codes_and_cookies_wait_for_themselves(app: FastAPI, browser: httpx.AsyncClient) -> None:
    """They take the turns of invented tokens: one at a time, so that a connection is left for everybody else."""
    sessions, most = app.state.sessions, 0
    looking = 0

    async def count(cookie_hash: bytes) -> None:
        nonlocal looking, most
        looking += 1
        most = max(most, looking)
        await asyncio.sleep(0)
        looking -= 1

    sessions._find = count
    await asyncio.gather(
        *(browser.get("/v1/session", headers={"Cookie": f"{COOKIE}=nxs_{number:043}"}) for number in range(20))
    )
    assert most == 1


async def test_neither_cookie_nor_code_nor_token_is_in_the_database(
    database: HubDatabase, browser: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    token = await token_of(operator, "ann")
    code = (await operator.post("/v1/session/links")).json()["code"]
    await log_in(browser, token=token)
    rows = await execute(
        database,
        "SELECT coalesce(string_agg(encode(convert_to(s::text, 'utf8'), 'escape'), ' '), '')"
        " FROM (SELECT * FROM console_sessions) AS s",
    ) + await execute(database, "SELECT coalesce(string_agg(l::text, ' '), '') FROM console_links AS l")
    for secret in (token, code, browser.cookies[COOKIE], SERVICE_KEY):
        assert secret not in rows
        assert secret.encode().hex() not in rows


async def execute(database: HubDatabase, statement: str) -> Any:
    """The first value of a statement's result, as the owner sees it."""
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode())
        row = await cursor.fetchone() if cursor.description else None
        return None if row is None else float(row[0]) if not isinstance(row[0], str | int) else row[0]

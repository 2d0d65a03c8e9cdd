"""Links that log in to the console: shown to whoever started the hub, good once, and in no log."""

import httpx
import pytest

from tests.fixtures.hub import Hub

pytestmark = pytest.mark.stack


def test_up_shows_a_link_and_console_makes_another_that_logs_in_once(hub: Hub) -> None:
    begin = f"{hub.url}/login#code="
    assert f"  the console, logged in once: {begin}nxc_" in hub.welcome
    url = hub.run("console").out.strip()
    assert url.startswith(begin)
    with httpx.Client(base_url=hub.url, headers={"Sec-Fetch-Site": "same-origin"}) as browser:
        answers = [browser.post("/v1/session", json={"code": url.removeprefix(begin)}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 401]
        assert browser.get("/v1/session").json()["user"]["name"] == "operator"
        assert browser.get("/").headers["content-type"].startswith("text/html")
        cookie = browser.cookies[f"nexus_session_{hub.port}"]
    for secret in ("#code=", "nxc_", "nxs_", cookie):
        assert secret not in hub.logs()

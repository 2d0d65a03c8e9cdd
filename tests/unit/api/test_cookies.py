"""Pages that may use the console's cookie: its own, and no other, whatever a browser says of them."""

import pytest
from starlette.datastructures import Headers

from nexus_hub.api.cookies import require_own_page
from nexus_hub.errors import NotAllowed
from nexus_hub.gateway.endpoint import Sources

HOST = "localhost:8080"
SOURCES = Sources(frozenset({"localhost", "127.0.0.1", "::1"}), frozenset({"https://ours.example"}))
OWN = {"Sec-Fetch-Site": "same-origin"}


def is_let_through(method: str, headers: dict[str, str], sources: Sources = SOURCES, *, is_login: bool = False) -> bool:
    try:
        require_own_page(method, Headers({"Host": HOST} | headers), sources, is_login=is_login)
    except NotAllowed:
        return False
    return True


@pytest.mark.parametrize(
    ("headers", "reads", "writes"),
    [
        (OWN, True, True),
        ({"Sec-Fetch-Site": "same-site"}, False, False),
        ({"Sec-Fetch-Site": "cross-site"}, False, False),
        ({"Sec-Fetch-Site": "none"}, True, False),
        ({"Sec-Fetch-Site": ""}, False, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": f"http://{HOST}"}, False, False),
        ({}, True, False),
        ({"Origin": f"http://{HOST}"}, True, True),
        ({"Origin": f"https://{HOST}"}, True, True),
        ({"Origin": f"http://{HOST.upper()}"}, True, True),
        ({"Origin": "http://localhost:3000"}, False, False),
        ({"Origin": "http://localhost"}, False, False),
        ({"Origin": "https://ours.example"}, False, False),
        ({"Origin": "null"}, False, False),
        ({"Origin": ""}, False, False),
        ({"Origin": "http://evil.example"}, False, False),
        (OWN | {"Origin": "http://evil.example"}, False, False),
        (OWN | {"Host": "evil.example", "Origin": "http://evil.example"}, False, False),
        (OWN | {"Host": "evil.example:8080"}, False, False),
        (OWN | {"Host": ""}, False, False),
        ({"Host": "", "Origin": ""}, False, False),
    ],
)
def test_only_the_consoles_own_page_uses_the_cookie(headers: dict[str, str], reads: bool, writes: bool) -> None:
    assert {is_let_through(method, headers) for method in ("GET", "HEAD")} == {reads}
    assert {is_let_through(method, headers) for method in ("POST", "PATCH", "DELETE", "PUT")} == {writes}


def test_a_program_without_a_browser_may_log_in_and_no_other_page() -> None:
    assert is_let_through("POST", {}, is_login=True)
    for headers in ({"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert not is_let_through("POST", headers, is_login=True)


def test_under_any_name_the_page_is_still_that_of_the_host_that_is_asked() -> None:
    any_host = Sources(None, frozenset())
    assert is_let_through("POST", {"Host": "hub.example", "Origin": "https://hub.example"}, any_host)
    assert not is_let_through("POST", {"Host": "hub.example", "Origin": "https://evil.example"}, any_host)

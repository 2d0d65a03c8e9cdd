"""Options by which a server is said to want a login, and secrets that come by standard input."""

import io
from typing import Any

import pytest

from nexus_hub.cli.credentials import describe_login, read_secret, refuse_other_logins
from nexus_hub.errors import InvalidRequest

NOTHING: dict[str, Any] = {
    "oauth": False,
    "client_id": None,
    "secret_stdin": False,
    "machine": False,
    "scope": None,
    "issuer": None,
    "header": None,
}


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put a text on standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.mark.parametrize(
    ("options", "login"),
    [
        ({}, None),
        ({"oauth": True}, {"kind": "oauth", "grant": "authorization_code"}),
        ({"scope": "a b"}, {"kind": "oauth", "grant": "authorization_code", "scope": "a b"}),
        (
            {"client_id": "c", "secret_stdin": True, "machine": True},
            {"kind": "oauth", "grant": "client_credentials", "client_id": "c", "client_secret": "secret"},
        ),
        ({"header": "X-Key"}, {"kind": "header", "header": "X-Key", "prefix": ""}),
        ({"header": "authorization"}, {"kind": "header", "header": "authorization", "prefix": "Bearer "}),
    ],
)
def test_options_describe_the_login(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], login: Any) -> None:
    give(monkeypatch, "secret\n")
    assert describe_login(**{**NOTHING, **options}) == login


def test_a_server_wants_one_kind_of_login() -> None:
    with pytest.raises(InvalidRequest, match="leave out one of them"):
        describe_login(**{**NOTHING, "oauth": True, "header": "X-Key"})


@pytest.mark.parametrize("text", ["", "\n", "x" * 9000])
def test_a_secret_has_a_length(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    give(monkeypatch, text)
    with pytest.raises(InvalidRequest, match="1 to 8192 characters"):
        read_secret("The secret")


def test_a_secret_is_one_line_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, " a b \r\n")
    assert read_secret("The secret") == " a b "


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (None, r"The server 'srv' wants no login\."),
        ({"kind": "oauth"}, r"The server 'srv' logs in by OAuth: nexus-hub server login srv"),
    ],
)
def test_a_server_without_a_header_is_refused_before_a_secret_is_typed(login: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        refuse_other_logins({"name": "srv", "login": login})

"""Tokens of a login, its configuration, and the addresses it may reach."""

import pytest
from pydantic import ValidationError

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.config import CONFIG, HttpConfig, check_sendable, expose_secrets
from nexus_hub.upstream.oauth import ClientRegistration, Reach, TokenSet
from nexus_hub.upstream.words import find_secrets

URL = "http://10.1.2.3:8000/mcp"
TOKENS = TokenSet(
    "access-1",
    ClientRegistration("hub", "https://as.example", "secret-1", "client_secret_post"),
    "https://as.example",
    "https://as.example/token",
    "refresh-1",
    1_800_000_000.5,
    "a b",
)


def test_tokens_survive_being_sealed() -> None:
    assert TokenSet.from_json(TOKENS.to_json()) == TOKENS


def test_tokens_show_no_secret() -> None:
    assert not any(secret in repr(TOKENS) for secret in ("access-1", "refresh-1", "secret-1"))


@pytest.mark.parametrize("change", [{"client": {"id": "x"}}, {"more": 1}, {"client": None}])
def test_something_else_is_no_token_set(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="these are no tokens of a login"):
        TokenSet.from_json(TOKENS.to_json() | change)


def test_a_login_is_sealed_with_its_secret() -> None:
    login = {"kind": "oauth", "client_id": "hub", "client_secret": "secret-1", "grant": "authorization_code"}
    config = HttpConfig.model_validate({"url": URL, "login": login, "credentials": "per-user"})
    sealed = expose_secrets(config)
    assert sealed["login"] == login
    assert CONFIG.validate_python(sealed) == config
    assert "secret-1" not in repr(config)
    assert find_secrets(config) == ("secret-1",)


def test_a_server_without_a_login_is_sealed_as_before() -> None:
    assert expose_secrets(HttpConfig(url=URL)) == {"transport": "http", "url": URL, "headers": {}}


@pytest.mark.parametrize(
    ("login", "headers", "fault"),
    [
        ({"kind": "oauth", "client_secret": "s"}, {}, "without a client_id"),
        ({"kind": "oauth", "grant": "client_credentials", "client_id": "c"}, {}, "needs a client_id and"),
        ({"kind": "oauth", "issuer": "https://a.example?x=1"}, {}, "issuer must be"),
        ({"kind": "oauth", "issuer": "https://u:p@a.example"}, {}, "issuer must be"),
        ({"kind": "oauth"}, {"authorization": "Bearer x"}, "keep one of them"),
        ({"kind": "header", "header": "Auth:"}, {}, "can't be sent"),
        ({"kind": "header", "header": "Connection"}, {}, "can't be sent"),
        ({"kind": "header", "header": "X-Key"}, {"x-key": "x"}, "given twice"),
        ({"kind": "header", "prefix": "a\r\nb"}, {}, "prefix can't be sent"),
    ],
)
def test_logins_that_cannot_be_used_are_refused(login: object, headers: object, fault: str) -> None:
    config = HttpConfig.model_validate({"url": URL, "login": login, "headers": headers})
    with pytest.raises(InvalidConfig, match=fault):
        check_sendable(config)


@pytest.mark.parametrize("scope", ["a  b", 'a"b', "a\nb", " a", ""])
def test_scopes_are_those_of_oauth(scope: str) -> None:
    with pytest.raises(ValidationError):
        HttpConfig.model_validate({"url": URL, "login": {"kind": "oauth", "scope": scope}})


def test_only_an_operators_server_reaches_private_addresses() -> None:
    config = HttpConfig.model_validate({"url": URL, "login": {"kind": "oauth", "issuer": "http://Login.internal/x"}})
    named = Reach.for_server("s", config, "system", allow_private=False)
    assert named.private == {"http://10.1.2.3:8000", "http://login.internal"}
    assert Reach.for_server("s", config, "user", allow_private=False) == Reach("s")

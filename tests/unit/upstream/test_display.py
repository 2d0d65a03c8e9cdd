import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from nexus_hub.upstream.config import HttpConfig, StdioConfig
from nexus_hub.upstream.display import describe_endpoint

SECRET = st.text(alphabet="abcdefghjkmnpqrstuvwxyz23456789", min_size=12, max_size=30).map(lambda text: f"zq{text}")
LONG_TOKEN = st.text(alphabet="0123456789abcdefABCDEF-_", min_size=32, max_size=64)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://tools.example/mcp", "https://tools.example/mcp"),
        ("https://tools.example:8443/a/b/?key=1#part", "https://tools.example:8443/a/b/"),
        ("http://[::1]:9/mcp", "http://[::1]:9/mcp"),
        ("https://tools.example/api/mcp/s/Zm9vYmFyMTIzNDU2Nzg5/mcp", "https://tools.example/api/mcp/s/***/mcp"),
        ("https://tools.example/streamable-http-endpoint", "https://tools.example/streamable-http-endpoint"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert describe_endpoint(HttpConfig(url=url)) == shown


@given(SECRET)
def test_no_secret_of_a_url_is_shown(secret: str) -> None:
    url = f"https://u{secret}:p{secret}@tools.example/mcp?key={secret}&{secret}=1#{secret}"
    shown = describe_endpoint(HttpConfig(url=url, headers={"Authorization": SecretStr(secret)}))
    assert secret not in shown
    assert shown == "https://tools.example/mcp"


@given(LONG_TOKEN)
def test_no_long_token_in_a_path_is_shown(token: str) -> None:
    assert describe_endpoint(HttpConfig(url=f"https://tools.example/{token}/mcp")) == "https://tools.example/***/mcp"


@given(st.text())
def test_anything_that_was_stored_as_a_url_can_be_shown(url: str) -> None:
    assert isinstance(describe_endpoint(HttpConfig(url=url)), str)


@given(st.lists(SECRET), SECRET)
def test_a_command_is_shown_by_its_name_and_the_number_of_its_arguments(args: list[str], secret: str) -> None:
    shown = describe_endpoint(
        StdioConfig(command=f"/home/{secret}/bin/run", args=tuple(args), env={"A": SecretStr(secret)})
    )
    assert shown == f"run ({len(args)} argument{'' if len(args) == 1 else 's'})"

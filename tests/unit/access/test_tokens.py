"""The service key and the form of tokens."""

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from nexus_hub.access.tokens import hash_token, new_token, service_key
from nexus_hub.errors import NotConfigured
from nexus_hub.settings import Settings


def test_tokens_are_recognizable_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"nxh_[A-Za-z0-9_-]{43}", token) for token in tokens)


@given(st.text())
def test_a_hash_is_the_sha256_of_the_token(token: str) -> None:
    assert hash_token(token) == hashlib.sha256(token.encode()).digest()


def test_a_token_that_is_no_text_has_a_hash_too() -> None:
    assert len(hash_token("\ud800")) == 32


def test_the_key_of_the_environment_goes_before_that_of_the_home(tmp_path: Path) -> None:
    (tmp_path / "service.key").write_text("the key of the home\n")
    assert service_key(Settings(home=tmp_path)) == "the key of the home"
    assert service_key(Settings(home=tmp_path, service_key=SecretStr("the key of the environment"))) == (
        "the key of the environment"
    )


@pytest.mark.parametrize("key", [None, "", "undefined", "0123456789abcde"])
def test_without_a_long_enough_key_nothing_starts(tmp_path: Path, key: str | None) -> None:
    with pytest.raises(NotConfigured, match="NEXUS_SERVICE_KEY") as caught:
        service_key(Settings(home=tmp_path, service_key=SecretStr(key) if key is not None else None))
    assert not key or key not in caught.value.message

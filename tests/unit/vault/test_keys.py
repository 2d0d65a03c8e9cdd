"""Keys: what is taken, what is refused, and that a refusal does not repeat the key."""

import base64
import secrets
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import InvalidKey, InvalidRequest
from nexus_hub.vault.keys import VaultKey, parse_key_id

KEY = "00112233445566778899aabbccddeeff" * 2


@given(st.binary(min_size=32, max_size=32).filter(any))
def test_64_hex_digits_are_a_key_in_either_case(material: bytes) -> None:
    assert VaultKey.parse(material.hex()).material == material
    assert VaultKey.parse(material.hex().upper()).material == material
    assert VaultKey.parse(material.hex()).reveal() == material.hex()


@given(st.text(alphabet=string.hexdigits, max_size=200).filter(lambda text: len(text) != 64))
def test_any_other_number_of_digits_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey, match="64 hexadecimal digits"):
        VaultKey.parse(text)


@given(st.text(min_size=64, max_size=64).filter(lambda text: not set(text) <= set(string.hexdigits)))
def test_64_characters_that_are_not_all_hex_digits_are_refused(text: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        VaultKey.parse(text)
    assert len(text.strip()) < 8 or text.strip() not in str(caught.value)


def test_the_base64_key_that_the_seed_read_as_all_zero_is_refused() -> None:
    text = base64.b64encode(secrets.token_bytes(48)).decode()
    assert len(text) == 64
    with pytest.raises(InvalidKey):
        VaultKey.parse(text)


def test_an_all_zero_key_is_refused() -> None:
    with pytest.raises(InvalidKey, match="all zero"):
        VaultKey.parse("0" * 64)


@pytest.mark.parametrize("text", [KEY[:-1], KEY + "0", KEY[:-1] + "g", "0x" + KEY[:62], KEY.replace("1", "\u0661")])
def test_a_refusal_names_the_source_and_not_the_key(text: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        VaultKey.parse(text, source="VAULT_OLD_KEY")
    assert "VAULT_OLD_KEY" in caught.value.message
    assert text[:8] not in str(caught.value)


def test_neither_repr_nor_str_shows_a_key() -> None:
    key = VaultKey.parse(KEY)
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert KEY[:8] not in shown
        assert repr(key.material) not in shown


def test_an_id_is_the_first_digits_of_the_keys_hash() -> None:
    # printf 00..ff | xxd -r -p | sha256sum
    assert VaultKey.parse("ff" * 32).id == "af961376"


@given(st.binary(min_size=32, max_size=32).filter(any))
def test_an_id_gives_nothing_of_the_key_away(material: bytes) -> None:
    key = VaultKey(material)
    assert len(key.id) == 8
    assert key.id not in material.hex()


def test_generated_keys_differ() -> None:
    assert len({VaultKey.generate().id for _ in range(50)}) == 50


@given(st.binary(min_size=32, max_size=32).filter(any))
def test_a_keys_id_is_taken_and_the_key_itself_is_not(material: bytes) -> None:
    key = VaultKey(material)
    assert parse_key_id(f" {key.id.upper()}", what="x") == key.id
    with pytest.raises(InvalidRequest, match="never sent") as caught:
        parse_key_id(key.reveal(), what="new_key_id")
    assert "new_key_id" in caught.value.message
    assert key.reveal()[:8] not in caught.value.message


@given(st.text(max_size=100).filter(lambda text: len(text.strip()) != 8))
def test_what_is_no_id_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_key_id(text, what="KEY_ID")
    assert len(text.strip()) < 8 or text.strip() not in caught.value.message


@pytest.mark.parametrize("text", ["0123456g", "0123 567", "\u0661" * 8, "0x123456"])
def test_8_characters_that_are_no_hex_digits_are_no_id(text: str) -> None:
    with pytest.raises(InvalidRequest, match="8 hexadecimal digits"):
        parse_key_id(text, what="KEY_ID")

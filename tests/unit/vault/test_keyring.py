"""The keyring: from its file, from the environment, and what happens when it changes."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from nexus_hub.errors import HubError, InvalidKey, NotConfigured
from nexus_hub.settings import Settings
from nexus_hub.vault.keyring import FixedKeyring, Keyring, KeyringFile, create, keyring_source
from nexus_hub.vault.keys import VaultKey


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def settings(home: Path, **keys: str) -> Settings:
    named: dict[str, Any] = {name: SecretStr(key) for name, key in keys.items()}
    return Settings(home=home, **named)


def key() -> str:
    return VaultKey.generate().reveal()


def test_a_keyring_file_comes_back_as_it_was_written() -> None:
    ring = Keyring(VaultKey.generate(), (VaultKey.generate(), VaultKey.generate()))
    assert Keyring.parse(ring.render(), source="a file") == ring


def test_a_keyring_finds_its_keys_by_their_ids_and_shows_none() -> None:
    old, new = VaultKey.generate(), VaultKey.generate()
    ring = Keyring(new, (old, new))
    assert ring.keys() == (new, old)
    assert ring.get(old.id) == old
    assert ring.get("00000000") is None
    assert old.reveal() not in repr(ring)


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "7", '"text"', "{", "{}", '{"primary": null}', "[" * 100_000),
        *('{"primary": "K", "others": 5}', '{"primary": "K", "others": null}', '{"primary": "K", "others": {"a": 1}}'),
        *('{"primary": "K", "others": "K"}', '{"primary": "K", "others": [7]}', '{"primary": "K", "others": [null]}'),
    ],
)
def test_a_file_of_another_shape_is_refused_without_repeating_it(text: str) -> None:
    secret = key()
    with pytest.raises(InvalidKey) as caught:
        Keyring.parse(text.replace("K", secret), source="keyring.json")
    assert "keyring.json" in caught.value.message
    assert secret not in caught.value.message


def test_create_makes_a_file_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KeyringFile(path).current().others == ()


def test_create_leaves_an_existing_file_alone(path: Path) -> None:
    create(path)
    first = path.read_text()
    create(path)
    assert path.read_text() == first


def test_a_changed_file_is_read_again(path: Path) -> None:
    create(path)
    source = KeyringFile(path)
    old = source.current()
    new = Keyring(VaultKey.generate(), (old.primary,))
    beside = path.with_suffix(".new")
    beside.write_text(new.render())
    beside.replace(path)
    assert source.current() == new


def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    create(path)
    source = KeyringFile(path)
    assert source.current() is source.current()


def test_a_missing_file_says_what_to_set(path: Path) -> None:
    with pytest.raises(NotConfigured, match="VAULT_ENCRYPTION_KEY"):
        KeyringFile(path).current()


def test_a_file_that_is_no_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidKey):
        KeyringFile(path).current()


def test_a_file_that_cannot_be_read_is_an_error_of_ours(path: Path) -> None:
    path.mkdir()
    with pytest.raises(HubError, match=r"keyring\.json"):
        KeyringFile(path).current()


def test_the_environment_goes_before_the_file(tmp_path: Path, path: Path) -> None:
    create(path)
    primary, old, new = key(), key(), key()
    source = keyring_source(settings(tmp_path, vault_encryption_key=primary, vault_old_key=old, vault_new_key=new))
    assert isinstance(source, FixedKeyring)
    ring = source.current()
    assert ring.primary.reveal() == primary
    assert {one.reveal() for one in ring.others} == {old, new}


def test_without_a_primary_key_in_the_environment_the_file_counts(tmp_path: Path, path: Path) -> None:
    create(path)
    source = keyring_source(settings(tmp_path, vault_old_key=key()))
    assert source.current().render() == path.read_text() or json.loads(path.read_text())["others"] == []


def test_a_bad_key_of_the_environment_is_named_by_its_variable(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match="VAULT_OLD_KEY"):
        keyring_source(settings(tmp_path, vault_encryption_key=key(), vault_old_key="short"))

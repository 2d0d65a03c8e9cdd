"""The keyring: from its file, from the environment, and what happens when it changes."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from nexus_hub.errors import HubError, InvalidKey, NotConfigured, NotFound
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


KEYS = st.lists(st.binary(min_size=32, max_size=32).filter(any).map(VaultKey), min_size=1, max_size=5, unique=True)


@given(KEYS, st.data())
def test_another_primary_loses_no_key(keys: list[VaultKey], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(keys))
    ring = Keyring(keys[0], tuple(keys[1:])).with_primary(chosen.id)
    assert ring.primary == chosen
    assert sorted(ring.keys(), key=keys.index) == keys


@given(KEYS)
def test_a_key_that_was_added_can_be_taken_out_again(keys: list[VaultKey]) -> None:
    *others, new = keys
    ring = Keyring(VaultKey.generate(), tuple(others))
    assert ring.with_other(new).without(new.id) == ring


@pytest.mark.parametrize("change", [Keyring.with_primary, Keyring.without])
def test_a_key_that_is_not_there_is_named(change: Any) -> None:
    with pytest.raises(NotFound, match="00000000"):
        change(Keyring(VaultKey.generate()), "00000000")


def test_the_primary_is_not_taken_out() -> None:
    ring = Keyring(VaultKey.generate(), (VaultKey.generate(),))
    with pytest.raises(NotFound, match=ring.primary.id):
        ring.without(ring.primary.id)


def test_a_promotion_is_seen_by_all_who_read_the_file_and_keeps_it_private(path: Path) -> None:
    old, new = VaultKey.generate(), VaultKey.generate()
    path.write_text(Keyring(old, (new,)).render())
    path.chmod(0o600)
    other = KeyringFile(path)
    assert other.current().primary == old
    before = os.umask(0)
    try:
        assert KeyringFile(path).promote(new.id)
    finally:
        os.umask(before)
    assert other.current() == Keyring(new, (old,))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_promotion_that_can_not_be_written_whole_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = VaultKey.generate(), VaultKey.generate()
    text = Keyring(old, (new,)).render()
    path.write_text(text)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not KeyringFile(path).promote(new.id)
    assert path.read_text() == text


def test_the_primary_needs_no_promotion(path: Path) -> None:
    create(path)
    before = path.stat()
    assert KeyringFile(path).promote(KeyringFile(path).current().primary.id)
    assert path.stat().st_ino == before.st_ino


def test_keys_that_are_added_at_the_same_time_are_all_there(path: Path) -> None:
    create(path)
    keys = [VaultKey.generate() for _ in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda new: KeyringFile(path).change(lambda ring: ring.with_other(new)), keys))
    assert set(KeyringFile(path).current().others) == set(keys)


def test_an_environment_is_not_promoted(tmp_path: Path) -> None:
    primary, new = key(), key()
    source = keyring_source(settings(tmp_path, vault_encryption_key=primary, vault_new_key=new))
    assert source.promote(VaultKey.parse(primary).id)
    assert not source.promote(VaultKey.parse(new).id)
    assert source.current().primary.reveal() == primary


def test_a_rotation_goes_to_the_new_key_of_the_environment_and_not_to_its_old_one(tmp_path: Path) -> None:
    primary, old, new = key(), key(), key()
    named = {"vault_encryption_key": primary, "vault_old_key": old}
    assert keyring_source(settings(tmp_path, **named)).list_targets(set()) == []
    source = keyring_source(settings(tmp_path, **named, vault_new_key=new))
    assert source.list_targets({VaultKey.parse(new).id}) == [VaultKey.parse(new).id]
    assert keyring_source(settings(tmp_path, **named, vault_new_key=primary)).list_targets(set()) == []


def test_a_rotation_goes_to_the_keys_of_a_file_that_were_never_primary(path: Path) -> None:
    primary, used, new = VaultKey.generate(), VaultKey.generate(), VaultKey.generate()
    path.write_text(Keyring(primary, (used, new, primary, new)).render())
    assert KeyringFile(path).list_targets({used.id}) == [new.id]

"""Sealing: the documented layout, and that a sealed value opens in its own place only."""

import secrets
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import CannotOpen, UnboundValue
from nexus_hub.vault.keyring import FixedKeyring, Keyring
from nexus_hub.vault.keys import VaultKey
from nexus_hub.vault.sealing import SealContext, Vault, is_bound, open_sealed, seal

HERE = SealContext("user_servers", "config_encrypted", UUID(int=1), UUID(int=2))
OWNER = str(UUID(int=2)).encode()
RING = Keyring(VaultKey.generate())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.binary(max_size=500), st.uuids())
def test_what_was_sealed_opens_in_its_place(plaintext: bytes, row: UUID) -> None:
    here = replace(HERE, row_id=row)
    sealed = seal(RING, here, plaintext)
    assert open_sealed(RING, here, sealed.data, sealed.key_id) == plaintext


@given(st.binary(max_size=100))
def test_the_layout_is_iv_ciphertext_tag(plaintext: bytes) -> None:
    sealed = seal(RING, HERE, plaintext)
    assert len(sealed.data) == 12 + len(plaintext) + 16
    associated = b"".join(
        len(part).to_bytes(4, "big") + part
        for part in (b"user_servers", b"config_encrypted", str(UUID(int=1)).encode(), RING.primary.id.encode(), OWNER)
    )
    opened = AESGCM(RING.primary.material).decrypt(sealed.data[:12], sealed.data[12:], associated)
    assert opened == plaintext


def test_the_same_value_is_never_sealed_alike() -> None:
    assert len({seal(RING, HERE, b"same").data[:12] for _ in range(100)}) == 100


@given(st.data())
def test_a_flipped_bit_anywhere_does_not_open(data: st.DataObject) -> None:
    sealed = seal(RING, HERE, b"a secret of some length")
    bit = data.draw(st.integers(0, len(sealed.data) * 8 - 1))
    changed = bytearray(sealed.data)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CannotOpen):
        open_sealed(RING, HERE, bytes(changed), sealed.key_id)


@given(st.integers(0, 50))
def test_a_cut_value_does_not_open(length: int) -> None:
    sealed = seal(RING, HERE, b"a secret of some length")
    with pytest.raises(CannotOpen):
        open_sealed(RING, HERE, sealed.data[:length], sealed.key_id)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(HERE, row_id=uuid4()),
        replace(HERE, column="other"),
        replace(HERE, table="system_servers"),
        SealContext("user_serversconfig", "_encrypted", HERE.row_id, HERE.owner),
        replace(HERE, owner=uuid4()),
        replace(HERE, owner=None),
        replace(HERE, row_id=UUID(int=2), owner=UUID(int=1)),
    ],
)
def test_a_value_that_was_copied_elsewhere_does_not_open(elsewhere: SealContext) -> None:
    sealed = seal(RING, HERE, b"secret")
    with pytest.raises(CannotOpen) as caught:
        open_sealed(RING, elsewhere, sealed.data, sealed.key_id)
    assert str(elsewhere.row_id) in caught.value.message


def test_another_key_does_not_open() -> None:
    sealed = seal(RING, HERE, b"secret")
    with pytest.raises(CannotOpen, match=sealed.key_id):
        open_sealed(Keyring(VaultKey.generate()), HERE, sealed.data, sealed.key_id)


def test_the_id_of_another_key_of_the_ring_does_not_open() -> None:
    other = VaultKey.generate()
    sealed = seal(RING, HERE, b"secret")
    with pytest.raises(CannotOpen):
        open_sealed(Keyring(RING.primary, (other,)), HERE, sealed.data, other.id)


def test_an_older_key_of_the_ring_still_opens() -> None:
    sealed = seal(RING, HERE, b"secret")
    ring = Keyring(VaultKey.generate(), (RING.primary,))
    assert open_sealed(ring, HERE, sealed.data, sealed.key_id) == b"secret"
    assert seal(ring, HERE, b"secret").key_id == ring.primary.id


def seeds_value(key: VaultKey, plaintext: bytes) -> bytes:
    iv = secrets.token_bytes(12)
    return iv + AESGCM(key.material).encrypt(iv, plaintext, None)


def test_a_value_of_the_seeds_opens_without_a_key_id_with_any_key_of_the_ring() -> None:
    old = seeds_value(RING.primary, b"secret")
    assert open_sealed(Keyring(VaultKey.generate(), (RING.primary,)), HERE, old, None) == b"secret"


@pytest.mark.parametrize("key_id", ["", RING.primary.id], ids=["empty", "primary"])
def test_a_value_of_the_seeds_does_not_open_with_a_key_id(key_id: str) -> None:
    with pytest.raises(CannotOpen):
        open_sealed(RING, HERE, seeds_value(RING.primary, b"secret"), key_id)


def test_a_value_without_a_key_id_is_refused_where_unbound_ones_are() -> None:
    vault, value = Vault(FixedKeyring(RING)), seeds_value(RING.primary, b"{}")
    assert vault.open_config(HERE, value, None) == {}
    with pytest.raises(UnboundValue, match="vault rotate"):
        vault.open_config(HERE, value, None, unbound=False)
    bound = vault.seal_config(HERE, {})
    assert vault.open_config(HERE, bound.data, bound.key_id, unbound=False) == {}


def test_dropping_the_key_id_does_not_lift_the_binding_to_the_row() -> None:
    sealed = seal(RING, HERE, b"secret")
    with pytest.raises(CannotOpen):
        open_sealed(RING, HERE, sealed.data, None)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_configuration_comes_back_as_it_was(config: dict[str, object]) -> None:
    vault = Vault(FixedKeyring(RING))
    sealed = vault.seal_config(HERE, config)
    assert vault.open_config(HERE, sealed.data, sealed.key_id) == config


@pytest.mark.parametrize("plaintext", [b"", b"\xff", b"[]", b"7", b"{"])
def test_what_is_no_json_object_does_not_open_as_a_configuration(plaintext: bytes) -> None:
    sealed = seal(RING, HERE, plaintext)
    with pytest.raises(CannotOpen):
        Vault(FixedKeyring(RING)).open_config(HERE, sealed.data, sealed.key_id)


def test_nothing_sealed_is_shown() -> None:
    sealed = seal(RING, HERE, b"secret")
    assert repr(sealed.data)[2:12] not in repr(sealed)


def former_value(key: VaultKey, plaintext: bytes) -> bytes:
    """A value as it was sealed before values were bound to their owners."""
    iv = secrets.token_bytes(12)
    return iv + AESGCM(key.material).encrypt(iv, plaintext, HERE.former_data(key.id))


def test_a_value_of_before_opens_until_all_are_bound() -> None:
    vault, value, key_id = Vault(FixedKeyring(RING)), former_value(RING.primary, b"{}"), RING.primary.id
    assert vault.open_config(HERE, value, key_id) == {}
    assert not is_bound(RING, HERE, value, key_id)
    with pytest.raises(UnboundValue, match="vault rotate"):
        vault.open_config(HERE, value, key_id, unbound=False)
    with pytest.raises(CannotOpen):
        vault.open_config(replace(HERE, row_id=uuid4()), value, key_id)


def test_what_is_sealed_today_is_bound_and_what_is_not_ours_is_not() -> None:
    sealed = seal(RING, HERE, b"{}")
    assert is_bound(RING, HERE, sealed.data, sealed.key_id)
    assert not is_bound(RING, replace(HERE, owner=uuid4()), sealed.data, sealed.key_id)
    assert not is_bound(RING, HERE, sealed.data, None)
    assert not is_bound(Keyring(VaultKey.generate()), HERE, sealed.data, sealed.key_id)

"""Sealing and opening: IV(12) | ciphertext | tag(16), AES-256-GCM, bound to the row and the owner it belongs to."""

import json
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nexus_hub.errors import CannotOpen, UnboundValue
from nexus_hub.models import ServerRef
from nexus_hub.vault.keyring import Keyring, KeyringSource
from nexus_hub.vault.keys import VaultKey

IV_BYTES = 12
_TABLES = {"system": "system_servers", "user": "user_servers"}


@dataclass(frozen=True, slots=True)
class SealContext:
    """The row, column and owner that a sealed value is bound to; it opens nowhere else, and for nobody else."""

    table: str
    column: str
    row_id: UUID
    owner: UUID | None = None
    """The user whose it is; None: it is the hub's."""

    @classmethod
    def for_server(cls, ref: ServerRef, owner: UUID | None) -> Self:
        """Name where a server's sealed configuration lies, and whose it is."""
        return cls(_TABLES[ref.server_type], "config_encrypted", ref.server_ref_id, owner)

    @classmethod
    def for_login(cls, login_id: UUID, owner: UUID | None) -> Self:
        """Name where a login at an upstream server lies, and whose it is."""
        return cls("upstream_logins", "sealed", login_id, owner)

    def associated_data(self, key_id: str) -> bytes:
        """Give what GCM authenticates beside the ciphertext: each part led by its length as 4 bytes, big-endian."""
        owner = "" if self.owner is None else str(self.owner)
        return _join(self.table, self.column, str(self.row_id), key_id, owner)

    def former_data(self, key_id: str) -> bytes:
        """Give what was authenticated before values were bound to their owners."""
        return _join(self.table, self.column, str(self.row_id), key_id)

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of {self.row_id}"

    @classmethod
    def for_login_request(cls, request_id: UUID, owner: UUID | None) -> Self:
        """Name where a login that waits for a person lies, and whose it is to be."""
        return cls("login_requests", "sealed", request_id, owner)


@dataclass(frozen=True, slots=True)
class Sealed:
    """Sealed bytes and the id of the key that opens them."""

    data: bytes = field(repr=False)
    key_id: str


def seal(keyring: Keyring, context: SealContext, plaintext: bytes) -> Sealed:
    """Seal under the ring's primary key, with a random IV (NIST SP 800-38D, 8.2.2)."""
    key = keyring.primary
    iv = secrets.token_bytes(IV_BYTES)
    data = iv + AESGCM(key.material).encrypt(iv, plaintext, context.associated_data(key.id))
    return Sealed(data, key.id)


def open_sealed(keyring: Keyring, context: SealContext, data: bytes, key_id: str | None) -> bytes:
    """Open what `seal` made, now or before values were bound to their owners.

    Without a key id it is a value of the seed's, which has no associated data.

    Raises:
        CannotOpen: the ring lacks the key, or the bytes were changed or belong to another place or owner.
    """
    keys = keyring.keys()
    found = (_decrypt(key, data, form) for key in keys if key_id in {None, key.id} for form in _forms(context, key_id))
    for plaintext in found:
        if plaintext is not None:
            return plaintext
    raise CannotOpen(str(context), key_id)


def is_bound(keyring: Keyring, context: SealContext, data: bytes, key_id: str | None) -> bool:
    """Tell if a value opens in its own row and for its owner only."""
    key = keyring.get(key_id) if key_id is not None else None
    return key is not None and _decrypt(key, data, context.associated_data(key.id)) is not None


def _forms(context: SealContext, key_id: str | None) -> Iterator[bytes | None]:
    """Give what may be authenticated beside the ciphertext, today's form first; each is made when it is asked for."""
    if key_id is None:
        yield None
    else:
        yield context.associated_data(key_id)
        yield context.former_data(key_id)


def _decrypt(key: VaultKey, data: bytes, associated: bytes | None) -> bytes | None:
    try:
        return AESGCM(key.material).decrypt(data[:IV_BYTES], data[IV_BYTES:], associated)
    except (InvalidTag, ValueError):
        return None


def _join(*parts: str) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in map(str.encode, parts))


class Vault:
    """Seals and opens JSON objects with whatever keyring the process holds at the moment."""

    def __init__(self, source: KeyringSource) -> None:
        self.source = source

    def seal_config(self, context: SealContext, config: dict[str, Any]) -> Sealed:
        """Seal a JSON object."""
        return seal(self.source.current(), context, json.dumps(config, separators=(",", ":")).encode())

    def open_config(
        self, context: SealContext, data: bytes, key_id: str | None, *, unbound: bool = True
    ) -> dict[str, Any]:
        """Open a JSON object; `unbound` says whether one that is not bound to its row and its owner may be opened.

        Raises:
            CannotOpen: it can't be opened, or is no JSON object.
            UnboundValue: it is not bound, and such values are not opened any more.
        """
        ring = self.source.current()
        if key_id is None and not unbound:
            raise UnboundValue(str(context))
        try:
            config = json.loads(open_sealed(ring, context, data, key_id))
        except ValueError:
            raise CannotOpen(str(context), key_id) from None
        if not (unbound or is_bound(ring, context, data, key_id)):
            raise UnboundValue(str(context))
        if not isinstance(config, dict):
            raise CannotOpen(str(context), key_id)
        return config

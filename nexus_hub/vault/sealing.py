"""Sealing and opening: IV(12) | ciphertext | tag(16), AES-256-GCM, bound to the row it belongs to."""

import json
import secrets
import struct
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nexus_hub.errors import CannotOpen, UnboundValue
from nexus_hub.models import ServerRef
from nexus_hub.vault.keyring import Keyring, KeyringSource

IV_BYTES = 12
_TABLES = {"system": "system_servers", "user": "user_servers"}


@dataclass(frozen=True, slots=True)
class SealContext:
    """The row and column that a sealed value is bound to; it opens nowhere else."""

    table: str
    column: str
    row_id: UUID

    @classmethod
    def for_server(cls, ref: ServerRef) -> Self:
        """Name where a server's sealed configuration lies."""
        return cls(_TABLES[ref.server_type], "config_encrypted", ref.server_ref_id)

    def associated_data(self, key_id: str) -> bytes:
        """Give what GCM authenticates beside the ciphertext: each part led by its length as 4 bytes, big-endian."""
        parts = (part.encode() for part in (self.table, self.column, str(self.row_id), key_id))
        return b"".join(struct.pack(">I", len(part)) + part for part in parts)

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of {self.row_id}"


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
    """Open what `seal` made. Without a key id it is a value of the seed's, which has no associated data.

    Raises:
        CannotOpen: the ring lacks the key, or the bytes were changed or belong to another place.
    """
    keys = keyring.keys()
    for key in keys if key_id is None else [one for one in keys if one.id == key_id]:
        associated = context.associated_data(key_id) if key_id else None
        try:
            return AESGCM(key.material).decrypt(data[:IV_BYTES], data[IV_BYTES:], associated)
        except (InvalidTag, ValueError):
            continue
    raise CannotOpen(str(context), key_id)


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
        """Open a JSON object; `unbound` says whether one without a key id, which no row is bound to, may be opened.

        Raises:
            CannotOpen: it can't be opened, or is no JSON object.
            UnboundValue: it has no key id, and such values are not opened any more.
        """
        if key_id is None and not unbound:
            raise UnboundValue(str(context))
        try:
            config = json.loads(open_sealed(self.source.current(), context, data, key_id))
        except ValueError:
            raise CannotOpen(str(context), key_id) from None
        if not isinstance(config, dict):
            raise CannotOpen(str(context), key_id)
        return config

"""Vault keys: 256 bits, written as 64 hexadecimal digits."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Self

from nexus_hub.errors import InvalidKey, InvalidRequest

KEY_BYTES = 32
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_ID = re.compile(r"[0-9a-f]{8}")
_TOO_LONG_FOR_A_SLIP = 16


@dataclass(frozen=True, slots=True)
class VaultKey:
    """An AES-256 key; neither its repr nor its str shows it."""

    material: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, source: str = "the vault key") -> Self:
        """Read a key; `source` is named when it is refused.

        Raises:
            InvalidKey: anything but exactly 64 hexadecimal digits, or all of them zero.
        """
        text = text.strip()
        if not _HEX.fullmatch(text):
            raise InvalidKey(
                f"{source} must be exactly 64 hexadecimal digits; it has {len(text)} characters. "
                "Make one with: nexus-hub vault keygen"
            )
        if not any(material := bytes.fromhex(text)):
            raise InvalidKey(f"{source} is all zero. Make a key with: nexus-hub vault keygen")
        return cls(material)

    @classmethod
    def generate(cls) -> Self:
        """Make a new random key."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def id(self) -> str:
        """The first 8 hexadecimal digits of the key's SHA-256: names the key and does not give it away."""
        return hashlib.sha256(self.material).hexdigest()[:8]

    def reveal(self) -> str:
        """Give the key as 64 hexadecimal digits: for its file and for `vault keygen` only."""
        return self.material.hex()


def parse_key_id(text: str, *, what: str) -> str:
    """Read a key's id into the form that the database has; `what` names the parameter it came in.

    Raises:
        InvalidRequest: it is none. What looks like a key is not repeated.
    """
    if _ID.fullmatch(key_id := text.strip().lower()):
        return key_id
    if len(key_id) >= _TOO_LONG_FOR_A_SLIP:
        raise InvalidRequest(
            f"{what} is too long for the id of a key. Keys themselves are never sent, only their ids: the 8 "
            "hexadecimal digits that `nexus-hub vault status` shows. If that was a key, make another one."
        )
    raise InvalidRequest(
        f"{what} must be the id of a key: the 8 hexadecimal digits that `nexus-hub vault status` shows."
    )

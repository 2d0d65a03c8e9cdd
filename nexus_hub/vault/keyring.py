"""The keys a process holds: one primary, which seals, and older ones, which only open."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from nexus_hub.errors import InvalidKey, NotConfigured
from nexus_hub.settings import Settings
from nexus_hub.vault.keys import VaultKey


@dataclass(frozen=True, slots=True)
class Keyring:
    """An immutable set of keys."""

    primary: VaultKey
    others: tuple[VaultKey, ...] = ()

    def keys(self) -> tuple[VaultKey, ...]:
        """All keys, the primary first, none twice."""
        return tuple(dict.fromkeys((self.primary, *self.others)))

    def get(self, key_id: str) -> VaultKey | None:
        """The key of that id, if the ring holds it."""
        return next((key for key in self.keys() if key.id == key_id), None)

    @classmethod
    def parse(cls, text: str, *, source: str) -> Self:
        """Read a keyring file: `{"primary": key, "others": [key, ...]}`.

        Raises:
            InvalidKey: the file is not of that shape, or holds a key that is refused.
        """
        try:
            data = json.loads(text)
            primary, others = data["primary"], [*data.get("others", [])]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidKey(f'{source} must be JSON of the shape {{"primary": key, "others": [key, ...]}}.') from None
        return cls(
            VaultKey.parse(str(primary), source=f"the primary key in {source}"),
            tuple(VaultKey.parse(str(key), source=f"a key in {source}") for key in others),
        )

    def render(self) -> str:
        """The text of a keyring file. It holds the keys themselves."""
        others = [key.reveal() for key in self.others]
        return json.dumps({"primary": self.primary.reveal(), "others": others}, indent=2) + "\n"


class KeyringSource(Protocol):
    """Where a process takes its keyring from, asked anew for each use."""

    def current(self) -> Keyring:
        """The keyring as it is now."""


@dataclass(frozen=True, slots=True)
class FixedKeyring:
    """A keyring that comes from the environment and stays as it is."""

    keyring: Keyring

    def current(self) -> Keyring:
        """The keyring."""
        return self.keyring


class KeyringFile:
    """A keyring file that is read again when it changes, so that a new key needs no restart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keyring: Keyring | None = None

    def current(self) -> Keyring:
        """The keyring of the file as it is now.

        Raises:
            NotConfigured: there is no such file.
            InvalidKey: it can't be used.
        """
        try:
            status = self.path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._keyring is None or seen != self._seen:
                self._keyring = Keyring.parse(self.path.read_text(encoding="utf-8"), source=str(self.path))
                self._seen = seen
        except FileNotFoundError:
            raise NotConfigured("VAULT_ENCRYPTION_KEY", f"and there is no keyring at {self.path}") from None
        except UnicodeDecodeError:
            raise InvalidKey(f"{self.path} must be JSON in UTF-8.") from None
        except OSError as error:
            why = f"and the keyring at {self.path} can't be read: {error.strerror}"
            raise NotConfigured("VAULT_ENCRYPTION_KEY", why) from None
        return self._keyring


def create(path: Path) -> None:
    """Write a keyring file with one new key, mode 0600; an existing file stays as it is."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(Keyring(VaultKey.generate()).render())


def keyring_source(settings: Settings) -> KeyringSource:
    """The keyring of the environment if it names a primary key, else the file in the home.

    Raises:
        InvalidKey: a key of the environment is refused.
    """
    if settings.vault_encryption_key is None:
        return KeyringFile(settings.home / "keyring.json")
    named = {
        "VAULT_ENCRYPTION_KEY": settings.vault_encryption_key,
        "VAULT_OLD_KEY": settings.vault_old_key,
        "VAULT_NEW_KEY": settings.vault_new_key,
    }
    primary, *others = (
        VaultKey.parse(value.get_secret_value(), source=name) for name, value in named.items() if value is not None
    )
    return FixedKeyring(Keyring(primary, tuple(others)))

"""The keys a process holds: one primary, which seals, and older ones, which only open."""

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from nexus_hub.errors import InvalidKey, NotConfigured, NotFound
from nexus_hub.home.files import write_private
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.vault.keys import VaultKey


@dataclass(frozen=True, slots=True)
class Keyring:
    """An immutable set of keys."""

    primary: VaultKey
    others: tuple[VaultKey, ...] = ()

    def keys(self) -> tuple[VaultKey, ...]:
        """List all keys, the primary first, none twice."""
        return tuple(dict.fromkeys((self.primary, *self.others)))

    def get(self, key_id: str) -> VaultKey | None:
        """Find the key of that id, if the ring holds it."""
        return next((key for key in self.keys() if key.id == key_id), None)

    def with_primary(self, key_id: str) -> "Keyring":
        """Make that key the primary of a new ring of the same keys.

        Raises:
            NotFound: the ring lacks it.
        """
        key = self.get(key_id)
        if key is None:
            raise NotFound("vault key", key_id)
        return Keyring(key, tuple(other for other in self.keys() if other != key))

    def with_other(self, key: VaultKey) -> "Keyring":
        """Add a key that only opens, in a new ring."""
        return Keyring(self.primary, (*self.others, key))

    def without(self, key_id: str) -> "Keyring":
        """Leave out a key that is not the primary, in a new ring.

        Raises:
            NotFound: none of the others has that id.
        """
        kept = tuple(key for key in self.others if key.id != key_id)
        if len(kept) == len(self.others):
            raise NotFound("vault key beside the primary", key_id)
        return Keyring(self.primary, kept)

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
        """Write the text of a keyring file. It holds the keys themselves."""
        others = [key.reveal() for key in self.others]
        return json.dumps({"primary": self.primary.reveal(), "others": others}, indent=2) + "\n"


class KeyringSource(Protocol):
    """Source of a process's keyring, asked anew for each use."""

    def current(self) -> Keyring:
        """Read the keyring as it is now."""

    def list_targets(self, used: Collection[str]) -> list[str]:
        """List the ids of keys that a rotation may go to unasked; `used` are those of keys that were primary before."""

    def promote(self, key_id: str) -> bool:
        """Make that key the primary of all who share this source; False where only the operator can do that."""

    def remedy(self) -> str:
        """Say where a second key comes from."""


@dataclass(frozen=True, slots=True)
class FixedKeyring:
    """Keyring of the environment, which stays as it is; `new` is the key that a rotation goes to."""

    keyring: Keyring
    new: VaultKey | None = None

    def current(self) -> Keyring:
        """Give the keyring."""
        return self.keyring

    def list_targets(self, used: Collection[str]) -> list[str]:
        """Name the new key, used before or not: who sets it says so."""
        _ = used
        return [] if self.new is None or self.new == self.keyring.primary else [self.new.id]

    def promote(self, key_id: str) -> bool:
        """Check that it is the primary already: an environment can't be changed from here."""
        return self.keyring.primary.id == key_id

    def remedy(self) -> str:
        """Name the variable to set."""
        return (
            "VAULT_NEW_KEY is not set, or it is the same key as VAULT_ENCRYPTION_KEY. Set it for every process of the "
            "hub; nexus-hub vault keygen makes one."
        )


class KeyringFile:
    """Keyring file that is read again when it changes, so that a new key needs no restart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keyring: Keyring | None = None

    def current(self) -> Keyring:
        """Read the keyring of the file as it is now.

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

    def list_targets(self, used: Collection[str]) -> list[str]:
        """List the ids of the keys beside the primary that never were one."""
        _, *others = self.current().keys()
        return [key.id for key in others if key.id not in used]

    def promote(self, key_id: str) -> bool:
        """Make that key the primary for all processes that read the file; False if it can't be written.

        Raises:
            NotFound: the file has no such key.
        """
        if self.current().primary.id == key_id:
            return True
        try:
            self.change(lambda ring: ring.with_primary(key_id))
        except OSError:  # a file that somebody else looks after, such as a mounted secret
            return False
        return True

    def remedy(self) -> str:
        """Name the command that adds one."""
        return f"`others` in {self.path} holds no key that is not used yet. Add one: nexus-hub vault keygen --add"

    def change(self, new: Callable[[Keyring], Keyring]) -> None:
        """Put another keyring in the file's place in one step, mode 0600; one change at a time.

        Raises:
            NotConfigured, InvalidKey: see `current`.
            OSError: it can't be written.
        """
        self.current()
        with self._lock_file():
            write_private(self.path, new(self.current()).render())

    @contextmanager
    def _lock_file(self) -> Iterator[None]:
        while True:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    yield
                    return


def create(path: Path) -> None:
    """Write a keyring file with one new key, mode 0600; an existing file stays as it is."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(Keyring(VaultKey.generate()).render())


def keyring_source(settings: Settings) -> KeyringSource:
    """Take the keyring of the environment if it names a primary key, else the file in the home.

    Raises:
        InvalidKey: a key of the environment is refused.
    """
    if settings.vault_encryption_key is None:
        return KeyringFile(Home(settings.home).keyring_file)
    named = {
        "VAULT_ENCRYPTION_KEY": settings.vault_encryption_key,
        "VAULT_OLD_KEY": settings.vault_old_key,
        "VAULT_NEW_KEY": settings.vault_new_key,
    }
    keys = {
        name: VaultKey.parse(value.get_secret_value(), source=name)
        for name, value in named.items()
        if value is not None
    }
    primary, *others = keys.values()
    return FixedKeyring(Keyring(primary, tuple(others)), keys.get("VAULT_NEW_KEY"))

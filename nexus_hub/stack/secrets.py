"""Secrets of a home: made at its first start, and never replaced."""

import json
import secrets
from pathlib import Path

from nexus_hub.errors import UnsafeHome
from nexus_hub.home.files import write_private
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.vault import keyring

ROLES = ("postgres", "nexus_owner", "nexus_hub", "prefect")
"""Roles of the embedded PostgreSQL that log in."""


def create_secrets(home: Home, settings: Settings) -> None:
    """Make the secrets that neither the environment nor the home has yet; needs the lock.

    Raises:
        UnsafeHome: there is data, and what opens it is gone.
    """
    if settings.service_key is None:
        _create(home.service_key_file, secrets.token_urlsafe(32))
    if settings.embeds_prefect and settings.prefect_api_auth_string is None:
        _create(home.prefect_auth_file, f"admin:{secrets.token_urlsafe(24)}")
    if settings.vault_encryption_key is None:
        _require_no_data_without(home, home.keyring_file)
        keyring.create(home.keyring_file)
    if settings.embeds_postgres:
        _require_no_data_without(home, home.passwords_file)
        _create(home.passwords_file, json.dumps({role: secrets.token_urlsafe(24) for role in ROLES}))


def _require_no_data_without(home: Home, secret: Path) -> None:
    if (data := home.postgres / "data").exists() and not secret.exists():
        raise UnsafeHome(
            f"{secret} is gone and {data} still has data that nothing else opens; put the file back from a backup."
        )


def _create(path: Path, secret: str) -> None:
    if not path.exists():
        write_private(path, f"{secret}\n")

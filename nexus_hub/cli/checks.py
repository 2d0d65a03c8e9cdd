"""Checks of this machine for the doctor: packages, settings, home, keys, ports."""

import importlib.metadata
import secrets
import stat
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
from packaging.requirements import Requirement

from nexus_hub.access import tokens
from nexus_hub.errors import CheckFailed, HubError, InvalidSetting
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import ports
from nexus_hub.stack.state import StackState
from nexus_hub.vault.keyring import keyring_source
from nexus_hub.vault.sealing import SealContext, Vault

OLDEST_PYTHON = (3, 11)
PINNED = ("prefect", "fastapi", "sqlalchemy")
"""The packages whose other versions are known to break the hub."""
READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Check:
    """A line of the doctor's: what was looked at, what was seen, and what to do if it is wrong."""

    name: str
    ok: bool
    detail: str
    advice: str | None = None


async def run_check(name: str, look: Awaitable[str], advice: str) -> Check:
    """Make a check of a look: what it returns is seen and well, what it raises is wrong."""
    try:
        return Check(name, True, await look)
    except CheckFailed as wrong:
        return Check(name, False, wrong.message, wrong.advice or advice)
    except HubError as error:
        return Check(name, False, error.message, advice)
    except psycopg.Error as error:
        return Check(name, False, f"PostgreSQL says: {error.diag.message_primary or type(error).__name__}.", advice)
    except OSError as error:
        return Check(name, False, f"{error.filename or name}: {error.strerror or type(error).__name__}.", advice)


async def python() -> str:
    """Return the version of Python, if it is one that the hub runs on."""
    seen = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise CheckFailed(f"Python {seen} is too old.")
    return seen


async def packages(
    requirements: Iterable[str] | None = None, version: Callable[[str], str] = importlib.metadata.version
) -> str:
    """Return the versions of the packages that must not be any other ones, if they fit what the hub asks for."""
    if requirements is None:
        requirements = importlib.metadata.requires("nexus-hub") or []
    asked = {one.name.lower(): one for one in map(Requirement, requirements) if not one.marker}
    seen = {name: _version(name, version) for name in PINNED}
    wrong = [
        f"{name} is {seen[name] or 'missing'}, and the hub needs {asked[name].specifier}"
        for name in PINNED
        if name in asked and not asked[name].specifier.contains(seen[name] or "0", prereleases=True)
    ]
    if wrong:
        raise CheckFailed(f"{'; '.join(wrong)}.")
    return ", ".join(f"{name} {number}" for name, number in seen.items())


def _version(name: str, version: Callable[[str], str]) -> str | None:
    try:
        return version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


async def settings_fit(settings: Settings | InvalidSetting) -> str:
    """Say which parts are embedded and where they listen, if the settings go together."""
    if isinstance(settings, InvalidSetting):
        raise settings
    if not settings.embeds_postgres and settings.embeds_prefect and settings.prefect_database_url is None:
        raise CheckFailed(
            "NEXUS_DATABASE_URL names an outside PostgreSQL, and the embedded Prefect has no database there.",
            "Set PREFECT_SERVER_DATABASE_CONNECTION_URL for the embedded Prefect, or PREFECT_API_URL for another one.",
        )
    if settings.embeds_prefect and settings.port == settings.prefect_port:
        raise CheckFailed(
            f"NEXUS_PORT and NEXUS_PREFECT_PORT are both {settings.port}.", "Give them two different ports."
        )
    postgres = "embedded" if settings.embeds_postgres else "outside"
    prefect = f"embedded, port {settings.prefect_port}" if settings.embeds_prefect else "outside"
    return f"PostgreSQL: {postgres}; Prefect: {prefect}; API: {settings.host} port {settings.port}"


async def home_is_ours(home: Home, *, needed: bool) -> str:
    """Say where the home is, if it belongs to this user and nobody else can read its secrets."""
    if not home.path.exists():
        if needed:
            raise CheckFailed(f"{home.path} does not exist yet.", "It is made when the hub starts: nexus-hub up")
        return f"{home.path} does not exist and is not needed: all parts are outside"
    home.require_ours()
    files = (home.service_key_file, home.prefect_auth_file, home.keyring_file, home.passwords_file)
    if open_to_others := [path for path in files if path.exists() and _mode(path) & READABLE_BY_OTHERS]:
        named = " ".join(map(str, open_to_others))
        raise CheckFailed(
            f"Others can read secrets: {named}", f"Run chmod 600 {named}, and change what others have read."
        )
    return f"{home.path}, mode {_mode(home.path):04o}"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def service_key(settings: Settings) -> str:
    """Say where the operator's key comes from, if it can be used."""
    tokens.service_key(settings)
    return "NEXUS_SERVICE_KEY" if settings.service_key else "in the home"


async def keyring_opens(settings: Settings) -> str:
    """Say which key is the primary one, if what the keyring seals can be opened again."""
    source = keyring_source(settings)
    vault, context = Vault(source), SealContext("doctor", "canary", uuid4())
    canary = {"canary": secrets.token_hex(8)}
    sealed = vault.seal_config(context, canary)
    if vault.open_config(context, sealed.data, sealed.key_id) != canary:
        raise CheckFailed(f"What was sealed with key {sealed.key_id} was another value when opened.")
    return f"seals with key {sealed.key_id}, opens with {len(source.current().keys())} in all"


async def port_is_ours(host: str, port: int, setting: str, part: str, state: StackState) -> str:
    """Say whose a port is, if it is free or the hub's own."""
    running = next((one for one in state.parts if one.name == part), None)
    if state.phase == "stopped" or running is None or running.pid is None:
        ports.require_free(host, port, setting)
        return f"port {port} is free"
    if running.port != port:
        raise CheckFailed(
            f"The running hub has its {part} on port {running.port}, and {setting} says {port}.",
            f"Set {setting} to {running.port}, or start the hub again: nexus-hub down, nexus-hub up",
        )
    if ports.listener(port) == running.pid:
        return f"port {port} is ours (process {running.pid})"
    ports.require_free(host, port, setting)
    raise CheckFailed(f"Nothing listens on port {port}, where the {part} should.")

"""The environment of each part: what it needs of the caller's, and no secret that it does not."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from nexus_hub.address import LOOPBACK

VAULT_KEYS = ("VAULT_ENCRYPTION_KEY", "VAULT_OLD_KEY", "VAULT_NEW_KEY")
SECRETS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(VAULT_KEYS, ("api", "worker")),
    "NEXUS_SERVICE_KEY": ("api",),
    "NEXUS_TOKEN": (),
    "NEXUS_DATABASE_URL": ("api", "worker"),
    "NEXUS_MIGRATION_DATABASE_URL": (),
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": ("prefect",),
    "PREFECT_SERVER_API_AUTH_STRING": ("prefect",),
}
"""Variables with secrets, and the parts that need them; the command line and the supervisor have all."""
FOREIGN = frozenset(
    (
        *("HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE"),
        *("TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "DO_NOT_TRACK"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    )
)
FOREIGN_PREFIXES = ("LC_", "PREFECT_", "PYTHON", "XDG_")
"""The variables of a program that is not ours, which is Prefect's server. All else is left out."""


def keep_for(part: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Keep what a part may have; case does not count, as it does not where the settings are read."""
    kept = {name: value for name, value in variables.items() if part in SECRETS.get(name.upper(), (part,))}
    if part == "prefect":
        return {name: value for name, value in kept.items() if _is_foreign(name.upper())}
    return kept


def _is_foreign(name: str) -> bool:
    return name in FOREIGN or name.startswith(FOREIGN_PREFIXES)


def without_proxies(variables: Mapping[str, str], *urls: str) -> dict[str, str]:
    """Take our own parts out of what goes through proxies: this machine, and the hosts of plain HTTP that are named.

    Libraries read either of the two variables, in which others may stand already.
    """
    plain = [urlsplit(url).hostname or "" for url in urls if url.startswith("http:")]
    given = [host for name in ("no_proxy", "NO_PROXY") for host in variables.get(name, "").split(",")]
    hosts = ",".join(dict.fromkeys(host.strip() for host in (*given, *LOOPBACK, *plain) if host.strip()))
    return dict(variables) | {"no_proxy": hosts, "NO_PROXY": hosts}

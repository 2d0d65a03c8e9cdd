"""The environment of each part: what it needs of the caller's, and no secret that it does not.

A worker's start passes through here, so this imports little.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from nexus_hub.address import LOOPBACK
from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings

VAULT_KEYS = ("VAULT_ENCRYPTION_KEY", "VAULT_OLD_KEY", "VAULT_NEW_KEY")
SECRETS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(VAULT_KEYS, ("api", "worker")),
    "NEXUS_SERVICE_KEY": ("api",),
    "NEXUS_TOKEN": (),
    "NEXUS_METRICS_TOKEN": ("api", "worker"),
    "NEXUS_ALERT_WEBHOOK": ("worker",),
    "NEXUS_ALERT_SECRET": ("worker",),
    "NEXUS_DATABASE_URL": ("api", "worker"),
    "NEXUS_MIGRATION_DATABASE_URL": (),
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": ("prefect",),
    "PREFECT_SERVER_API_AUTH_STRING": ("prefect",),
    "NEXUS_OTLP_ENDPOINT": ("api", "worker"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("api", "worker"),
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": ("api", "worker"),
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
FOREIGN_PREFECT = ("PREFECT_PROFILE", "PREFECT_PROFILES_PATH", "PREFECT_API_KEY", "PREFECT_SERVER_DATABASE_")


def environment(settings: Settings, home: Home, part: str) -> dict[str, str]:
    """Make the environment of a part: the caller's, less what would lead it astray and secrets that it does not need.

    No proxy of the caller's stands between the parts.
    """
    foreign = (
        *(("PG",) if settings.embeds_postgres else ()),
        *(FOREIGN_PREFECT if settings.embeds_prefect else ()),
    )
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
    return {
        **without_proxies(keep_for(part, kept), settings.prefect_url),
        **(client_environment(settings, home) if settings.embeds_prefect else {}),
        "NEXUS_HOME": str(home.path),
        "NEXUS_HOST": settings.host,
        "NEXUS_PORT": str(settings.port),
        "NEXUS_PREFECT_PORT": str(settings.prefect_port),
        "NEXUS_WORKER_HEARTBEAT_FILE": str(home.heartbeat_file),
        "NEXUS_WORKER_METRICS_FILE": str(home.worker_metrics_file),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def client_environment(settings: Settings, home: Home) -> dict[str, str]:
    """Make the environment of a process that uses the embedded Prefect, whatever profile its user has."""
    return {
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_API_URL": settings.prefect_url,
        "PREFECT_API_AUTH_STRING": auth_string(settings, home),
        "DO_NOT_TRACK": "1",
    }


def auth_string(settings: Settings, home: Home) -> str:
    """`user:password` of Prefect's API: the environment's, else the home's.

    Raises:
        NotConfigured: neither has it.
    """
    given = settings.prefect_api_auth_string
    return given.get_secret_value() if given else home.prefect_auth()


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

"""The version that a deployment bears: another one as soon as anything has changed that its flow or form comes from."""

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from packaging.version import InvalidVersion, Version

import deployments
import flows
import nexus_hub
import tasks

PACKAGES = (deployments, flows, nexus_hub, tasks)
FORM_MAKERS = ("prefect", "pydantic")
"""The libraries that make the form's schema of a flow's parameters."""
_VERSION = re.compile(r"\d+\.\d+\.\d+\S*\+[0-9a-f]{12}")


def find_later_release(versions: Iterable[str | None]) -> str | None:
    """Find the newest release among versions of deployments, if it is a later one than this; None if none is."""
    found: list[Version] = []
    for one in versions:
        with suppress(InvalidVersion):
            found.append(Version(Version(one or "").public))
    newest = max(found, default=None)
    return str(newest) if newest is not None and newest > Version(nexus_hub.__version__) else None


@cache
def code_version() -> str:
    """Hash the sources of the hub, after its version."""
    digest = sha256(" ".join(version(package) for package in FORM_MAKERS).encode())
    for package in PACKAGES:
        for source in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(source.name.encode())
            digest.update(source.read_bytes())
    return f"{nexus_hub.__version__}+{digest.hexdigest()[:12]}"


def is_of_another_release(version: str | None) -> bool:
    """Tell if a deployment bears a version of the hub's that is not this one's, as while an upgrade is under way."""
    return version is not None and _VERSION.fullmatch(version) is not None and version != code_version()

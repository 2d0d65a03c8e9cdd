"""The version that a deployment bears: another one as soon as anything has changed that its flow or form comes from."""

from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import deployments
import flows
import nexus_hub
import tasks

PACKAGES = (deployments, flows, nexus_hub, tasks)
FORM_MAKERS = ("prefect", "pydantic")
"""The libraries that make the form's schema of a flow's parameters."""


def code_version() -> str:
    """Hash the sources of the hub, after its version."""
    digest = sha256(" ".join(version(package) for package in FORM_MAKERS).encode())
    for package in PACKAGES:
        for source in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(source.name.encode())
            digest.update(source.read_bytes())
    return f"{nexus_hub.__version__}+{digest.hexdigest()[:12]}"

"""The three ways to install a fleet, each as its parts with the variables that they get."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.fixtures.upstreams import ROOT

PLACE = ROOT / "deployments"
KUBERNETES, SYSTEMD, COMPOSE = PLACE / "kubernetes", PLACE / "systemd", PLACE / "compose"
PARTS = ("api", "worker", "migrate", "deploy", "prefect-server", "prefect-services", "prefect-migrate")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Installed:
    """A part as one of the ways installs it."""

    way: str
    part: str
    stop_seconds: float
    variables: dict[str, str] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.way}-{self.part}"


@cache
def manifests() -> list[Document]:
    """All that is given to Kubernetes, the example of the secrets too; read once, so change none."""
    paths = sorted(KUBERNETES.rglob("*.yaml"))
    found = [document for path in paths for document in yaml.safe_load_all(path.read_text()) if is_manifest(document)]
    return [document for document in found if document["kind"] != "Kustomization"]


def is_manifest(document: Document) -> bool:
    """Tell a manifest from the values of a chart."""
    return "kind" in document


def named(kind: str, name: str) -> Document:
    """The one manifest of this kind and name."""
    (found,) = (one for one in manifests() if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def pods() -> Iterator[tuple[str, Document]]:
    """What makes pods, with their specification."""
    for one in manifests():
        if one["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def given(container: Document) -> dict[str, str]:
    """The variables of a container; those of secrets are empty."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        for kind, reference in source.items():
            document = named({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"])
            found |= document.get("data", {}) | document.get("stringData", {})
    return found | {one["name"]: one.get("value", "") for one in container.get("env", [])}


def from_kubernetes() -> Iterator[Installed]:
    for _, pod in pods():
        (container,) = pod["containers"]
        if container["image"] == "nexus-hub":
            seconds = pod.get("terminationGracePeriodSeconds", 30)
            yield Installed("kubernetes", container["args"][0], seconds, given(container))


def compose() -> Document:
    """The compose file, its anchors resolved."""
    found: Document = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return found


def from_compose() -> Iterator[Installed]:
    for service in compose()["services"].values():
        if service["image"].startswith("${NEXUS_IMAGE"):
            seconds = float(service.get("stop_grace_period", "10s").removesuffix("s"))
            yield Installed("compose", service["command"][0], seconds, service["environment"])


def unit(path: Path) -> dict[str, str]:
    """The settings of a unit that stand in it once."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))


def environment_file(path: Path) -> dict[str, str]:
    """The variables of a file as systemd and compose read it."""
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def from_systemd() -> Iterator[Installed]:
    for path in sorted(SYSTEMD.glob("*.service")):
        settings = unit(path)
        part = path.stem.removeprefix("nexus-hub-").removesuffix("@")
        example = SYSTEMD / "env" / f"{Path(settings['EnvironmentFile']).name}.example"
        seconds = float(settings.get("TimeoutStopSec", "90"))
        yield Installed("systemd", part, seconds, environment_file(example))


def everywhere() -> list[Installed]:
    """Each part of each way, once."""
    found = [*from_kubernetes(), *from_compose(), *from_systemd()]
    return list({str(one): one for one in found}.values())

"""The manifests are what three versions of Kubernetes take, fit together, and give nothing more than is needed."""

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]

from tests.fixtures.upstreams import ROOT
from tests.installing.places import KUBERNETES, PARTS, Document, manifests, named, pods

VERSIONS = ("1.31", "1.34", "1.37")
POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
PODS = dict(pods())


def selected(labels: dict[str, str]) -> list[Document]:
    """The pods with these labels."""
    templates = [one["spec"]["template"] for one in manifests() if one["kind"] in {"Deployment", "StatefulSet", "Job"}]
    return [one for one in templates if labels.items() <= one["metadata"]["labels"].items()]


def containers() -> Iterator[Document]:
    for pod in PODS.values():
        yield from pod["containers"]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version: str) -> None:
    for document in manifests():
        kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelled_field_is_found() -> None:
    document = deepcopy(named("Deployment", "nexus-hub-worker"))
    document["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)


@pytest.mark.parametrize(
    "directory", [KUBERNETES, KUBERNETES / "base", KUBERNETES / "release"], ids=lambda one: one.name
)
def test_a_kustomization_names_all_files_beside_it(directory: Path) -> None:
    resources = yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]
    assert all((directory / name).exists() for name in resources)
    beside = {path.name for path in directory.glob("*.yaml")}
    left = {"kustomization.yaml", "secrets.example.yaml", "values-prefect-server.yaml"}
    assert {name for name in resources if name.endswith(".yaml")} == beside - left


def test_the_images_are_those_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for path in (KUBERNETES / "kustomization.yaml", KUBERNETES / "release" / "kustomization.yaml"):
        (image,) = yaml.safe_load(path.read_text())["images"]
        assert (image["name"], image["newTag"]) == ("nexus-hub", version)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_no_more_than_it_must(name: str) -> None:
    pod = PODS[name]
    assert POD.items() <= pod["securityContext"].items()
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "a Service named nexus would set NEXUS_PORT"
    for container in pod["containers"]:
        assert container["securityContext"] == CONTAINER
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_what_a_container_names_is_there() -> None:
    for pod in PODS.values():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        claimed = {"data"} if pod is PODS["redis"] else set()
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys() | claimed
        for volume in volumes.values():
            if "secret" in volume:
                named("Secret", volume["secret"]["secretName"])
            if "configMap" in volume:
                named("ConfigMap", volume["configMap"]["name"])
        named("ServiceAccount", pod["serviceAccountName"])


def test_the_hubs_containers_run_a_part_and_have_its_two_places_to_write() -> None:
    ours = [container for container in containers() if container["image"] == "nexus-hub"]
    assert {container["args"][0] for container in ours} == set(PARTS)
    for container in ours:
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/var/lib/nexus-hub", "/tmp"}


def test_probes_and_services_name_ports_that_are_there() -> None:
    for container in containers():
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container.get(probe, {})
            port = (asked.get("httpGet") or asked.get("tcpSocket") or {}).get("port")
            assert port is None or port in ports
    for service in (one for one in manifests() if one["kind"] == "Service"):
        (template,) = selected(service["spec"]["selector"])
        (container,) = template["spec"]["containers"]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= {
            port["name"] for port in container["ports"]
        }


def test_every_part_that_stays_outlasts_a_drain_of_its_machine() -> None:
    budgets = [one for one in manifests() if one["kind"] == "PodDisruptionBudget"]
    protected = [template for budget in budgets for template in selected(budget["spec"]["selector"]["matchLabels"])]
    staying = [one["spec"]["template"] for one in manifests() if one["kind"] == "Deployment"]
    assert len(staying) == len(protected)
    assert all(template in protected for template in staying)
    scaled = named("HorizontalPodAutoscaler", "nexus-hub-api")["spec"]
    assert scaled["minReplicas"] >= 2
    for one in (one for one in manifests() if one["kind"] == "Deployment"):
        name = one["metadata"]["name"]
        assert ("replicas" in one["spec"]) != (name == scaled["scaleTargetRef"]["name"])
        assert one["spec"].get("replicas", 2) >= 2
        assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()


def test_policies_speak_of_pods_that_are_there() -> None:
    def components(selector: dict[str, Any]) -> set[str]:
        chosen = set(selector.get("matchLabels", {}).values())
        return chosen | {value for one in selector.get("matchExpressions", []) for value in one["values"]}

    present = {template["metadata"]["labels"]["app.kubernetes.io/component"] for template in selected({})}
    for policy in (one for one in manifests() if one["kind"] == "NetworkPolicy"):
        chosen = components(policy["spec"]["podSelector"])
        for rule in policy["spec"].get("ingress", []):
            for peer in rule.get("from", []):
                chosen |= components(peer.get("podSelector", {}))
        assert chosen <= present


def test_the_example_of_the_secrets_holds_none() -> None:
    secrets = [one for one in manifests() if one["kind"] == "Secret"]
    assert len(secrets) > 3
    assert all(not value for one in secrets for value in one["stringData"].values())


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("directory", [KUBERNETES, KUBERNETES / "release"], ids=lambda one: one.name)
def test_kustomize_puts_all_into_the_namespace_with_images_of_the_registry(directory: Path) -> None:
    made = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True, check=True).stdout
    documents = list(yaml.safe_load_all(made))
    assert len(documents) > 8
    namespaces = {one["metadata"].get("namespace") for one in documents if one["kind"] != "Namespace"}
    assert namespaces == {"nexus-hub"}
    assert '"image": "nexus-hub"' not in json.dumps(documents)

"""Descriptions of a registry that are meant to do harm."""

import json
from typing import Any

import pytest

from nexus_hub.errors import InvalidConfig
from nexus_hub.upstream.file_lines import LONGEST_TEXT
from nexus_hub.upstream.mcp_json import FileEntry, parse
from nexus_hub.upstream.server_json import LONGEST_VALUE


def _read(**package: Any) -> FileEntry:
    described = {"registryType": "npm", "identifier": "some-package", "version": "1.0.0", **package}
    (entry,) = parse(json.dumps({"name": "io.example/one", "packages": [described]}), {})
    return entry


@pytest.mark.parametrize(
    ("kind", "identifier"),
    [
        ("npm", "--call=touch x"),
        ("npm", "https://evil.example/x.tgz"),
        ("npm", "git+ssh://evil.example/x"),
        ("npm", "/tmp/x"),
        ("npm", ""),
        ("pypi", "--index-url=https://evil.example"),
        ("pypi", "x @ https://evil.example/x.whl"),
        ("oci", "-v=/:/host"),
        ("oci", "--privileged image"),
        ("nuget", "--source"),
    ],
)
def test_what_is_no_name_of_a_package_is_refused(kind: str, identifier: str) -> None:
    entry = _read(registryType=kind, identifier=identifier)
    assert entry.config is None
    assert "packages.0.identifier" in str(entry.problem)


@pytest.mark.parametrize("version", ["1 --x", "-1", "https://evil.example/x.tgz", "1\n2"])
def test_what_is_no_version_is_refused(version: str) -> None:
    assert "packages.0.version" in str(_read(version=version).problem)


@pytest.mark.parametrize(
    ("kind", "identifier", "version"),
    [
        ("npm", "@scope/some.package", "1.2.3-beta.1+build"),
        ("pypi", "some_package[extra]", "1!2.0"),
        ("oci", "ghcr.example:5000/a/b", "latest"),
        ("oci", "ghcr.example/a@sha256:0123", None),
        ("nuget", "Some.Package", "1.0.0"),
    ],
)
def test_names_of_packages_are_taken(kind: str, identifier: str, version: str | None) -> None:
    assert _read(registryType=kind, identifier=identifier, version=version).problem is None


def test_variables_in_variables_have_a_bound() -> None:
    value: dict[str, Any] = {"value": "x" * 1000}
    for _ in range(8):
        value = {"value": "{a}" * 100, "variables": {"a": value}}
    assert f"more than {LONGEST_VALUE}" in str(_read(environmentVariables=[{"name": "A", **value}]).problem)


def test_empty_variables_in_variables_are_looked_up_once() -> None:
    value: dict[str, Any] = {"value": ""}
    for _ in range(30):
        value = {"value": "{a}" * 100, "variables": {"a": value}}
    assert _read(environmentVariables=[{"name": "A", **value}]).problem is None


def test_a_description_of_thousands_of_packages_is_refused() -> None:
    package = {"registryType": "unknown", "identifier": "x"}
    (entry,) = parse(json.dumps({"name": "io.example/one", "packages": [package] * 2000}), {})
    assert str(entry.problem).startswith("packages: ")


def test_too_many_servers_are_counted_before_they_are_read() -> None:
    servers = {f"s{number}": {"command": 1} for number in range(3)}
    with pytest.raises(InvalidConfig, match="import 2 at a time"):
        parse(json.dumps({"mcpServers": servers}), {}, most=2)
    with pytest.raises(InvalidConfig, match="import 2 at a time"):
        parse(json.dumps({"servers": [{"name": "io.example/one", "packages": []}] * 3}), {}, most=2)


def test_lines_of_a_huge_file_are_not_looked_for() -> None:
    text = json.dumps({"mcpServers": {"one": {"command": 1}}, "more": "x" * LONGEST_TEXT})
    assert [entry.line for entry in parse(text, {})] == [None]

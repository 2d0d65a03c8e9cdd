"""The Containerfile passes its linter, holds no secret, runs as no root, and installs what the lock says."""

import re
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tests.fixtures.upstreams import ROOT
from tests.installing.containerfile import CONTAINERFILE, read
from tests.installing.places import PARTS

PLACE = CONTAINERFILE.parent
BUILD, IMAGE = read()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?(==\S+(?: ; [^\\]+)?) \\$", re.MULTILINE)
_HASH = re.compile(r"--hash=(\S+)")


def pins(lock: Path) -> dict[str, str]:
    """The packages of a lock with their versions; a package may come twice, for two kinds of machine."""
    return {f"{name} {pin.partition(' ')[0]}": pin.partition(" ")[0] for name, pin in _PIN.findall(lock.read_text())}


@pytest.fixture(scope="module")
def health() -> ModuleType:
    """The image's health check, as a module."""
    loader = SourceFileLoader("healthy", str(PLACE / "healthy"))
    spec = spec_from_loader("healthy", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([linter, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_runs_as_a_user_that_an_orchestrator_knows_for_no_root() -> None:
    uid, gid = IMAGE.last("USER").text.split(":")
    assert int(uid) > 1000
    assert int(gid) > 1000


def test_nothing_secret_is_asked_for_or_set() -> None:
    given = [name for stage in (BUILD, IMAGE) for name in stage.environment] + re.findall(
        r"^ARG (\w+)", CONTAINERFILE.read_text(), re.MULTILINE
    )
    assert not [name for name in given if re.search("KEY|TOKEN|AUTH|PASSWORD|SECRET|DATABASE_URL", name)]


def test_only_what_is_copied_reaches_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {source.removeprefix("./") for step in BUILD.named("COPY") for source in step.arguments[:-1]}
    assert "*" in lines
    assert copied == let_in
    theirs = [source for step in IMAGE.named("COPY") if "from" not in step.options for source in step.arguments[:-1]]
    assert all((ROOT / source).is_file() and source.split("/")[0] in let_in for source in theirs)


def test_the_build_has_all_that_the_wheel_is_made_of() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {source for step in BUILD.named("COPY") for source in step.arguments[:-1]}
    assert set(wheel["only-include"]) | {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]} <= copied


def test_the_images_lock_is_a_part_of_the_one_that_is_tested() -> None:
    image, whole = pins(ROOT / "requirements.image.lock"), pins(ROOT / "requirements.lock")
    assert len(image) > 100
    assert image.items() <= whole.items()
    hashes = _HASH.findall((ROOT / "requirements.image.lock").read_text())
    assert set(hashes) <= set(_HASH.findall((ROOT / "requirements.lock").read_text()))
    assert not {"pytest", "playwright", "ruff"} & {name.split(" ")[0] for name in image}


def test_the_label_says_this_version() -> None:
    labels = {name: value for step in IMAGE.named("LABEL") for name, value in step.pairs.items()}
    assert labels["org.opencontainers.image.version"] == PROJECT["version"]
    assert labels["org.opencontainers.image.licenses"] == PROJECT["license"]


def test_the_command_names_a_part(tmp_path: Path) -> None:
    assert IMAGE.last("ENTRYPOINT").words == ["tini", "--", "part"]
    assert IMAGE.last("CMD").words == ["api"]
    for program in ("nexus-hub", "prefect"):
        (tmp_path / program).write_text('#!/bin/sh\necho "$(basename "$0")" "$@"\n')
        (tmp_path / program).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def become(*words: str) -> str:
        command: list[str | Path] = [PLACE / "part", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert {part: become(part) for part in PARTS} == {
        "api": "nexus-hub api",
        "worker": "nexus-hub worker",
        "migrate": "nexus-hub migrate",
        "deploy": "nexus-hub deploy",
        "prefect-server": "prefect server start --no-services",
        "prefect-services": "prefect server services start",
        "prefect-migrate": "prefect server database upgrade --yes",
    }
    assert become("nexus-hub", "doctor", "--json") == "nexus-hub doctor --json"


@pytest.mark.parametrize(
    ("command_line", "part"),
    [
        (b"tini\0--\0part\0api\0", "api"),
        (b"/sbin/docker-init\0--\0tini\0--\0/usr/local/bin/part\0worker\0", "worker"),
        (b"/opt/nexus-hub/bin/python\0-m\0nexus_hub\0", ""),
    ],
)
def test_the_health_check_finds_the_part_by_the_containers_command(
    health: ModuleType, command_line: bytes, part: str
) -> None:
    assert health.find_part(command_line) == part


def test_the_health_check_asks_every_part_that_listens(health: ModuleType) -> None:
    assert set(health.PAGES) == {"api", "worker", "prefect-server"}
    ports = {str(port) for step in IMAGE.named("EXPOSE") for port in step.words}
    assert {default for _, default, _ in health.PAGES.values()} == ports

"""The units are what systemd takes, run programs that are there, and leave little open."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.installing.places import PARTS, SYSTEMD, environment_file, unit

UNITS = sorted(SYSTEMD.glob("*.service"))
PROGRAMS = {"nexus-hub", "prefect"}
OF_THE_SYSTEM = ("sysinit", "basic", "shutdown", "network-online", "multi-user")
MOST_EXPOSED = 2.0
"""Of 10, as `systemd-analyze security` counts: up to 2 is a service that is well kept."""
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a machine with the units, and with stand-ins for what they name."""
    root = tmp_path_factory.mktemp("machine")
    place = root / "etc" / "systemd" / "system"
    shutil.copytree(SYSTEMD, place, ignore=shutil.ignore_patterns("env", "*.md"))
    programs = root / "opt" / "nexus-hub" / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    for name in OF_THE_SYSTEM:
        (place / f"{name}.target").write_text("[Unit]\n")
    return root


def analyze(machine: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `systemd-analyze` on that machine."""
    words = ["systemd-analyze", command, f"--root={machine}", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=machine)


def instances() -> list[str]:
    """The units, templates with an instance."""
    return [path.name.replace("@.", "@1.") for path in UNITS]


@needs_systemd
def test_systemd_finds_nothing_wrong(machine: Path) -> None:
    found = analyze(machine, "verify", *instances(), "nexus-hub.target")
    assert (found.returncode, found.stderr) == (0, "")


@needs_systemd
def test_a_fault_is_found(machine: Path) -> None:
    text = (SYSTEMD / "nexus-hub-worker@.service").read_text()
    broken = machine / "etc" / "systemd" / "system" / "broken.service"
    broken.write_text(text.replace("bin/nexus-hub", "bin/nexus-hubb").replace("KillMode=mixed", "KillMode=most"))
    found = analyze(machine, "verify", broken.name).stderr
    assert "nexus-hubb is not executable" in found
    assert "kill mode" in found


@needs_systemd
@pytest.mark.parametrize("name", instances())
def test_a_unit_leaves_little_open(machine: Path, name: str) -> None:
    found = analyze(machine, "security", "--offline=yes", name)
    said = re.search(r"exposure level for \S+: ([\d.]+)", found.stdout)
    assert said is not None, found.stdout + found.stderr
    assert float(said[1]) <= MOST_EXPOSED


def test_every_part_has_a_unit_with_its_own_file_of_variables() -> None:
    parts = {path.stem.removeprefix("nexus-hub-").removesuffix("@") for path in UNITS}
    assert parts == set(PARTS)
    for path in UNITS:
        file = Path(unit(path)["EnvironmentFile"]).name
        assert environment_file(SYSTEMD / "env" / f"{file}.example")
        assert Path(unit(path)["ExecStart"].split(" ")[0]).name in PROGRAMS


def test_the_examples_hold_no_secret() -> None:
    for path in (SYSTEMD / "env").iterdir():
        for name, value in environment_file(path).items():
            if re.search(r"_KEY$|_AUTH_STRING$|DATABASE\w*_URL$|DOCKET_URL$|MESSAGING_URL$", name):
                assert value == "", name

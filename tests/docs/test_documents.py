"""Every command in the documentation runs, and shows what the page says; every link leads somewhere."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.console import Terminal, examples
from tests.fixtures import forks, run
from tests.fixtures.hub import Hub, copy_prepared_home, processes_of
from tests.fixtures.upstreams import ROOT, free_port

DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    [*ROOT.glob("docs/**/*.md"), *ROOT.glob("deployments/**/*.md")]
)
WITH_COMMANDS = [path for path in DOCUMENTS if any(examples(path.read_text()))]
DEFAULT_HOME = "~/.local/share/nexus-hub"
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
_MAKE = 'make() { command make --no-print-directory -C "$ROOT" -o .venv/ready BIN="$BIN" "$@"; }; '
"""A checkout's make, with the programs of the environment that the tests run in."""


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def place(document: Path, tmp_path: Path) -> Iterator[Hub]:
    """Where a hub can be started, in the place of the default home and ports; stopped if the page left it running.

    The README is for who has never started one, on whose home there is nothing.
    """
    (tmp_path / "work").mkdir()
    hub = Hub(run.new_directory("page") / "home", free_port(), free_port())
    if document.name != "README.md":
        copy_prepared_home(hub.home)
    yield hub
    hub.run("down")
    assert not processes_of(hub.home)


def adapted(text: str, hub: Hub) -> str:
    """A page's text with the test's home and ports."""
    text = text.replace(DEFAULT_HOME, str(hub.home))
    text = re.sub(r"\b(127\.0\.0\.1:|port )8080\b", rf"\g<1>{hub.port}", text)
    return re.sub(r"\b(127\.0\.0\.1:|port )4200\b", rf"\g<1>{hub.prefect_port}", text)


def forked_programs(programs: Path, directory: Path) -> Path:
    """Make a directory with a `nexus-hub` that runs in a fork: its imports take longer than most commands."""
    forks.begin()
    directory.mkdir()
    program = directory / "nexus-hub"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(forks.command(programs / program.name))} "$@"\n')
    program.chmod(0o755)
    return directory


@pytest.mark.stack
@pytest.mark.parametrize("document", WITH_COMMANDS, ids=names)
def test_the_commands_of_a_page_do_what_it_says(document: Path, place: Hub, tmp_path: Path) -> None:
    if "$ curl" in document.read_text() and not shutil.which("curl"):
        pytest.skip("the page's commands need curl: apt-get install curl")
    programs = Path(sys.executable).parent
    before = [] if document.name == "README.md" else [str(forked_programs(programs, tmp_path / "forked"))]
    path = os.pathsep.join([*before, str(programs), place.environment["PATH"]])
    terminal = Terminal(tmp_path / "work", {**place.environment, "PATH": path, "ROOT": str(ROOT), "BIN": str(programs)})
    for example in examples(adapted(document.read_text(), place)):
        command = _MAKE + example.command if example.command.startswith("make ") else example.command
        code, written = terminal.run(command)
        assert code == 0, f"$ {example.command}\n{written}\nexit code {code}"
        assert example.agrees(written), f"$ {example.command}\n{written}\ninstead of\n" + "\n".join(example.shown)


def test_the_readme_and_the_tutorial_have_commands() -> None:
    assert {ROOT / "README.md", ROOT / "docs" / "tutorial.md", ROOT / "docs" / "operations.md"} <= set(WITH_COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_every_link_of_a_page_leads_to_a_file(document: Path) -> None:
    links = _LINK.findall(document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150

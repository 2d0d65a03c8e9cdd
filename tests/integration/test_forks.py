"""A program in a fork of the run's warm process is what it would be in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fixtures import forks, run
from tests.fixtures.hub import until

TELLS = """
import json, os, sys
said = {"words": sys.argv[1:], "directory": os.getcwd(), "given": sys.stdin.read(), "variables": dict(os.environ)}
said |= {"first": sys.path[0], "name": __name__, "pid": os.getpid()}
print(json.dumps(said))
print("to the side", file=sys.stderr)
"""
ENDS = {"import sys; sys.exit(7)": 7, "pass": 0, "raise ValueError('wrong')": 1, "import sys; sys.exit('so')": 1}
STAYS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
BECOMES = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', {code!r}])"
"""A program that replaces itself by another."""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    forks.begin()
    return tmp_path / "program.py"


def ran_in_fork(script: Path, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(forks.command(script, *words), capture_output=True, text=True, check=False, **options)


def test_it_has_the_words_streams_directory_and_variables_of_who_asks(script: Path) -> None:
    script.write_text(TELLS)
    variables = {"ONE": "1=a\nb", "ÄÖ": "ü"}
    ran = ran_in_fork(script, "a b", "", "ü", env=variables, cwd="/", input="in")
    assert (ran.returncode, ran.stderr) == (0, "to the side\n")
    said = json.loads(ran.stdout)
    assert said.pop("pid") != os.getpid()
    assert variables.items() <= said.pop("variables").items()
    first = str(script.parent)
    assert said == {"words": ["a b", "", "ü"], "directory": "/", "given": "in", "first": first, "name": "__main__"}


def test_nothing_of_one_is_seen_by_the_next(script: Path) -> None:
    script.write_text("import os, sys; print(os.environ.get('LEFT'), hasattr(sys, 'left')); sys.left = 1\n")
    for given in ({"LEFT": "1"}, {}):
        ran = ran_in_fork(script, env=given)
        assert ran.stdout == f"{given.get('LEFT')} False\n"


@pytest.mark.parametrize("code", ENDS)
def test_it_ends_with_the_same_exit_code(script: Path, code: str) -> None:
    script.write_text(code)
    assert ran_in_fork(script).returncode == ENDS[code]
    script.write_text(BECOMES.format(code=code))
    assert ran_in_fork(script).returncode == ENDS[code]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("text", [STAYS, BECOMES.format(code=STAYS)], ids=["itself", "another"])
def test_it_ends_with_who_asked(script: Path, number: signal.Signals, text: str) -> None:
    script.write_text(text)
    with subprocess.Popen(forks.command(script), stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        fork = psutil.Process(int(asker.stdout.readline()))
        assert fork.pid != asker.pid
        asker.send_signal(number)
        asker.wait()
    until(lambda: not fork.is_running(), 30, "the end of the fork")


def test_who_asked_ends_with_it(script: Path) -> None:
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ran_in_fork(script, timeout=60).returncode == 128 + signal.SIGKILL, "as a shell tells it"


def test_without_a_warm_process_it_is_a_process_of_its_own(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.write_text("import os, sys; print(os.getpid(), sys.argv[1:])")
    monkeypatch.setenv(run.RUN, str(tmp_path))
    with subprocess.Popen(forks.command(script, "x"), stdout=subprocess.PIPE, text=True) as asker:
        assert asker.communicate()[0] == f"{asker.pid} ['x']\n"
    monkeypatch.delenv(run.RUN)
    assert forks.command(script, "x") == [sys.executable, str(script), "x"]

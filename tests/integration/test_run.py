"""Nothing stays behind of a process of the tests, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fixtures import run
from tests.fixtures.hub import until
from tests.fixtures.upstreams import ROOT

SECONDS = 60
CALM = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
PROCESS = f"""
import os, subprocess, sys, time
from tests.fixtures import run
run.begin()
started = [subprocess.Popen([sys.executable, "-c", code], start_new_session=True).pid for code in {[CALM, STUBBORN]}]
print(run.directory(), *started, flush=True)
sys.stdin.read()
run.end()
"""


def processes_that_live(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("end", ["in order", signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("alone", [True, False], ids=["a run", "one process of a run"])
def test_what_a_process_of_the_tests_started_ends_with_it(end: str | signal.Signals, alone: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not (alone and name in (run.RUN, run.PROCESS))}
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    directory, *pids = process.stdout.readline().decode().split()
    started = [int(pid) for pid in pids]
    assert processes_that_live(started) == started
    if isinstance(end, signal.Signals):
        process.send_signal(end)
    process.communicate(timeout=SECONDS)
    until(lambda: not processes_that_live(started), SECONDS, "the end of what was started")
    until(
        lambda: Path(directory).exists() is not alone,
        SECONDS,
        "the end of the directory, if it is the run's own",
    )

"""Homes in short directories, and stacks that run as processes of their own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from nexus_hub.home.layout import Home
from nexus_hub.settings import Settings
from nexus_hub.stack import state as states
from nexus_hub.stack.state import StackState
from tests.integration.stack.plans import free_port

REPOSITORY = Path(__file__).parents[3]
PATIENCE = 90


class Running:
    """A stack in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], home: Home) -> None:
        self.process = process
        self.home = home

    def wait_until(self, wanted: Callable[[StackState], bool]) -> StackState:
        """The first state of this supervisor that is as wanted."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            state = states.read(self.home.state_file)
            if state and state.pid == self.process.pid and wanted(state):
                return state
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"exit code {self.process.poll()}, state {states.read(self.home.state_file)}")

    def ready(self) -> StackState:
        return self.wait_until(lambda state: state.phase == "ready")

    def processes(self) -> list[psutil.Process]:
        """The supervisor and all that came from it."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]


StartStack = Callable[..., Running]


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that everybody may enter, with a short path: pytest's own is neither."""
    with new_base() as directory:
        yield directory


@contextmanager
def new_base() -> Iterator[Path]:
    """A new directory that everybody may enter."""
    directory = Path(tempfile.mkdtemp(prefix="nx-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def settings(base: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a home that does not exist yet, on free ports, apart from the caller's environment."""
    return settings_in(base, monkeypatch)


def settings_in(base: Path, patch: pytest.MonkeyPatch) -> Settings:
    """Settings of a home in a directory."""
    for name in os.environ:
        if name.startswith(("NEXUS_", "PREFECT_", "VAULT_")):
            patch.delenv(name)
    return Settings(home=base / "home", port=free_port(), prefect_port=free_port())


@pytest.fixture
def home(settings: Settings) -> Home:
    return Home(settings.home)


@pytest.fixture
def start(settings: Settings) -> Iterator[StartStack]:
    """Start a plan of `plans.py` as a process; what is left is killed at the end."""
    with ExitStack() as stack:
        yield lambda plan, **options: stack.enter_context(started(plan, settings, **options))


@contextmanager
def started(
    plan: str,
    settings: Settings,
    *,
    home: Path | None = None,
    prefix: tuple[str, ...] = (),
    directory: Path = REPOSITORY,
    options: tuple[str, ...] = (),
) -> Iterator[Running]:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.integration.stack.plans", plan, *options],
        env=environment(settings, home or settings.home),
        cwd=directory,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    running = Running(process, Home(home or settings.home))
    try:
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=PATIENCE)
        process.kill()


def environment(settings: Settings, home: Path) -> Mapping[str, str]:
    return dict(os.environ) | {
        "NEXUS_HOME": str(home),
        "NEXUS_PORT": str(settings.port),
        "NEXUS_PREFECT_PORT": str(settings.prefect_port),
        "PYTHONPATH": str(REPOSITORY),
    }


def still_alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are there after a moment; a zombie that nobody has asked about yet is not."""
    deadline = time.monotonic() + 20
    while left := [process for process in processes if _lives(process)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

"""The wheel holds what the hub needs and nothing else, and works where other code bears the names of ours."""

import configparser
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.fixtures import run
from tests.fixtures.hub import TIME_SERVER, Hub, copy_prepared_home, kept_up, run_command
from tests.fixtures.upstreams import free_port

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {"nexus_hub", "flows", "tasks", "deployments"}
FOREIGN = ("tasks.py", "flows/__init__.py", "flows/invoke.py", "deployments/__init__.py", "sql/__init__.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory], cwd=ROOT, check=True)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    """The names of the files in the wheel."""
    with ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_all_sql_inside_the_package(names: list[str]) -> None:
    ours = {f"nexus_hub/{path.relative_to(ROOT)}" for path in (ROOT / "sql").rglob("*.sql")}
    assert len(ours) > 10
    assert {name for name in names if name.endswith(".sql")} == ours


def test_the_wheel_holds_the_console(names: list[str]) -> None:
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "nexus_hub" / "web").rglob("*") if path.is_file()}
    assert "nexus_hub/web/index.html" in ours
    assert ours <= set(names)


def test_the_wheel_holds_the_dashboard_and_the_rules(names: list[str]) -> None:
    shipped = {path.name for path in (ROOT / "deployments" / "monitoring").iterdir()}
    assert {f"deployments/monitoring/{name}" for name in shipped} <= set(names)


def test_the_wheel_holds_nothing_but_the_four_packages(names: list[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == TOP_LEVEL
    assert not [name for name in names if name.endswith((".pyc", ".key", ".auth"))]
    assert not [name for name in names if "tests" in name or name.split("/")[-1].startswith("test_")]


def test_the_wheel_says_that_it_is_typed(names: list[str]) -> None:
    assert "nexus_hub/py.typed" in names


def test_the_wheel_announces_its_command_and_its_worker(wheel: Path, names: list[str]) -> None:
    (listed,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    points = configparser.ConfigParser()
    with ZipFile(wheel) as archive:
        points.read_string(archive.read(listed).decode())
    assert points["console_scripts"]["nexus-hub"] == "nexus_hub.cli.main:main"
    assert points["prefect.collections"]["nexus_hub"] == "deployments.worker.worker"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it; its dependencies are those of the environment that runs the tests.

    A `.pth` file that a `.pth` file leads to is not read, so that the editable checkout stays out.
    """
    environment = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with code of somebody else, which leaves a trace when it is imported, and fails."""
    directory = tmp_path / "project"
    for name in FOREIGN:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "from pathlib import Path\n"
            f"Path({str(tmp_path / 'imported')!r}).open('a').write({name!r} + '\\n')\n"
            "raise RuntimeError('this is not the code of the hub')\n"
        )
    return directory


@pytest.fixture
def started(installed: Path, elsewhere: Path) -> Iterator[Hub]:
    """A hub of the wheel, started in the directory with the foreign code."""
    program = (str(installed / "bin" / "nexus-hub"),)
    home = run.new_directory("wheel") / "home"
    copy_prepared_home(home)
    hub = Hub(home, free_port(), free_port(), program=program, directory=elsewhere)
    with kept_up(hub):
        yield hub


def test_the_code_that_runs_is_the_wheels(installed: Path, elsewhere: Path) -> None:
    script = "import nexus_hub, flows, tasks, deployments; print(nexus_hub.__file__, flows.__file__)"
    ran = run_command([str(installed / "bin" / "python"), "-P", "-c", script], {}, directory=elsewhere)
    assert ran.code == 0, ran.err
    assert all(path.startswith(str(installed)) for path in ran.out.split())


def test_the_traps_work(installed: Path, elsewhere: Path, tmp_path: Path) -> None:
    ran = run_command([str(installed / "bin" / "python"), "-c", "import tasks"], {}, directory=elsewhere)
    assert "not the code of the hub" in ran.err
    assert (tmp_path / "imported").read_text() == "tasks.py\n"


@pytest.mark.stack
def test_the_wheel_works_beside_code_that_bears_the_names_of_ours(started: Hub, tmp_path: Path) -> None:
    assert started.run("server", "add", "time", "--command", *TIME_SERVER).code == 0
    called = started.run("call", "time__get_current_time", '{"timezone": "UTC"}', "--json")
    assert called.code == 0, called.err
    assert called.json()["status"] == "completed"
    assert started.run("deploy").code == 0, "a part that is started by itself"
    assert started.run("down").code == 0
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()

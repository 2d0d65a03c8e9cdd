"""The Python that `make` takes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
WORKS = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
BROKEN = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"
OLD = '#!/bin/sh\ncase "$2" in *version_info*) exit 1;; esac\n'
NO_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n'


def made(directory: Path, *arguments: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """What `make` says where these programs are all that is on the path, each a Python or something like one."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for name in ("requirements.lock", "pyproject.toml"):
        (directory / name).touch()
    for name, text in programs.items():
        program = directory / name.replace("_", ".")
        program.write_text(text)
        program.chmod(0o755)
    command = [make, "--file", str(MAKEFILE), *arguments, ".venv/ready"]
    environment = {"PATH": str(directory)}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("programs", "taken"),
    [
        ({"python3_13": WORKS}, "python3.13"),
        ({"python3": WORKS}, "python3"),
        ({"python3_12": WORKS, "python3_13": WORKS, "python3": WORKS}, "python3.12"),
        ({"python3_11": BROKEN, "python3_12": OLD, "python3_13": NO_VENV, "python3_14": WORKS}, "python3.14"),
    ],
)
def test_the_first_python_that_runs_and_can_make_environments_is_taken(
    tmp_path: Path, programs: dict[str, str], taken: str
) -> None:
    assert f"\n{taken} -m venv .venv\n" in made(tmp_path, "--dry-run", **programs).stdout


def test_the_python_that_is_named_is_taken(tmp_path: Path) -> None:
    shown = made(tmp_path, "--dry-run", f"PYTHON={sys.executable}", python3_11=WORKS).stdout
    assert f"\n{sys.executable} -m venv .venv\n" in shown


@pytest.mark.parametrize(
    ("programs", "missing"),
    [
        ({"python3": OLD, "python3_12": BROKEN}, "Python 3.11 or later is missing; PYTHON=/path/to/python3 names one"),
        ({"python3": NO_VENV}, "python3 has no venv module (on Debian and Ubuntu: apt-get install python3-venv)"),
    ],
)
def test_one_line_says_what_is_missing(tmp_path: Path, programs: dict[str, str], missing: str) -> None:
    ended = made(tmp_path, **programs)
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if not line.startswith("make:")] == [missing]

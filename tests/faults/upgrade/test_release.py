"""The next release that upgrades are tried with."""

import subprocess
from pathlib import Path

import psycopg

from tests.faults.upgrade.release import NEXT_VERSION, NOTE, make_next
from tests.fixtures.postgres import HubDatabase
from tests.migration import compatibility

LOOK = "import nexus_hub, deployments.version, tasks.jobs; print(nexus_hub.__version__, nexus_hub.__file__)"


def test_the_next_release_is_an_installation_of_its_own(tmp_path: Path, database: HubDatabase) -> None:
    release = make_next(tmp_path)
    said = subprocess.run(
        [release.python, "-P", "-c", LOOK], capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    assert said.split() == [NEXT_VERSION, str(tmp_path / "nexus_hub" / "__init__.py")]
    with psycopg.connect(database.owner_url) as connection:
        before = compatibility.read(connection)
        for _ in range(2):
            connection.execute((tmp_path / "sql" / "migrations" / f"{release.migration}.sql").read_bytes())
        after = compatibility.read(connection)
    assert compatibility.broken(before, after) == set()
    assert after.offers - before.offers == {f"column job_results.{NOTE} text"}

"""The official conformance suite, through a hub and against the reference server alone.

    python -m tests.conformance.run [--keep DIRECTORY] [--only SCENARIO]

Each revision runs against the reference server and, through `/mcp/reference` of a hub, against the same server again;
the scenarios of the tasks extension meet `tests/upstreams/tasks.py` both ways, since the reference has not their tools.
It ends with a table, and with an error where something fails that `expected_failures.txt` does not name, or where
something that it names passes.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import expected, reference, suite
from tests.conformance.proxy import proxied
from tests.conformance.suite import Outcome
from tests.fixtures.hub import Hub, running
from tests.fixtures.upstreams import ROOT, UPSTREAMS, Process, free_port, start

REVISIONS = ("2026-07-28", "2025-11-25")
TASKS = "tasks"
REFERENCE = ROOT / ".node" / "reference"
TASK_SECONDS = "3"
"""How long a call takes that is a task once it has taken a second."""


@dataclass(frozen=True, slots=True)
class Part:
    """The scenarios of a revision, or of the tasks extension."""

    name: str
    through: Outcome
    alone: Outcome

    def verdict(self) -> expected.Verdict:
        """Compare with the list, and with the server alone; a warning counts as a failure there."""
        listed = expected.listed(self.name, expected.FILE.read_text())
        return expected.Verdict.of(self.through.bad(), self.alone.bad(), listed)

    def table(self) -> str:
        """Passed and failed checks of each scenario, in Markdown."""
        rows = [
            f"| {scenario} | {self.alone.score(scenario)} | {self.through.score(scenario)} |"
            for scenario in self.through.scenarios
        ]
        head = [f"\n## {self.name}\n", "| scenario | server alone | through the hub |", "|---|---|---|"]
        return "\n".join([*head, *rows, f"| **all** | **{self.alone.score()}** | **{self.through.score()}** |"])

    def remarks(self) -> list[str]:
        """Say what is wrong with the list, and what fails through the hub alone."""
        verdict = self.verdict()
        return [
            *(f"{self.name}: not expected: {check}: {self.through.reasons[check]}" for check in verdict.unlisted),
            *(f"{self.name}: passes, but is listed: {check}" for check in verdict.stale),
            *(f"{self.name}: the server alone passes: {check}" for check in verdict.beyond),
        ]


async def main(keep: Path, only: str | None) -> int:
    """Run all parts, print what came of it; the exit code."""
    parts = await run_parts(keep, only)
    report = "\n".join(part.table() for part in parts)
    remarks = [remark for part in parts for remark in part.remarks()]
    (keep / "report.md").write_text(report + "\n")
    sys.stdout.write("\n".join([report, "", "Passed/failed checks.", *remarks, ""]))
    return 0 if only or all(part.verdict().good for part in parts) else 1


async def run_parts(keep: Path, only: str | None) -> list[Part]:
    """Run each part against its server alone, then through a hub."""
    async with reference.started(REFERENCE) as server, tasks_server() as tasks:
        urls = dict.fromkeys(REVISIONS, server.url) | ({} if only else {TASKS: tasks.url})
        alone = {name: await run_part(name, url, keep / "alone", only) for name, url in urls.items()}
        with tempfile.TemporaryDirectory(prefix="nexus-conformance-") as place:
            Path(place).chmod(0o711)
            with running(Path(place)) as hub:
                add(hub, "reference", server.url)
                add(hub, "tasks", tasks.url)
                async with proxied(hub.port, hub.key) as port:
                    address = f"http://localhost:{port}/mcp"
                    urls = dict.fromkeys(REVISIONS, f"{address}/reference") | {TASKS: f"{address}/tasks?handle=1"}
                    return [
                        Part(name, await run_part(name, urls[name], keep / "through", only), alone[name])
                        for name in alone
                    ]


async def run_part(name: str, url: str, keep: Path, only: str | None) -> Outcome:
    """Run the scenarios of a revision but those of tasks, or the latter."""
    if name == TASKS:
        found = Outcome(Counter(), {})
        for scenario in await suite.tasks_scenarios():
            found.add(await suite.run(url, keep / name / scenario, "--scenario", scenario))
        return found
    wanted = ["--scenario", only, "--spec-version", name, "--force"] if only else ["--requirements", name]
    return (await suite.run(url, keep / name, *wanted)).without("tasks-")


@asynccontextmanager
async def tasks_server() -> AsyncIterator[Process]:
    """The server whose tools the scenarios of tasks call; it knows no tasks itself."""
    port = free_port()
    script = str(UPSTREAMS / "tasks.py")
    server = await start(sys.executable, script, "--seconds", TASK_SECONDS, "--port", str(port), port=port)
    try:
        yield server
    finally:
        await server.kill()


def add(hub: Hub, name: str, url: str) -> None:
    """Register a server."""
    added = hub.run("server", "add", name, "--url", url)
    assert added.code == 0, added.err


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, help="keep the suite's own results in this new directory")
    parser.add_argument("--only", metavar="SCENARIO", help="one scenario of both revisions, without a verdict")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        sys.exit(asyncio.run(main(options.keep or Path(made), options.only)))

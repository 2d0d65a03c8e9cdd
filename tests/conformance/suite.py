"""Runs the official suite, and reads what it found."""

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures.upstreams import ROOT

PACKAGES = ROOT / ".node" / "conformance" / "node_modules"
NODE = PACKAGES / "node" / "bin" / "node"
SUITE = PACKAGES / "@modelcontextprotocol" / "conformance"
BAD = ("FAILURE", "WARNING")
RESULT = re.compile(r"^server-(?P<scenario>.+?)-\d{4}-\d\d-\d\dT[\d-]+Z$")
"""Names the directory of a scenario's results."""
LEFT_OUT = {"name": "Scenario", "status": "FAILURE", "errorMessage": "The scenario did not come to its end."}
PATIENCE_SECONDS = 900


@dataclass(frozen=True, slots=True, order=True)
class Check:
    """A check of a scenario; the suite asks some of them several times."""

    scenario: str
    name: str

    def __str__(self) -> str:
        return f"{self.scenario} {self.name}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often each check came to each status, and why some failed."""

    seen: Counter[tuple[Check, str]]
    reasons: dict[Check, str]

    def add(self, other: "Outcome") -> None:
        """Take over what another run came to."""
        self.seen.update(other.seen)
        self.reasons.update(other.reasons)

    def without(self, prefix: str) -> "Outcome":
        """Leave out the scenarios whose names begin so."""
        kept = {seen: times for seen, times in self.seen.items() if not seen[0].scenario.startswith(prefix)}
        return Outcome(Counter(kept), self.reasons)

    @property
    def scenarios(self) -> list[str]:
        """All scenarios that ran."""
        return sorted({check.scenario for check, _ in self.seen})

    def bad(self) -> Counter[Check]:
        """The checks that failed or warned, and how often."""
        found: Counter[Check] = Counter()
        for (check, status), times in self.seen.items():
            if status in BAD:
                found[check] += times
        return found

    def score(self, scenario: str = "") -> str:
        """So many checks of a scenario, or of all, passed, and so many failed; those that warned are named beside."""
        count: Counter[str] = Counter()
        for (check, status), times in self.seen.items():
            if scenario in ("", check.scenario):
                count[status] += times
        warned = f" ({count['WARNING']} warned)" if count["WARNING"] else ""
        return f"{count['SUCCESS']}/{count['FAILURE']}{warned}"


async def run(url: str, directory: Path, *options: str) -> Outcome:
    """Run the suite against a URL with these options."""
    directory.mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(SUITE / "dist" / "index.js"),
        *("server", "--url", url, "--output-dir", str(directory), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=directory,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    (directory / "said.txt").write_bytes(said)
    outcome = read(directory)
    assert outcome.seen, f"the suite ran nothing: {said.decode(errors='replace')[-2000:]}"
    return outcome


def read(directory: Path) -> Outcome:
    """Read the results that the suite left in a directory; a scenario without any has failed."""
    outcome = Outcome(Counter(), {})
    for place in directory.iterdir():
        if named := RESULT.match(place.name):
            checks = place / "checks.json"
            found = json.loads(checks.read_text()) if checks.exists() else [LEFT_OUT]
            for one in found:
                check = Check(named["scenario"], one["name"])
                outcome.seen[check, one["status"]] += 1
                if one["status"] in BAD:
                    outcome.reasons.setdefault(check, str(one.get("errorMessage", "")))
    return outcome


async def tasks_scenarios() -> list[str]:
    """The names of the scenarios of the tasks extension."""
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(SUITE / "dist" / "index.js"), "list", "--server", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return sorted(set(re.findall(r"\btasks-[a-z-]+", said.decode())))

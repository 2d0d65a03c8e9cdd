"""The matrix: every kind of part, killed, frozen and cut off, one after the other, in a fleet under load.

    python -m tests.faults.fleet.run --rows FILE [--cells "api-1:kill redis:freeze"] [--report]

Each cell's figures go to the file of rows as soon as it is over, so that single cells can be run again; --report writes
the table of all that are there.
"""

import argparse
import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks.report import machine, publish
from deployments.fleet import Fleet
from tests.faults.fleet import checks, table
from tests.faults.fleet.cell import DEEDS, STRIKE_SECONDS, Cell, Deed, Outcome, Times
from tests.faults.fleet.fleets import passed, placed, settled, started

PARTS = ("api-1", "worker-1", "prefect-1", "services-1", "redis", "postgres", "proxy")
SHOWN = 3
"""Contradictions of a check that are printed."""

logger = logging.getLogger(__name__)


def main() -> None:
    options = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    described = options.rows.with_suffix(".machine")
    cells = [(part, cast("Deed", deed)) for part, _, deed in (cell.partition(":") for cell in options.cells.split())]
    if cells:
        with started(isolated=any(deed == "cut" for _, deed in cells)) as (fleet, directory):
            described.write_text(machine(fleet.database_url))
            matrix = Matrix(fleet, Times(strike=options.seconds), options.rate, options.rows)
            asyncio.run(matrix.strike_all(cells, directory))
    if options.report:
        publish("fleet", table.page(table.read(options.rows), described.read_text()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=Path, required=True)
    every = " ".join(f"{part}:{deed}" for part in PARTS for deed in DEEDS)
    parser.add_argument("--cells", default=every, help=f"the part and the deed of each; by default: {every}")
    parser.add_argument("--seconds", type=float, default=STRIKE_SECONDS)
    parser.add_argument("--rate", type=float, default=1.0, help="of the usual load")
    parser.add_argument("--report", action="store_true")
    return parser.parse_args()


@dataclass(frozen=True, slots=True)
class Matrix:
    """Cells in one fleet, one after the other; their figures go to a file of rows."""

    fleet: Fleet
    times: Times
    rate: float
    rows: Path

    async def strike_all(self, cells: list[tuple[str, Deed]], directory: Path) -> None:
        """Run the cells; one that fails to give figures is told, and the next one begins."""
        async with placed(self.fleet, directory) as place:
            for number, (part, deed) in enumerate(cells):
                try:
                    await settled(self.fleet)
                    cell = Cell(place, f"{part}-{deed}-{number}", times=self.times, rate=self.rate)
                    logger.info("%s: %s", part, deed)
                    self._tell(await cell.run(part, self.fleet.part(part), deed, lambda: passed(self.fleet)))
                except Exception:
                    logger.exception("%s, %s", part, deed)

    def _tell(self, outcome: Outcome) -> None:
        one = table.line(outcome)
        table.append(self.rows, one)
        logger.info("%.0f s: %s", outcome.seconds, one)
        for call in checks.failed_calls(outcome.evidence):
            asked = f"{call.era}, {call.planned.seconds} s"
            logger.info("%s %s: %s after %.1f s, %s", call.planned.tag, asked, call.failure, call.seconds, call.passed)
        for check, found in checks.broken(outcome.evidence).items():
            logger.info("%s: %d times, such as %s", check, len(found), found[:SHOWN])


if __name__ == "__main__":
    main()

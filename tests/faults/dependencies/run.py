"""Troubles of what a fleet stands on, one after the other, under load.

    python -m tests.faults.dependencies.run --rows FILE [--cases redis-flushed,failover] [--report]

Each one's figures go to the file of rows as soon as it is over; --report writes the table of all that are there.
"""

import argparse
import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import machine, publish
from tests.faults.dependencies import results
from tests.faults.dependencies.cases import CASES
from tests.faults.dependencies.stages import TroubledCell, skew, staged
from tests.faults.dependencies.troubles import Stage
from tests.faults.fleet import checks
from tests.faults.fleet.cell import Times
from tests.faults.fleet.fleets import placed, settled

SHOWN = 3

logger = logging.getLogger(__name__)


def main() -> None:
    options = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    described = options.rows.with_suffix(".machine")
    names = [name for name in options.cases.split(",") if name]
    for standby in (False, True):
        if chosen := [name for name in names if CASES[name].standby is standby]:
            with staged(standby=standby) as (stage, directory):
                described.write_text(machine(stage.fleet.database_url))
                asyncio.run(Troubles(stage, options.rate, options.rows).bear_all(chosen, directory))
    if options.report:
        publish("dependencies", results.page(results.read(options.rows), described.read_text()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rate", type=float, default=1.0, help="of the usual load")
    parser.add_argument("--report", action="store_true")
    return parser.parse_args()


@dataclass(frozen=True, slots=True)
class Troubles:
    """Troubles in one fleet, one after the other; their figures go to a file of rows."""

    stage: Stage
    rate: float
    rows: Path

    async def bear_all(self, names: list[str], directory: Path) -> None:
        """Bear them; one that fails to give figures is told, and the next one begins."""
        async with placed(self.stage.fleet, directory) as place:
            is_skewed = False
            for name in names:
                case = CASES[name]
                try:
                    if case.words.startswith("clock") and not is_skewed:
                        is_skewed = True
                        await asyncio.to_thread(skew, self.stage)
                    await settled(self.stage.fleet)
                    logger.info("%s", name)
                    times = Times(before=10, after=30, patience=150)
                    cell = TroubledCell(place, name, self.stage, case, times=times, rate=self.rate)
                    outcome = await cell.bear()
                    one = results.trouble_line(outcome, cell.witness)
                    results.append(self.rows, one)
                    logger.info("%.0f s: %s", outcome.seconds, one)
                    for check, found in checks.broken(outcome.evidence).items():
                        logger.info("%s: %d times, such as %s", check, len(found), found[:SHOWN])
                except Exception:
                    logger.exception("%s", name)


if __name__ == "__main__":
    main()

"""What all benchmarks share: percentiles, a description of the machine, and where results are written."""

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg

RESULTS = Path(__file__).parent / "results"


def percentile(seconds: Sequence[float], percent: int) -> float:
    """The percentile of at least two samples, interpolated between the samples around it."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


def milliseconds(seconds: float) -> str:
    """A time as it stands in tables."""
    return f"{seconds * 1000:,.0f} ms"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(database_url: str) -> str:
    """Processor, cores, kernel, versions and date; no names and no paths."""
    with psycopg.connect(database_url) as connection:
        number = connection.info.server_version
    rows = [
        ["date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")],
        ["processor", f"{_processor()}, {os.cpu_count()} cores"],
        ["load before", f"{os.getloadavg()[0]:.1f}"],
        ["kernel", f"{platform.system()} {platform.release()}"],
        ["Python", platform.python_version()],
        ["Prefect", version("prefect")],
        ["PostgreSQL", f"{number // 10_000}.{number % 10_000}"],
        ["nexus-hub", version("nexus-hub")],
    ]
    return table(["machine", ""], rows)


def publish(name: str, text: str) -> None:
    """Print the results, and keep them as the last ones of this benchmark."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    sys.stdout.write(text)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

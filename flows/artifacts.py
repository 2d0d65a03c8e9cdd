"""Pages for people to read in Prefect: names, codes, counts and times, nothing of a call itself."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from prefect.artifacts import acreate_markdown_artifact

from flows.run_log import write_line
from nexus_hub.execution.attempt import Attempt
from nexus_hub.execution.run_report import RunReport
from nexus_hub.telemetry.defects import describe_error
from nexus_hub.telemetry.text import LONGEST_LINE, markdown, printable

logger = logging.getLogger("nexus_hub.flows")


async def attach(markdown: str, summary: str, *, key: str | None = None) -> None:
    """Attach a page to this flow run; with a key it is on Prefect's page of artifacts too, with its history.

    A key is a row that every such run writes to: flows that run often go without one. What was done stays done when
    the page can't be attached. The summary is the last line of the run's log, too.
    """
    write_line("ended: %s", summary)
    try:
        await acreate_markdown_artifact(markdown, key=key, description=printable(summary, longest=LONGEST_LINE))
    except Exception as error:  # its message may hold anything
        logger.warning("a page for people could not be attached in Prefect: %s", describe_error(error))


def attempt_page(attempt: Attempt, outcome: str, code: str | None) -> str:
    """Describe an attempt of a job: its server and tool, how it ended and how long it took."""
    server = attempt.target.name if attempt.target else str(attempt.job.server_ref_id)
    facts = {
        "job": attempt.id,
        "server": server,
        "tool": attempt.job.tool_name,
        "attempt": f"{attempt.number} of {attempt.job.max_attempts}",
        "error": code,
        "seconds": f"{attempt.seconds:.3f}",
    }
    where = f"Arguments and result are in the hub: `nexus-hub job show {attempt.id}`"
    asked = f"{server} {attempt.job.tool_name or attempt.job.job_type}"
    return f"# {markdown(asked)}: {outcome}\n\n{facts_table(facts)}\n\n{where}\n"


def shared_run_page(report: RunReport) -> str:
    """Describe the jobs of a run: how many, how they ended at which server, and how long it took."""
    span = max((ended.span or 0.0 for ended in report.ended), default=0.0)
    facts = {
        "jobs that ended in this run": report.jobs,
        "jobs that go on later, in other runs": report.deferred or None,
        "seconds in this process": f"{report.seconds:.3f}",
        "jobs per second, from the first start to the last end": f"{report.jobs / span:.1f}" if span else None,
    }
    rows = [asdict(ended) | {"mean": f"{(ended.seconds or 0) / ended.jobs:.3f}"} for ended in report.ended]
    columns = {"server": "server", "status": "ended as", "error_code": "error", "jobs": "jobs", "mean": "mean seconds"}
    where = "Each job is a row of its own in the hub: `nexus-hub job list`"
    return f"# {report.summary()}\n\n{facts_table(facts)}\n\n{table(rows, columns)}\n\n{where}\n"


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Make a Markdown table of rows, the columns by their titles."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(key)) for key in columns) + " |" for row in rows]
    return "\n".join(lines)


def facts_table(facts: Mapping[str, Any]) -> str:
    """Make a Markdown table of facts by their names; those that are None are left out."""
    rows = [{"what": name, "value": value} for name, value in facts.items() if value is not None]
    return table(rows, {"what": "what", "value": "value"})


def _cell(value: Any) -> str:
    return "-" if value is None else markdown(str(value)).replace("|", "\\|")

"""Reports of shared runs, for people to read in Prefect."""

from collections import Counter
from dataclasses import dataclass, field

from nexus_hub.models import JobStatus


@dataclass(frozen=True, slots=True)
class EndedJobs:
    """Jobs of a flow run that ended in the same way at the same server.

    `seconds` is the sum of what they took, `span` the time from the first start to the last end.
    """

    server: str | None
    status: JobStatus
    error_code: str | None
    jobs: int
    seconds: float | None
    span: float | None


@dataclass
class RunReport:
    """Report of a run: how many jobs came to which end, and how many go on in other runs or later."""

    outcomes: Counter[str] = field(default_factory=Counter)
    ended: list[EndedJobs] = field(default_factory=list)
    seconds: float = 0

    @property
    def jobs(self) -> int:
        """The number of jobs that have ended in the run."""
        return sum(ended.jobs for ended in self.ended)

    @property
    def deferred(self) -> int:
        """The number of jobs that go on without the run: as another attempt, later, or in another worker."""
        return self.outcomes["requeued"] + self.outcomes["snoozed"] + self.outcomes["released"]

    def summary(self) -> str:
        """Say it in a few words."""
        ends: Counter[str] = Counter()
        for ended in self.ended:
            ends[ended.status] += ended.jobs
        words = [f"{count} {status}" for status, count in ends.most_common()]
        return ", ".join([*words, *([f"{self.deferred} go on later"] if self.deferred else [])]) or "nothing to do"

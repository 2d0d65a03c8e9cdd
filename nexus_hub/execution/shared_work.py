"""Work on the jobs of a shared run: each from its claim to its end, or back into the queue."""

import logging
import math
from collections import Counter

from nexus_hub.calls.pipeline import CallSteps
from nexus_hub.errors import HubError, InternalError
from nexus_hub.execution.attempt import Attempt, ClaimStale, Released
from nexus_hub.execution.fair_queue import FairQueue, PendingJob
from nexus_hub.execution.recorder import snooze_code
from nexus_hub.execution.steps import Execution
from nexus_hub.jobs.store import JOBS
from nexus_hub.rate_limit.limiter import Limits
from nexus_hub.telemetry.bus import report_defect
from nexus_hub.telemetry.defects import describe_error
from nexus_hub.upstream.circuit import CircuitOpen

logger = logging.getLogger(__name__)
MINUTE_SECONDS = 60.0


class SharedWork:
    """Carries jobs that were claimed, and counts how it ended with each."""

    def __init__(
        self, execution: Execution, steps: CallSteps[Attempt], queue: FairQueue, outcomes: Counter[str]
    ) -> None:
        self._execution = execution
        self._database = execution.database
        self._steps = steps
        self._queue = queue
        self._outcomes = outcomes

    async def run(self, attempt: Attempt, pending: PendingJob) -> None:
        """Carry one job to its end, or put it back; no error of it reaches the others."""
        try:
            with self._execution.hold(attempt):
                outcome = await self._work(attempt, pending)
        except Exception as error:  # the lease runs out, and the rescuer decides
            logger.warning("a job of a shared run could not be written down: %s", describe_error(error))
            outcome = "unrecorded"
        self._outcomes[outcome] += 1

    async def _work(self, attempt: Attempt, pending: PendingJob) -> str:
        try:
            if wait := await self._steps.run(attempt):
                return await self._snooze(attempt, pending, wait)
        except Released:
            if await self._put_back(attempt, 0):
                return "released"
            attempt.failure = ClaimStale()
        except CircuitOpen as refusal:
            attempt.failure = refusal
            return await self._snooze(attempt, pending, refusal.retry_after)
        except HubError as error:
            attempt.failure = error
        except Exception as error:
            report_defect(error, attempt.tags)
            attempt.failure = InternalError()
        return await self._execution.record(attempt)

    async def _snooze(self, attempt: Attempt, pending: PendingJob, wait: float) -> str:
        """Let the job wait, and those like it behind it; of a limited server a minute's worth of them each minute."""
        snoozed = await self._put_back(attempt, wait)
        if attempt.call is not None:
            await self._snooze_waiting(pending, attempt.call.limits, wait, snooze_code(attempt))
        if snoozed:
            return "snoozed"
        attempt.failure = ClaimStale()
        return await self._execution.record(attempt)

    async def _put_back(self, attempt: Attempt, delay: float) -> bool:
        async with self._database.transaction() as transaction:
            return bool(
                await transaction.run(
                    JOBS["snooze_shared_job"], delay=delay, error_code=snooze_code(attempt), **attempt.claim
                )
            )

    async def _snooze_waiting(self, like: PendingJob, limits: Limits, wait: float, code: str | None) -> None:
        jobs = self._queue.drop(like)
        quota = min((limit for limit in (limits.per_minute, limits.per_user) if limit is not None), default=math.inf)
        delays = [wait + MINUTE_SECONDS * (number // quota) for number in range(len(jobs))]
        if jobs:
            async with self._database.transaction() as transaction:
                self._outcomes["snoozed"] += await transaction.run(
                    JOBS["snooze_waiting_jobs"], ids=jobs, delays=delays, error_code=code
                )

"""Progress of a job, as its row has it, told to one who waits for the job."""

from typing import Any

from nexus_hub.upstream.requests import OnProgress


class ProgressRelay:
    """Tells of each progress once, and of none that is less than the one before: a new attempt begins at nothing."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._last: float | None = None

    async def tell(self, noted: Any) -> None:
        """Tell of the progress that a row has, if that is news."""
        progress = noted.get("progress") if isinstance(noted, dict) else None
        if not isinstance(progress, int | float) or (self._last is not None and progress <= self._last):
            return
        self._last = progress
        await self._on_progress(progress, noted.get("total"), noted.get("message"))

"""View of a starting stack: on a terminal spinners that become ticks, elsewhere a line for each start and each end."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from nexus_hub.stack.state import PartState, StackState

ENDED_PHASES = {"up", "done", "failed"}


class StartView:
    """Shows each state of a stack until it is closed."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._open = True
        self._told: set[tuple[str, str]] = set()
        self._tasks: dict[str, TaskID] = {}
        self._progress = _progress(console) if console.is_terminal and not quiet else None

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> bool:
        """Show nothing more; whether it was open."""
        was_open, self._open = self._open, False
        if self._progress and was_open:
            self._progress.stop()
        return was_open

    def show(self, state: StackState) -> None:
        """Show what has changed."""
        for part in state.parts:
            if self._quiet or not self._open or part.phase == "waiting":
                continue
            if self._progress:
                self._draw(self._progress, part)
            else:
                self._tell(part)

    def _tell(self, part: PartState) -> None:
        if (part.name, part.phase) not in self._told:
            self._told.add((part.name, part.phase))
            ended = part.phase in ENDED_PHASES and part.seconds is not None
            took = f" after {part.seconds:.1f} s" if ended else ""
            self._console.print(f"{part.name}: {part.phase}{_port(part)}{took}", markup=False)

    def _draw(self, progress: Progress, part: PartState) -> None:
        if part.name not in self._tasks:
            self._tasks[part.name] = progress.add_task(part.name, total=1, port=_port(part))
        ended = part.phase in ENDED_PHASES
        progress.update(self._tasks[part.name], completed=int(ended), phase=part.phase)


class _Mark(ProgressColumn):
    """A spinner that ends as a tick or a cross."""

    def __init__(self) -> None:
        super().__init__()
        self._spinner = SpinnerColumn()

    def render(self, task: Task) -> Text:
        if not task.finished:
            spinning = self._spinner.render(task)
            return spinning if isinstance(spinning, Text) else Text("…")
        return Text("✗", style="red") if task.fields.get("phase") == "failed" else Text("✓", style="green")


def _progress(console: Console) -> Progress:
    columns = (
        _Mark(),
        TextColumn("{task.description:<10}"),
        TextColumn("{task.fields[port]:<10}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


def _port(part: PartState) -> str:
    return f" port {part.port}" if part.port else ""

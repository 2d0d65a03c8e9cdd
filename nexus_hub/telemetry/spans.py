"""Spans as the hub's code sees them, whoever keeps them; and the one that keeps nothing."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Literal, Protocol, Self
from uuid import UUID

from nexus_hub.telemetry.trace_context import TraceContext

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool | UUID | None]
"""Names, ids, codes and counts by their attribute; what is None is left out."""


class Span(Protocol):
    """A piece of work, from the beginning of a block to its end; an error that leaves the block is its status."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object, /) -> None: ...

    @property
    def context(self) -> TraceContext | None:
        """Its place in its trace; None if nobody keeps it."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def rename(self, name: str) -> None:
        """Give it the name that is known by now."""

    def fail(self, code: str) -> None:
        """Take note of how it failed."""

    def link(self, context: TraceContext | None) -> None:
        """Link it to a span of another trace."""

    def end(self) -> None:
        """End it before its block does."""


class NoSpan:
    """Span that nobody keeps."""

    context: TraceContext | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object, /) -> None: ...

    def set(self, attributes: Attributes) -> None:
        """See `Span`."""

    def rename(self, name: str) -> None:
        """See `Span`."""

    def fail(self, code: str) -> None:
        """See `Span`."""

    def link(self, context: TraceContext | None) -> None:
        """See `Span`."""

    def end(self) -> None:
        """See `Span`."""


NO_SPAN = NoSpan()
CURRENT: ContextVar[Span] = ContextVar("nexus_hub_span", default=NO_SPAN)
"""The innermost span that is open in this context; a task that is started in it begins below it."""


class Tracer(Protocol):
    """Keeper of spans."""

    def start(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes | None,
        *,
        parent: TraceContext | None = None,
        caller: TraceContext | None = None,
        is_request: bool = False,
        began: float | None = None,
    ) -> Span:
        """Start a span below `parent`, else below the current one; `began` is its beginning, by the monotonic clock.

        With a request the hub's part of a trace begins, whatever `caller` says of its own.
        """

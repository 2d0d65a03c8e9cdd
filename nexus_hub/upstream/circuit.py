"""Circuit of a server: closed, calls go through; open, they are refused at once; half-open, one finds out.

Only a server that can't be reached or gives no sign of life opens it. Whatever it answers, an error too, closes it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from nexus_hub.errors import UpstreamUnavailable
from nexus_hub.models import ServerRef
from nexus_hub.telemetry.bus import emit
from nexus_hub.telemetry.events import CircuitChanged
from nexus_hub.upstream.backoff import LONGEST_SECONDS, ConnectBackoff

OPEN_AFTER = 3
"""The failures in a row after which a circuit opens; after so many calls without an answer its server is asked."""
TRYING_SECONDS = 2.0
"""A caller that comes while another one finds out is told to come back after so long."""

CircuitState = Literal["closed", "open", "half-open"]
Now = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class CircuitOpen(UpstreamUnavailable):
    """The server has given no sign of life for a while; the call was not sent, and is not for `retry_after` seconds."""

    code = "circuit-open"
    retry_after: float

    def __init__(self, server: str, since: datetime, until: datetime | None, retry_after: float, reason: str) -> None:
        self.since = since
        self.until = until
        then = "is being tried again just now" if until is None else f"is tried again at {_write(until, since)}"
        why = f" The last try: {reason}" if reason else ""
        message = f"The server {server!r} has not answered since {_write(since, until or _now())}; it {then}.{why}"
        super().__init__(server, message, retry_after)


def _write(time: datetime, other: datetime) -> str:
    """Write a time, with its day if the other one is of another day."""
    return f"{time.astimezone(UTC):%H:%M:%SZ}" if time.date() == other.date() else f"{time.astimezone(UTC):%FT%TZ}"


@dataclass(frozen=True, slots=True)
class CircuitReport:
    """An open circuit as processes tell each other of it, in seconds from now: they may not agree on the time."""

    ref: ServerRef
    seconds_since: float
    seconds_left: float


class Circuit:
    """The failures of a server in a row, with a pause after each, as `ConnectBackoff` has it.

    From the third on the circuit is open as long as the pause lasts, and half-open after it.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        *,
        on_change: Callable[["Circuit"], None] = lambda _: None,
        now: Now = _now,
    ) -> None:
        self._clock = clock
        self._backoff = ConnectBackoff(clock, jitter)
        self._on_change = on_change
        self._now = now
        self._unanswered = 0
        self._reason = ""
        self._since: tuple[float, datetime] | None = None
        self._answered_at: float | None = None
        self.is_open = False
        """True also while it is half-open."""
        self.trial: asyncio.Task[bool] | None = None
        """The task that asks the server for a sign of life, on whichever of its connections."""

    @property
    def state(self) -> CircuitState:
        """The state by its usual name."""
        if not self.is_open:
            return "closed"
        return "open" if self.seconds_left else "half-open"

    @property
    def failures(self) -> int:
        """The failures to reach the server, in a row."""
        return self._backoff.failures

    @property
    def reason(self) -> str:
        """The reason of the last failure, in our own words; empty if only another process knows it."""
        return self._reason

    @property
    def seconds_left(self) -> float:
        """Rest of the pause; 0 when there is none."""
        return self._backoff.seconds_left

    @property
    def seconds_since(self) -> float:
        """The time since the first failure that no answer followed."""
        return max(0.0, self._clock() - self._since[0]) if self._since else 0.0

    def fail(self, reason: str = "", *, silent: bool = True, decisive: bool = False) -> None:
        """Note that the server could not be reached.

        One that was not `silent` turned the hub away, which makes a pause and no more. A `decisive` failure, such as a
        whole time-out, opens the circuit by itself.
        """
        self._begin()
        self._reason = reason
        for _ in range(max(1, OPEN_AFTER - self.failures) if decisive else 1):
            self._backoff.fail()
        was_open, self.is_open = self.is_open, silent and self.failures >= OPEN_AFTER
        if was_open or self.is_open:
            self._on_change(self)

    def miss(self) -> bool:
        """Note that a call got no answer; tell if it is time to ask the server for a sign of life."""
        self._begin()
        self._unanswered += 1
        return self._unanswered >= OPEN_AFTER and not self.is_open

    def connect(self) -> None:
        """Note that a session could be opened. One that is open already stays so until there is an answer."""
        if not self.is_open and self.failures:
            self._backoff.succeed()
            self._since = self._since if self._unanswered else None

    def succeed(self) -> None:
        """Note an answer: all failures are forgotten."""
        self._answered_at = self._clock()
        if self._since is None:
            return
        was_open, self.is_open = self.is_open, False
        self._backoff.succeed()
        self._unanswered = 0
        self._since, self._reason = None, ""
        if was_open:
            self._on_change(self)

    def follow(self, seconds_since: float, seconds_left: float) -> None:
        """Take over that another process found the server silent, unless it has answered here since then."""
        if self._answered_at is not None and self._clock() - self._answered_at <= seconds_since:
            return
        if not self.is_open:
            self._since = self._clock() - seconds_since, _earlier(self._now(), seconds_since)
        self.is_open = True
        self._backoff.failures = max(self.failures, OPEN_AFTER)
        self._backoff.pause(max(self.seconds_left, min(seconds_left, LONGEST_SECONDS)))

    def try_now(self) -> None:
        """End the pause, since another process had an answer: the next call finds out."""
        self._backoff.pause(0)

    def refusal(self, server: str) -> CircuitOpen:
        """Give the error for a call that is not sent: during the pause, or while another one finds out."""
        since = self._since[1] if self._since else self._now()
        left = self.seconds_left
        until = _earlier(self._now(), -left) if left else None
        return CircuitOpen(server, since, until, left or TRYING_SECONDS, self._reason)

    def _begin(self) -> None:
        self._since = self._since or (self._clock(), self._now())


def _earlier(time: datetime, seconds: float) -> datetime:
    return datetime.fromtimestamp(time.timestamp() - seconds, UTC)


class Circuits:
    """The circuits of a process by their servers; `on_change` is told of each that opens, stays open, or closes."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self.on_change: Callable[[ServerRef], None] = lambda _: None
        self._clock = clock
        self._jitter = jitter
        self._circuits: dict[ServerRef, Circuit] = {}

    def of(self, ref: ServerRef) -> Circuit:
        """Give the circuit of a server."""
        if ref not in self._circuits:
            self._circuits[ref] = Circuit(
                self._clock, self._jitter, on_change=lambda circuit: self._note_change(ref, circuit)
            )
        return self._circuits[ref]

    def renew(self, ref: ServerRef) -> Circuit:
        """Give a new circuit to a server whose configuration was changed: nothing is known of it."""
        former = self._circuits.pop(ref, None)
        if former is not None and former.is_open:
            self.on_change(ref)
        return self.of(ref)

    def forget(self, ref: ServerRef) -> None:
        """Forget a server whose circuit is closed; an open one stays so until there is an answer."""
        if self.find_open(ref) is None:
            self._circuits.pop(ref, None)

    def find_open(self, ref: ServerRef) -> CircuitReport | None:
        """Give a server's circuit if it is open or half-open."""
        circuit = self._circuits.get(ref)
        if circuit is None or not circuit.is_open:
            return None
        return CircuitReport(ref, circuit.seconds_since, circuit.seconds_left)

    def find_reason(self, ref: ServerRef) -> str | None:
        """Give the reason why a server's circuit is not closed, if this process knows it."""
        circuit = self._circuits.get(ref)
        return (circuit.reason or None) if circuit is not None and circuit.is_open else None

    def _note_change(self, ref: ServerRef, circuit: Circuit) -> None:
        if self._circuits.get(ref) is circuit:  # a former configuration tells nothing of the present one
            emit(CircuitChanged(ref.server_ref_id, circuit.state, circuit.seconds_left))
            self.on_change(ref)

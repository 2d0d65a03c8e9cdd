"""Lookout on a server: refuses calls while its circuit is open, and asks for a sign of life where that decides."""

import asyncio
from collections.abc import Awaitable, Callable

from nexus_hub.cancellation import cancel_and_wait
from nexus_hub.errors import HubError, LoginNeeded, OutcomeUnknown, UpstreamTimedOut, UpstreamUnavailable
from nexus_hub.telemetry.bus import report_defect
from nexus_hub.upstream import wire
from nexus_hub.upstream.circuit import Circuit


class Lookout:
    """Keeps a server's circuit by what becomes of its calls.

    A call without an answer may be a slow tool's. So after a few in a row the server itself is asked, by `knock`: only
    its own silence opens the circuit, and `on_silence` is called. Once the pause is over it is asked again, for all by
    one call, and in a task of its own: a caller who goes away ends nothing.
    """

    def __init__(
        self,
        server: str,
        circuit: Circuit,
        knock: Callable[[], Awaitable[None]],
        on_silence: Callable[[], None],
    ) -> None:
        self._server = server
        self._circuit = circuit
        self._knock = knock
        self._on_silence = on_silence
        self._own_trial: asyncio.Task[bool] | None = None
        self._closed = False

    def check(self) -> None:
        """Refuse a call while the circuit is open, or while another call finds out if it still has to be.

        Raises:
            CircuitOpen: the call would not be sent.
        """
        if self._circuit.is_open and (self._circuit.seconds_left or self._is_looking):
            raise self._circuit.refusal(self._server)

    async def find_out(self) -> None:
        """Let a call pass while the circuit is closed; if it is half-open, find out if the server answers again.

        Raises:
            CircuitOpen: it is not time yet, or another call is at it.
            UpstreamUnavailable: it does not. A call for want of whose login nothing was learnt passes: it is not sent.
        """
        if not self._circuit.is_open:
            return
        self.check()
        needs_login = await asyncio.shield(self._look())
        if self._circuit.is_open and not needs_login:
            refusal = self._circuit.refusal(self._server)
            raise UpstreamUnavailable(self._server, refusal.message, refusal.retry_after)

    def note_unanswered(self) -> None:
        """Note a call that got no answer."""
        if self._circuit.miss() and not self._closed:
            self._look()

    async def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._own_trial is not None:
            await cancel_and_wait(self._own_trial)

    @property
    def _is_looking(self) -> bool:
        return self._circuit.trial is not None and not self._circuit.trial.done()

    def _look(self) -> asyncio.Task[bool]:
        if self._circuit.trial is None or self._circuit.trial.done():
            self._circuit.trial = self._own_trial = asyncio.create_task(self._ask(), name="upstream-look")
        return self._circuit.trial

    async def _ask(self) -> bool:
        """Ask the server for any answer, which is noted by whoever gets it; True if there is no login to ask with."""
        failures = self._circuit.failures
        try:
            await self._knock()
        except (TimeoutError, OutcomeUnknown, UpstreamTimedOut):
            self._on_silence()
            self._circuit.fail(f"It gave no sign of life within {wire.KNOCK_SECONDS:g} s.", decisive=True)
        except LoginNeeded:
            return True
        except HubError as error:
            if self._circuit.is_open and self._circuit.failures == failures:
                self._circuit.fail(error.message)  # nothing else has noted it
        except Exception as error:
            report_defect(error)
        return False

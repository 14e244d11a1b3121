"""The callee's side of an INVITE until it is settled: ringing, the final response, CANCEL.

The counterpart of `voip.sip.attempt`. After a 2xx it holds the `Acceptance` that repeats it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip.errors import EndCause
from voip.sip.acceptance import Acceptance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voip.machine import Timer
    from voip.sip.core import Core
    from voip.sip.invite import Call
    from voip.sip.messages import Response
    from voip.sip.transactions import ServerTransaction

__all__ = ["Invitation"]

_SDP = "\r\nContent-Type: application/sdp"


class Invitation:
    """One INVITE that waits for us.

    Attributes:
        transaction: where its responses go.
        acceptance: the 2xx that waits for its ACK, None before that.
    """

    __slots__ = (
        "_call",
        "_core",
        "_ring_until",
        "_ringing",
        "_timer",
        "acceptance",
        "transaction",
    )

    def __init__(self, core: Core, call: Call, transaction: ServerTransaction, now: float) -> None:
        self._core = core
        self._call = call
        self._ringing: tuple[int, bytes] | None = None
        self.acceptance: Acceptance | None = None
        self.transaction = transaction
        length = core.settings.timing.ringing
        self._ring_until = now + length
        # A short wait first: most calls are answered by then and leave no long timer behind.
        self._timer: Timer | None = core.timers.start(now, min(2.0, length), "ringing", self)

    def ring(self, status: int, body: bytes, now: float) -> None:
        """Send a provisional response."""
        data = self._answer(status, body)
        self._ringing = (status, data)
        self._core.transactions.answer(self.transaction, status, data, now)

    def accept(self, body: bytes, now: float) -> None:
        """Send the 2xx, and again until its ACK."""
        core, call, transaction = self._core, self._call, self.transaction
        data = self._answer(200, body)
        self._settle()
        acceptance = self.acceptance = Acceptance(
            core, call, call.request.routing[3], not call.request.raw_body
        )
        core.transactions.answer(transaction, 200, data, now)
        acceptance.start(transaction.flow, data, now)

    def refuse(
        self,
        status: int,
        now: float,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Send a refusal and return it; repeating it is the transaction's."""
        call = self._call
        response = call.request.respond(
            status, reason=reason, to_tag=call.local_tag, headers=headers
        )
        self._settle()
        self._core.transactions.respond(self.transaction, response, now)
        return response

    def end(self) -> None:
        """Stop whatever still runs."""
        if self._timer is not None:
            self._settle()
        if self.acceptance is not None:
            self.acceptance.stop()
        self.transaction.user = None

    def expired(self, reason: str, now: float) -> None:
        """Ring on (RFC 3261 §13.3.1.1: once a minute), or stop when it took too long."""
        self._timer = None
        timing = self._core.settings.timing
        if now >= self._ring_until:
            self._core.counters["call.ringing_timeout"] += 1
            self._call.give_up(EndCause.NO_ANSWER, now)
            return
        start = self._ring_until - timing.ringing
        if now >= start + timing.ring_again and self._ringing is not None:
            self._core.transactions.answer(self.transaction, *self._ringing, now)
        beats = int((now - start) / timing.ring_again + 1e-6) + 1
        at = min(start + beats * timing.ring_again, self._ring_until)
        self._timer = self._core.timers.start_at(at, "ringing", self)

    def _answer(self, status: int, body: bytes) -> bytes:
        call = self._call
        lines = self._core.says(self.transaction.flow, call.request)[status >= 200]
        if body:
            lines += _SDP
        return call.request.answer(status, to_tag=call.local_tag, lines=lines, body=body)

    def _settle(self) -> None:
        """The wait for our final response is over."""
        self._core.admission.give_invite(self.transaction.flow)
        self._ringing = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""A 2xx to an INVITE, repeated until its ACK comes (RFC 3261 §13.3.1.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voip.machine import Flow, Timer
    from voip.sip.core import Core
    from voip.sip.invite import Call

__all__ = ["Acceptance"]


class Acceptance:
    """The repeats of one 2xx: at T1, doubling up to T2, for 64·T1, on any transport.

    Attributes:
        cseq: the number that its ACK carries.
        offering: whether the 2xx holds our offer, so that the ACK holds the answer.
        acknowledged: whether the ACK is here.
    """

    __slots__ = (
        "_call",
        "_core",
        "_data",
        "_flow",
        "_interval",
        "_timer",
        "_until",
        "acknowledged",
        "cseq",
        "offering",
    )

    def __init__(self, core: Core, call: Call, cseq: int, offering: bool) -> None:
        self._core = core
        self._call = call
        self._timer: Timer | None = None
        self.acknowledged = False
        self.cseq = cseq
        self.offering = offering

    def start(self, flow: Flow, data: bytes, now: float) -> None:
        """Begin to wait; the first copy left through the transaction."""
        timing = self._core.settings.timing
        self._flow = flow
        self._data = data
        self._interval = timing.t1
        self._until = now + timing.give_up
        self._timer = self._core.timers.start(now, timing.t1, "2xx", self)

    def stop(self) -> None:
        """End the repeats."""
        self.acknowledged = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._data = b""

    def expired(self, reason: str, now: float) -> None:
        """Repeat the 2xx, or give up after 64·T1."""
        if now >= self._until:
            self._timer = None
            self._call.ack_missing(self, now)
            return
        timing = self._core.settings.timing
        self._interval = min(self._interval * 2, timing.t2)
        self._timer = self._core.timers.start_at(
            min(now + self._interval, self._until), "2xx", self
        )
        self._core.counters["call.2xx_resent"] += 1
        self._core.send(self._flow, self._data)

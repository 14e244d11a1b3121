"""One connection of an endpoint: framing, deadlines, keep-alive (RFC 3261 §18.3, RFC 5626)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from voip.sip.framing import Frame, Ping, Pong, StreamFramer

if TYPE_CHECKING:
    from voip.machine import Flow, Timer
    from voip.sip.core import Core

__all__ = ["Connection"]

_PONG_SECONDS = 10.0


class Connection:
    """A stream to one peer.

    Attributes:
        flow: its flow.
        framer: cuts its bytes into messages.
    """

    __slots__ = ("_core", "_deadline", "_needed_by", "_ping", "_pong_seen", "flow", "framer")

    def __init__(self, core: Core, flow: Flow, now: float, *, accepted: bool) -> None:
        self._core = core
        self._deadline: Timer | None = None
        self._needed_by: set[Hashable] = set()
        self._ping: Timer | None = None
        self._pong_seen = False
        self.flow = flow
        self.framer = StreamFramer(now, core.settings.framing, accepted=accepted)
        self._watch()

    @property
    def kept_alive(self) -> bool:
        """Whether a registration needs it, so that we ping."""
        return bool(self._needed_by)

    def receive(self, data: bytes, now: float) -> list[Frame]:
        """Take bytes and return the messages they complete; pings are answered here."""
        frames = self.framer.receive(data, now)
        for frame in frames:
            if type(frame) is Ping:
                self._core.send_raw(self.flow, b"\r\n")
            elif type(frame) is Pong:
                self._pong_seen = True
        if self._ping is not None and self._ping.reason == "pong":
            self._arm_ping(now)  # whatever came, the peer lives
        # Only a message that has begun brings the deadline forward.
        if self._deadline is None or self.framer.pending:
            self._watch()
        return frames

    def keep_alive(self, user: Hashable, now: float) -> None:
        """Ping from now on, while a user needs it: every 95 to 120 s (RFC 5626 §4.4.1)."""
        if not self._needed_by:
            self._arm_ping(now)
        self._needed_by.add(user)

    def let_go(self, user: Hashable) -> None:
        """End what `keep_alive` began; the last user ends the pings."""
        self._needed_by.discard(user)
        if not self._needed_by and self._ping is not None:
            self._ping.cancel()
            self._ping = None

    def end(self, now: float) -> None:
        """Close at the next advance: messages before the fault still get their answers."""
        self._core.timers.start_at(now, "broken", self)

    def expired(self, reason: str, now: float) -> None:
        """Ping, or end what is too slow, idle, dead or broken."""
        if reason == "ping":
            self._core.send_raw(self.flow, b"\r\n\r\n")
            # A peer without RFC 5626 never answers pings: a pong is asked for once one was seen.
            if self._pong_seen:
                self._ping = self._core.timers.start(now, _PONG_SECONDS, "pong", self)
            else:
                self._arm_ping(now)
        elif reason == "pong":
            self._ping = None
            self._core.counters["stream.no_pong"] += 1
            self._core.close_flow(self.flow, "no pong", now)
        elif reason == "broken":
            self._core.close_flow(self.flow, self.framer.reason, now)
        else:
            self._deadline = None
            self.framer.in_use = self.kept_alive or self._core.uses(self.flow)
            broken = self.framer.advance(now)
            if broken:
                self._core.counters[f"stream.{self.framer.reason}"] += 1
                self._core.close_flow(self.flow, self.framer.reason, now)
            else:
                self._watch()

    def close(self) -> None:
        """End its timers."""
        for timer in (self._deadline, self._ping):
            if timer is not None:
                timer.cancel()
        self._deadline = self._ping = None

    def _watch(self) -> None:
        """Keep one timer at the framer's deadline; a later one is noticed when it comes up."""
        wanted, timer = self.framer.deadline(), self._deadline
        if wanted is None or (timer is not None and timer.at <= wanted.at):
            return
        if timer is not None:
            timer.cancel()
        self._deadline = self._core.timers.start_at(wanted.at, "stream", self)

    def _arm_ping(self, now: float) -> None:
        if self._ping is not None:
            self._ping.cancel()
        seconds = 95 + 25 * self._core.entropy(1)[0] / 256
        self._ping = self._core.timers.start_at(now + seconds, "ping", self)

"""The inline plane: drives legs one by one, on ticks of 5 ms. It is the specification of a plane.

A leg is due once per packet time, in the slot that follows its arrivals. Then, in this order: one
frame is taken from the jitter buffer, decoded and handed to `audio_received`; timers in media time
run; one frame is encoded and sent. Media time is driven by these ticks and not by arrivals, so that
loss, mute and discontinuous transmission need no wall clock and replay identically.
"""

from __future__ import annotations

import math
from typing import Protocol

from voip.audio.call import AudioCall
from voip.machine import Deadline, Entropy
from voip.media.inline import TICK, InlineMedia, MediaLink, PlaneSettings
from voip.rtp.call import RTPCall
from voip.rtp.source import RemoteSource
from voip.sdp.negotiation import Agreement

__all__ = ["InlineMedia", "InlinePlane", "MediaLink", "PlaneSettings"]

# What a plane that was not ticked for longer (a machine asleep) has missed is not made up for slot
# by slot: no burst.
_MOST_BEHIND = 16
# A plane that is a packet time late has stood still. For a while after that, packets may still wait
# in the sockets: a reader takes so many at a time, then the ticks have their turn.
_STALL_SECONDS = 4.5 * TICK
_LATE_SECONDS = 16 * TICK


class Pace(Protocol):
    """Who gives the ticks, where those before the deadline are left out."""

    def upcoming(self) -> float:
        """Return when the next tick would be, were none left out."""

    def hasten(self) -> None:
        """Learn that the deadline is earlier than it was."""


class InlinePlane:
    """Drives many legs; whoever owns it calls `tick` every 5 ms, or only when it is due.

    Args:
        entropy: for sources, sequence numbers and timestamps.
        settings: timeouts and bounds.

    Attributes:
        legs: what is driven now.
        unix_offset: seconds to add to `now` for the wall clock; it only labels sender reports.
        pace: who leaves ticks out until the plane's deadline; None where every tick comes.
    """

    def __init__(self, entropy: Entropy, settings: PlaneSettings | None = None) -> None:
        self.entropy = entropy
        self.settings = settings or PlaneSettings()
        self.unix_offset = 0.0
        self.legs: set[InlineMedia] = set()
        self.pace: Pace | None = None
        # Per packet time, a ring of slots: which legs are due in each. A leg stays in its slot.
        self._wheels: dict[int, list[dict[InlineMedia, None]]] = {}
        self._tick = 0
        # No leg is due before this slot.
        self._next = 1
        self._epoch = 0.0
        self._now = self.clock = 0.0
        self._late_until = 0.0

    def adopt(
        self,
        leg: RTPCall,
        link: MediaLink,
        *,
        source: RemoteSource | None = None,
        agreement: Agreement | None = None,
        now: float,
    ) -> InlineMedia:
        """Take over the media of a leg.

        Its first frame is due a packet time from now, as a microphone's would be, or as soon as
        the first packet has come: a call that is over within that time costs no media.

        Args:
            leg: the leg; its `wire` is set.
            link: the socket side.
            source: where packets may come from; anywhere when it is None.
            agreement: what was negotiated.
            now: monotonic seconds.
        """
        if not self.legs:
            self._epoch = now - self._tick * TICK
        self._now = now
        if agreement is not None and isinstance(leg, AudioCall):
            leg._use_media(agreement.media, agreement.ptime_ms)
        media = InlineMedia(self, leg, link, source, agreement, now)
        leg.wire = media
        leg._engine = media
        leg._transmit = link.send
        self.legs.add(media)
        self._place(media, self._upcoming() + media.period - 1)
        return media

    def release(self, media: InlineMedia) -> None:
        """Let a leg go; nothing of it is called again. A second time does nothing."""
        if not media.is_closed:
            media.is_closed = True
            self.legs.discard(media)
            self._take_out(media)
            media.say_goodbye(self._now)

    def deadline(self) -> Deadline | None:
        """Return when the next leg is due; None without legs."""
        return Deadline(self._epoch + self._next * TICK, "packet time") if self.legs else None

    def tick(self, now: float) -> None:
        """Run the legs that are due by `now`."""
        self._now = now
        # Ticks that are made up for come with the moments they were due at. Packets, which are read
        # between them, know better how late it is.
        clock = self.clock = max(self.clock, now)
        # That a tick was left out since nobody was due is no stall.
        if clock - self._epoch - max(self._tick, self._next - 3) * TICK > _STALL_SECONDS:
            self._late_until = clock + _LATE_SECONDS
        late = clock < self._late_until
        target = self._slot(now)
        self._tick = max(self._tick, min(self._next - 1, target))
        if target - self._tick > _MOST_BEHIND:
            self._pass_over(target - 1)
        while self._tick < target:
            slot = self._tick = self._tick + 1
            due = self._epoch + slot * TICK
            for period, wheel in list(self._wheels.items()):
                # A copy: a hook may end this leg, adopt another or change a packet time.
                for media in tuple(wheel[slot % period]):
                    if not media.is_closed:
                        media.run(now, due, late=late)
        self._look_ahead()

    def _pass_over(self, slot: int) -> None:
        """Leave out the slots up to `slot`; legs learn how often they were due in them."""
        before, self._tick = self._tick, slot
        for period, wheel in self._wheels.items():
            for place, legs in enumerate(wheel):
                count = (slot - place) // period - (before - place) // period
                for media in legs:
                    media.missed(count)

    def rephase(self, media: InlineMedia) -> None:
        """Make a leg due in the slot that follows an arrival, and keep its packet time."""
        if not media.is_closed:
            self._take_out(media)
            self._place(media, self._upcoming())

    def _slot(self, at: float) -> int:
        """Return the slot that a tick at this moment is for."""
        return math.floor((at - self._epoch) / TICK + 0.5)

    def _upcoming(self) -> int:
        """Return the slot of the next tick to come, were none left out."""
        slot = self._tick + 1
        return slot if self.pace is None else max(slot, self._slot(self.pace.upcoming()))

    def _look_ahead(self) -> None:
        """Find the next slot in which a leg is due."""
        slot = self._tick + 1
        if self.legs:
            wheels = self._wheels.items()
            while not any(wheel[slot % period] for period, wheel in wheels):
                slot += 1
        self._next = slot

    def _place(self, media: InlineMedia, slot: int) -> None:
        period = media.period
        wheel = self._wheels.get(period)
        if wheel is None:
            wheel = self._wheels[period] = [{} for _ in range(period)]
        media.place = wheel[slot % period]
        media.place[media] = None
        if slot < self._next or len(self.legs) == 1:
            self._next = slot
            if self.pace is not None:
                self.pace.hasten()

    @staticmethod
    def _take_out(media: InlineMedia) -> None:
        media.place.pop(media, None)

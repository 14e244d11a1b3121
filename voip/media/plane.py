"""The inline plane: drives legs one by one, on ticks of 5 ms. It is the specification of a plane.

A leg is due once per packet time, in the slot that follows its arrivals. Then, in this order: one
frame is taken from the jitter buffer, decoded and handed to `audio_received`; timers in media time
run; one frame is encoded and sent. Media time is driven by these ticks and not by arrivals, so that
loss, mute and discontinuous transmission need no wall clock and replay identically.
"""

from __future__ import annotations

import math

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


class InlinePlane:
    """Drives many legs; whoever owns it calls `tick` every 5 ms while it has a deadline.

    Args:
        entropy: for sources, sequence numbers and timestamps.
        settings: timeouts and bounds.

    Attributes:
        legs: what is driven now.
        unix_offset: seconds to add to `now` for the wall clock; it only labels sender reports.
    """

    def __init__(self, entropy: Entropy, settings: PlaneSettings | None = None) -> None:
        self.entropy = entropy
        self.settings = settings or PlaneSettings()
        self.unix_offset = 0.0
        self.legs: set[InlineMedia] = set()
        # Per packet time, a ring of slots: which legs are due in each. A leg stays in its slot.
        self._wheels: dict[int, list[dict[InlineMedia, None]]] = {}
        self._tick = 0
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
        self._place(media, self._tick + media.period)
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
        if not self.legs:
            return None
        slot = self._tick + 1
        while not any(wheel[slot % period] for period, wheel in self._wheels.items()):
            slot += 1
        return Deadline(self._epoch + slot * TICK, "packet time")

    def tick(self, now: float) -> None:
        """Run the legs that are due by `now`."""
        self._now = now
        # Ticks that are made up for come with the moments they were due at. Packets, which are read
        # between them, know better how late it is.
        clock = self.clock = max(self.clock, now)
        if clock - self._epoch - self._tick * TICK > _STALL_SECONDS:
            self._late_until = clock + _LATE_SECONDS
        late = clock < self._late_until
        target = math.floor((now - self._epoch) / TICK + 0.5)
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
            self._place(media, self._tick + 1)

    def _place(self, media: InlineMedia, slot: int) -> None:
        period = media.period
        wheel = self._wheels.get(period)
        if wheel is None:
            wheel = self._wheels[period] = [{} for _ in range(period)]
        media.place = wheel[slot % period]
        media.place[media] = None

    @staticmethod
    def _take_out(media: InlineMedia) -> None:
        media.place.pop(media, None)

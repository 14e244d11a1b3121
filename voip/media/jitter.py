"""The jitter buffer: packets in as they come, one per packet time out, in media time.

Nothing here is measured with a clock. What a packet brings is its *slack*: how far it lies ahead of
the position that is played next. Slack below zero is too late; the distribution of slack over the
last packets says everything about the delay that is needed:

    3 % of the packets below zero, in two places     grow: make a frame up for each that lacks
    90 % below the least delay                       grow by one (a slow sender)
    97 % two frames or more above, with a surplus    shrink: leave a frame out (a fast sender)

A stream without jitter has one slack for ever, so it is never touched. A lost packet leaves its
place empty and moves nothing. Corrections wait for a quiet moment or a gap, a second at most, and a
review comes every hundred packets, so that there is never more than one in a second.
"""

from __future__ import annotations

import enum
from collections import Counter

from voip.machine import Counters
from voip.media.delay import REVIEW_PACKETS, JitterSettings, percentiles
from voip.rtp.packet import RTPPacket

__all__ = ["Gap", "JitterBuffer", "JitterSettings", "Played"]

_CALM_REVIEWS = 3
_LATE_ENOUGH = 10
_EPISODES = 2
# RFC 3550 §A.1: MAX_DROPOUT and MAX_MISORDER.
_MOST_DROPOUT = 3000
_MOST_MISORDER = 100
_SEEN_MASK = (1 << 128) - 1
# Late packets in a row, none of them catching up, that mean a new timeline.
_SHIFTED_PACKETS = 3
_SAME_STEPS = 3
_LONGEST_FRAME = 0.12


class Gap(enum.Enum):
    """Why `pop` has no packet."""

    LOST = "lost"
    """A packet is missing: conceal one frame."""
    EMPTY = "empty"
    """The peer sends nothing (a pause, discontinuous transmission): one frame of silence."""
    FILLING = "filling"
    """Nothing has been played yet: no frame."""


Played = RTPPacket | Gap


class JitterBuffer:
    """The reorder buffer of one stream of packets.

    Call `pop` once per `frame_ticks` of media time. `frame_ticks` follows the peer: when its
    packets turn out to hold 10 or 30 ms, it changes within four packets.

    Args:
        clock_rate_hz: the RTP clock.
        frame_ticks: ticks per packet, as negotiated.
        settings: bounds.

    Attributes:
        frame_ticks: ticks per packet, as the peer sends them.
        quiet: set by whoever hears the audio: the last frame was quiet, so that a correction made
            now is not heard.
        timeline: how many timelines have begun.
    """

    __slots__ = (
        "_calm",
        "_clock_rate_hz",
        "_correction",
        "_drops",
        "_early",
        "_episodes",
        "_frame_limits",
        "_gap",
        "_heard",
        "_highest",
        "_in_order",
        "_in_time",
        "_late",
        "_late_run",
        "_late_transit",
        "_least",
        "_most",
        "_newest",
        "_odd_step",
        "_odd_steps",
        "_patience",
        "_played_sequence",
        "_position",
        "_received",
        "_ring",
        "_seen",
        "_slacks",
        "_ssrc",
        "_suspect",
        "_total",
        "_typical",
        "frame_ticks",
        "quiet",
        "settings",
        "timeline",
    )

    def __init__(
        self, clock_rate_hz: int, frame_ticks: int, settings: JitterSettings | None = None
    ) -> None:
        if clock_rate_hz <= 0 or frame_ticks <= 0:
            raise ValueError("the clock rate and the packet time are positive")
        self.settings = settings or JitterSettings()
        self.quiet = self._heard = False
        self._clock_rate_hz = clock_rate_hz
        self._drops: Counters = Counter()
        self._received = self.timeline = 0
        self._ssrc = -1
        self._highest = self._newest = self._position = self._played_sequence = 0
        self._ring: dict[int, RTPPacket] = {}
        self._suspect: RTPPacket | None = None
        self._odd_step = self._odd_steps = 0
        self._seen, self._in_order = 1, 0
        self._set_frame(frame_ticks)
        self._forget()

    @property
    def counters(self) -> Counters:
        """The counts so far: received, lost, late, duplicate, reordered, suspect, overflow …."""
        return Counter({"received": self._received, **self._drops})

    @property
    def delay(self) -> float:
        """Seconds that a packet waits here, as of the last review."""
        return self._typical * self.frame_ticks / self._clock_rate_hz

    @property
    def surplus(self) -> int:
        """Ticks that the newest packet lies further ahead than the least delay asks for."""
        return self._newest - self._position - self._least * self.frame_ticks

    def __len__(self) -> int:
        """Return how many packets wait."""
        return len(self._ring)

    def push(self, packet: RTPPacket, at: float, behind: int = 0) -> None:
        """Take one packet.

        Args:
            packet: of the one stream that this buffer serves; a new SSRC starts it anew.
            at: media time of its arrival, in seconds.
            behind: ticks by which whoever pops is late, and which he will make up for. It is no
                lead of the sender's: the delay must not shrink for it.
        """
        self._received += 1
        if packet.ssrc != self._ssrc:
            self._restart(packet, behind)
            return
        ahead = (packet.sequence_number - self._highest) & 0xFFFF
        step = (packet.timestamp - self._newest) & 0xFFFFFFFF
        if step >= 0x80000000:
            step -= 0x100000000
        if ahead == 1:
            self._in_order += 1
            if step != self.frame_ticks:
                self._learn(step)
        else:
            if ahead >= 0x8000:
                ahead -= 0x10000
            if not self._note_order(packet, ahead, behind):
                return
        timestamp = self._newest + step
        slack = timestamp - self._position
        if slack - behind > self._early:
            self._doubt(packet, behind)
            return
        if ahead > 0:
            self._highest += ahead
            self._newest = timestamp
        frames = (slack - behind) // self.frame_ticks
        self._slacks[frames] = self._slacks.get(frames, 0) + 1
        self._total += 1
        if self._total >= REVIEW_PACKETS:
            self._review()
        if slack < 0:
            self._drop_late(packet, at - timestamp / self._clock_rate_hz, newest=ahead > 0)
            return
        self._late_run = 0
        self._in_time = True
        if len(self._ring) < self.settings.most_packets:
            self._ring.setdefault(timestamp, packet)
        else:
            self._drops["overflow"] += 1

    def pop(self) -> Played:
        """Return what is played now: a packet to decode, or why there is none."""
        if self._correction:
            self._correct()
        position = self._position
        packet = self._ring.pop(position, None)
        if packet is None or self._correction > 0:
            return self._without(packet)
        self._position = position + self.frame_ticks
        self._played_sequence = packet.sequence_number
        self._gap = 0
        self._heard = True
        return packet

    # What arrives

    def _restart(self, packet: RTPPacket, behind: int = 0) -> None:
        """Begin a timeline with `packet`, the delay before it."""
        if self._ssrc >= 0:
            self._drops["restarts"] += 1
        self.timeline += 1
        self._ssrc = packet.ssrc
        self._highest = packet.sequence_number
        self._seen, self._in_order = 1, 0
        self._newest = packet.timestamp
        self._position = packet.timestamp - self._least * self.frame_ticks - behind
        self._ring.clear()
        self._ring[packet.timestamp] = packet
        self._suspect = None
        self._forget()

    def _forget(self) -> None:
        """Forget the slacks, which a new timeline or a new delay makes void."""
        self._typical = self._least
        self._early = self._horizon()
        self._correction = self._patience = self._calm = 0
        self._late_run = 0
        self._in_time = True
        self._late_transit = 0.0
        self._gap = 0
        self._clear_window()

    def _clear_window(self) -> None:
        self._slacks: dict[int, int] = {}
        self._total = self._late = self._episodes = 0

    def _horizon(self) -> int:
        """Return how far ahead of its usual slack a packet may lie, in ticks from the position."""
        ahead = int(self.settings.most_ahead * self._clock_rate_hz)
        return ahead + self._typical * self.frame_ticks

    def _set_frame(self, ticks: int) -> None:
        self.frame_ticks = ticks
        frames = self._clock_rate_hz / ticks
        self._least = max(1, round(self.settings.least_delay * frames))
        self._most = max(self._least, round(self.settings.most_delay * frames))
        self._typical = self._least

    def _learn(self, step: int) -> None:
        """Follow the packet time of the peer, once four packets in a row have it."""
        if not 0 < step <= self._clock_rate_hz * _LONGEST_FRAME:
            self._odd_steps = 0
            return
        self._odd_steps = self._odd_steps + 1 if step == self._odd_step else 1
        self._odd_step = step
        if self._odd_steps >= _SAME_STEPS:
            self._odd_steps = 0
            self._set_frame(step)
            self._forget()

    def _note_order(self, packet: RTPPacket, ahead: int, behind: int) -> bool:
        """Deal with a packet that is not the next one; False when it goes no further."""
        if ahead > _MOST_DROPOUT or ahead < -_MOST_MISORDER:
            self._doubt(packet, behind)
            return False
        self._note_those_in_order()
        if ahead > 0:
            # A shift beyond the mask would cost memory and leaves nothing.
            self._seen = (self._seen << ahead | 1) & _SEEN_MASK if ahead < 128 else 1
            return True
        bit = 1 << -ahead
        if self._seen & bit:
            self._drops["duplicate"] += 1
            return False
        self._seen |= bit
        self._drops["reordered"] += 1
        return True

    def _note_those_in_order(self) -> None:
        """Enter what came in order since into the mask: not with each packet, it has 128 bits."""
        count = min(self._in_order, 128)
        self._in_order = 0
        self._seen = (self._seen << count | (1 << count) - 1) & _SEEN_MASK

    def _doubt(self, packet: RTPPacket, behind: int) -> None:
        """Start anew when two packets in a row agree on a jump (RFC 3550 §A.1)."""
        suspect = self._suspect
        if suspect is not None and (packet.sequence_number - suspect.sequence_number) & 0xFFFF == 1:
            self._restart(suspect, behind)
            self.push(packet, 0.0, behind)
            self._received -= 1
            return
        self._drops["suspect"] += 1
        self._suspect = packet

    def _drop_late(self, packet: RTPPacket, transit: float, *, newest: bool) -> None:
        self._drops["late"] += 1
        self._late += 1
        self._episodes += self._in_time
        self._in_time = False
        if not newest:
            return
        half = self.frame_ticks / self._clock_rate_hz / 2
        # A burst after a stall catches up; a sender that stood still, or a longer way, does not.
        if self._late_run and transit > self._late_transit - half:
            self._late_run += 1
        else:
            self._late_run = 1
            self._late_transit = transit
        if self._late_run >= _SHIFTED_PACKETS:
            self._restart(packet)
        elif self._late >= _LATE_ENOUGH and self._episodes >= _EPISODES:
            self._review()

    # The delay

    def _review(self) -> None:
        """Compare the slack of the last packets with what is needed."""
        low, high = percentiles(self._slacks, self._total)
        late, self._typical = low < 0 and self._episodes >= _EPISODES, max(high, 0)
        self._clear_window()
        self._early = self._horizon()
        if late:
            self._calm = 0
            self._correction = min(-low, max(0, self._most - self._typical))
            self._patience = 0
        elif high < self._least:
            self._ask(1)
        elif low > self._least or (low >= 2 and high >= self._least + 2):
            self._calm += 1
            if self._calm >= _CALM_REVIEWS:
                self._ask(-1)
        else:
            self._calm = 0

    def _ask(self, frames: int) -> None:
        self._correction = frames
        self._patience = self._clock_rate_hz // self.frame_ticks

    def _correct(self) -> None:
        """Leave a frame out, when the moment has come."""
        if self._patience > 0 and not self.quiet and self._position in self._ring:
            self._patience -= 1
            return
        self._patience = 0
        if self._correction < 0:
            self._correction += 1
            self._drops["skipped"] += 1
            self._ring.pop(self._position, None)
            self._position += self.frame_ticks

    # What is played

    def _without(self, packet: RTPPacket | None) -> Played:
        """Return what stands in for the packet of this position."""
        if packet is not None:
            self._ring[self._position] = packet
            if self._patience > 0:
                return self._play(self._position)
        if self._correction > 0:
            self._correction -= 1
            self._drops["inserted"] += 1
            return Gap.LOST
        nearest = min(self._ring) if self._ring else None
        # The peer's grid has moved by a part of a frame: follow it.
        if nearest is not None and nearest < self._position + self.frame_ticks:
            return self._play(nearest)
        if self._ssrc >= 0:
            self._position += self.frame_ticks
        if not self._heard:
            return Gap.FILLING
        self._gap += 1
        return self._silence(nearest)

    def _silence(self, nearest: int | None) -> Gap:
        if nearest is None:
            lost = self._gap <= self.settings.concealed_frames
        else:
            # With nothing missing between the two, the peer paused (RFC 3551 §4.1).
            following = self._ring[nearest].sequence_number - self._played_sequence
            lost = following & 0xFFFF != 1
        if not lost:
            return Gap.EMPTY
        self._drops["lost"] += 1
        return Gap.LOST

    def _play(self, timestamp: int) -> RTPPacket:
        packet = self._ring.pop(timestamp)
        self._position = timestamp + self.frame_ticks
        self._played_sequence = packet.sequence_number
        self._gap = 0
        self._heard = True
        return packet

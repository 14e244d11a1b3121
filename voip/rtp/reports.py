"""When to send RTCP, what to say, and what the peer's reports mean (RFC 3550 §6)."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable

from voip.machine import Counters, Deadline, Entropy
from voip.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RTCPPacket,
    SenderReport,
    SourceDescription,
    serialise,
)
from voip.rtp.stream import ReceiveStreams, SendStatistics

__all__ = ["RTCPSession", "ntp_timestamp", "random_cname"]

#: RFC 3550 §6.2: the shortest mean interval. Five percent of any codec's bandwidth would allow two
#: members to report more often than that, so the minimum always decides.
INTERVAL_SECONDS = 5.0

#: Seconds from 1900 (NTP) to 1970 (Unix).
_NTP_EPOCH = 2_208_988_800


def ntp_timestamp(unix_seconds: float) -> int:
    """Return a 64-bit NTP timestamp; it wraps with its era in 2036 (RFC 3550 §4)."""
    return round((unix_seconds + _NTP_EPOCH) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF


def random_cname(entropy: Entropy) -> str:
    """Return a canonical name for one session, which tells nothing about us (RFC 7022 §4.2)."""
    return base64.b64encode(entropy(12)).decode("ascii")


class RTCPSession:
    """The control stream of one call.

    Draws from `entropy` only to spread the reports. After `deadline()` has passed, send what
    `report()` returns.

    Deviation: no timer reconsideration (§6.3.6). It guards groups in which many join at once; a
    call has two members. The compensation of §6.3.1 (a division by 1.21828) goes with it.

    Attributes:
        ssrc: ours.
        sent: what we sent; feed it with each packet.
        streams: what we received.
        remote: the peer's last report on us, or None.
        round_trip_s: the last round trip, in seconds, or None.
    """

    def __init__(
        self,
        ssrc: int,
        cname: str,
        clock_rate_hz: int,
        entropy: Entropy,
        *,
        streams: ReceiveStreams | None = None,
        sent: SendStatistics | None = None,
    ) -> None:
        self.ssrc = ssrc
        self.clock_rate_hz = clock_rate_hz
        self.sent = SendStatistics() if sent is None else sent
        self.streams = ReceiveStreams(clock_rate_hz) if streams is None else streams
        self.remote: ReportBlock | None = None
        self.round_trip_s: float | None = None
        self._description = SourceDescription.of(ssrc, cname)
        self._entropy = entropy
        self._next: float | None = None
        self._previous: float | None = None
        #: Middle NTP bits of our last sender reports and when they left.
        self._left: deque[tuple[int, float]] = deque(maxlen=8)

    @property
    def counters(self) -> Counters:
        """What was dropped, by reason: those of `streams`."""
        return self.streams.counters

    def start(self, now: float) -> None:
        """Begin to report: the first one after half the interval (§6.2)."""
        self._schedule(now, INTERVAL_SECONDS / 2)

    def stop(self) -> None:
        """Report no more."""
        self._next = None

    def _schedule(self, now: float, mean: float) -> None:
        # §6.3.1: between 0.5 and 1.5 times the interval, lest reports of many calls fall in step.
        self._next = now + mean * (0.5 + int.from_bytes(self._entropy(2), "big") / 65536)

    def deadline(self) -> Deadline | None:
        """Return when the next report is due, or None when none will be."""
        return None if self._next is None else Deadline(self._next, "rtcp report")

    def report(self, now: float, ntp: int) -> bytes:
        """Return the report that is due, as a compound packet, and schedule the next.

        Args:
            now: monotonic seconds.
            ntp: the wall clock (`ntp_timestamp`); it only labels the report.
        """
        data = serialise(self._compound(now, ntp))
        self._previous = now
        self._schedule(now, INTERVAL_SECONDS)
        return data

    @property
    def heard_of(self) -> bool:
        """Whether anything of us, RTP or RTCP, has left."""
        return self._previous is not None or self.sent.packets > 0

    def goodbye(self, now: float, ntp: int) -> bytes:
        """Return a last report with a BYE (§6.6), and report no more."""
        self.stop()
        return serialise([*self._compound(now, ntp), Goodbye((self.ssrc,))])

    def _compound(self, now: float, ntp: int) -> list[RTCPPacket]:
        # §6.1: a report first, even an empty one, and the CNAME always.
        blocks = self.streams.reports(now)[:31]
        since = self._previous
        last = self.sent.last
        # §6.4: a sender report when we sent since the previous report.
        if last is None or (since is not None and last < since):
            return [ReceiverReport(self.ssrc, blocks), self._description]
        self._left.append((ntp >> 16 & 0xFFFFFFFF, now))
        sender = SenderReport(
            self.ssrc,
            ntp,
            self.sent.rtp_timestamp(now, self.clock_rate_hz),
            self.sent.packets,
            self.sent.octets,
            blocks,
        )
        return [sender, self._description]

    def receive(self, packets: Iterable[RTCPPacket], now: float) -> None:
        """Take the packets of one compound that came from the peer's address."""
        for packet in packets:
            if isinstance(packet, (SenderReport, ReceiverReport)):
                if packet.ssrc == self.ssrc:
                    # §8.2: our own reports came back, or somebody chose our number.
                    self.counters["rtcp_ssrc_collision"] += 1
                    continue
                stream = self.streams.get(packet.ssrc)
                if stream is not None and isinstance(packet, SenderReport):
                    stream.sender_report(packet.ntp, now)
                for block in packet.reports:
                    if block.ssrc == self.ssrc:
                        self._judged(block, now)
            elif isinstance(packet, Goodbye):
                self._left_by(packet)

    def _judged(self, block: ReportBlock, now: float) -> None:
        self.remote = block
        # Our own note of when that report left, not the wall clock that is in it: neither a clock
        # that is set nor a forged LSR can make a round trip of days.
        for label, left in self._left:
            if block.last_sender_report == label:
                taken = now - left - block.delay_since_last / 65536
                if taken >= 0:
                    self.round_trip_s = taken
                return

    def _left_by(self, packet: Goodbye) -> None:
        # RELIABILITY G8: a BYE marks its sources and never ends the call.
        for ssrc in packet.ssrcs:
            stream = self.streams.get(ssrc)
            if stream is None:
                self.counters["rtcp_goodbye_unknown"] += 1
            else:
                stream.ended = True

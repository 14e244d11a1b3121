"""What is known about each source of RTP: validity, loss, jitter (RFC 3550 appendix A).

`RemoteSource` (module `source`) decides from which address packets are taken; `ReceiveStreams`
decides which SSRC among them is heard; `RTCPSession` (module `reports`) tells the peer about it.
"""

from __future__ import annotations

from voip.machine import Counters
from voip.rtp.packet import RTPPacket
from voip.rtp.rtcp import ReportBlock
from voip.rtp.source import RemoteSource, SourceRules, Verdict, may_send_to

__all__ = [
    "ReceiveStream",
    "ReceiveStreams",
    "RemoteSource",
    "SendStatistics",
    "SourceRules",
    "Verdict",
    "may_send_to",
]

# RFC 3550 §A.1
MIN_SEQUENTIAL = 2
MAX_DROPOUT = 3000
MAX_MISORDER = 100

#: RELIABILITY section 1 and G4.
MAX_STREAMS = 4
TAKEOVER_SILENCE = 0.5
#: After a re-INVITE a new SSRC needs no silence of the old one, for this long.
TAKEOVER_SECONDS = 2.0
#: A source that fell silent makes room in the table after this.
STALE_SECONDS = 2.0

#: 1/65536 seconds per second, the unit of DLSR.
_COMPACT = 65536


_NEVER = float("-inf")


class ReceiveStream:
    """One SSRC: sequence validity (A.1), loss (A.3), jitter (A.8).

    Sequence numbers are unbounded here; only reports cut them to what the wire can say.

    Attributes:
        ssrc: the source.
        clock_rate_hz: its RTP clock.
        highest: the extended highest sequence number.
        received: packets counted since it was found valid.
        jitter_ticks: smoothed interarrival jitter, in ticks.
        restarts: how often its sequence jumped and began anew.
        last_arrival: when its last valid packet came.
        ended: whether the source said goodbye in RTCP.
    """

    __slots__ = (
        "_bad",
        "_base",
        "_expected_prior",
        "_probation",
        "_received_prior",
        "_sender_report",
        "_timestamp",
        "_transit",
        "clock_rate_hz",
        "ended",
        "held",
        "highest",
        "jitter_ticks",
        "last_arrival",
        "received",
        "restarts",
        "ssrc",
    )

    def __init__(self, ssrc: int, clock_rate_hz: int) -> None:
        self.ssrc = ssrc
        self.clock_rate_hz = clock_rate_hz
        self.highest = -1
        self.restarts = 0
        self.jitter_ticks = 0.0
        self.last_arrival = 0.0
        self.ended = False
        self.held: RTPPacket | None = None
        self._timestamp = -1
        self._transit = 0.0
        self._probation = MIN_SEQUENTIAL
        self._sender_report: tuple[int, float] | None = None
        self._begin(0)

    def _begin(self, sequence_number: int) -> None:
        self._base = self.highest = sequence_number
        self._bad: int | None = None
        self.received = 0
        self._expected_prior = self._received_prior = 0

    @property
    def is_valid(self) -> bool:
        """Whether the source has passed its probation."""
        return not self._probation

    def receive(self, packet: RTPPacket, now: float) -> bool:
        """Count a packet; False when its sequence number makes no sense (yet).

        Args:
            packet: one of this SSRC.
            now: when it arrived, in seconds.
        """
        step = (packet.sequence_number - self.highest) & 0xFFFF
        if step == 1 and not self._probation:
            self.highest += 1  # as nearly all are
        elif not self._follows(packet.sequence_number & 0xFFFF, step):
            return False
        self.received += 1
        self.last_arrival = now
        timestamp = packet.timestamp & 0xFFFFFFFF
        before = self._timestamp
        # Reports on one key press share a timestamp (RFC 4733 §2.3), and are not late for it.
        if timestamp != before:
            # The difference of two transits, taken modulo 2^32 as the timestamp is: no uptime and
            # no wrap makes it large (A.8 with 32-bit integers overflowed after 27 days elsewhere).
            arrival = now * self.clock_rate_hz
            if before >= 0:
                ticks = (timestamp - before + 0x80000000 & 0xFFFFFFFF) - 0x80000000
                late = abs(arrival - self._transit - ticks)
                self.jitter_ticks += (late - self.jitter_ticks) / 16
            self._timestamp = timestamp
            self._transit = arrival
        return True

    def _follows(self, sequence_number: int, step: int) -> bool:
        """Tell whether a packet that is not simply the next one counts (A.1)."""
        if self._probation:
            return self._prove(sequence_number)
        if step < MAX_DROPOUT:
            self.highest += step
        elif step <= 0x10000 - MAX_MISORDER:
            # §A.1: two in a row beyond a jump are the other side restarting.
            if sequence_number != self._bad:
                self._bad = (sequence_number + 1) & 0xFFFF
                return False
            self._begin(sequence_number)
            self.restarts += 1
            self._timestamp = -1
        return True

    def _prove(self, sequence_number: int) -> bool:
        if self._probation < MIN_SEQUENTIAL and sequence_number == (self.highest + 1) & 0xFFFF:
            self._probation -= 1
        else:
            self._probation = MIN_SEQUENTIAL - 1
        self.highest = sequence_number
        if self._probation:
            return False
        # Deviation: §A.1 forgets the packets of the probation; ours are held and delivered.
        self._begin(sequence_number - 1)
        self.highest = sequence_number
        self.received = 1
        return True

    @property
    def expected(self) -> int:
        """Packets that should have come, by their sequence numbers."""
        return 0 if self._probation else self.highest - self._base + 1

    @property
    def lost(self) -> int:
        """Packets that did not come; negative when duplicates outweigh the losses."""
        return self.expected - self.received if self.expected else 0

    @property
    def jitter_s(self) -> float:
        """Interarrival jitter in seconds."""
        return self.jitter_ticks / self.clock_rate_hz

    def sender_report(self, ntp: int, now: float) -> None:
        """Remember when the source's report came, for the round trip that it will compute."""
        self._sender_report = (ntp >> 16 & 0xFFFFFFFF, now)

    def report(self, now: float) -> ReportBlock:
        """Return the block for the next report; it closes an interval of loss (A.3)."""
        expected = self.expected
        interval = expected - self._expected_prior
        missing = interval - (self.received - self._received_prior)
        self._expected_prior, self._received_prior = expected, self.received
        fraction = min(255, (missing << 8) // interval) if interval > 0 and missing > 0 else 0
        last, delay = 0, 0.0
        if self._sender_report is not None:
            # A plane's tick may lie just before the datagram that came after it was planned.
            last, delay = self._sender_report[0], max(0.0, now - self._sender_report[1])
        return ReportBlock(
            self.ssrc,
            fraction,
            self.lost,
            self.highest & 0xFFFFFFFF,
            int(self.jitter_ticks),
            last,
            int(delay * _COMPACT),
        )


class ReceiveStreams:
    """The sources of one call, of which one at a time is heard.

    A new SSRC passes a probation of two packets, then waits until the one that is heard has been
    silent for half a second, or a re-INVITE has come (RELIABILITY G4): alternating SSRCs must not
    reset the decoder with each packet.

    Attributes:
        active: the source that is heard, or None.
    """

    __slots__ = ("_counters", "_open_until", "_streams", "active", "clock_rate_hz")

    def __init__(self, clock_rate_hz: int, counters: Counters | None = None) -> None:
        self.clock_rate_hz = clock_rate_hz
        self.active: ReceiveStream | None = None
        self._counters = counters
        self._streams: dict[int, ReceiveStream] = {}
        self._open_until = _NEVER

    @property
    def counters(self) -> Counters:
        """What was dropped, by reason; made on first use, as most calls drop nothing."""
        counters = self._counters
        if counters is None:
            counters = self._counters = Counters()
        return counters

    def get(self, ssrc: int) -> ReceiveStream | None:
        """Return what is known about a source, or None."""
        return self._streams.get(ssrc)

    def receive(self, packet: RTPPacket, now: float) -> tuple[RTPPacket, ...]:
        """Take a packet; return those to deliver now: none, itself, or one held before it too."""
        active = self.active
        if active is not None and packet.ssrc == active.ssrc:
            if active.receive(packet, now):
                return (packet,)
            self.counters["rtp_sequence"] += 1
            return ()
        return self._receive_other(packet, now)

    def _receive_other(self, packet: RTPPacket, now: float) -> tuple[RTPPacket, ...]:
        stream = self._streams.get(packet.ssrc)
        if stream is None:
            stream = self._admit(packet.ssrc, now)
            if stream is None:
                self.counters["rtp_ssrc_table"] += 1
                return ()
        first, stream.held = stream.held, None
        if not stream.receive(packet, now):
            if not stream.is_valid:
                stream.held = packet
                stream.last_arrival = now
            return ()
        active = self.active
        if (
            active is not None
            and now - active.last_arrival < TAKEOVER_SILENCE
            and now >= self._open_until
        ):
            self.counters["rtp_ssrc"] += 1
            return ()
        if active is not None:
            self.counters["rtp_ssrc_changed"] += 1
        self.active = stream
        self._open_until = _NEVER
        return (packet,) if first is None else (first, packet)

    def _admit(self, ssrc: int, now: float) -> ReceiveStream | None:
        streams = self._streams
        if len(streams) >= MAX_STREAMS:
            stale = [
                number
                for number, stream in streams.items()
                if stream is not self.active and now - stream.last_arrival > STALE_SECONDS
            ]
            if not stale:
                return None
            del streams[stale[0]]
        stream = streams[ssrc] = ReceiveStream(ssrc, self.clock_rate_hz)
        return stream

    def renegotiated(self, now: float, clock_rate_hz: int | None = None) -> None:
        """Let a new SSRC in without waiting: an offer and its answer went through."""
        self._open_until = now + TAKEOVER_SECONDS
        if clock_rate_hz is not None and clock_rate_hz != self.clock_rate_hz:
            self.clock_rate_hz = clock_rate_hz
            for stream in self._streams.values():
                stream.clock_rate_hz = clock_rate_hz

    def reports(self, now: float) -> tuple[ReportBlock, ...]:
        """Return the report blocks of the sources that are valid."""
        return tuple(one.report(now) for one in self._streams.values() if one.is_valid)


class SendStatistics:
    """What we sent, as a sender report tells it (RFC 3550 §6.4.1).

    Attributes:
        packets: packets sent.
        octets: payload octets sent.
        last: when the last packet left; None before the first.
    """

    __slots__ = ("_timestamp", "last", "octets", "packets")

    def __init__(self) -> None:
        self.packets = 0
        self.octets = 0
        self.last: float | None = None
        self._timestamp = 0

    def sent(self, packet: RTPPacket, now: float) -> None:
        """Count a packet that left."""
        self.packets += 1
        self.octets += len(packet.payload)
        self._timestamp = packet.timestamp
        self.last = now

    def rtp_timestamp(self, now: float, clock_rate_hz: int) -> int:
        """Return what the RTP clock says at `now`, not when the last packet left (§6.4.1)."""
        if self.last is None:
            return 0
        return self._timestamp + round((now - self.last) * clock_rate_hz)

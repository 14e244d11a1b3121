"""The receiving half of a leg's media: from a datagram to the jitter buffer, and its RTCP.

    datagram -> receive -> source rules -> SSRC rules -> packet_received -> push -> jitter buffer

A call may be over before anything came, so what only a packet needs is made by the first one.
"""

from __future__ import annotations

from voip.audio.call import AudioCall
from voip.errors import ParseError
from voip.machine import Counters
from voip.media.jitter import JitterBuffer
from voip.media.link import MediaLink, Plane
from voip.rtp.call import RTPCall
from voip.rtp.packet import RTPPacket, RTPPayloadType
from voip.rtp.reports import RTCPSession, ntp_timestamp, random_cname
from voip.rtp.rtcp import parse_compound
from voip.rtp.source import RemoteSource, SourceRules, Verdict
from voip.rtp.stream import ReceiveStreams, SendStatistics
from voip.sdp.negotiation import Agreement
from voip.types import HostPort

__all__ = ["Reception"]

_REST_SECONDS = 1.0
_ACCEPT = Verdict.ACCEPT
_parse = RTPPacket.parse


class Reception:
    """What comes for one leg.

    Attributes:
        plane: the plane that drives the leg.
        leg: the leg.
        link: the socket side.
        source: where its packets may come from.
        streams: what is known about their SSRCs.
        seconds: the packet time.
        is_closed: whether it is over.
    """

    __slots__ = (
        "_agreement",
        "_ahead_seconds",
        "_audio",
        "_began",
        "_clear_at",
        "_due",
        "_farewell",
        "_flows",
        "_heard",
        "_heard_at",
        "_in_a_row",
        "_jitter",
        "_now",
        "_owed",
        "_packet_seconds",
        "_payload_types",
        "_period_ticks",
        "_phased",
        "_receives",
        "_resting_until",
        "_rtcp",
        "_sent",
        "is_closed",
        "leg",
        "link",
        "plane",
        "seconds",
        "source",
        "streams",
    )

    seconds: float
    _period_ticks: int

    def __init__(
        self,
        plane: Plane,
        leg: RTPCall,
        link: MediaLink,
        source: RemoteSource | None,
        agreement: Agreement | None,
        now: float,
    ) -> None:
        self.plane = plane
        self.leg = leg
        self.link = link
        self._audio = audio = leg if isinstance(leg, AudioCall) else None
        self.streams = ReceiveStreams(8000 if audio is None else audio.codec.rtp_clock_rate_hz)
        self.source = source or RemoteSource(SourceRules(mode="anywhere"), self.counters)
        self.is_closed = False
        self._in_a_row = leg.hooks.in_a_row
        self._agreement = agreement
        self._receives = agreement is None or agreement.receive
        self._flows = True
        self._heard = self._phased = False
        self._farewell = True
        self._heard_at = self._now = self._began = now
        self._clear_at = self._resting_until = 0.0
        # When the leg was last due, and what it owes since: ticks of media that it has yet to play.
        self._due = now
        self._owed = 0
        # Made when the first packet needs it.
        self._payload_types: frozenset[int] | None = None
        self._jitter: JitterBuffer | None = None
        self._rtcp: RTCPSession | None = None
        self._sent: SendStatistics | None = None

    @property
    def counters(self) -> Counters:
        """What was dropped, by reason."""
        return self.streams.counters

    @property
    def jitter(self) -> JitterBuffer | None:
        """The jitter buffer; None where the leg does not deal in audio."""
        jitter = self._jitter
        if jitter is None and self._audio is not None:
            settings = self.plane.settings.jitter
            jitter = JitterBuffer(self.streams.clock_rate_hz, self._period_ticks, settings)
            self._jitter = jitter
        return jitter

    @property
    def rtcp(self) -> RTCPSession:
        """The control stream."""
        rtcp = self._rtcp
        if rtcp is None:
            rtcp = self._rtcp = self._begin_rtcp()
        return rtcp

    def _begin_rtcp(self) -> RTCPSession:
        entropy = self.plane.entropy
        audio, cname = self._audio, random_cname(entropy)
        ssrc = int.from_bytes(entropy(4), "big") if audio is None else audio.rtp_ssrc
        clock_hz = self.streams.clock_rate_hz
        rtcp = RTCPSession(ssrc, cname, clock_hz, entropy, streams=self.streams, sent=self._sent)
        self._sent = rtcp.sent
        rtcp.start(self._began)
        return rtcp

    def _limit(self, seconds: float) -> None:
        """Derive from the packet time what a flood may cost (RELIABILITY G5)."""
        settings = self.plane.settings
        # The peer's packets may be shorter than ours, which the description does not tell.
        self._packet_seconds = min(seconds, 0.02) / settings.packet_rate
        self._ahead_seconds = settings.packet_burst * self._packet_seconds

    # For the shell

    def receive(self, data: bytes, addr: tuple[str, int], now: float) -> None:
        """Take one RTP datagram from `addr`, which is spelled as `canonical_ip` does."""
        srtp = self.leg.srtp
        try:
            if srtp is not None:
                data = srtp.unprotect(data)
            packet = _parse(data)
        except ParseError:
            self.counters["rtp_malformed"] += 1
            return
        source = self.source
        if source.accept(packet, addr, now) is not _ACCEPT or self.is_closed:
            return
        self._now = self._heard_at = self.plane.clock = now
        self._heard, self._resting_until = True, 0.0
        active = self.streams.active
        if source.released or active is None or packet.ssrc != active.ssrc:
            self._receive_new([*source.take_released(), packet], addr, now)
        elif active.receive(packet, now):
            self._deliver(packet, addr, now)
        else:
            self.counters["rtp_sequence"] += 1

    def _receive_new(self, packets: list[RTPPacket], addr: tuple[str, int], now: float) -> None:
        """Take packets of a new address or SSRC, the oldest of which may have been held."""
        before = 0 if self._jitter is None else self._jitter.timeline
        for packet in packets:
            for one in self.streams.receive(packet, now):
                self._deliver(one, addr, now)
        jitter = self._jitter
        if jitter is not None and jitter.timeline != before:
            # What was held until the stream was proven must not delay it for the whole call: it is
            # played at once.
            self._owed += max(0, jitter.surplus - self._behind())

    def _deliver(self, packet: RTPPacket, addr: tuple[str, int], now: float) -> None:
        # A bucket that leaks, kept as the moment when it is empty. What another SSRC or another
        # address sends never gets here, so it cannot use up the budget of the real stream.
        clear_at = self._clear_at
        if clear_at <= now:
            self._clear_at = now + self._packet_seconds
        elif clear_at - now < self._ahead_seconds:
            self._clear_at = clear_at + self._packet_seconds
        else:
            self.counters["rtp_over_rate"] += 1
            return
        try:
            self.leg.packet_received(packet, addr)
        except Exception as error:  # noqa: BLE001 - a hook may raise anything, its call goes on
            self.leg._frame_failed("packet_received", error)
        else:
            if self._in_a_row:
                self._in_a_row.pop("packet_received", None)

    def receive_rtcp(self, data: bytes, addr: tuple[str, int], now: float) -> None:
        """Take one RTCP datagram."""
        try:
            packets = parse_compound(data)
        except ParseError:
            self.counters["rtcp_malformed"] += 1
            return
        if self.source.accept_rtcp(addr) and not self.is_closed:
            self._heard_at = now
            self.rtcp.receive(packets, now)

    def unreachable(self, addr: HostPort, now: float) -> None:
        """Rest, since the network says that nobody is where we send to (RELIABILITY F2).

        One packet a second finds out when somebody is there again; so does the first that comes.
        """
        if addr == self.source.remote:
            self.source.unreachable()
            self._resting_until = now + _REST_SECONDS

    # For the leg: its engine

    @property
    def remote(self) -> HostPort | None:
        """Where packets go now."""
        return self.source.remote

    def push(self, packet: RTPPacket) -> None:
        """Take one packet into the jitter buffer."""
        if not (self._receives and self._flows):
            return
        jitter = self._jitter
        if jitter is None:
            jitter = self.jitter
            if jitter is None:
                return
        expected = self._payload_types
        if expected is None:
            expected = self._payload_types = _audio_types(self._agreement)
        if expected and packet.payload_type not in expected:
            self.counters["rtp_not_audio"] += 1
            return
        now = self._now
        # Nearly always there is nothing to make up for.
        behind = self._behind() if self._owed or now - self._due >= self.seconds else 0
        jitter.push(packet, now - self._began, behind)
        if not self._phased:
            self._phased = True
            self.plane.rephase(self)

    def _behind(self) -> int:
        """Return the ticks that the leg has yet to play, to be where it should be by now."""
        late = self._now - self._due
        return self._owed + max(0, int(late / self.seconds)) * self._period_ticks

    # RTCP

    def _send_rtcp(self, data: bytes) -> None:
        # Deviation: no SRTCP yet; nothing in the clear on a call that is encrypted.
        addr = self.source.remote_rtcp
        if addr is not None and self.leg.srtp is None:
            mux = self._agreement is not None and self._agreement.rtcp_mux
            send = self.link.send if mux else self.link.send_rtcp
            send(data, addr)

    def _ntp(self, now: float) -> int:
        return ntp_timestamp(now + self.plane.unix_offset)

    def far_end_left(self) -> None:
        """Say no goodbye: who has hung up by SIP has closed its ports."""
        self._farewell = False

    def say_goodbye(self, now: float) -> None:
        """Send the last report (RFC 3550 §6.6)."""
        # §6.3.7: who never sent a packet MUST NOT send a BYE.
        if self._farewell and self._sent is not None and self.rtcp.heard_of:
            self._send_rtcp(self.rtcp.goodbye(now, self._ntp(now)))


def _audio_types(agreement: Agreement | None) -> frozenset[int]:
    """Return the payload types that hold audio; none where any may."""
    if agreement is None:
        return frozenset()
    events = {
        fmt.payload_type
        for fmt in agreement.media.fmt
        if (fmt.encoding_name or "").lower() == "telephone-event"
    }
    return frozenset(agreement.payload_types - events - {RTPPayloadType.CN})

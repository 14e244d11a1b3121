"""The media of one leg, driven inline: its engine and its wire.

Everything goes through the instance: a patched or overridden method is honoured.

    datagram -> receive -> source rules -> SSRC rules -> packet_received -> push -> jitter buffer
    tick -> jitter buffer -> decode_payload -> audio_received -> …
         -> playout -> next_rtp_packet -> send_packet
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voip.audio.call import AudioCall
from voip.errors import EndCause, ParseError
from voip.machine import Counters, Entropy
from voip.media.dsp import FloatArray, rms
from voip.media.jitter import Gap, JitterBuffer, JitterSettings
from voip.rtp.call import RTPCall
from voip.rtp.packet import RTPPacket, RTPPayloadType
from voip.rtp.reports import RTCPSession, ntp_timestamp, random_cname
from voip.rtp.rtcp import parse_compound
from voip.rtp.source import RemoteSource, SourceRules, Verdict
from voip.rtp.stream import ReceiveStreams
from voip.sdp.negotiation import Agreement
from voip.sdp.types import MediaDescription
from voip.types import HostPort

__all__ = ["TICK", "InlineMedia", "MediaLink", "PlaneSettings"]

#: Seconds between two ticks of a plane.
TICK = 0.005
_CHORES_SECONDS = 0.5
# Below this level a correction of the jitter buffer is not heard: -50 dBFS.
_QUIET = 0.003


class MediaLink(Protocol):
    """The socket side of one leg's media."""

    def send(self, data: bytes, addr: HostPort) -> None:
        """Send one RTP datagram."""

    def send_rtcp(self, data: bytes, addr: HostPort) -> None:
        """Send one RTCP datagram."""

    def close(self) -> None:
        """Give the port back."""


@dataclass(slots=True)
class PlaneSettings:
    """Settings of a plane.

    Attributes:
        media_timeout: seconds without RTP and RTCP after which a call that is not on hold ends;
            None never ends it.
        first_media_timeout: the same before the first packet.
        keep_alive: seconds between packets where silence is not sent (RFC 6263).
        packet_rate: packets of one stream that are taken, as a multiple of its nominal rate.
        packet_burst: packets beyond that rate which may come at once, as after a stall.
        jitter: bounds of the jitter buffers.
    """

    media_timeout: float | None = 30.0
    first_media_timeout: float | None = 60.0
    keep_alive: float = 15.0
    packet_rate: float = 4.0
    packet_burst: int = 50
    jitter: JitterSettings | None = None


class Plane(Protocol):
    """What a leg's media asks of the plane that drives it."""

    entropy: Entropy
    settings: PlaneSettings
    unix_offset: float

    def rephase(self, media: InlineMedia) -> None:
        """Make a leg due in the slot that follows an arrival."""

    def release(self, media: InlineMedia) -> None:
        """Let a leg go."""


class _MediaTimer:
    """A callback in media time."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make it not happen."""
        self.callback = None


class InlineMedia:
    """The media of one leg: its `wire`, and its engine.

    Attributes:
        leg: the leg.
        link: the socket side.
        source: where its packets may come from.
        streams: what is known about their SSRCs.
        rtcp: the control stream.
        jitter: the jitter buffer; None where the leg does not deal in audio.
        counters: what was dropped, by reason.
        media_time: seconds of media since it began.
        is_closed: whether it is over.
        place: the plane's list that it is due with.
    """

    def __init__(
        self,
        plane: Plane,
        leg: RTPCall,
        link: MediaLink,
        source: RemoteSource | None,
        now: float,
    ) -> None:
        self.plane = plane
        self.leg = leg
        self.link = link
        self.counters: Counters = Counter()
        self.source = source or RemoteSource(SourceRules(mode="anywhere"), self.counters)
        self.media_time = 0.0
        self.is_closed = False
        self.place: list[InlineMedia] = []
        self.streams = ReceiveStreams(8000, self.counters)
        self.jitter: JitterBuffer | None = None
        self._audio = leg if isinstance(leg, AudioCall) else None
        self._in_a_row = leg.hooks.in_a_row
        self._clear_at = 0.0
        self._mux = False
        self._sends = self._receives = self._flows = True
        self._heard_at = self._sent_at = self._now = self._began = now
        self._heard = False
        self._timers: list[_MediaTimer] = []
        self._phased = False
        self._chores_at = now
        self._payload_types: frozenset[int] = frozenset()
        self._configure()
        ssrc = self._begin_stream()
        cname = random_cname(plane.entropy)
        clock_hz = self.streams.clock_rate_hz
        self.rtcp = RTCPSession(ssrc, cname, clock_hz, plane.entropy, streams=self.streams)
        self.rtcp.start(now)

    def _begin_stream(self) -> int:
        if self._audio is None:
            return int.from_bytes(self.plane.entropy(4), "big")
        self._audio._playout.begin(self.plane.entropy)
        return self._audio.rtp_ssrc

    def _configure(self) -> None:
        """Derive packet times and the jitter buffer from the leg's codec."""
        leg = self._audio
        if leg is None:
            self.period, self._period_ticks, self.seconds = 4, 160, 0.02
            self._limit()
            return
        codec = leg.codec
        self.seconds = codec.frame_size / codec.sample_rate_hz
        self._limit()
        self.period = max(1, round(self.seconds / TICK))
        self._period_ticks = int(codec.timestamp_increment)
        self._credit = 0
        self._slow = leg._emits_slowly()
        clock_hz = codec.rtp_clock_rate_hz
        self.streams.clock_rate_hz = clock_hz
        self.jitter = JitterBuffer(clock_hz, self._period_ticks, self.plane.settings.jitter)

    def _limit(self) -> None:
        """Derive from the packet time what a flood may cost (RELIABILITY G5)."""
        settings = self.plane.settings
        # The peer's packets may be shorter than ours, which the description does not tell.
        self._packet_seconds = min(self.seconds, 0.02) / settings.packet_rate
        self._ahead_seconds = settings.packet_burst * self._packet_seconds

    # For the shell

    def receive(self, data: bytes, addr: tuple[str, int], now: float) -> None:
        """Take one RTP datagram from `addr`, which is spelled as `canonical_ip` does."""
        srtp = self.leg.srtp
        try:
            if srtp is not None:
                data = srtp.unprotect(data)
            packet = RTPPacket.parse(data)
        except ParseError:
            self.counters["rtp_malformed"] += 1
            return
        source = self.source
        if source.accept(packet, addr, now) is not Verdict.ACCEPT or self.is_closed:
            return
        self._now = self._heard_at = now
        self._heard = True
        if source.released:
            for held in source.take_released():
                self._deliver(held, addr, now)
        self._deliver(packet, addr, now)

    def _deliver(self, packet: RTPPacket, addr: tuple[str, int], now: float) -> None:
        for one in self.streams.receive(packet, now):
            # A bucket that leaks, kept as the moment when it is empty. What another SSRC or another
            # address sends never gets here, so it cannot use up the budget of the real stream.
            clear_at = self._clear_at
            if clear_at <= now:
                self._clear_at = now + self._packet_seconds
            elif clear_at - now < self._ahead_seconds:
                self._clear_at = clear_at + self._packet_seconds
            else:
                self.counters["rtp_over_rate"] += 1
                continue
            try:
                self.leg.packet_received(one, addr)
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

    def update(self, agreement: Agreement, now: float) -> None:
        """Go on with what a re-INVITE agreed on: hold, resume, another address, another codec."""
        leg, rules = self._audio, self.source.rules
        before = None if leg is None else leg.codec
        if leg is None:
            self.leg.media = agreement.media
        else:
            leg._use_media(agreement.media, agreement.ptime_ms)
        resumed = agreement.receive and not self._receives
        self.agree(agreement)
        self.source.renegotiated(
            SourceRules(
                mode=rules.mode,
                sdp=agreement.remote,
                signalling_ip=rules.signalling_ip,
                payload_types=agreement.payload_types,
                sdp_rtcp=agreement.remote_rtcp,
                trusted=rules.trusted,
                acknowledged=rules.acknowledged,
            )
        )
        if leg is not None and (leg.codec is not before or resumed):
            self._configure()
            self.plane.rephase(self)
        self.streams.renegotiated(now, self.streams.clock_rate_hz)
        self.rtcp.clock_rate_hz = self.streams.clock_rate_hz
        self._phased = False
        self._heard_at = now

    def agree(self, agreement: Agreement) -> None:
        """Take directions and numbers from what was agreed on."""
        self._mux = agreement.rtcp_mux
        self._sends, self._receives = agreement.send, agreement.receive
        events = {
            fmt.payload_type
            for fmt in agreement.media.fmt
            if (fmt.encoding_name or "").lower() == "telephone-event"
        }
        self._payload_types = frozenset(agreement.payload_types - events - {RTPPayloadType.CN})

    # For the leg: its engine

    @property
    def remote(self) -> HostPort | None:
        """Where packets go now."""
        return self.source.remote

    def push(self, packet: RTPPacket) -> None:
        """Take one packet into the jitter buffer."""
        jitter = self.jitter
        if jitter is None or not (self._receives and self._flows):
            return
        if self._payload_types and packet.payload_type not in self._payload_types:
            self.counters["rtp_not_audio"] += 1
            return
        jitter.push(packet, self._now - self._began)
        if not self._phased:
            self._phased = True
            self.plane.rephase(self)

    def call_later(self, delay: float, callback: Callable[[], None]) -> _MediaTimer:
        """Call back after `delay` seconds of media time."""
        timer = _MediaTimer(self.media_time + delay, callback)
        self._timers.append(timer)
        return timer

    # For the leg: its wire

    def send(self, packet: RTPPacket) -> None:
        """Send one packet to the far end."""
        addr = self.source.destination()
        if addr is not None:
            self.leg.send_packet(packet, addr)
            self.rtcp.sent.sent(packet, self._now)

    def clear(self) -> bool:
        """Drop what is queued for sending; True when something was playing."""
        return self._audio is not None and self._audio.cancel_audio()

    def close(self) -> None:
        """Stop, and give the port back."""
        self.plane.release(self)
        self.link.close()

    def describe(self) -> MediaDescription:
        """Return the m= section as it is agreed on now."""
        return self.leg.media

    def start(self) -> None:
        """Let media flow again."""
        self._flows = True
        self._phased = False

    def stop(self) -> None:
        """Hold media."""
        self._flows = False

    # On its tick

    def run(self, now: float) -> None:
        """Do what is due once per packet time."""
        self._now = now
        leg = self._audio
        if leg is not None and self._receives and self._flows:
            self._credit += self._period_ticks
            jitter = self.jitter
            assert jitter is not None
            while self._credit >= jitter.frame_ticks and not self.is_closed:
                self._credit -= jitter.frame_ticks
                self._play(leg, jitter)
        self.media_time += self.seconds
        if self._timers:
            self._run_timers()
        if leg is not None and not self.is_closed:
            self._say(leg, now)
        if now >= self._chores_at and not self.is_closed:
            self._do_chores(now)

    def _play(self, leg: AudioCall, jitter: JitterBuffer) -> None:
        """Hand one frame to the leg: what came, or what stands in for it."""
        played = jitter.pop()
        if type(played) is RTPPacket:
            if self._slow:
                leg._emit_later(played)
                return
            audio = self._decode(leg, played)
        elif played is Gap.FILLING:
            return
        else:
            audio = self._stand_in(leg, lost=played is Gap.LOST)
            if self._slow:
                leg._emit_later(audio)
                return
            leg._made_up = True
        if audio.size:
            self._emit(leg, audio, jitter)
        leg._made_up = False

    def _decode(self, leg: AudioCall, packet: RTPPacket) -> FloatArray:
        try:
            audio = leg.decode_payload(packet.payload)
        except Exception as error:  # noqa: BLE001 - the leg's own override, or a codec library
            leg._frame_failed("decode_payload", error)
            leg._made_up = True
            return self._stand_in(leg, lost=True)
        if self._in_a_row:
            self._in_a_row.pop("decode_payload", None)
        return audio

    def _stand_in(self, leg: AudioCall, *, lost: bool) -> FloatArray:
        decoder = leg._decoder
        if lost and decoder is not None:
            return decoder.conceal()
        assert self.jitter is not None
        ticks = self.jitter.frame_ticks * leg.RESAMPLING_RATE_HZ
        return np.zeros(ticks // leg.codec.rtp_clock_rate_hz, np.float32)

    def _emit(self, leg: AudioCall, audio: FloatArray, jitter: JitterBuffer) -> None:
        level = rms(audio)
        jitter.quiet = level < _QUIET
        try:
            leg.audio_received(audio=audio, rms=level)
        except Exception as error:  # noqa: BLE001 - a hook may raise anything, its call goes on
            leg._frame_failed("audio_received", error)
        else:
            if self._in_a_row:
                self._in_a_row.pop("audio_received", None)

    def _run_timers(self) -> None:
        at = self.media_time + 1e-9
        due = [timer for timer in self._timers if timer.at <= at]
        self._timers = [timer for timer in self._timers if timer.at > at and timer.callback]
        for timer in due:
            callback, timer.callback = timer.callback, None
            if callback is None:
                continue
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - it runs hooks and overrides
                self.leg.hooks.failed("timer", error)

    def _say(self, leg: AudioCall, now: float) -> None:
        """Send one frame: what is queued, else silence, else nothing."""
        playout = leg._playout
        if not (self._sends and self._flows):
            playout.skip()
            return
        addr = self.source.destination()
        if addr is None:  # nobody may be sent to (yet): what is said meanwhile is lost
            playout.take()
            playout.skip()
        else:
            quiet = leg.send_silence or now >= self._sent_at + self.plane.settings.keep_alive - TICK
            try:
                said = playout.next_payload(silence=quiet)
                if said is None:
                    playout.skip()
                else:
                    packet = leg._send_frame(said[0], marker=said[1], addr=addr)
                    self.rtcp.sent.sent(packet, now)
                    self._sent_at = now
            except Exception as error:  # noqa: BLE001 - an override, or a codec library
                leg._frame_failed("send_packet", error)
            else:
                if self._in_a_row:
                    self._in_a_row.pop("send_packet", None)
        if playout.changed:
            playout.changed = False
            leg._wake("sent")

    def _do_chores(self, now: float) -> None:
        """Report, and see whether anybody is there."""
        self._chores_at = now + _CHORES_SECONDS
        due = self.rtcp.deadline()
        if due is not None and now >= due.at:
            self._send_rtcp(self.rtcp.report(now, self._ntp(now)))
        settings = self.plane.settings
        most = settings.media_timeout if self._heard else settings.first_media_timeout
        if most is not None and self._receives and self._flows and now - self._heard_at > most:
            self.counters["media_timeout"] += 1
            self._heard_at = now
            leg = self.leg
            leg._spawn(leg._hang_up(EndCause.MEDIA_TIMEOUT), "hang up")

    def _ntp(self, now: float) -> int:
        return ntp_timestamp(now + self.plane.unix_offset)

    def _send_rtcp(self, data: bytes) -> None:
        # Deviation: no SRTCP yet; nothing in the clear on a call that is encrypted.
        addr = self.source.remote_rtcp
        if addr is not None and self.leg.srtp is None:
            send = self.link.send if self._mux else self.link.send_rtcp
            send(data, addr)

    def say_goodbye(self, now: float) -> None:
        """Send the last report (RFC 3550 §6.6)."""
        # §6.3.7: who never sent a packet MUST NOT send a BYE.
        if self.rtcp.heard_of:
            self._send_rtcp(self.rtcp.goodbye(now, self._ntp(now)))

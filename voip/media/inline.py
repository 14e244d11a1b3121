"""The media of one leg, driven inline: its engine and its wire.

Everything goes through the instance: a patched or overridden method is honoured.

    datagram -> receive -> source rules -> SSRC rules -> packet_received -> push -> jitter buffer
    tick -> jitter buffer -> decode_payload -> audio_received -> …
         -> playout -> next_rtp_packet -> send_packet
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from voip.audio.call import AudioCall
from voip.errors import EndCause
from voip.media.dsp import FloatArray, rms
from voip.media.jitter import Gap, JitterBuffer
from voip.media.link import TICK, MediaLink, MediaTimer, Plane, PlaneSettings
from voip.media.reception import Reception
from voip.rtp.call import RTPCall
from voip.rtp.packet import RTPPacket
from voip.rtp.source import RemoteSource, SourceRules
from voip.rtp.stream import SendStatistics
from voip.sdp.negotiation import Agreement
from voip.sdp.types import MediaDescription

__all__ = ["TICK", "InlineMedia", "MediaLink", "PlaneSettings"]

_CHORES_SECONDS = 0.5
# Below this level a correction of the jitter buffer is not heard: -50 dBFS.
_QUIET = 0.003
# Who stood still for longer starts the stream anew: a process with more work than time must fall
# no further behind than this.
_MOST_MISSED_SECONDS = 0.5
# How long a frame may be missing while the process lags behind, before it is made up.
_MOST_OWED_SECONDS = 0.3
# Packets sent beside the one that is due, after a stall.
_MOST_AT_ONCE = 4


class InlineMedia(Reception):
    """The media of one leg: its `wire`, and its engine.

    Attributes:
        media_time: seconds of media since it began.
        period: the packet time in ticks of the plane.
        place: the plane's slot that it is due in.
    """

    __slots__ = (
        "_chores_at",
        "_credit",
        "_most_owed",
        "_sends",
        "_sent_at",
        "_slow",
        "_timers",
        "_unsaid",
        "media_time",
        "period",
        "place",
    )

    def __init__(
        self,
        plane: Plane,
        leg: RTPCall,
        link: MediaLink,
        source: RemoteSource | None,
        agreement: Agreement | None,
        now: float,
    ) -> None:
        super().__init__(plane, leg, link, source, agreement, now)
        self.media_time = 0.0
        self.place: dict[InlineMedia, None] = {}
        self._sends = agreement is None or agreement.send
        self._sent_at = now
        self._unsaid = 0
        self._timers: list[MediaTimer] = []
        # Nothing is due yet: the first report comes after more than a second.
        self._chores_at = now + _CHORES_SECONDS
        self._configure()
        if self._audio is not None:
            self._audio._playout.begin(plane.entropy)

    def _configure(self) -> None:
        """Derive packet times from the leg's codec; a jitter buffer is made for them anew."""
        leg = self._audio
        if leg is None:
            self.period, self._period_ticks, self.seconds = 4, 160, 0.02
            self._limit(self.seconds)
            return
        codec = leg.codec
        self.seconds = codec.frame_size / codec.sample_rate_hz
        self._limit(self.seconds)
        self.period = max(1, round(self.seconds / TICK))
        self._period_ticks = int(codec.timestamp_increment)
        self._credit = 0
        self._slow = leg._emits_slowly()
        self._jitter = None
        self._owed = 0
        self._most_owed = round(_MOST_OWED_SECONDS * codec.rtp_clock_rate_hz)

    def update(self, agreement: Agreement, now: float, rules: SourceRules | None = None) -> None:
        """Go on with what a re-INVITE agreed on: hold, resume, another address, another codec.

        Args:
            agreement: what was agreed on.
            now: monotonic seconds.
            rules: where media may come from; as before, at the agreement's addresses, when absent.
        """
        leg = self._audio
        before = None if leg is None else leg.codec
        if leg is None:
            self.leg.media = agreement.media
        else:
            leg._use_media(agreement.media, agreement.ptime_ms)
        resumed = agreement.receive and not self._receives
        self._agreement = agreement
        self._payload_types = None
        self._sends, self._receives = agreement.send, agreement.receive
        self.source.renegotiated(
            rules
            or dataclasses.replace(
                self.source.rules,
                sdp=agreement.remote,
                sdp_rtcp=agreement.remote_rtcp,
                payload_types=agreement.payload_types,
            )
        )
        if leg is not None and (leg.codec is not before or resumed):
            self._configure()
            self.plane.rephase(self)
        self.streams.renegotiated(now, None if leg is None else leg.codec.rtp_clock_rate_hz)
        if self._rtcp is not None:
            self._rtcp.clock_rate_hz = self.streams.clock_rate_hz
        self._phased = False
        self._heard_at = now

    # For the leg: its engine

    def call_later(self, delay: float, callback: Callable[[], None]) -> MediaTimer:
        """Call back after `delay` seconds of media time."""
        timer = MediaTimer(self.media_time + delay, callback)
        self._timers.append(timer)
        return timer

    # For the leg: its wire

    def send(self, packet: RTPPacket) -> None:
        """Send one packet to the far end."""
        addr = self.source.destination()
        if addr is not None:
            self.leg.send_packet(packet, addr)
            (self._sent or self._begin_to_send()).sent(packet, self._now)

    def _begin_to_send(self) -> SendStatistics:
        sent = self._sent
        if sent is None:
            sent = self._sent = SendStatistics()
        return sent

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
        self._owed = 0

    def stop(self) -> None:
        """Hold media."""
        self._flows = False

    # On its tick

    def run(self, now: float, due: float, *, late: bool = False) -> None:
        """Do what is due once per packet time.

        Args:
            now: monotonic seconds.
            due: when it was due.
            late: whether packets may wait in the socket, since the process stood still: a frame
                that is not here is owed, and asked for again, before it counts as missing.
        """
        self._now, self._due = now, due
        leg, jitter = self._audio, self._jitter
        played, dry = 0, False
        if jitter is not None and leg is not None and self._receives and self._flows:
            self._credit += self._period_ticks
            if self._owed:
                self._credit += self._owed
                self._owed = 0
            while self._credit >= jitter.frame_ticks and not self.is_closed:
                if late and not len(jitter) and self._credit <= self._most_owed:
                    self._owed, dry = self._credit, True
                    self._credit = 0
                    break
                self._credit -= jitter.frame_ticks
                self._play(leg, jitter)
                played += 1
        self.media_time += self.seconds
        if self._timers:
            self._run_timers()
        if leg is not None and not self.is_closed:
            if dry and not leg._playout.queued:
                self._unsaid += 1
            else:
                if self._unsaid:
                    self._catch_up(leg, now, played - 1)
                self._say(leg, now)
        if now >= self._chores_at and not self.is_closed:
            self._do_chores(now)

    def missed(self, count: int) -> None:
        """Take note of packet times that pass without a run: the process stood still.

        What came in up to half a second is played at the next run. Nothing is sent for them.
        """
        self._due += count * self.seconds
        self._unsaid += count
        if count * self.seconds <= _MOST_MISSED_SECONDS:
            self.media_time += count * self.seconds
            self._owed += count * self._period_ticks

    def _catch_up(self, leg: AudioCall, now: float, extra: int) -> None:
        """Say what answers frames that were played late, and let the other packet times pass."""
        playout = leg._playout
        waiting = playout.queued // playout.frame_size
        count = max(0, min(extra, self._unsaid, waiting, _MOST_AT_ONCE))
        if self._unsaid > count:
            playout.skip(self._unsaid - count)
        self._unsaid = 0
        for _ in range(count):
            self._say(leg, now)

    def _play(self, leg: AudioCall, jitter: JitterBuffer) -> None:
        """Hand one frame to the leg: what came, or what stands in for it."""
        played = jitter.pop()
        if type(played) is not RTPPacket:
            if played is not Gap.FILLING:
                self._play_gap(leg, jitter, lost=played is Gap.LOST)
        elif self._slow:
            leg._emit_later(played)
        else:
            try:
                audio = leg.decode_payload(played.payload)
            except Exception as error:  # noqa: BLE001 - the leg's own override, or a codec library
                leg._frame_failed("decode_payload", error)
                self._play_gap(leg, jitter, lost=True)
                return
            if self._in_a_row:
                self._in_a_row.pop("decode_payload", None)
            if audio.size:
                self._emit(leg, audio, jitter)

    def _play_gap(self, leg: AudioCall, jitter: JitterBuffer, *, lost: bool) -> None:
        """Hand on what stands in for a frame: made up from what was heard, or silence."""
        decoder = leg._decoder
        if lost and decoder is not None:
            audio = decoder.conceal()
        else:
            ticks = jitter.frame_ticks * leg.RESAMPLING_RATE_HZ
            audio = np.zeros(ticks // leg.codec.rtp_clock_rate_hz, np.float32)
        if self._slow:
            leg._emit_later(audio)
        elif audio.size:
            leg._made_up = True
            self._emit(leg, audio, jitter)
            leg._made_up = False

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
        if addr is None or now < self._resting_until:
            # Nobody may be sent to (yet), or nobody is there: what is said meanwhile is lost.
            playout.take()
            playout.skip()
        else:
            # Silence waits for the ACK (RELIABILITY F2: who called may not be who he says he is).
            quiet = leg.send_silence and self.source.rules.acknowledged
            quiet = quiet or now >= self._sent_at + self.plane.settings.keep_alive - TICK
            try:
                said = playout.next_payload(silence=quiet)
                if said is None:
                    playout.skip()
                else:
                    payload, marker = said
                    packet = leg.next_rtp_packet(payload)
                    if marker:
                        packet.marker = True
                    leg.send_packet(packet, addr)
                    (self._sent or self._begin_to_send()).sent(packet, now)
                    self._sent_at = now
            except Exception as error:  # noqa: BLE001 - an override, or a codec library
                leg._frame_failed("send_packet", error)
            else:
                if self._in_a_row:
                    self._in_a_row.pop("send_packet", None)
        if playout.changed:
            playout.changed = False
            if leg._waiters:
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

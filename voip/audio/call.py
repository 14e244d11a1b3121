"""A call leg in audio: what comes is decoded, what is said is packetised and paced."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from voip import codecs
from voip.audio.formats import choose, codec_named
from voip.codecs.base import Decoder, RTPCodec
from voip.errors import CallEnded
from voip.hooks import frame_hook
from voip.logs import call_event
from voip.media.dsp import FloatArray, resample, rms
from voip.media.playout import Playout, Ticket
from voip.rtp.call import RTPCall
from voip.rtp.packet import RTPPacket
from voip.sdp.types import MediaDescription, parse_digits

__all__ = ["AudioCall"]

logger = logging.getLogger("voip.audio")

_BEST_FIRST = ("opus", "g722", "pcma", "pcmu")
# Frames and packets that an overridden `emit_audio` may leave waiting: 1.3 s.
_SLOW_LIMIT = 64
# A loop that stood still for longer starts its pace anew instead of sending a burst.
_MOST_BEHIND = 0.2


@dataclass(kw_only=True, eq=False, repr=False)
class AudioCall(RTPCall):
    """A call leg in audio: float32, mono, -1..1.

    On a leg with an engine everything below runs on its tick. A leg made by hand decodes each
    packet on arrival and paces what it sends by itself.

    Attributes:
        codec: the codec class of this call.
        rtp_sequence_number, rtp_timestamp: of the next packet; they count without wrapping.
        rtp_ssrc: our source.
        send_silence: whether silence is sent when there is nothing to say; trunks stay mute and NAT
            bindings close without it. False: a keep-alive every 15 s.
    """

    #: Best first; those that need the `av` package are there when it is.
    PREFERRED_CODECS: ClassVar[list[type[RTPCodec]]] = [
        codecs.REGISTRY[name] for name in _BEST_FIRST if name in codecs.REGISTRY
    ]
    #: The rate that `audio_received` is called with.
    RESAMPLING_RATE_HZ: ClassVar[int] = 16000
    #: What a packet lasts unless the call negotiated otherwise.
    RTP_PACKET_DURATION_SECS: ClassVar[float] = 0.02

    send_silence: bool = field(default=True, repr=False)

    codec: type[RTPCodec] = field(init=False, repr=False)
    rtp_sequence_number: int = field(init=False, repr=False)
    rtp_timestamp: int = field(init=False, repr=False)
    rtp_ssrc: int = field(init=False, repr=False)

    _playout: Playout = field(init=False, repr=False)
    _decoder: Decoder | None = field(init=False, default=None, repr=False)
    _made_up: bool = field(init=False, default=False, repr=False)
    _line: list[Ticket] = field(init=False, default_factory=list, repr=False)
    _pump: Any = field(init=False, default=None, repr=False)
    _next_at: float | None = field(init=False, default=None, repr=False)
    _slow: deque[Any] | None = field(init=False, default=None, repr=False)
    _emitter: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        """Derive codec and sending side from `media`, and log `call_started`.

        Raises:
            ValueError: the format names no codec.
            NotImplementedError: it names one that is not supported.
        """
        super().__post_init__()
        self.codec = self._codec_for(self.media, None)
        self._playout = Playout(self.payload_type, self.codec)
        if logger.isEnabledFor(logging.INFO):
            call_event(logger, "call_started", caller=self.caller, **self._facts())

    def _facts(self) -> dict[str, Any]:
        fmt = self.media.fmt[0]
        return super()._facts() | {
            "codec": self.codec.encoding_name,
            "sample_rate": self.sample_rate,
            "channels": fmt.channels,
            "payload_type": self.payload_type,
        }

    # The codec

    @classmethod
    def _codec_for(cls, media: MediaDescription, ptime_ms: int | None) -> type[RTPCodec]:
        fmt = media.fmt[0]
        codec = codec_named(cls.PREFERRED_CODECS, fmt)
        if ptime_ms is None:
            ptime_ms = parse_digits(media.value("ptime") or "", 200)
        return codec.for_format(fmt, ptime_ms=ptime_ms or cls._own_ptime_ms())

    @classmethod
    def _own_ptime_ms(cls) -> int | None:
        """Return the packet time that a subclass asks for, None where it leaves it to the codec."""
        ours = cls.RTP_PACKET_DURATION_SECS
        return None if ours == AudioCall.RTP_PACKET_DURATION_SECS else round(1000 * ours)

    def _use_media(self, media: MediaDescription, ptime_ms: int | None) -> None:
        """Go on with what was agreed on anew; the streams' state stays where the codec does."""
        if media is self.media and ptime_ms == self.codec.ptime_ms:
            return  # what `__post_init__` found is what was agreed on: the usual case
        codec = self._codec_for(media, ptime_ms)
        self.media = media
        self._playout.payload_type = self.payload_type
        if codec is not self.codec:
            if codec.sample_rate_hz != self.codec.sample_rate_hz:
                self._playout.clear()
            self.codec = codec
            self._decoder = None
            self._playout.use(codec)

    @property
    def payload_type(self) -> int:
        """The number negotiated for this call."""
        return self.media.fmt[0].payload_type

    @property
    def sample_rate(self) -> int:
        """The clock rate of the rtpmap, 8000 when absent; G.722 says 8000 and runs at 16000."""
        return self.media.fmt[0].sample_rate or 8000

    @property
    def played_samples(self) -> int:
        """What was really played of what was sent, to the sample, at `codec.sample_rate_hz`."""
        return self._playout.played_samples

    @classmethod
    def negotiate_codec(cls, remote_media: MediaDescription) -> MediaDescription:
        """Choose the first of PREFERRED_CODECS that the peer offers.

        Returns:
            An m= section with exactly that format, port 0 and the offer's proto.

        Raises:
            UnsupportedCodecError: none is offered and supported; a NotImplementedError, too.
        """
        return choose(cls.PREFERRED_CODECS, remote_media, cls._own_ptime_ms())

    # What comes

    def packet_received(self, packet: RTPPacket, addr: Any) -> None:
        """Take a packet into the jitter buffer; on a leg made by hand, decode it now."""
        if not packet.payload:
            return
        if self._engine is not None:
            self._engine.push(packet)
        elif self._emits_slowly():
            self._emit_later(packet)
        else:
            audio = self.decode_payload(packet.payload)
            if audio.size:
                self.audio_received(audio=audio, rms=rms(audio))

    def decode_payload(self, payload: bytes) -> FloatArray:
        """Return a payload as float32[samples], mono, -1..1, at RESAMPLING_RATE_HZ."""
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = self.codec.create_decoder(
                self.RESAMPLING_RATE_HZ, input_rate_hz=self.sample_rate
            )
        return decoder.decode(payload)

    @frame_hook
    def audio_received(self, *, audio: FloatArray, rms: float) -> None:
        """Take one frame.

        Called at frame rate from the first packet to the end; concealment, then zeros, stand in for
        what is missing. Not called while the call is on hold.

        Args:
            audio: float32[samples], mono, -1..1, at RESAMPLING_RATE_HZ.
            rms: its root mean square.
        """

    async def emit_audio(self, packet: RTPPacket) -> None:
        """Decode one packet and call `audio_received`, unless nothing came out.

        An engine does so by itself. Where a subclass overrides this, one task per leg awaits it for
        each packet, in order, behind a bounded queue.
        """
        audio = self.decode_payload(packet.payload)
        if audio.size:
            self.audio_received(audio=audio, rms=rms(audio))

    def _emits_slowly(self) -> bool:
        return type(self).emit_audio is not AudioCall.emit_audio or "emit_audio" in vars(self)

    def _emit_later(self, item: RTPPacket | FloatArray) -> None:
        """Queue a packet for `emit_audio`, or a frame that stands in for one."""
        waiting = self._slow
        if waiting is None:
            waiting = self._slow = deque()
        if len(waiting) >= _SLOW_LIMIT:
            waiting.popleft()
            self.hooks.counters["emit_audio_dropped"] += 1
        waiting.append(item)
        if self._emitter is None:
            self._emitter = self._spawn(self._emit(waiting), "media emit")
        self._wake("emit")

    async def _emit(self, waiting: deque[Any]) -> None:
        while True:
            while waiting:
                await self._emit_one(waiting.popleft())
            await self._wait("emit")

    async def _emit_one(self, item: RTPPacket | FloatArray) -> None:
        try:
            if isinstance(item, RTPPacket):
                await self.emit_audio(item)
            else:
                self._made_up = True
                self.audio_received(audio=item, rms=rms(item))
        except Exception as error:  # noqa: BLE001 - a hook may raise anything, its call goes on
            self._frame_failed("emit_audio", error)
        else:
            self.hooks.in_a_row.pop("emit_audio", None)
        finally:
            self._made_up = False

    # What is said

    async def send_rtp_audio(self, audio: FloatArray) -> None:
        """Send audio, paced without drift; returns when its last packet has left.

        Concurrent calls queue one after the other. Long audio waits for room, it is not dropped.
        A call that is cancelled takes back what has not left.

        Args:
            audio: float32[samples], mono, -1..1, at `codec.sample_rate_hz`.
        """
        if self._ended is not None:
            return
        if self.remote_address is None and (self.rtp is not None or self.wire is None):
            logger.warning("call %s: no remote address, dropping audio", self.call_id or "-")
            return
        ticket = Ticket()
        self._line.append(ticket)
        try:
            await self._queue(np.asarray(audio, np.float32).reshape(-1), ticket)
            self._leave(ticket)
            while ticket.pending:
                await self._wait("sent")
        except BaseException:  # cancelled: whoever gave up wants it silent
            self._playout.drop(ticket)
            raise
        finally:
            self._leave(ticket)

    async def _queue(self, audio: FloatArray, ticket: Ticket) -> None:
        """Push all of `audio`, in turn."""
        offset = 0
        while not ticket.cancelled:
            if self._line[0] is ticket and (self._playout.low or audio.size - offset == 0):
                offset += self._playout.push(audio[offset:], ticket)
                self._pace()
                if offset == audio.size:
                    return
            await self._wait("sent")

    def _leave(self, ticket: Ticket) -> None:
        """Let the next in line push."""
        if ticket in self._line:
            self._line.remove(ticket)
            self._wake("sent")

    def play(self, audio: FloatArray) -> bool:
        """Queue a piece of audio at once, from plain code; False when there is no room for it.

        For hooks that are not async, such as `audio_received`: no task, no waiting.

        Args:
            audio: float32[samples], mono, -1..1, at `codec.sample_rate_hz`.
        """
        if audio.ndim != 1:  # a column, as some readers of files give
            audio = audio.reshape(-1)
        if self._line or self._ended is not None or not self._playout.offer(audio):
            return False
        if self._engine is None:
            self._pace()
        return True

    def cancel_audio(self) -> bool:
        """Drop everything that is queued for sending; True when something was playing."""
        waiting = any(not ticket.cancelled for ticket in self._line)
        for ticket in self._line:
            ticket.cancelled = True
        playing = self._playout.clear()
        self._wake("sent")
        return playing or waiting

    def next_rtp_packet(self, payload: bytes) -> RTPPacket:
        """Return the next packet, without marker; sequence and timestamp move on."""
        playout = self._playout
        if playout.ssrc < 0:
            self._draw_ssrc()
        return playout.stamp(payload)

    def _draw_ssrc(self) -> int:
        """Return our source; drawn when it is first needed, as an engine draws one of its own."""
        playout = self._playout
        if playout.ssrc < 0:
            playout.ssrc = self._random(4)
        return playout.ssrc

    @classmethod
    def resample(
        cls, audio: FloatArray, source_rate_hz: int, destination_rate_hz: int
    ) -> FloatArray:
        """Return a recording at another rate, float32.

        The same object when the rates are equal, else `round(n * destination / source)` samples.
        """
        return resample(audio, source_rate_hz, destination_rate_hz)

    # Pacing without an engine

    def _pace(self) -> None:
        if self._engine is None and self._pump is None and self._playout.queued:
            self._pump = self._spawn(self._pump_out(), "media pump")

    async def _pump_out(self) -> None:
        """Send a frame per packet time until the queue is empty, by absolute deadlines."""
        playout = self._playout
        duration = playout.frame_size / self.codec.sample_rate_hz
        try:
            due = self._catch_up(duration)
            while playout.queued:
                await self._sleep_until(due)
                if self._now() - due > _MOST_BEHIND:
                    due = self._now()
                said = playout.next_payload()
                if said is None:
                    break
                due += duration
                packet = self.next_rtp_packet(said[0])
                if said[1]:
                    packet.marker = True
                self.send_packet(packet, self.remote_address)
                self._next_at = due
                if playout.changed:
                    playout.changed = False
                    self._wake("sent")
        finally:
            self._pump = None

    def _catch_up(self, duration: float) -> float:
        """Return when the next frame is due; the timestamp runs through the pause before it."""
        now, due = self._now(), self._next_at
        if due is None:
            return now
        missed = int((now - due) / duration)
        if missed > 0:
            self._playout.skip(missed)
        return max(due, now)

    def _end(self, reason: CallEnded) -> None:
        super()._end(reason)
        self.cancel_audio()


def _read_through(
    name: str, attribute: str, read: Callable[[AudioCall], int] | None = None
) -> None:
    """Make a field of AudioCall show what the playout, its single writer, holds."""

    def held(self: AudioCall) -> int:
        value: int = getattr(self._playout, attribute)
        return value

    def write(self: AudioCall, value: int) -> None:
        setattr(self._playout, attribute, value)

    setattr(AudioCall, name, property(read or held, write))


_read_through("rtp_sequence_number", "sequence_number")
_read_through("rtp_timestamp", "timestamp")
_read_through("rtp_ssrc", "ssrc", AudioCall._draw_ssrc)

"""Opus (RFC 6716) in RTP (RFC 7587), by libopus."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voip.codecs.base import Decoder, Encoder, RTPCodec
from voip.codecs.library import PacketDecoder, PacketEncoder
from voip.errors import ParseError
from voip.media.dsp import FloatArray

__all__ = ["Opus"]

# RFC 6716 §3.1, the first byte of a packet:
#
#      0 1 2 3 4 5 6 7
#     +-+-+-+-+-+-+-+-+
#     | config  |s| c |      c: 0 one frame, 1 and 2 two, 3 as many as the second byte says
#     +-+-+-+-+-+-+-+-+
_CODE = 0x03
_COUNT = 0x3F


def _frames(payload: bytes) -> int:
    """Return how many frames a packet holds (RFC 6716 §3.2)."""
    code = payload[0] & _CODE
    if code == 0:
        return 1
    if code != _CODE:
        return 2
    return payload[1] & _COUNT if len(payload) > 1 else 0


def _bounded(samples: FloatArray) -> FloatArray:
    """Return samples within full scale: of garbage, libopus makes a million times that."""
    return np.maximum(np.minimum(samples, np.float32(1.0)), np.float32(-1.0))


class _Decoder(Decoder):
    """libopus in mono: it mixes stereo packets down by itself, and conceals what is lost."""

    def __init__(
        self, codec: type[RTPCodec], output_rate_hz: int, input_rate_hz: int | None = None
    ) -> None:
        super().__init__(codec, output_rate_hz, input_rate_hz)
        # FFmpeg's own decoder holds samples back between packets (456, then 984), libopus none.
        self._context = PacketDecoder("libopus", self.rate_hz, "flt")
        self._last = b""
        self._count = 0

    def _expand(self, payload: bytes) -> FloatArray:
        samples = np.frombuffer(self._context.decode(payload), np.float32)
        if samples.size > self.rate_hz * 0.12:
            raise ParseError("more audio than a packet may hold", payload)
        self._last, self._count = payload[:1], _frames(payload)
        return _bounded(samples)

    def conceal(self) -> FloatArray:
        """Return what libopus makes up for one lost packet.

        A frame of no bytes "MUST" be treated as lost (RFC 6716 §3.2.1), so a bare first byte, with
        its count cleared, runs the decoder's own concealment, and its state stays with the sound.
        """
        if not self._last:
            return super().conceal()
        lost = bytes((self._last[0] & ~_CODE,))
        parts = [np.frombuffer(self._context.decode(lost), np.float32) for _ in range(self._count)]
        return self._resampler.process(_bounded(np.concatenate(parts)))


class _Encoder(Encoder):
    def __init__(self, codec: type[RTPCodec]) -> None:
        super().__init__(codec)
        settings = codec if issubclass(codec, Opus) else Opus
        self._context = PacketEncoder(
            "libopus",
            codec.sample_rate_hz,
            "flt",
            codec.frame_size,
            options={
                "application": settings.application,
                "compression_level": str(settings.complexity),
                "frame_duration": str(codec.ptime_ms),
                "fec": str(int(settings.expected_loss_percent > 0)),
                "packet_loss": str(settings.expected_loss_percent),
            },
            bit_rate=settings.bit_rate,
        )

    def encode(self, frame: FloatArray) -> bytes:
        """Return one Opus packet."""
        return self._context.encode(np.ascontiguousarray(frame, np.float32))


class Opus(RTPCodec):
    """Opus: 48 kHz, two channels in the SDP whatever is sent (RFC 7587 §7), mono on our side.

    Its settings are class attributes; a subclass in `PREFERRED_CODECS` changes them.

    Attributes:
        complexity: 0 to 10, the time that encoding may take: it is what an Opus call costs.
        bit_rate: bits per second, on average.
        application: "audio" keeps the waveform, "voip" shapes it for intelligibility at low rates:
            at 32 kb/s, speech sent to an echo and back correlates at 0.99 against 0.78.
        expected_loss_percent: above 0, packets carry what is needed to repair the one before.
    """

    payload_type = 111
    encoding_name = "opus"
    sample_rate_hz = 48000
    channels = 2
    ptimes_ms = (10, 20, 40, 60)
    decoder_class = _Decoder
    encoder_class = _Encoder

    complexity: ClassVar[int] = 5
    bit_rate: ClassVar[int] = 32000
    application: ClassVar[str] = "audio"
    expected_loss_percent: ClassVar[int] = 0

    @classmethod
    def payload_rate(cls, rate_hz: int) -> float:
        """Return the most that RFC 6716 allows: 1,275 bytes for each 20 ms."""
        return 1275 * 50.0

"""G.722: wideband speech at 64 kbit/s (RFC 3551 §4.5.2)."""

from __future__ import annotations

import numpy as np

from voip.codecs.base import Decoder, Encoder, RTPCodec
from voip.codecs.library import PacketDecoder, PacketEncoder
from voip.media.dsp import FloatArray, from_int16, to_int16

__all__ = ["G722"]


class _Decoder(Decoder):
    """Adaptive, so one context serves the call; a lost packet is concealed outside of it."""

    def __init__(
        self, codec: type[RTPCodec], output_rate_hz: int, input_rate_hz: int | None = None
    ) -> None:
        super().__init__(codec, output_rate_hz, input_rate_hz)
        self._context = PacketDecoder("g722", self.rate_hz, "s16")

    def _expand(self, payload: bytes) -> FloatArray:
        return from_int16(np.frombuffer(self._context.decode(payload), np.int16))


class _Encoder(Encoder):
    def __init__(self, codec: type[RTPCodec]) -> None:
        super().__init__(codec)
        self._context = PacketEncoder("g722", codec.sample_rate_hz, "s16", codec.frame_size)

    def encode(self, frame: FloatArray) -> bytes:
        """Return half a byte per sample."""
        return self._context.encode(to_int16(frame))


class G722(RTPCodec):
    """G.722 at 64 kbit/s: audio at 16 kHz, but an RTP clock of 8 kHz.

    RFC 3551 §4.5.2: the clock rate was erroneously assigned in RFC 1890 and "must remain unchanged
    for backward compatibility".
    """

    payload_type = 9
    encoding_name = "g722"
    sample_rate_hz = 16000
    rtp_clock_rate_hz = 8000
    decoder_class = _Decoder
    encoder_class = _Encoder

    @classmethod
    def payload_rate(cls, rate_hz: int) -> float:
        """Return 8000: two samples in a byte."""
        return rate_hz / 2

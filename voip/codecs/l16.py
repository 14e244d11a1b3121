"""Linear 16-bit audio in network byte order (RFC 3551 §4.5.11)."""

from __future__ import annotations

import numpy as np

from voip.codecs.base import Decoder, Encoder, RTPCodec
from voip.errors import ParseError
from voip.media.dsp import FloatArray, from_int16, to_int16

__all__ = ["L16"]


class _Decoder(Decoder):
    def _expand(self, payload: bytes) -> FloatArray:
        channels = self.codec.channels
        if len(payload) % (2 * channels):
            raise ParseError("a sample is cut", payload[-8:])
        samples = from_int16(np.frombuffer(payload, ">i2"))
        if channels == 1:
            return samples
        # Channels are interleaved (RFC 3551 §4.1); their mean is what a mono listener hears.
        mono: FloatArray = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
        return mono


class _Encoder(Encoder):
    def encode(self, frame: FloatArray) -> bytes:
        samples = to_int16(frame)
        if self.codec.channels > 1:
            samples = np.repeat(samples, self.codec.channels)
        return samples.astype(">i2").tobytes()


class L16(RTPCodec):
    """Linear 16-bit audio: 44100 Hz mono (payload type 11), or any rate that a format says.

    20 ms at 44100 Hz are 1,764 bytes, more than an Ethernet packet holds, so 10 ms are sent
    (RFC 3551 §4.2 leaves the packet time to the sender); `ptime_ms` is what the answer says.
    """

    payload_type = 11
    encoding_name = "l16"
    sample_rate_hz = 44100
    ptime_ms = 10
    # Where 20 ms fit, they are sent, as with every other codec.
    preferred_ptime_ms = 20
    sample_bytes = 2
    most_channels = 2
    silent_sample = b"\0\0"
    decoder_class = _Decoder
    encoder_class = _Encoder

"""The tables of ITU-T G.711, bit exact with the reference of ITU-T G.191, and both sides of a call.

Audio becomes 16-bit samples by `voip.media.dsp.to_int16` (half to even, clipped) and goes through
a table of 65,536 codes; a code becomes `G.191 sample / 32768`. Common C routines add a bias and
differ in hundreds of codes; G.191 complements negative samples and cuts the low bits instead.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from voip.codecs.base import Decoder, Encoder
from voip.media.dsp import FloatArray, to_int16

__all__ = [
    "G711Decoder",
    "G711Encoder",
    "alaw_decode_table",
    "alaw_encode_table",
    "ulaw_decode_table",
    "ulaw_encode_table",
]


def _samples() -> NDArray[np.int64]:
    """Return the sample that each 16-bit pattern stands for."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)


def _magnitudes(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    # One's complement, as G.191 does it: -1 and 0 have the same magnitude.
    return np.where(samples < 0, ~samples, samples)


@functools.cache
def ulaw_encode_table() -> NDArray[np.uint8]:
    """Return the mu-law code of each 16-bit pattern (uint8[65536])."""
    samples = _samples()
    level = np.minimum((_magnitudes(samples) >> 2) + 33, 0x1FFF)
    segment = np.ones_like(level)
    for shift in range(6, 13):
        segment += (level >> shift) > 0
    step = (level >> segment) & 0x0F
    codes = ((8 - segment) << 4) | (0x0F - step)
    table: NDArray[np.uint8] = np.where(samples >= 0, codes | 0x80, codes).astype(np.uint8)
    return table


@functools.cache
def alaw_encode_table() -> NDArray[np.uint8]:
    """Return the A-law code of each 16-bit pattern (uint8[65536])."""
    samples = _samples()
    level = _magnitudes(samples) >> 4
    exponent = np.zeros_like(level)
    for shift in range(4, 11):
        exponent += (level >> shift) > 0
    mantissa = (level >> np.maximum(exponent - 1, 0)) & 0x0F
    codes = (exponent << 4) | mantissa
    signed = np.where(samples >= 0, codes | 0x80, codes)
    table: NDArray[np.uint8] = (signed ^ 0x55).astype(np.uint8)
    return table


@functools.cache
def ulaw_decode_table() -> FloatArray:
    """Return the sample of each mu-law code (float32[256], -1..1)."""
    inverted = ~np.arange(256) & 0xFF
    exponent, step = (inverted >> 4) & 7, inverted & 0x0F
    level = (((step << 3) + 132) << exponent) - 132
    return (np.where(inverted & 0x80, -level, level) / 32768).astype(np.float32)


@functools.cache
def alaw_decode_table() -> FloatArray:
    """Return the sample of each A-law code (float32[256], -1..1)."""
    codes = np.arange(256)
    toggled = codes ^ 0x55
    exponent, step = (toggled >> 4) & 7, toggled & 0x0F
    level = (step << 4) + 8 + np.where(exponent > 0, 256, 0)
    level <<= np.maximum(exponent - 1, 0)
    return (np.where(codes & 0x80, level, -level) / 32768).astype(np.float32)


class G711Decoder(Decoder):
    """One table look-up per sample; no state but that of the resampler and the concealment."""

    table: FloatArray

    def _expand(self, payload: bytes) -> FloatArray:
        return self.table[np.frombuffer(payload, np.uint8)]


class G711Encoder(Encoder):
    """One table look-up per 16-bit sample."""

    table: NDArray[np.uint8]

    def encode(self, frame: FloatArray) -> bytes:
        """Return one code per sample."""
        return self.table[to_int16(frame).view(np.uint16)].tobytes()

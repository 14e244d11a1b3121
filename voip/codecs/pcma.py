"""G.711 A-law (RFC 3551 §4.5.14)."""

from __future__ import annotations

from voip.codecs.base import RTPCodec
from voip.codecs.g711 import G711Decoder, G711Encoder, alaw_decode_table, alaw_encode_table

__all__ = ["PCMA"]


class _Decoder(G711Decoder):
    table = alaw_decode_table()


class _Encoder(G711Encoder):
    table = alaw_encode_table()


class PCMA(RTPCodec):
    """G.711 A-law: 64 kbit/s at 8 kHz, and at other rates where a format says so."""

    payload_type = 8
    encoding_name = "pcma"
    sample_rate_hz = 8000
    sample_bytes = 1
    silent_sample = b"\xd5"
    decoder_class = _Decoder
    encoder_class = _Encoder

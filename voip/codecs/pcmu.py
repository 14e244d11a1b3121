"""G.711 mu-law (RFC 3551 §4.5.14)."""

from __future__ import annotations

from voip.codecs.base import RTPCodec
from voip.codecs.g711 import G711Decoder, G711Encoder, ulaw_decode_table, ulaw_encode_table

__all__ = ["PCMU"]


class _Decoder(G711Decoder):
    table = ulaw_decode_table()


class _Encoder(G711Encoder):
    table = ulaw_encode_table()


class PCMU(RTPCodec):
    """G.711 mu-law: 64 kbit/s at 8 kHz, and at other rates where a format says so."""

    payload_type = 0
    encoding_name = "pcmu"
    sample_rate_hz = 8000
    sample_bytes = 1
    silent_sample = b"\xff"
    decoder_class = _Decoder
    encoder_class = _Encoder

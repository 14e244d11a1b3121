"""G.711 against the tables of ITU-T G.191."""

from pathlib import Path

import numpy as np
import pytest

from voip.codecs.g711 import (
    alaw_decode_table,
    alaw_encode_table,
    ulaw_decode_table,
    ulaw_encode_table,
)
from voip.codecs.pcma import PCMA
from voip.codecs.pcmu import PCMU
from voip.media.dsp import from_int16

DATA = Path(__file__).parent.parent / "data" / "g711"
LAWS = [
    ("ulaw", PCMU, ulaw_encode_table, ulaw_decode_table),
    ("alaw", PCMA, alaw_encode_table, alaw_decode_table),
]


@pytest.mark.parametrize(("law", "codec", "encode_table", "decode_table"), LAWS)
def test_all_65536_samples_and_256_codes_are_those_of_g191(law, codec, encode_table, decode_table):
    codes = (DATA / f"{law}_encode.bin").read_bytes()
    samples = np.arange(-32768, 32768).astype(np.int16)
    assert codec.create_encoder().encode(from_int16(samples)) == codes
    assert codec.encode(from_int16(samples)) == codes
    assert encode_table()[samples.view(np.uint16)].tobytes() == codes
    expected = np.fromfile(DATA / f"{law}_decode.s16le", "<i2")
    got = codec.decode(bytes(range(256)), 8000)
    assert got.dtype == np.float32
    assert np.array_equal(got * 32768, expected)
    assert np.array_equal(decode_table() * 32768, expected)


@pytest.mark.parametrize(("law", "codec", "encode_table", "decode_table"), LAWS)
def test_every_code_survives_decoding_and_encoding(law, codec, encode_table, decode_table):
    codes = bytes(range(256))
    again = codec.encode(codec.decode(codes, 8000))
    # mu-law has a positive and a negative zero; G.191 encodes 0 as the positive one.
    assert [a for a, b in zip(codes, again, strict=True) if a != b] in ([], [0x7F])


@pytest.mark.parametrize(("law", "codec", "encode_table", "decode_table"), LAWS)
def test_polarity_is_kept(law, codec, encode_table, decode_table):
    loud = np.array([0.5, -0.5], np.float32)
    got = codec.decode(codec.encode(loud), 8000)
    assert np.allclose(got, loud, atol=0.02)

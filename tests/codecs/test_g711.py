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
from voip.media.dsp import from_int16, to_int16

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


@pytest.mark.parametrize(("law", "codec", "encode_table", "decode_table"), LAWS)
def test_frames_come_out_as_whole_recordings_do(law, codec, encode_table, decode_table):
    samples = np.arange(-32768, 32768).astype(np.int16).reshape(-1, 32).T.ravel()  # all, mixed
    audio = from_int16(samples)
    payloads = list(codec.packetize(audio))
    codes = encode_table()[samples.view(np.uint16)].tobytes()
    assert b"".join(payloads)[: audio.size] == codes
    decoder = codec.create_decoder(8000)
    heard = [decoder.decode(payload) for payload in payloads]
    assert np.array_equal(np.concatenate(heard)[: audio.size], decode_table()[list(codes)])


ODD = [0.5 / 32768, -1.5 / 32768, 1.0, -1.0, 1.5, -1.5, 1.99999, -2.0, 2.0, 7.0, -384.0, -1e9]
ODD += [3e38, -3e38, np.inf, -np.inf, np.nan, -np.nan, 1e-40, -0.0]


@pytest.mark.parametrize(("law", "codec", "encode_table", "decode_table"), LAWS)
@pytest.mark.parametrize("value", ODD)
def test_what_is_too_loud_or_no_number_is_clipped_in_a_frame_too(
    value, law, codec, encode_table, decode_table
):
    frame = np.linspace(-0.9, 0.9, 160).astype(np.float32)
    frame[80] = value
    expected = encode_table()[to_int16(frame).view(np.uint16)].tobytes()
    assert codec.create_encoder().encode(frame) == expected


@pytest.mark.parametrize(("law", "codec", "encode_table", "decode_table"), LAWS)
def test_the_peer_may_change_its_packet_time(law, codec, encode_table, decode_table):
    codes = np.random.default_rng(4).integers(0, 256, 2000, np.uint8).tobytes()
    decoder = codec.create_decoder(8000)
    heard, start = [], 0
    for size in [160, 240, 240, 240, 80, 80, 160, 160, 480, 360]:
        heard.append(decoder.decode(codes[start : start + size]))
        start += size
    assert np.array_equal(np.concatenate(heard), decode_table()[list(codes)])

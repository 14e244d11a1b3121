"""L16: timestamps, byte order, and packets that fit."""

import numpy as np
import pytest

from voip.codecs.l16 import L16
from voip.errors import ParseError
from voip.sdp.types import RTPPayloadFormat


def test_constants():
    assert (L16.payload_type, L16.encoding_name, L16.channels) == (11, "l16", 1)
    assert (L16.sample_rate_hz, L16.rtp_clock_rate_hz) == (44100, 44100)
    assert (L16.frame_size, L16.timestamp_increment, L16.ptime_ms) == (441, 441, 10)
    assert L16.for_format(RTPPayloadFormat(11)) is L16


@pytest.mark.parametrize(
    ("rate", "channels", "ptime", "step"),
    [
        (8000, 1, 20, 160),
        (16000, 1, 20, 320),
        (22050, 1, 20, 441),
        (32000, 1, 20, 640),
        (44100, 1, 10, 441),
        (48000, 1, 10, 480),
        (16000, 2, 20, 320),
        (32000, 2, 10, 320),
        (11025, 1, 40, 441),
    ],
)
def test_the_step_is_the_rate_and_no_packet_passes_the_mtu(rate, channels, ptime, step):
    codec = L16.for_format(RTPPayloadFormat(97, "L16", rate, channels))
    assert (codec.ptime_ms, codec.timestamp_increment, codec.frame_size) == (ptime, step, step)
    payload = codec.encode(np.zeros(step, np.float32))
    assert len(payload) == step * 2 * channels <= 1400
    decoder = codec.create_decoder(16000)
    if 16000 * ptime % 1000 == 0:
        assert decoder.decode(payload).size == 16 * ptime


@pytest.mark.parametrize("ptime", [10, 20, 30, 60])
def test_no_wish_of_the_peer_passes_the_mtu(ptime):
    codec = L16.for_format(RTPPayloadFormat(97, "L16", 32000), ptime_ms=ptime)
    assert codec.ptime_ms == min(ptime, 20)


def test_static_type_10_is_not_negotiated():
    assert not L16.supports(RTPPayloadFormat(10))
    with pytest.raises(NotImplementedError, match="l16/44100/2"):
        L16.for_format(RTPPayloadFormat(10))


def test_network_byte_order():
    assert L16.encode(np.array([1 / 32768, -1.0], np.float32)) == b"\x00\x01\x80\x00"
    assert np.array_equal(L16.decode(b"\x00\x01\x80\x00", 44100) * 32768, [1, -32768])


def test_every_sample_survives():
    samples = np.arange(-32768, 32768).astype(">i2").tobytes()
    narrow = [samples[at : at + 640] for at in range(0, len(samples), 640)]
    codec = L16.for_format(RTPPayloadFormat(97, "L16", 16000))
    assert b"".join(codec.encode(codec.decode(part, 16000)) for part in narrow) == samples


def test_stereo_is_heard_as_the_mean_and_sent_twice():
    codec = L16.for_format(RTPPayloadFormat(97, "L16", 16000, 2))
    left_right = np.array([0.5, -0.25], np.float32)
    payload = (left_right * 32768).astype(">i2").tobytes()
    assert codec.decode(payload, 16000) == pytest.approx([0.125])
    assert codec.encode(np.array([0.5], np.float32)) == b"\x40\x00\x40\x00"


def test_half_a_sample_is_concealed():
    decoder = L16.create_decoder(16000)
    assert decoder.decode(b"\x00" * 881).size == 160
    assert decoder.failures == 1
    with pytest.raises(ParseError, match="cut"):
        L16.decode(b"\x00", 16000)


def test_20_ms_at_44100_hz_are_taken_from_peers_that_send_them():
    assert L16.create_decoder(16000).decode(bytes(1764)).size == 320

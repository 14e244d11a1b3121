"""What every codec has in common, seen through custom codecs and G.711."""

import numpy as np
import pytest

from voip.codecs import REGISTRY
from voip.codecs.base import Decoder, Encoder, RTPCodec
from voip.codecs.l16 import L16
from voip.codecs.pcma import PCMA
from voip.codecs.pcmu import PCMU
from voip.errors import NegotiationError, UnsupportedCodecError
from voip.sdp.types import RTPPayloadFormat


class Coarse(RTPCodec):
    """A custom codec with `decode` and `encode` and nothing else: eight bits, linear."""

    payload_type = 97
    encoding_name = "coarse"
    sample_rate_hz = 16000

    @classmethod
    def decode(cls, payload, output_rate_hz, *, input_rate_hz=None):
        if payload[0] == 255:
            raise ValueError("255 is no code")
        audio = (np.frombuffer(payload, np.uint8) / 127 - 1).astype(np.float32)
        return cls.resample(audio, input_rate_hz or 16000, output_rate_hz)

    @classmethod
    def encode(cls, samples):
        return ((samples + 1) * 127).astype(np.uint8).tobytes()


class Mute(RTPCodec):
    payload_type = 96
    encoding_name = "mute"
    ptime_ms = 30


def test_a_custom_codec_gets_the_constants_that_it_left_out():
    assert (Coarse.rtp_clock_rate_hz, Coarse.frame_size, Coarse.timestamp_increment) == (
        16000,
        320,
        320,
    )
    assert (Mute.frame_size, Mute.timestamp_increment) == (240, 240)


def test_a_custom_codec_is_wrapped():
    payloads = list(Coarse.packetize(np.zeros(700, np.float32)))
    assert [len(payload) for payload in payloads] == [320, 320, 320]
    decoder = Coarse.create_decoder(8000)
    assert decoder.decode(payloads[0]).size == 160
    assert decoder.conceal().size == 160
    assert isinstance(decoder, Decoder)
    assert isinstance(Coarse.create_encoder(), Encoder)


def test_a_payload_that_a_custom_codec_refuses_is_concealed():
    decoder = Coarse.create_decoder(8000)
    decoder.decode(Coarse.encode(np.zeros(320, np.float32)))
    assert decoder.decode(b"\xff" * 320).size == 160
    assert decoder.failures == 1


def test_a_codec_with_neither_method_says_so():
    with pytest.raises(NotImplementedError, match="Mute"):
        Mute.decode(b"x", 8000)
    with pytest.raises(NotImplementedError, match="Mute"):
        Mute.encode(np.zeros(240, np.float32))


def test_the_abstract_sides_do_nothing():
    with pytest.raises(NotImplementedError):
        Decoder(PCMU, 8000).decode(b"x")
    with pytest.raises(NotImplementedError):
        Encoder(PCMU).encode(np.zeros(160, np.float32))


def test_an_overridden_decode_or_encode_of_a_codec_of_ours_counts_for_calls():
    class Loud(PCMU):
        @classmethod
        def decode(cls, payload, output_rate_hz, *, input_rate_hz=None):
            return PCMU.decode(payload, output_rate_hz, input_rate_hz=input_rate_hz) * 2

        @classmethod
        def encode(cls, samples):
            return b"!" + PCMU.encode(samples)

    payload = PCMU.encode(np.full(160, 0.25, np.float32))
    assert Loud.create_decoder(8000).decode(payload).max() == pytest.approx(0.5, abs=0.02)
    assert Loud.create_encoder().encode(np.zeros(160, np.float32)).startswith(b"!")
    assert (Loud.frame_size, Loud.timestamp_increment) == (160, 160)
    assert Loud.silence() == b""  # its own encoder says what silence is


@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
@pytest.mark.parametrize("codec", list(REGISTRY.values()))
def test_the_silence_of_a_codec_without_memory_is_what_its_encoder_makes_of_zeros(codec, ptime_ms):
    for rate, channels in [(codec.rtp_clock_rate_hz, codec.channels), (16000, 1), (8000, 2)]:
        fmt = RTPPayloadFormat(100, codec.encoding_name, rate, channels)
        if not codec.supports(fmt):
            continue
        used = codec.for_format(fmt, ptime_ms=ptime_ms)
        zeros = used.create_encoder().encode(np.zeros(used.frame_size, np.float32))
        assert used.silence() == (zeros if codec in (PCMA, PCMU, L16) else b"")


@pytest.mark.parametrize("codec", [PCMU, PCMA])
def test_20_ms_are_320_samples_at_16_khz_from_the_first_packet_on(codec):
    decoder = codec.create_decoder(16000)
    payload = codec.encode(np.full(160, 0.1, np.float32))
    assert {decoder.decode(payload).size for _ in range(4)} == {320}
    assert codec.decode(payload, 16000).size == 320


def test_the_resampler_runs_on_across_packets():
    time = np.arange(1600) / 8000
    audio = (0.5 * np.sin(2 * np.pi * 400 * time)).astype(np.float32)
    decoder = PCMU.create_decoder(16000)
    heard = np.concatenate([decoder.decode(payload) for payload in PCMU.packetize(audio)])
    delay = round(decoder._resampler.delay * 16000)
    expected = 0.5 * np.sin(2 * np.pi * 400 * np.arange(3200) / 16000)
    error = heard[800:] - expected[800 - delay : 3200 - delay]
    signal = np.sum(expected[800:] ** 2)
    assert 10 * np.log10(signal / np.sum(error**2)) > 33  # the quantisation of G.711


def test_the_last_packet_is_padded_with_silence():
    payloads = list(PCMU.packetize(np.full(170, 0.5, np.float32)))
    assert len(payloads) == 2
    assert payloads[1][10:] == b"\xff" * 150
    assert list(PCMU.packetize(np.zeros(0, np.float32))) == []


def test_an_empty_payload_is_an_empty_array():
    decoder = PCMU.create_decoder(16000)
    assert decoder.decode(b"").size == 0
    assert PCMU.decode(b"", 16000).size == 0
    assert decoder.failures == 0


def test_more_than_120_ms_in_a_packet_is_concealed():
    decoder = PCMU.create_decoder(16000)
    assert decoder.decode(bytes(960)).size == 1920
    decoder.decode(bytes(160))
    assert decoder.decode(bytes(961)).size == 320
    assert decoder.failures == 1
    with pytest.raises(ValueError, match="more audio"):
        PCMU.decode(bytes(961), 8000)


def test_what_is_made_up_is_as_long_as_the_last_packet_but_never_a_scrap():
    decoder = PCMU.create_decoder(16000)
    assert decoder.conceal().size == 320
    decoder.decode(bytes(240))
    assert decoder.conceal().size == 480
    decoder.decode(b"\x00")
    assert decoder.conceal().size == 480


@pytest.mark.parametrize(("ptime", "size"), [(10, 80), (20, 160), (30, 240), (40, 320), (60, 480)])
def test_the_packet_time_of_the_peer_is_honoured(ptime, size):
    codec = PCMA.for_format(RTPPayloadFormat(8), ptime_ms=ptime)
    assert (codec.ptime_ms, codec.frame_size, codec.timestamp_increment) == (ptime, size, size)
    assert len(codec.encode(np.zeros(size, np.float32))) == size


@pytest.mark.parametrize(("asked", "sent"), [(5, 10), (25, 20), (45, 40), (500, 60)])
def test_a_packet_time_that_cannot_be_sent_gives_way(asked, sent):
    assert PCMA.for_format(RTPPayloadFormat(8), ptime_ms=asked).ptime_ms == sent


def test_the_usual_format_is_the_class_itself():
    assert PCMA.for_format(RTPPayloadFormat(8)) is PCMA
    assert PCMA.for_format(RTPPayloadFormat(8), ptime_ms=20) is PCMA
    assert PCMA.for_format(RTPPayloadFormat(97, "PCMA")) is PCMA
    wide = PCMA.for_format(RTPPayloadFormat(98, "PCMA", 16000))
    assert wide is PCMA.for_format(RTPPayloadFormat(98, "PCMA", 16000))
    assert wide.for_format(RTPPayloadFormat(8)) is PCMA
    assert issubclass(wide, PCMA)
    assert wide.payload_type == 8
    assert Mute.for_format(RTPPayloadFormat(96, "mute", 8000)) is Mute


@pytest.mark.parametrize(("rate", "channels"), [(7000, 1), (200_000, 1), (8000, 2), (8001, 1)])
def test_rates_and_channels_out_of_reach_are_refused(rate, channels):
    fmt = RTPPayloadFormat(98, "PCMA", rate, channels)
    assert not PCMA.supports(fmt)
    with pytest.raises(UnsupportedCodecError, match="pcma"):
        PCMA.for_format(fmt)
    assert issubclass(UnsupportedCodecError, NegotiationError)


def test_peers_cannot_make_us_keep_classes_without_end():
    for rate in range(8000, 48000, 100):
        assert PCMU.for_format(RTPPayloadFormat(98, "PCMU", rate)).sample_rate_hz == rate
    assert len(PCMU._variants) <= 64

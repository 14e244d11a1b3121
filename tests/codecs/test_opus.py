"""Opus through av: exact durations, its own concealment, stereo, garbage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("av", reason="the hd-audio extra is not installed")

import av

from voip.codecs.opus import Opus
from voip.errors import ParseError
from voip.media.dsp import rms
from voip.sdp.types import RTPPayloadFormat


def tone(seconds, rate_hz=48000):
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * 300 * time) * (1 + 0.3 * np.sin(20 * time))).astype(np.float32)


def foreign_packets(layout, seconds=0.4):
    """What another Opus encoder sends, as FFmpeg makes it."""
    context = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format = 48000, layout, "flt"
    context.open()
    channels = 2 if layout == "stereo" else 1
    audio = np.repeat(tone(seconds), channels)
    packets = []
    for at in range(0, audio.size, 960 * channels):
        part = audio[None, at : at + 960 * channels]
        frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
        frame.sample_rate = 48000
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets


def test_constants():
    assert (Opus.payload_type, Opus.encoding_name, Opus.channels) == (111, "opus", 2)
    assert (Opus.sample_rate_hz, Opus.rtp_clock_rate_hz) == (48000, 48000)
    assert (Opus.frame_size, Opus.timestamp_increment, Opus.ptime_ms) == (960, 960, 20)
    assert Opus.to_payload_format() == RTPPayloadFormat(111, "opus", 48000, 2)
    assert Opus.for_format(RTPPayloadFormat(96, "opus", 48000, 2)) is Opus


@pytest.mark.parametrize(("asked", "sent"), [(10, 10), (20, 20), (30, 20), (40, 40), (60, 60)])
def test_no_sample_is_lost_or_doubled_from_the_first_packet_on(asked, sent):
    codec = Opus.for_format(RTPPayloadFormat(111, "opus", 48000, 2), ptime_ms=asked)
    assert (codec.ptime_ms, codec.timestamp_increment) == (sent, 48 * sent)
    decoder = codec.create_decoder(16000, input_rate_hz=48000)
    payloads = list(codec.packetize(tone(0.48)))
    assert len(payloads) == 480 // sent
    assert {decoder.decode(payload).size for payload in payloads} == {16 * sent}


def test_what_was_said_is_heard():
    audio = tone(1.0)
    decoder = Opus.create_decoder(48000)
    heard = np.concatenate([decoder.decode(payload) for payload in Opus.packetize(audio)])
    best = max(
        np.corrcoef(heard[9600 + delay : 38400 + delay], audio[9600:38400])[0, 1]
        for delay in range(0, 960, 4)
    )
    assert best > 0.95


@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_packets_of_either_layout_are_heard_in_mono(layout):
    decoder = Opus.create_decoder(16000)
    frames = [decoder.decode(packet) for packet in foreign_packets(layout)]
    assert {frame.size for frame in frames} == {320}
    assert rms(np.concatenate(frames[5:])) == pytest.approx(0.21, abs=0.03)
    assert decoder.failures == 0


def test_a_lost_packet_is_made_up_by_the_decoder_and_fades():
    decoder = Opus.create_decoder(16000)
    assert not decoder.conceal().any()
    for payload in Opus.packetize(tone(0.4)):
        decoder.decode(payload)
    levels = [rms(decoder.conceal()) for _ in range(8)]
    assert levels[0] > 0.05
    assert levels[-1] < levels[0]
    assert decoder.conceal().size == 320


@pytest.mark.parametrize(("ptime", "size"), [(10, 160), (60, 960)])
def test_what_is_made_up_is_as_long_as_the_last_packet(ptime, size):
    codec = Opus.for_format(RTPPayloadFormat(111, "opus", 48000, 2), ptime_ms=ptime)
    decoder = codec.create_decoder(16000)
    for payload in codec.packetize(tone(0.24)):
        decoder.decode(payload)
    assert decoder.conceal().size == size


def test_packets_of_several_frames_are_made_up_whole():
    decoder = Opus.create_decoder(16000)
    single = next(iter(Opus.packetize(tone(0.02))))
    toc, frame = single[0] & ~3, single[1:]
    two = bytes([toc | 1]) + frame + frame
    three = bytes([toc | 3, 3]) + frame * 3
    unequal = bytes([toc | 2, len(frame)]) + frame + frame
    assert decoder.decode(unequal).size == 640
    assert decoder.decode(two).size == 640
    assert decoder.conceal().size == 640
    assert decoder.decode(three).size == 960
    assert decoder.conceal().size == 960


@pytest.mark.parametrize(
    "payload", [b"\xff" * 20, b"\x03", b"\x03\x3f", b"\x03\x00", b"a" * 1500, b"z" * 8000]
)
def test_garbage_is_concealed_and_counted(payload):
    decoder = Opus.create_decoder(16000)
    good = list(Opus.packetize(tone(0.1)))
    decoder.decode(good[0])
    assert decoder.decode(payload).size == 320
    assert decoder.failures == 1
    assert decoder.decode(good[1]).size == 320
    with pytest.raises(ParseError):
        Opus.decode(payload, 16000)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=6))
def test_any_bytes_are_decoded_or_concealed_within_120_ms(payloads):
    decoder = Opus.create_decoder(16000)
    for payload in payloads:
        audio = decoder.decode(payload)
        assert audio.size <= 1920
        assert np.isfinite(audio).all()


def test_settings_of_a_subclass_reach_the_encoder():
    class Cheap(Opus):
        complexity = 0
        bit_rate = 12000
        expected_loss_percent = 10

    small = sum(len(payload) for payload in Cheap.packetize(tone(1.0)))
    usual = sum(len(payload) for payload in Opus.packetize(tone(1.0)))
    assert small < 0.7 * usual
    derived = Cheap.for_format(RTPPayloadFormat(111, "opus", 48000, 2), ptime_ms=40)
    assert derived.complexity == 0


def test_a_frame_of_another_size_is_refused():
    with pytest.raises(ValueError):
        Opus.create_encoder().encode(np.zeros(959, np.float32))


def test_garbage_is_never_louder_than_full_scale():
    draw = np.random.default_rng(0)
    decoder = Opus.create_decoder(48000)
    loudest = 0.0
    for _ in range(3000):
        pieces = [decoder.decode(draw.bytes(int(draw.integers(1, 200)))), decoder.conceal()]
        loudest = max([loudest, *(float(np.abs(one).max()) for one in pieces if one.size)])
    assert 0.9 < loudest <= 1.0

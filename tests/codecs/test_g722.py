"""G.722 through av: state, exact durations, packet times."""

import numpy as np
import pytest

pytest.importorskip("av", reason="the hd-audio extra is not installed")

from voip.codecs.g722 import G722
from voip.sdp.types import RTPPayloadFormat


def speech_like(rate_hz, seconds):
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    tones = [np.sin(2 * np.pi * frequency * time) for frequency in (220, 1300, 3100, 5200)]
    return (0.12 * sum(tones)).astype(np.float32)


def test_constants():
    assert (G722.payload_type, G722.encoding_name, G722.channels) == (9, "g722", 1)
    assert (G722.sample_rate_hz, G722.rtp_clock_rate_hz) == (16000, 8000)
    assert (G722.frame_size, G722.timestamp_increment, G722.ptime_ms) == (320, 160, 20)
    assert G722.to_payload_format() == RTPPayloadFormat(9, "g722", 8000)
    assert G722.audio_rate_hz(8000) == 16000


@pytest.mark.parametrize(("ptime", "step"), [(10, 80), (20, 160), (30, 240), (40, 320)])
def test_no_sample_is_lost_or_doubled_from_the_first_packet_on(ptime, step):
    codec = G722.for_format(RTPPayloadFormat(9), ptime_ms=ptime)
    assert (codec.timestamp_increment, codec.frame_size) == (step, 2 * step)
    decoder = codec.create_decoder(16000, input_rate_hz=8000)
    payloads = list(codec.packetize(speech_like(16000, 0.6)))
    assert {len(payload) for payload in payloads} == {step}
    assert {decoder.decode(payload).size for payload in payloads} == {2 * step}


def test_state_is_kept_across_packets():
    audio = speech_like(16000, 1.0)
    payloads = list(G722.packetize(audio))
    decoder = G722.create_decoder(16000)
    heard = np.concatenate([decoder.decode(payload) for payload in payloads])
    correlation = np.correlate(heard[1600:], audio[1600:-400], "valid")
    delay = int(np.argmax(correlation))
    assert delay == 22  # the two filter banks of ITU-T G.722
    error = heard[1600 + delay :][:8000] - audio[1600:][:8000]
    assert 10 * np.log10(np.sum(audio[1600:9600] ** 2) / np.sum(error**2)) > 15
    alone = np.concatenate([G722.decode(payload, 16000) for payload in payloads])
    assert not np.allclose(alone, heard, atol=0.01)


def test_two_calls_do_not_share_state():
    one, two = G722.create_encoder(), G722.create_encoder()
    audio = speech_like(16000, 0.1)
    first = one.encode(audio[:320])
    one.encode(audio[320:640])
    assert two.encode(audio[:320]) == first


def test_a_lost_packet_is_concealed():
    decoder = G722.create_decoder(16000)
    for payload in G722.packetize(speech_like(16000, 0.2)):
        decoder.decode(payload)
    made_up = decoder.conceal()
    assert made_up.size == 320
    assert np.abs(made_up).max() > 0.05


@pytest.mark.parametrize("size", [1, 7, 160, 960])
def test_any_bytes_are_audio(size):
    assert G722.create_decoder(16000).decode(b"\xa5" * size).size == 2 * size


@pytest.mark.parametrize("size", [961, 1500, 8000])
def test_more_than_120_ms_are_concealed(size):
    decoder = G722.create_decoder(16000)
    assert decoder.decode(b"\xa5" * size).size == 320
    assert decoder.failures == 1


def test_other_clock_rates_are_refused():
    with pytest.raises(NotImplementedError):
        G722.for_format(RTPPayloadFormat(9, "G722", 16000))

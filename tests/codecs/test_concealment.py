"""What is made up where a frame is missing."""

import numpy as np
import pytest

from voip.codecs.concealment import Concealer


def tone(rate_hz, count, frequency=200.0, start=0):
    time = np.arange(start, start + count) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def frames(rate_hz, count, **settings):
    size = rate_hz // 50
    return [tone(rate_hz, size, start=index * size, **settings) for index in range(count)]


def test_a_clean_stream_passes_untouched():
    concealer = Concealer(8000)
    for frame in frames(8000, 5):
        assert concealer.accept(frame) is frame


def test_nothing_known_is_silence():
    concealer = Concealer(8000)
    assert not concealer.conceal(160).any()
    good = frames(8000, 1)[0]
    assert concealer.accept(good).size == 160


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("frequency", [110.0, 200.0, 330.0])
def test_a_lost_frame_of_a_voice_goes_on_like_the_voice(rate_hz, frequency):
    concealer = Concealer(rate_hz)
    sent = frames(rate_hz, 6, frequency=frequency)
    for frame in sent[:4]:
        concealer.accept(frame)
    made_up = concealer.conceal(sent[4].size)
    half = made_up.size // 2
    assert np.corrcoef(made_up[:half], sent[4][:half])[0, 1] > 0.9
    assert made_up.dtype == np.float32


def test_there_is_no_click_into_the_gap_nor_out_of_it():
    sent = frames(8000, 8)
    concealer = Concealer(8000)
    heard = []
    for index, frame in enumerate(sent):
        heard.append(concealer.conceal(160) if index in (4, 5) else concealer.accept(frame))
    steps = np.abs(np.diff(np.concatenate(heard)))
    assert steps.max() < 2 * np.abs(np.diff(np.concatenate(sent))).max()


def test_a_long_gap_fades_to_silence_within_60_ms():
    concealer = Concealer(8000)
    for frame in frames(8000, 4):
        concealer.accept(frame)
    levels = [np.abs(concealer.conceal(160)).max() for _ in range(5)]
    assert levels[0] > 0.4
    assert levels[0] > levels[1] > levels[2]
    assert levels[3:] == [0.0, 0.0]


def test_a_good_frame_after_the_gap_is_not_changed_in_place():
    concealer = Concealer(8000)
    first, second = frames(8000, 2)
    concealer.accept(first)
    concealer.conceal(160)
    kept = second.copy()
    joined = concealer.accept(second)
    assert np.array_equal(second, kept)
    assert np.array_equal(joined[40:], kept[40:])


@pytest.mark.parametrize("size", [0, 1, 5, 20, 60])
def test_scraps_of_frames_are_survived(size):
    concealer = Concealer(8000)
    concealer.accept(tone(8000, size))
    made_up = concealer.conceal(160)
    assert made_up.size == 160
    assert np.isfinite(made_up).all()
    assert concealer.accept(tone(8000, size)).size == size

"""Resampling, level, and 16-bit samples."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.media.dsp import Resampler, from_int16, resample, rms, to_int16

PAIRS = [
    (8000, 16000),
    (16000, 8000),
    (48000, 16000),
    (16000, 48000),
    (44100, 16000),
    (16000, 44100),
    (48000, 8000),
    (8000, 48000),
    (24000, 16000),
    (22050, 16000),
]


def sweep(rate_hz, seconds, low_hz, high_hz):
    """A sine whose frequency rises linearly; returns the function of time, so that any rate can ask."""

    def at(time):
        rise = (high_hz - low_hz) / seconds
        return 0.5 * np.sin(2 * np.pi * (low_hz * time + rise * time * time / 2))

    return at, at(np.arange(int(rate_hz * seconds)) / rate_hz).astype(np.float32)


def snr(reference, got):
    error = reference - got
    return 10 * np.log10(np.sum(reference**2) / np.sum(error**2))


def in_blocks(resampler, audio, size):
    parts = [resampler.process(audio[at : at + size]) for at in range(0, audio.size, size)]
    return np.concatenate(parts)


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_a_sweep_through_the_stream_keeps_80_db(source, destination):
    edge = 0.45 * min(source, destination)
    at, audio = sweep(source, 2.0, 100.0, edge)
    resampler = Resampler(source, destination)
    got = in_blocks(resampler, audio, source // 50)
    reference = at(np.arange(got.size) / destination - resampler.delay)
    start = int(0.1 * destination)
    assert snr(reference[start:], got[start:]) >= 80


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_a_whole_recording_keeps_80_db_and_its_place(source, destination):
    at, audio = sweep(source, 1.0, 100.0, 0.45 * min(source, destination))
    got = resample(audio, source, destination)
    assert got.size == destination
    reference = at(np.arange(got.size) / destination)
    inside = slice(destination // 20, -destination // 20)
    assert snr(reference[inside], got[inside]) >= 80


@pytest.mark.parametrize(("source", "destination"), [(48000, 16000), (16000, 8000)])
def test_what_the_lower_rate_cannot_hold_is_80_db_down(source, destination):
    _, audio = sweep(source, 1.0, 0.56 * destination, 0.49 * source)
    got = resample(audio, source, destination)
    inside = got[destination // 20 : -destination // 20]
    assert 20 * np.log10(rms(inside) / rms(audio)) < -80


def test_there_is_no_click_at_the_edges_of_20_ms():
    time = np.arange(8000) / 8000
    audio = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    got = in_blocks(Resampler(8000, 16000), audio, 160)[1600:]
    second = np.abs(np.diff(got, 2))
    # A sine's second difference is bounded by its amplitude and frequency; a click stands out.
    assert second.max() < 0.5 * (2 * np.pi * 440 / 16000) ** 2 * 1.02


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_20_ms_in_is_exactly_20_ms_out_from_the_first_block_on(source, destination):
    resampler = Resampler(source, destination)
    block = np.ones(source // 50, np.float32)
    assert {resampler.process(block).size for _ in range(5)} == {destination // 50}


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_a_constant_stays_constant(source, destination):
    resampler = Resampler(source, destination)
    block = np.full(source // 50, 0.25, np.float32)
    for _ in range(4):
        got = resampler.process(block)
    assert np.abs(got - 0.25).max() < 1e-6


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([*PAIRS, (8000, 11025), (11025, 8000)]),
    st.lists(st.integers(0, 900), min_size=1, max_size=12),
)
def test_blocks_of_any_size_give_what_one_block_gives(pair, sizes):
    source, destination = pair
    audio = np.random.default_rng(1).uniform(-1, 1, sum(sizes)).astype(np.float32)
    whole = Resampler(source, destination).process(audio)
    resampler = Resampler(source, destination)
    cuts = np.cumsum([0, *sizes])
    parts = [resampler.process(audio[a:b]) for a, b in itertools.pairwise(cuts)]
    got = np.concatenate(parts)
    assert got.size == whole.size == -(-audio.size * destination // source)
    assert np.allclose(got, whole, atol=2e-6)


def test_what_was_returned_does_not_change_later():
    resampler = Resampler(8000, 16000)
    first = resampler.process(np.ones(160, np.float32))
    kept = first.copy()
    resampler.process(np.zeros(160, np.float32))
    assert np.array_equal(first, kept)


def test_streams_that_take_turns_do_not_hear_each_other():
    rng = np.random.default_rng(8)
    streams = [rng.standard_normal(1600).astype(np.float32) for _ in range(3)]
    alone = [Resampler(8000, 16000).process(stream) for stream in streams]
    together = [Resampler(8000, 16000) for _ in streams]
    pieces = [[] for _ in streams]
    for start in range(0, 1600, 160):
        for number, resampler in enumerate(together):
            pieces[number].append(resampler.process(streams[number][start : start + 160]))
    for whole, parts in zip(alone, pieces, strict=True):
        assert np.concatenate(parts) == pytest.approx(whole, abs=1e-6)


def test_streams_in_several_threads_do_not_hear_each_other():
    blocks = [np.full(320, level, np.float32) for level in (0.25, -0.5, 1.0)]

    def work(block):
        resampler = Resampler(16000, 8000)
        heard = [resampler.process(block) for _ in range(300)][1:]
        return max(float(np.abs(out - block[0]).max()) for out in heard)

    with ThreadPoolExecutor(3) as pool:
        assert max(pool.map(work, blocks)) < 1e-5


def test_equal_rates_give_the_same_object():
    audio = np.ones(10, np.float32)
    assert resample(audio, 8000, 8000) is audio
    resampler = Resampler(8000, 8000)
    assert resampler.process(audio) is audio
    assert resampler.delay == 0.0


@pytest.mark.parametrize("count", [0, 1, 2, 7, 441, 1000])
@pytest.mark.parametrize("pair", [(8000, 16000), (44100, 8000), (16000, 22050)])
def test_a_recording_has_the_rounded_number_of_samples(count, pair):
    source, destination = pair
    got = resample(np.zeros(count, np.float32), source, destination)
    assert got.size == round(count * destination / source)
    assert got.dtype == np.float32


@pytest.mark.parametrize("pair", [(44101, 16000), (16000, 44101)])
def test_odd_ratios_are_rounded_to_a_near_one(pair):
    source, destination = pair
    at, audio = sweep(source, 1.0, 100.0, 3000.0)
    got = resample(audio, source, destination)
    assert got.size == destination
    reference = at(np.arange(got.size) / destination)
    assert snr(reference[1000:-1000], got[1000:-1000]) > 30


@pytest.mark.parametrize("pair", [(0, 8000), (8000, 0), (-8000, 16000)])
def test_rates_are_positive(pair):
    with pytest.raises(ValueError, match="positive"):
        Resampler(*pair)
    with pytest.raises(ValueError, match="positive"):
        resample(np.ones(4, np.float32), *pair)


def test_rms():
    assert rms(np.zeros(0, np.float32)) == 0.0
    assert rms(np.full(320, 0.5, np.float32)) == pytest.approx(0.5)


def test_every_16_bit_sample_survives():
    samples = np.arange(-32768, 32768).astype(np.int16)
    audio = from_int16(samples)
    assert audio.dtype == np.float32
    assert audio.min() == -1.0
    assert np.array_equal(to_int16(audio), samples)
    assert np.array_equal(from_int16(samples.astype(">i2")), audio)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5 / 32768, 0),
        (1.5 / 32768, 2),
        (2.5 / 32768, 2),
        (-0.5 / 32768, 0),
        (-1.5 / 32768, -2),
        (1.0, 32767),
        (7.0, 32767),
        (-1.0, -32768),
        (-7.0, -32768),
        (1e30, 32767),
        (float("inf"), 32767),
        (float("-inf"), -32768),
        (float("nan"), 0),
    ],
)
def test_rounding_is_half_to_even_and_clips(value, expected):
    assert to_int16(np.array([value], np.float32))[0] == expected
    assert to_int16(np.array([value], np.float64))[0] == expected

from __future__ import annotations

import numpy as np
import pytest

from voip.media.measure import AudioMetrics, compare, level_dbfs

RATE = 8000


@pytest.fixture(scope="module")
def said():
    rng = np.random.default_rng(1)
    speech = rng.standard_normal(2 * RATE) * 0.1
    speech = np.convolve(speech, np.hanning(9) / 4, "same")
    speech[RATE : RATE + RATE // 4] = 0.0
    return speech


def test_level_of_a_full_scale_square_wave_is_zero_and_of_nothing_is_minus_120():
    assert level_dbfs(np.ones(100)) == pytest.approx(0.0)
    assert level_dbfs(np.zeros(0)) == -120.0


def test_finds_a_delayed_and_quieter_copy(said):
    metrics = compare(said, np.concatenate([np.zeros(1234), said * 0.5, np.zeros(99)]), RATE)
    assert metrics.worst_correlation == pytest.approx(1.0)
    assert metrics.delay == pytest.approx(1234 / RATE)
    assert metrics.stretches[0].gain_db == pytest.approx(-6.02, abs=0.01)
    assert metrics.said_dbfs - metrics.heard_dbfs == pytest.approx(6.02, abs=0.01)
    assert metrics.frames_found == metrics.frames > 80
    assert metrics.snr_db > 90


def test_each_half_second_may_have_a_delay_of_its_own(said):
    heard = np.concatenate([np.zeros(500), said[:RATE], np.zeros(800), said[RATE:]])
    metrics = compare(said, heard, RATE)
    assert metrics.correlation > 0.98
    assert {round(s.delay * RATE) for s in metrics.stretches} == {500, 1300}


def test_noise_lowers_correlation_and_signal_to_noise(said):
    rng = np.random.default_rng(2)
    metrics = compare(said, said + rng.standard_normal(len(said)) * 0.02, RATE)
    assert 0.8 < metrics.correlation < 0.99
    assert 0 < metrics.snr_db < 20


def test_another_sound_is_not_taken_for_it(said):
    metrics = compare(said, np.random.default_rng(3).standard_normal(len(said)) * 0.1, RATE)
    assert metrics.correlation < 0.2
    assert metrics.frames_found < metrics.frames / 2


def test_lost_frames_are_missing(said):
    heard = said.copy()
    heard[1600:2400] = 0.0
    metrics = compare(said, heard, RATE)
    assert metrics.frames - metrics.frames_found == 5


def test_silence_on_either_side_finds_nothing(said):
    assert compare(np.zeros(RATE), said, RATE) == AudioMetrics()
    assert compare(np.zeros(RATE), said, RATE).snr_db == float("-inf")
    nothing = compare(said, np.zeros(10), RATE)
    assert (nothing.correlation, nothing.worst_correlation, nothing.frames_found) == (0.0, 0.0, 0)
    assert AudioMetrics().delay == AudioMetrics().correlation == 0.0

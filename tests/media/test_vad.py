"""Speech by energy, over a noise floor that moves."""

import math
import random

import pytest

from voip.media.vad import EnergyDetector

FRAME = 0.02


def noise(level, rng):
    return level * (1 + 0.04 * rng.gauss(0, 1))


def run(detector, levels):
    return [detector.update(level) for level in levels]


def test_the_first_loud_frame_is_speech():
    assert EnergyDetector().update(0.01)


def test_silence_is_none():
    detector = EnergyDetector()
    assert not any(run(detector, [0.0, 0.0005, 0.001]))


def test_steady_noise_above_the_threshold_stops_being_speech():
    rng = random.Random(1)
    detector = EnergyDetector()
    heard = run(detector, [noise(0.01, rng) for _ in range(1000)])
    assert all(heard[:150])
    assert not any(heard[-100:])


def test_the_threshold_waits_three_seconds_and_rises_by_3_db_a_second():
    detector = EnergyDetector()
    thresholds = []
    for _ in range(500):
        detector.update(0.02)
        thresholds.append(detector.threshold)
    assert set(thresholds[:149]) == {0.001}
    rises = [20 * math.log10(b / a) for a, b in zip(thresholds, thresholds[50:], strict=False)]
    assert max(rises) <= 3.0 + 1e-9
    assert thresholds[-1] > 0.005


def test_the_threshold_stops_6_db_above_the_noise():
    detector = EnergyDetector()
    run(detector, [0.01] * 3000)
    assert detector.threshold == pytest.approx(0.02, rel=0.01)


def test_speech_over_the_noise_is_still_heard():
    rng = random.Random(2)
    detector = EnergyDetector()
    run(detector, [noise(0.005, rng) for _ in range(1500)])
    assert all(run(detector, [0.05] * 50))


def test_speech_never_raises_the_threshold():
    rng = random.Random(3)
    detector = EnergyDetector()
    for _ in range(60):
        run(detector, [0.1 * 10 ** (-rng.random()) for _ in range(30)])
        run(detector, [0.0002] * 20)
    assert detector.threshold == 0.001


def test_the_threshold_falls_with_the_noise_but_never_below_the_setting():
    detector = EnergyDetector(speech_threshold=0.002)
    run(detector, [0.02] * 2000)
    high = detector.threshold
    run(detector, [0.0001] * 200)
    assert 0.002 < detector.threshold < high
    run(detector, [0.0001] * 1000)
    assert detector.threshold == 0.002


def test_made_up_frames_never_train_it():
    detector = EnergyDetector()
    for _ in range(2000):
        assert detector.update(0.05, made_up=True)
    assert detector.threshold == 0.001


def test_frames_of_another_duration_keep_the_seconds():
    detector = EnergyDetector(frame_seconds=0.01)
    run(detector, [0.02] * 299)
    assert detector.threshold == 0.001
    run(detector, [0.02] * 101)
    assert 20 * math.log10(detector.threshold / 0.001) == pytest.approx(3.0, abs=0.1)


def test_levels_that_differ_in_the_seventh_digit_agree():
    levels = [0.00100004, 0.00099996, 0.02, 0.0200000004]
    near = [level + 4e-8 * (-1) ** index for index, level in enumerate(levels)]
    assert run(EnergyDetector(), levels) == run(EnergyDetector(), near)


@pytest.mark.parametrize(("threshold", "seconds"), [(0.0, 0.02), (-1.0, 0.02), (0.001, 0.0)])
def test_arguments_are_positive(threshold, seconds):
    with pytest.raises(ValueError, match="positive"):
        EnergyDetector(threshold, seconds)

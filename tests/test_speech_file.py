from __future__ import annotations

import runpy
import wave
from pathlib import Path

import numpy as np
import pytest

from voip.media.measure import level_dbfs

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "voip" / "data" / "speech.wav"


@pytest.fixture(scope="module")
def speech():
    with wave.open(str(FILE)) as source:
        assert (source.getnchannels(), source.getsampwidth(), source.getframerate()) == (
            1,
            2,
            16000,
        )
        return np.frombuffer(source.readframes(source.getnframes()), "<i2")


def test_the_file_is_what_the_script_makes(speech):
    made = runpy.run_path(str(ROOT / "tools" / "make_speech.py"))["make_speech"]()
    assert len(made) == len(speech)
    assert np.max(np.abs(made.astype(int) - speech)) <= 2  # other libm, other last bit


def test_it_speaks_three_times_with_pauses_between(speech):
    audio = speech / 32768
    frames = audio[: len(audio) // 320 * 320].reshape(-1, 320)
    loud = np.array([level_dbfs(frame) > -45 for frame in frames])
    pauses = [len(run) * 0.02 for run in "".join("#" if x else "." for x in loud).split("#") if run]
    assert [p for p in pauses if p >= 0.8] == pytest.approx([0.9, 0.9], abs=0.05)
    assert 4 < len(audio) / 16000 < 7
    assert np.max(np.abs(audio)) < 0.9

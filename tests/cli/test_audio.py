from __future__ import annotations

import errno
import wave
from pathlib import Path

import numpy as np
import pytest

from voip.cli.audio import WaveRecorder, load_speech, read_wave
from voip.cli.running import UsageError


def write(path, data, *, width, channels=1):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(8000)
        out.writeframes(data)


def test_what_is_recorded_is_read_back(tmp_path):
    audio = np.linspace(-1.2, 1.2, 2000, dtype=np.float32)
    recorder = WaveRecorder(tmp_path / "a.wav", 16000)
    recorder.write(audio[:700])
    recorder.write(audio[700:])
    recorder.close()
    recorder.close()
    back, rate = read_wave(tmp_path / "a.wav")
    assert rate == 16000
    assert back.dtype == np.float32
    assert np.allclose(back, np.clip(audio, -1, 1), atol=1e-4)


def test_reads_8_and_32_bits_and_mixes_channels(tmp_path):
    path = tmp_path / "b.wav"
    write(path, bytes([0, 128, 255]), width=1)
    assert np.allclose(read_wave(path)[0], [-1, 0, 127 / 128])
    write(path, np.array([2**30, -(2**30)], "<i4").tobytes(), width=4)
    assert np.allclose(read_wave(path)[0], [0.5, -0.5])
    write(path, np.array([[16384, 0], [0, -16384]], "<i2").tobytes(), width=2, channels=2)
    assert np.allclose(read_wave(path)[0], [0.25, -0.25])


def test_what_is_no_pcm_wave_file_is_one_line(tmp_path):
    path = tmp_path / "c.wav"
    for data in (b"", b"ID3 no wave"):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=r"c\.wav"):
            read_wave(path)
    write(path, bytes(6), width=3)
    with pytest.raises(UsageError, match="24 bits"):
        read_wave(path)
    for rate in (0, 1, 4_000_000):
        write(path, bytes(100), width=2)
        data = bytearray(path.read_bytes())
        data[24:28] = rate.to_bytes(4, "little")
        path.write_bytes(data)
        with pytest.raises(UsageError, match=f"{rate} samples per second"):
            read_wave(path)
    with pytest.raises(OSError):
        read_wave(tmp_path / "missing.wav")


def test_a_file_that_was_cut_short_is_read_up_to_there(tmp_path):
    path = tmp_path / "d.wav"
    write(path, bytes(4000), width=2, channels=2)
    path.write_bytes(path.read_bytes()[:1001])  # a header of 44 bytes, 239 frames and a quarter
    assert len(read_wave(path)[0]) == 239


def test_what_cannot_be_recorded_is_said_when_it_is_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"e\.wav"):
        WaveRecorder(tmp_path / "none" / "e.wav", 16000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_remembered_and_raises_nothing():
    recorder = WaveRecorder(Path("/dev/full"), 16000)
    for _ in range(3):
        recorder.write(np.zeros(16000, np.float32))
    recorder.close()
    recorder.close()
    assert recorder.failed is not None
    assert (recorder.failed.filename, recorder.failed.errno) == ("/dev/full", errno.ENOSPC)


def test_the_speech_ships_with_the_package():
    speech, rate = load_speech()
    assert rate == 16000
    assert 4 < len(speech) / rate < 7

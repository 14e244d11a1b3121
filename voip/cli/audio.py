"""Wave files in and out: what a call plays and what it records."""

from __future__ import annotations

import wave
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voip.cli.running import UsageError

__all__ = ["WaveRecorder", "load_speech", "read_wave"]

Audio = NDArray[np.float32]

RATES_HZ = range(1000, 384_001)
"""Sample rates of wave files: what is outside is a broken header, or no sound."""


def read_wave(path: Path) -> tuple[Audio, int]:
    """Return float32[samples], mono, -1..1, and its rate in Hz.

    Raises:
        UsageError: it is no PCM wave file.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file, wave.open(file) as source:
            return _read(source)
    except (wave.Error, EOFError) as error:
        raise UsageError(f"{path}: {error or 'not a wave file'}") from None


def _read(source: wave.Wave_read) -> tuple[Audio, int]:
    width, channels, rate = source.getsampwidth(), source.getnchannels(), source.getframerate()
    if rate not in RATES_HZ:
        raise wave.Error(f"{rate} samples per second are not supported")
    data = source.readframes(source.getnframes())
    data = data[: len(data) // (width * channels) * width * channels]  # a file may be cut short
    if width == 1:
        samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    elif width == 2:
        samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    elif width == 4:
        samples = (np.frombuffer(data, "<i4") / 2147483648).astype(np.float32)
    else:
        raise wave.Error(f"{8 * width} bits per sample are not supported")
    mono = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return mono, rate


def load_speech() -> tuple[Audio, int]:
    """Return the speech that ships with the package, and its rate in Hz."""
    file = resources.files("voip").joinpath("data/speech.wav")
    with file.open("rb") as data, wave.open(data) as source:
        return _read(source)


class WaveRecorder:
    """Writes what is heard to a 16-bit mono wave file as it comes.

    Args:
        path: the file; replaced when it exists.
        sample_rate_hz: its rate.

    Attributes:
        failed: why nothing more is written: a full disk must not end a call.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, sample_rate_hz: int) -> None:
        self.failed: OSError | None = None
        self._path = path
        # Opened here: where this fails, a wave writer would complain once more as it is collected.
        self._raw = path.open("wb")
        self._file = wave.open(self._raw, "wb")  # noqa: SIM115 - closed by close()
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(sample_rate_hz)

    def write(self, audio: Audio) -> None:
        """Append float32[samples], mono, -1..1; nothing once the file has `failed`."""
        if self.failed is None:
            samples = np.clip(np.round(audio * 32767), -32768, 32767).astype("<i2")
            self._try(lambda: self._file.writeframes(samples.tobytes()))

    def close(self) -> None:
        """Finish the file; idempotent."""
        self._try(self._file.close)
        self._try(self._raw.close)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self.failed = self.failed or OSError(error.errno, error.strerror, str(self._path))

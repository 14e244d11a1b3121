"""How well what was heard matches what was said: alignment, correlation, level.

A call delays audio, an echo line delays each utterance by a time of its own, and a jitter buffer
may drop or repeat a few samples, all without spoiling a word. So every half second of what was said
is looked for by itself in what was heard, and a global difference is never taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AudioMetrics", "Stretch", "compare", "level_dbfs"]

Audio = NDArray[np.floating[Any]]

BLOCK_SECS = 0.5
FRAME_SECS = 0.02
FLOOR_DBFS = -45.0
"""Frames of what was said below this are pauses, and are not looked for."""


def level_dbfs(audio: Audio) -> float:
    """Return the level of float[samples] in dB; 0 is a full-scale square wave, -120 silence."""
    power = float(np.mean(np.square(audio, dtype=np.float64))) if len(audio) else 0.0
    return 10.0 * float(np.log10(max(power, 1e-12)))


@dataclass(slots=True)
class Stretch:
    """One half second of what was said and where it was heard.

    Attributes:
        start: seconds from the beginning of what was said.
        delay: seconds by which it was heard later.
        correlation: normalised, -1..1, at the best alignment.
        gain_db: how much louder it was heard.
        snr_db: signal to noise after that gain, None when there is no noise at all.
    """

    start: float
    delay: float
    correlation: float
    gain_db: float
    snr_db: float | None


@dataclass(slots=True)
class AudioMetrics:
    """What `compare` found.

    Attributes:
        stretches: every half second that holds speech, in order.
        frames: 20 ms frames of what was said above -45 dBFS.
        frames_found: those of them whose counterpart is in what was heard.
        said_dbfs: level of the speech that was said, pauses left out.
        heard_dbfs: level of its counterparts.
    """

    stretches: list[Stretch] = field(default_factory=list)
    frames: int = 0
    frames_found: int = 0
    said_dbfs: float = -120.0
    heard_dbfs: float = -120.0

    @property
    def correlation(self) -> float:
        """The mean correlation of the aligned half seconds; 0 when there are none."""
        return float(np.mean([s.correlation for s in self.stretches])) if self.stretches else 0.0

    @property
    def worst_correlation(self) -> float:
        """The correlation of the worst aligned half second; 0 when there are none."""
        return min((s.correlation for s in self.stretches), default=0.0)

    @property
    def snr_db(self) -> float:
        """The median signal to noise of the stretches, capped at 100; -inf when there are none."""
        figures = [100.0 if s.snr_db is None else s.snr_db for s in self.stretches]
        return float(np.median(figures)) if figures else float("-inf")

    @property
    def delay(self) -> float:
        """The median delay in seconds; 0 when nothing was found."""
        return float(np.median([s.delay for s in self.stretches])) if self.stretches else 0.0


def compare(
    said: Audio, heard: Audio, sample_rate_hz: int, *, block_secs: float = BLOCK_SECS
) -> AudioMetrics:
    """Look for every half second of `said` in `heard`.

    Args:
        said: float[samples], mono, -1..1, at `sample_rate_hz`.
        heard: float[samples], mono, at the same rate; delayed, cut or with more around it.
        sample_rate_hz: the rate of both. Bring both to the lower of the two rates before.
        block_secs: the length of a stretch.
    """
    source, other = said.astype(np.float64), heard.astype(np.float64)
    frame, size = round(FRAME_SECS * sample_rate_hz), round(block_secs * sample_rate_hz)
    loud = _loud_frames(source, frame)
    metrics = AudioMetrics(frames=int(loud.sum()))
    if not metrics.frames:
        return metrics
    other = np.concatenate([other, np.zeros(max(0, size - len(other)))])
    search = _Search(other)
    said_power = heard_power = 0.0
    left = np.ones_like(loud)
    for start in _starts(loud, frame, size, len(source)):
        block = source[start : start + size]
        index = search.find(block)
        counterpart = other[index : index + len(block)]
        metrics.stretches.append(_stretch(block, counterpart, start, index, sample_rate_hz))
        said_power += float(block @ block)
        heard_power += float(counterpart @ counterpart)
        here = slice(start // frame, (start + len(block)) // frame)
        metrics.frames_found += _frames_found(block, counterpart, loud[here] & left[here], frame)
        left[here] = False
    speech = max(1, len(metrics.stretches) * size)
    metrics.said_dbfs = 10 * float(np.log10(max(said_power / speech, 1e-12)))
    metrics.heard_dbfs = 10 * float(np.log10(max(heard_power / speech, 1e-12)))
    return metrics


def _loud_frames(audio: NDArray[np.float64], frame: int) -> NDArray[np.bool_]:
    whole = audio[: len(audio) // frame * frame].reshape(-1, frame)
    return np.asarray(np.mean(whole**2, axis=1) > 10 ** (FLOOR_DBFS / 10), np.bool_)


def _starts(loud: NDArray[np.bool_], frame: int, size: int, total: int) -> list[int]:
    """Cover every loud frame with blocks; one that would be mostly pause moves back to speech."""
    starts: list[int] = []
    covered, per_block = -1, max(1, size // frame)
    for index in map(int, np.flatnonzero(loud)):
        if index < covered:
            continue
        inside = np.flatnonzero(loud[index : index + per_block])
        start = index
        if len(inside) < per_block / 2:
            start = max(0, index + int(inside[-1]) + 1 - per_block)
        starts.append(min(start * frame, max(0, (total - size) // frame * frame)))
        covered = start + per_block
    return starts


class _Search:
    """Normalised cross-correlation against one recording, whose transform is made once."""

    def __init__(self, heard: NDArray[np.float64]) -> None:
        self._heard = heard
        self._size = 1 << (2 * len(heard) - 1).bit_length()
        self._spectrum = np.fft.rfft(heard, self._size)
        self._energy = np.concatenate([[0.0], np.cumsum(heard**2)])

    def find(self, block: NDArray[np.float64]) -> int:
        """Return where `block` fits best."""
        count = len(self._heard) - len(block) + 1
        product = self._spectrum * np.conj(np.fft.rfft(block, self._size))
        raw = np.fft.irfft(product, self._size)[:count]
        windows = self._energy[len(block) :] - self._energy[: -len(block)]
        # windows 40 dB under the block are pauses: there noise alone may look like a fit
        own = float(block @ block)
        scores = np.where(windows > 1e-4 * own, raw / np.sqrt(np.maximum(windows * own, 1e-30)), 0)
        return int(np.argmax(scores))


def _stretch(
    said: NDArray[np.float64], heard: NDArray[np.float64], start: int, index: int, rate: int
) -> Stretch:
    own, other, both = float(said @ said), float(heard @ heard), float(said @ heard)
    gain = both / max(own, 1e-30)
    noise = heard - gain * said
    left = float(noise @ noise)
    return Stretch(
        start=start / rate,
        delay=(index - start) / rate,
        correlation=both / max((own * other) ** 0.5, 1e-15),
        gain_db=10 * float(np.log10(max(other, 1e-30) / max(own, 1e-30))),
        snr_db=None if left <= 1e-20 else 10 * float(np.log10(max(gain**2 * own, 1e-30) / left)),
    )


def _frames_found(
    said: NDArray[np.float64],
    heard: NDArray[np.float64],
    loud: NDArray[np.bool_],
    frame: int,
) -> int:
    """Count the loud frames of a stretch that are also in its counterpart."""
    found = 0
    for number in np.flatnonzero(loud):
        piece = slice(int(number) * frame, (int(number) + 1) * frame)
        one, other = said[piece], heard[piece]
        energy, theirs = float(one @ one), float(other @ other)
        fit = float(one @ other) / max((energy * theirs) ** 0.5, 1e-15)
        # in a fricative a codec keeps the level but not the waveform; a lost frame keeps neither
        found += fit > 0.5 or (fit > 0.1 and 0.25 < theirs / energy < 4.0)
    return found

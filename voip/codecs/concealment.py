"""What is heard where a frame is missing: the last pitch period again, fading to silence.

The idea is that of ITU-T G.711 Appendix I without its look-ahead, so that a clean stream pays
nothing: neither delay nor a copy.
"""

from __future__ import annotations

import numpy as np

from voip.media.dsp import FloatArray

__all__ = ["Concealer"]

# Pitch is sought from 66 to 400 Hz, as in G.711 Appendix I.
_SHORTEST_LAG = 0.0025
_LONGEST_LAG = 0.015
_TEMPLATE = 0.01
# Full level for the first 10 ms, silence from 60 ms on (G.711 Appendix I.2.5).
_HOLD = 0.01
_FADE = 0.05
# The first good frame grows out of the made-up sound over this time, and the made-up sound
# starts at the value of the last sample and leaves it over half of it.
_BLEND = 0.004


class Concealer:
    """The concealment of one stream of decoded frames.

    Args:
        rate_hz: sample rate of the frames.
    """

    __slots__ = ("_before", "_last", "_loop", "_offset", "_played", "_rate_hz")

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._before: FloatArray | None = None
        self._last: FloatArray | None = None
        # While frames are missing: the period that repeats, the step at its start, what was played.
        self._loop: FloatArray | None = None
        self._offset = 0.0
        self._played = 0

    def accept(self, frame: FloatArray) -> FloatArray:
        """Return a good frame, blended with the made-up sound when it follows a gap."""
        if self._loop is not None:
            frame = self._join(frame)
        self._before, self._last = self._last, frame
        return frame

    def conceal(self, count: int) -> FloatArray:
        """Return `count` made-up samples that go on from the last frame; zeros before the first."""
        if self._loop is None:
            self._begin()
        made_up = self._continue(self._played, count)
        self._played += count
        return made_up

    def _join(self, frame: FloatArray) -> FloatArray:
        count = min(frame.size, int(self._rate_hz * _BLEND))
        made_up = self._continue(self._played, count)
        weight = np.arange(1, count + 1, dtype=np.float32) / np.float32(count + 1)
        joined = frame.copy()
        joined[:count] = made_up + weight * (joined[:count] - made_up)
        self._loop = None
        return joined

    def _begin(self) -> None:
        self._played = 0
        self._offset = 0.0
        known = [part for part in (self._before, self._last) if part is not None]
        past = np.concatenate(known) if known else np.zeros(0, np.float32)
        lag = _pitch_lag(past, self._rate_hz)
        self._loop = past[past.size - lag :]
        if lag and past.size > lag:
            self._offset = float(past[-1] - past[-lag - 1])

    def _continue(self, start: int, count: int) -> FloatArray:
        loop = self._loop
        hold, fade = self._rate_hz * _HOLD, self._rate_hz * _FADE
        if loop is None or not loop.size or start >= hold + fade:
            return np.zeros(count, np.float32)
        at = np.arange(start, start + count)
        gain = np.clip(1.0 - (at - hold) / fade, 0.0, 1.0)
        leave = np.clip(1.0 - at / (self._rate_hz * _BLEND / 2), 0.0, 1.0)
        made_up = (loop[at % loop.size] + self._offset * leave) * gain
        return np.asarray(made_up, np.float32)


def _pitch_lag(past: FloatArray, rate_hz: int) -> int:
    """Return the lag at which the end of `past` resembles itself most; 0 when there is no past."""
    longest = min(int(rate_hz * _LONGEST_LAG), past.size * 3 // 5)
    shortest = int(rate_hz * _SHORTEST_LAG)
    template = min(int(rate_hz * _TEMPLATE), past.size - longest)
    if longest <= shortest:
        return past.size
    # 8 kHz is fine enough to find a pitch; at 48 kHz the search would cost 36 times as much.
    step = max(1, rate_hz // 8000)
    recent = past[past.size - template - longest :][::-1][::step][::-1].astype(np.float64)
    size = max(1, template // step)
    tail = recent[-size:]
    # One product per lag, longest lag first; the energy normalises, or loud wins over alike.
    products = np.correlate(recent, tail, "valid")
    energies = np.convolve(recent**2, np.ones(size), "valid")
    scores = products / np.sqrt(energies + 1e-9)
    usable = max(1, scores.size - shortest // step)
    lag = (scores.size - 1 - int(np.argmax(scores[:usable]))) * step
    return max(lag, shortest)

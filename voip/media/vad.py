"""Speech or not, by energy: a threshold that follows the noise floor.

A fixed threshold calls every noisy line speech for ever. Speech is told from noise by its
modulation: syllables and pauses move the level by far more than the few decibels of steady noise.
So the threshold rises only while the level has stood still for three seconds, slowly, and falls
quickly when the line gets quieter.
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["EnergyDetector"]

_STILL_SECONDS = 3.0
# Frames of 20 ms of white noise stay within 2 dB, line noise and hum within 5; speech, pauses
# included, spans 20 and more within three seconds.
_MODULATION_DB = 8.0
_MARGIN_DB = 6.0
_RISE_DB_PER_SECOND = 3.0
_FALL_DB_PER_SECOND = 12.0
# Levels are compared in steps of 1e-6 of full scale, so that two engines whose audio differs in the
# seventh digit agree.
_STEPS = 1e6
_SILENCE_DB = -120.0


class EnergyDetector:
    """Tell speech from silence, frame by frame.

    The threshold in use starts at `speech_threshold` and never goes below it, so that the first
    loud frame is speech. It rises by at most 3 dB a second, and only after three seconds in which
    the level did not move by more than 8 dB, up to 6 dB above the loudest of these frames.

    Args:
        speech_threshold: level (root mean square, 1.0 is full scale) above which a frame is speech.
        frame_seconds: duration of the frames that `update` is told of.

    Attributes:
        threshold: the threshold in use.

    Raises:
        ValueError: when an argument is not positive.
    """

    __slots__ = ("_count", "_fall", "_high", "_least", "_low", "_rise", "_window", "threshold")

    def __init__(self, speech_threshold: float = 0.001, frame_seconds: float = 0.02) -> None:
        if speech_threshold <= 0 or frame_seconds <= 0:
            raise ValueError("the threshold and the duration of a frame are positive")
        self.threshold = speech_threshold
        self._least = speech_threshold
        self._window = round(_STILL_SECONDS / frame_seconds)
        self._rise = 10 ** (_RISE_DB_PER_SECOND * frame_seconds / 20)
        self._fall = 10 ** (-_FALL_DB_PER_SECOND * frame_seconds / 20)
        # The loudest and the quietest of the last three seconds: (frame number, level in dB).
        self._high: deque[tuple[int, float]] = deque()
        self._low: deque[tuple[int, float]] = deque()
        self._count = 0

    def update(self, rms: float, *, made_up: bool = False) -> bool:
        """Take the level of one frame and return whether it is speech.

        Args:
            rms: root mean square of the frame.
            made_up: concealment or inserted silence, which says nothing about the line.
        """
        level = round(rms * _STEPS) / _STEPS
        if not made_up:
            self._train(level)
        return level > self.threshold

    def _train(self, level: float) -> None:
        decibels = 20 * math.log10(level) if level > 0 else _SILENCE_DB
        count = self._count = self._count + 1
        high, low = self._high, self._low
        while high and high[-1][1] <= decibels:
            high.pop()
        high.append((count, decibels))
        while low and low[-1][1] >= decibels:
            low.pop()
        low.append((count, decibels))
        start = count - self._window
        if high[0][0] <= start:
            high.popleft()
        if low[0][0] <= start:
            low.popleft()
        if start < 0:
            return
        loudest = high[0][1]
        goal = max(self._least, 10 ** ((loudest + _MARGIN_DB) / 20))
        if goal < self.threshold:
            self.threshold = max(goal, self.threshold * self._fall)
        elif loudest - low[0][1] <= _MODULATION_DB:
            self.threshold = min(goal, self.threshold * self._rise)

"""A call leg in utterances: speech is told from silence, and what was said is handed over whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from voip.audio.call import AudioCall
from voip.hooks import event_hook, frame_hook
from voip.media.dsp import FloatArray
from voip.media.vad import EnergyDetector

__all__ = ["Cancellable", "SpeechDetector", "VoiceActivityCall"]


class Cancellable(Protocol):
    """Something that is due later."""

    def cancel(self) -> None:
        """Make it not happen."""


class SpeechDetector(Protocol):
    """Tells speech from everything else, frame by frame."""

    def update(self, rms: float, *, made_up: bool = False) -> bool:
        """Take one frame's level; `made_up`: concealment or inserted silence."""


@dataclass(kw_only=True, eq=False, repr=False)
class VoiceActivityCall(AudioCall):
    """A call leg in utterances.

    Attributes:
        speech_threshold: level (root mean square) above which a frame is speech, at the least: the
            threshold in use follows the noise of the line.
        silence_gap: seconds of silence that end an utterance.
        min_speech: seconds of speech under which a sound is a click, not an utterance.
        speech_buffer: the frames collected so far.
        silence_handle: the flush that is due when the silence lasts, with `cancel()`; or None.
    """

    #: Seconds kept before the onset where silence is collected too; None keeps everything.
    PREROLL_SECS: ClassVar[float | None] = None
    #: A caller who never pauses is handed over in pieces of this many seconds.
    MAX_SPEECH_SECS: ClassVar[float] = 60.0

    speech_threshold: float = field(default=0.001, repr=False)
    silence_gap: float = field(default=0.5, repr=False)
    min_speech: float = field(default=0.1, repr=False)
    speech_buffer: list[FloatArray] = field(init=False, default_factory=list, repr=False)
    silence_handle: Cancellable | None = field(init=False, default=None, repr=False)

    _detector: SpeechDetector | None = field(init=False, default=None, repr=False)
    _detector_threshold: float = field(init=False, default=0.0, repr=False)
    _heard: FloatArray | None = field(init=False, default=None, repr=False)
    _is_speech: bool = field(init=False, default=False, repr=False)
    _speaking: bool = field(init=False, default=False, repr=False)
    _silent: int = field(init=False, default=0, repr=False)
    # Of the buffer: frames before the onset, samples in all, samples without speech.
    _lead_frames: int = field(init=False, default=0, repr=False)
    _samples: int = field(init=False, default=0, repr=False)
    _quiet_samples: int = field(init=False, default=0, repr=False)

    def create_detector(self, frame_seconds: float) -> SpeechDetector:
        """Return what tells speech from silence on this call; override it to exchange it."""
        return EnergyDetector(max(self.speech_threshold, 1e-6), frame_seconds)

    def audio_received(self, *, audio: FloatArray, rms: float) -> None:
        """Buffer the frame where `collect_audio` says so, and follow speech and silence."""
        speech = self._detect(audio, rms)
        if self.collect_audio(audio, rms):
            self._collect(audio, speech=speech)
        if speech:
            self._silent = 0
            if not self._speaking:
                self._speaking = True
                self.hooks.fire("speech_started")
            self.on_audio_speech()
        else:
            self._silent += audio.size
            self.on_audio_silence()
            if self._speaking and self._silent >= self.silence_gap * self.RESAMPLING_RATE_HZ:
                self._fall_silent()

    def _detect(self, audio: FloatArray, rms: float) -> bool:
        detector = self._detector
        if detector is None or self._detector_threshold != self.speech_threshold:
            seconds = max(audio.size, 1) / self.RESAMPLING_RATE_HZ
            detector = self._detector = self.create_detector(seconds)
            self._detector_threshold = self.speech_threshold
        self._heard = audio
        self._is_speech = detector.update(rms, made_up=self._made_up)
        return self._is_speech

    @frame_hook
    def collect_audio(self, audio: FloatArray, rms: float) -> bool:
        """Tell whether a frame goes into the buffer; by default those of speech do."""
        if audio is self._heard:
            return self._is_speech
        return rms > self.speech_threshold

    def _collect(self, audio: FloatArray, *, speech: bool) -> None:
        buffer = self.speech_buffer
        if not buffer:
            self._lead_frames = self._samples = self._quiet_samples = 0
        buffer.append(audio)
        self._samples += audio.size
        if not speech:
            self._quiet_samples += audio.size
            if self._lead_frames == len(buffer) - 1:
                self._lead_frames += 1
                self._trim_lead()
        if self._samples > self.MAX_SPEECH_SECS * self.RESAMPLING_RATE_HZ:
            if self._lead_frames < len(buffer):
                self.flush_speech_buffer()
            else:
                self._drop_first()

    def _trim_lead(self) -> None:
        if self.PREROLL_SECS is not None:
            most = self.PREROLL_SECS * self.RESAMPLING_RATE_HZ
            while self._samples > most and self.speech_buffer:
                self._drop_first()

    def _drop_first(self) -> None:
        size = self.speech_buffer.pop(0).size
        self._samples -= size
        self._quiet_samples -= size
        self._lead_frames -= 1

    def on_audio_speech(self) -> None:
        """Take note of speech: the flush that was due is off."""
        self._disarm()

    def on_audio_silence(self) -> None:
        """Take note of silence: arm the flush once, when the buffer holds more than pre-roll."""
        if self.silence_handle is None and len(self.speech_buffer) > self._lead_frames:
            self.silence_handle = self._later(self.silence_gap, self._gap_over)

    def _later(self, delay: float, callback: Callable[[], None]) -> Cancellable:
        # Media time where an engine drives the leg: end-pointing then replays exactly.
        engine = self._engine
        later = self._call_later if engine is None else engine.call_later
        handle: Cancellable = later(delay, callback)
        return handle

    def _disarm(self) -> None:
        if self.silence_handle is not None:
            self.silence_handle.cancel()
            self.silence_handle = None

    def _gap_over(self) -> None:
        self.silence_handle = None
        self._fall_silent()
        size = sum(frame.size for frame in self.speech_buffer)
        if size - self._quiet_samples < self.min_speech * self.RESAMPLING_RATE_HZ:
            self._drop_click()
        else:
            self.flush_speech_buffer()

    def _fall_silent(self) -> None:
        if self._speaking:
            self._speaking = False
            self.hooks.fire("speech_ended")

    def _drop_click(self) -> None:
        """Take back a sound too short to be an utterance, down to the pre-roll."""
        del self.speech_buffer[self._lead_frames :]
        self._samples = self._quiet_samples = sum(frame.size for frame in self.speech_buffer)

    def flush_speech_buffer(self) -> None:
        """Hand what was collected to `speech_buffer_ready`, and start anew."""
        self._disarm()
        frames, self.speech_buffer = self.speech_buffer, []
        self._lead_frames = self._samples = self._quiet_samples = 0
        if frames:
            self.hooks.fire("speech_buffer_ready", np.concatenate(frames))

    @event_hook
    async def speech_buffer_ready(self, audio: FloatArray) -> Any:
        """Take one utterance; calls keep their order and never overlap.

        Args:
            audio: float32[samples], mono, -1..1, at RESAMPLING_RATE_HZ.
        """

    @event_hook
    def speech_started(self) -> Any:
        """The caller began to speak."""

    @event_hook
    def speech_ended(self) -> Any:
        """The caller has been silent for `silence_gap`."""

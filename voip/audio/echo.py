"""A call leg that says back what it hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from voip.audio.activity import VoiceActivityCall
from voip.media.dsp import FloatArray

__all__ = ["EchoCall"]


@dataclass(kw_only=True, eq=False, repr=False)
class EchoCall(VoiceActivityCall):
    """Says every utterance back: what came before the onset, the pauses inside, and the tail.

    The caller hears what was said and not a cut-up of it. What is said while the echo plays is kept
    and comes after it.
    """

    PREROLL_SECS: ClassVar[float | None] = 0.2
    #: Seconds kept after the last frame of speech.
    TAIL_SECS: ClassVar[float] = 0.2

    def collect_audio(self, audio: FloatArray, rms: float) -> bool:
        """Keep every frame; `flush_speech_buffer` cuts what is too much."""
        return True

    def flush_speech_buffer(self) -> None:
        """Send the utterance, its tail cut to 0.2 s; the rest leads the next utterance."""
        rest = self._cut_tail()
        super().flush_speech_buffer()
        for frame in rest:
            self._collect(frame, speech=False)

    def _cut_tail(self) -> list[FloatArray]:
        buffer, keep = self.speech_buffer, self._silent - self.TAIL_SECS * self.RESAMPLING_RATE_HZ
        first = len(buffer)
        while first > 0 and keep >= buffer[first - 1].size:
            first -= 1
            keep -= buffer[first].size
        rest = buffer[first:]
        del buffer[first:]
        return rest

    def _drop_click(self) -> None:
        """Keep the last 0.2 s, whatever they hold: an utterance may follow at once."""
        frames, self.speech_buffer = self.speech_buffer, []
        self._lead_frames = self._samples = self._quiet_samples = 0
        for frame in frames:
            self._collect(frame, speech=False)

    async def speech_buffer_ready(self, audio: FloatArray) -> None:
        """Send the utterance back."""
        rate_hz = self.codec.sample_rate_hz
        await self.send_rtp_audio(self.resample(audio, self.RESAMPLING_RATE_HZ, rate_hz))

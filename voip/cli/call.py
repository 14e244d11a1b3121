"""`voip call`: dial somebody, play a file, record what they say, and report."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voip.audio.call import AudioCall
from voip.cli.audio import WaveRecorder, read_wave
from voip.cli.messages import ending, unanswered
from voip.cli.output import CallRow, Output
from voip.cli.report import CallReport, media_figures
from voip.cli.running import (
    CommandSession,
    SessionOptions,
    UsageError,
    open_session,
    parse_target,
    serving,
    with_codec,
)
from voip.errors import CallEnded, CallFailed, EndCause, TransportError, VoIPError
from voip.logs import mask
from voip.sip.protocol import SessionInitiationProtocol

__all__ = [
    "CallOptions",
    "CallingSession",
    "ScriptedCall",
    "call",
    "dial_and_measure",
    "finish",
]

PLAY_TAIL_SECS = 1.0
"""How long a call without `--duration` listens on after its file was played."""

WELL_ENDED = (EndCause.LOCAL_HANGUP, EndCause.REMOTE_HANGUP)
"""Ends of a call that somebody wanted: exit status 0."""


@dataclass(slots=True)
class CallOptions(SessionOptions):
    """What the command line asked for; see `voip call --help`."""

    uri: str
    play: Path | None = None
    record: Path | None = None
    duration: float | None = None

    def check(self) -> None:
        """Check what can be checked before anything is opened.

        Raises:
            UsageError: the options ask for what cannot be.
        """
        if self.duration is not None and not 0 < self.duration < math.inf:
            raise UsageError(f"--duration {self.duration:g}: want seconds, more than none")
        if self.play is None or self.record is None or not self.play.exists():
            return
        if self.record.exists() and self.play.samefile(self.record):
            raise UsageError(f"--record {self.record}: this is the file that --play says")


class ScriptedCall(AudioCall):
    """A call that keeps or writes what it hears, and knows when it is over."""

    recorder: WaveRecorder | None = None
    row: CallRow | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        """Prepare to listen."""
        super().__post_init__()
        self.over = asyncio.Event()
        self.ended: CallEnded | None = None
        self.frames: list[NDArray[np.float32]] = []
        self.squares = 0.0
        self.samples = 0
        self.quiet_secs = 0.0

    def audio_received(self, *, audio: NDArray[np.float32], rms: float) -> None:
        """Measure, keep and record one frame."""
        self.squares += rms * rms * len(audio)
        self.samples += len(audio)
        quiet = rms < 0.003
        self.quiet_secs = self.quiet_secs + len(audio) / self.RESAMPLING_RATE_HZ if quiet else 0.0
        if self.row is not None:
            self.row.level_dbfs = 20 * float(np.log10(max(rms, 1e-6)))
        if self.keep:
            self.frames.append(audio.copy())
        if self.recorder is not None:
            self.recorder.write(audio)

    def call_ended(self, reason: CallEnded) -> None:
        """Wake whoever waits."""
        self.ended = reason
        self.over.set()

    @property
    def heard(self) -> NDArray[np.float32]:
        """What was kept: float32[samples], mono, at `RESAMPLING_RATE_HZ`."""
        return np.concatenate(self.frames) if self.frames else np.zeros(0, np.float32)

    async def say(self, audio: NDArray[np.float32], sample_rate_hz: int) -> None:
        """Say float32[samples], mono, at any rate; returns when the last packet has left."""
        rate = self.codec.sample_rate_hz
        await self.send_rtp_audio(self.resample(audio, sample_rate_hz, rate))

    async def wait_over(self, seconds: float | None = None) -> bool:
        """Wait until the call is over, `seconds` at most; tells whether it is."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)
        return self.over.is_set()


class CallingSession(CommandSession):
    """Tells when the far end rings, and remembers its last final response to an INVITE."""

    row: CallRow | None = None
    refused: int = 0
    rang: bool = False

    def response_received(self, response: Any) -> None:
        """Tell how the far end takes it."""
        status = response.status_code
        if response.cseq.method != "INVITE":
            return
        if status >= 300:
            self.refused = status
        elif status in (180, 183) and not self.rang and self.output is not None and self.row:
            self.rang = True
            self.output.change(self.row, "ringing")


async def dial_and_measure(
    session: SessionInitiationProtocol, uri: str, call_class: type[ScriptedCall], **fields: Any
) -> tuple[ScriptedCall, CallReport]:
    """Dial, and begin a report with the set-up time and the codec.

    Raises:
        CallFailed: the call was refused.
    """
    began = asyncio.get_running_loop().time()
    leg = await session.dial(uri, call_class=call_class, **fields)
    codec = leg.codec
    name = f"{codec.encoding_name}/{codec.sample_rate_hz}"
    return leg, CallReport(codec=name, setup=asyncio.get_running_loop().time() - began)


async def _talk(leg: ScriptedCall, options: CallOptions, speech: Any) -> None:
    """Play and listen as long as the options say."""
    playing = None
    if speech is not None:
        playing = asyncio.create_task(leg.say(*speech))
    try:
        if options.duration is not None:
            await leg.wait_over(options.duration)
        elif playing is not None:
            over = asyncio.create_task(leg.over.wait())
            await asyncio.wait({playing, over}, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            await leg.wait_over(PLAY_TAIL_SECS)
        else:
            await leg.wait_over()
    finally:
        if playing is not None:
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError, CallEnded):
                await playing


async def finish(leg: ScriptedCall, report: CallReport, answered: float) -> None:
    """Hang up and fill in the report.

    Args:
        leg: the call.
        report: what is known of it so far.
        answered: when it began, by the loop's clock.
    """
    media_figures(report, leg.wire)
    report.duration = asyncio.get_running_loop().time() - answered
    await leg.hang_up()
    await leg.wait_over(2.0)
    report.ended = "" if leg.ended is None else ending(leg.ended)
    if leg.samples:
        report.level_dbfs = 10 * float(np.log10(max(leg.squares / leg.samples, 1e-12)))


@dataclass(slots=True)
class _Plan:
    """What a call needs, found before there is an event loop."""

    target: str
    call_class: type[ScriptedCall]
    speech: tuple[NDArray[np.float32], int] | None
    serve: dict[str, Any]


def call(options: CallOptions, output: Output) -> Coroutine[Any, Any, int]:
    """Return what makes one call; its outcome is the exit status.

    What the options ask for is checked here, and a password asked for: before there is an event
    loop, which would take Ctrl-C from the prompt.

    Raises:
        UsageError: they ask for what cannot be.
        OSError: the file to play cannot be read.
    """
    options.check()
    plan = _Plan(
        parse_target(options.uri, options.aor),
        with_codec(ScriptedCall, options.codec),
        None if options.play is None else read_wave(options.play),
        options.serve,
    )
    return _run(plan, open_session(CallingSession, options, output), options, output)


async def _run(plan: _Plan, session: CallingSession, options: CallOptions, output: Output) -> int:
    recorder = None
    if options.record is not None:  # before the call: nobody wants to say everything again
        recorder = WaveRecorder(options.record, plan.call_class.RESAMPLING_RATE_HZ)
    with output, contextlib.closing(recorder) if recorder else contextlib.nullcontext():
        async with serving(session, output, plan.serve):
            row = session.row = output.call(mask(plan.target))
            leg, report = await _dial(plan, session, recorder, output)
            row.codec = leg.codec.encoding_name
            output.change(row, "talking", f"answered with {report.codec}")
            answered = asyncio.get_running_loop().time()
            try:
                await _talk(leg, options, plan.speech)
            except asyncio.CancelledError:
                output.say("hanging up")  # Ctrl-C: the report is still wanted
            await finish(leg, report, answered)
            output.forget(row)
    output.table(report.lines)
    if recorder is not None and recorder.failed is not None:
        raise recorder.failed
    return 0 if leg.ended is None or leg.ended.cause in WELL_ENDED else 1


async def _dial(
    plan: _Plan, session: CallingSession, recorder: WaveRecorder | None, output: Output
) -> tuple[ScriptedCall, CallReport]:
    row = session.row
    assert row is not None
    output.change(row, "dialling", f"dialling {row.party}")
    try:
        return await dial_and_measure(
            session, plan.target, plan.call_class, recorder=recorder, row=row
        )
    except CallFailed as error:
        raise _explained(error, session, row.party) from None
    except asyncio.CancelledError:
        output.change(row, "given up")
        raise


def _explained(error: CallFailed, session: CallingSession, party: str) -> VoIPError:
    """Return a failure in words that tell the far end's own from ours, which mean: no answer."""
    if session.refused != error.status:
        if session.rang:
            return TransportError(f"{party}: nobody answered")
        return TransportError(f"cannot reach {party}: {unanswered(error.phrase)}")
    if error.status in (401, 407) and session.aor is None:
        return CallFailed(error.status, f"{error.phrase}: they want an account, see --account")
    return error

"""`voip call`: dial somebody, play a file, record what they say, and report."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voip.audio.call import AudioCall
from voip.cli.audio import WaveRecorder, read_wave
from voip.cli.output import CallRow, Output
from voip.cli.report import CallReport, media_figures
from voip.cli.running import ask_password, parse_aor, parse_proxy, parse_target, with_codec
from voip.errors import CallEnded
from voip.logs import mask
from voip.sip.protocol import SessionInitiationProtocol

__all__ = ["CallOptions", "ScriptedCall", "call", "dial_and_measure"]

PLAY_TAIL_SECS = 1.0
"""How long a call without `--duration` listens on after its file was played."""


@dataclass(slots=True)
class CallOptions:
    """What the command line asked for; see `voip call --help`."""

    uri: str
    play: Path | None = None
    record: Path | None = None
    duration: float | None = None
    codec: str | None = None
    host: str = "0.0.0.0"  # noqa: S104 - the way to the far end decides
    port: int = 0
    aor: str | None = None
    proxy: str | None = None
    tls_ca: Path | None = None
    dangerously_skip_certificate_checks: bool = False


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


class _Session(SessionInitiationProtocol):
    output: Output | None = None

    def registered(self) -> None:
        if self.output is not None:
            self.output.say(f"registered {self.aor}", "green")


class _VerboseSession(_Session):
    def request_received(self, request: Any) -> None:
        if self.output is not None:
            self.output.message(request, outgoing=False)

    def response_received(self, response: Any) -> None:
        if self.output is not None:
            self.output.message(response, outgoing=False)

    def message_sent(self, message: Any) -> None:
        if self.output is not None:
            self.output.message(message, outgoing=True)


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


async def _finish(leg: ScriptedCall, report: CallReport, answered: float) -> None:
    """Hang up and fill in the report."""
    media_figures(report, leg.wire)
    report.duration = asyncio.get_running_loop().time() - answered
    await leg.hang_up()
    await leg.wait_over(2.0)
    report.ended = str(leg.ended or "")
    if leg.samples:
        report.level_dbfs = 10 * float(np.log10(max(leg.squares / leg.samples, 1e-12)))


def _make_session(options: CallOptions, output: Output) -> _Session:
    session_class = _VerboseSession if output.verbosity else _Session
    account: dict[str, Any] = {}
    if options.aor is not None:
        aor = parse_aor(options.aor)
        account = {"aor": aor, "password": ask_password(aor)}
    return session_class(
        output=output,
        outbound_proxy=parse_proxy(options.proxy),
        tls_ca=options.tls_ca,
        dangerously_skip_certificate_checks=options.dangerously_skip_certificate_checks,
        **account,
    )


async def call(options: CallOptions, output: Output) -> int:
    """Make one call; returns the exit status."""
    target = parse_target(options.uri, options.proxy)
    speech = None if options.play is None else read_wave(options.play)
    call_class = with_codec(ScriptedCall, options.codec)
    session = _make_session(options, output)
    with output, contextlib.ExitStack() as files:
        recorder = None
        if options.record is not None:
            recorder = WaveRecorder(options.record, call_class.RESAMPLING_RATE_HZ)
            files.callback(recorder.close)
        async with session.serve(host=options.host, port=options.port):
            row = output.call(mask(target))
            output.change(row, "dialling", f"dialling {row.party}")
            leg, report = await dial_and_measure(
                session, target, call_class, recorder=recorder, row=row
            )
            row.codec = leg.codec.encoding_name
            output.change(row, "talking", f"answered with {report.codec}")
            answered = asyncio.get_running_loop().time()
            try:
                await _talk(leg, options, speech)
            except asyncio.CancelledError:
                output.say("hanging up")  # Ctrl-C: the report is still wanted
            await _finish(leg, report, answered)
            output.forget(row)
    for name, figure in report.lines:
        output.say(f"{name:>16}  {figure}")
    return 0

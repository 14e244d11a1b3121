"""A real baresip and we call each other: every codec over every transport, hold, BYE."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from peers import baresip
from peers.baresip import CODECS, Baresip, read_recording, write_wave
from peers.certificates import make_authority, make_certificate
from peers.line import EchoLine
from peers.process import Peer

from voip.cli.audio import load_speech
from voip.media.dsp import resample, to_int16
from voip.media.measure import AudioMetrics, compare

baresip.require()

pytestmark = pytest.mark.interop

TRANSPORTS = ("udp", "tcp", "tls")
# Longer than a pause of the speech, and than an utterance is quiet before it is said back.
QUIET_SECS = 2.0


@dataclass
class Echoed:
    """One call of a baresip to an echo line.

    Attributes:
        metrics: what it said beside what it heard.
        line: what the line printed about it.
        trouble: what failed, "" for nothing.
    """

    metrics: AudioMetrics | None = None
    line: str = ""
    trouble: str = ""


def microphone(folder: Path, codec: str, *, lead_secs: float = 0.3, tail_secs: float = 25.0) -> Path:
    """Write the speech in the form that a codec wants, between silences."""
    form = CODECS[codec]
    path = folder / f"microphone-{form.sample_rate_hz}-{form.channels}.wav"
    if not path.exists():
        speech = to_int16(resample(*load_speech(), form.sample_rate_hz))
        before, after = (int(s * form.sample_rate_hz) for s in (lead_secs, tail_secs))
        audio = np.pad(speech, (before, after))
        write_wave(path, audio, form.sample_rate_hz, form.channels)
    return path


def judge(said: Path, heard: Path) -> AudioMetrics:
    """Compare two wave files at the lower of their rates."""
    (one, one_hz), (other, other_hz) = read_recording(said), read_recording(heard)
    rate = min(one_hz, other_hz)
    return compare(resample(one, one_hz, rate), resample(other, other_hz, rate), rate)


async def call_the_line(folder: Path, line: EchoLine, codec: str, transport: str) -> Echoed:
    """Say the speech to the line and take what comes back."""
    own = folder / f"{codec}-{transport}"
    own.mkdir()
    said = microphone(folder, codec)
    phone = Baresip(own, said, codec=CODECS[codec], transport=transport)
    async with phone:
        await phone.command("dial", line.uri(transport))
        await phone.event("CALL_ESTABLISHED")
        await phone.heard_all(quiet_secs=QUIET_SECS, seconds=25)
        await phone.command("hangup")
        await phone.event("CALL_CLOSED")
    return Echoed(judge(said, phone.heard), line.output)


async def call_all_lines(folder: Path) -> dict[tuple[str, str], Echoed]:
    """Make all calls at once: a line for each codec, a phone for each of its transports."""
    authority = make_authority(folder, "authority")
    certificate = make_certificate(folder, authority, "IP:127.0.0.1")
    results: dict[tuple[str, str], Echoed] = {}
    async with contextlib.AsyncExitStack() as stack:
        lines = {}
        for codec in CODECS:
            own = folder / f"line-{codec}"
            own.mkdir()
            lines[codec] = EchoLine(own, codec=codec, certificate=certificate)
        await asyncio.gather(*(stack.enter_async_context(line) for line in lines.values()))

        async def one(codec: str, transport: str) -> None:
            try:
                result = await call_the_line(folder, lines[codec], codec, transport)
            except Exception:
                trouble = f"{traceback.format_exc()}\nthe line said:\n{lines[codec].output}"
                result = Echoed(trouble=trouble)
            results[codec, transport] = result

        await asyncio.gather(*(one(c, t) for c in CODECS for t in TRANSPORTS))
    return results


@pytest.fixture(scope="module")
def echoed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Echoed]:
    """All calls to the lines, made at once, since each lasts as long as the speech."""
    return asyncio.run(call_all_lines(tmp_path_factory.mktemp("calls")))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("codec", CODECS)
def test_baresip_hears_its_own_words(echoed, codec, transport):
    call = echoed[codec, transport]
    assert not call.trouble, call.trouble
    metrics = call.metrics
    print(
        f"FIG {codec} {transport} corr {metrics.correlation:.4f} worst {metrics.worst_correlation:.4f}"
        f" frames {metrics.frames_found}/{metrics.frames} snr {metrics.snr_db:.1f} dB"
        f" delay {metrics.delay:.2f} s level {metrics.said_dbfs:.1f} -> {metrics.heard_dbfs:.1f}"
    )
    assert metrics.correlation > 0.9
    assert metrics.frames > 100
    assert metrics.frames_found == metrics.frames

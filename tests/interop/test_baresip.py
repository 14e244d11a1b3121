"""A real baresip calls `voip echo`, and `voip call` calls a real baresip."""

from __future__ import annotations

import asyncio
import contextlib
import re
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from peers import baresip
from peers.baresip import CODECS, Baresip, BaresipCodec, read_recording, write_wave
from peers.certificates import Certificate, make_authority, make_certificate
from peers.ourselves import VoipEcho, voip
from peers.process import LOOPBACK, Peer, until

from voip.cli.audio import load_speech
from voip.media.dsp import resample, to_int16
from voip.media.measure import AudioMetrics, compare

baresip.require()

pytestmark = pytest.mark.interop

TRANSPORTS = ("udp", "tcp", "tls")
ANSWERED = (("pcmu", "udp"), ("pcma", "tcp"), ("g722", "udp"), ("opus", "tls"), ("l16", "tcp"))
# What we offer as L16 is 44100 Hz, payload type 11 (RFC 3551 §6); as an offer we take any rate.
OFFERED = {"l16": BaresipCodec("l16/44100/1", 44100)}
# In 20 ms blocks: longer than a pause of the speech, or an echo that waits for the end of a word.
QUIET_BLOCKS = 100
SPEECH_SECS = 5.75


@dataclass
class Spoken:
    """One call between a baresip and us.

    Attributes:
        echoed: what baresip said beside what it heard, or what we said beside what it heard.
        recorded: what baresip said beside what we recorded.
        trouble: what failed, "" for nothing.
        output: what our side printed.
    """

    echoed: AudioMetrics | None = None
    recorded: AudioMetrics | None = None
    trouble: str = ""
    output: str = ""


def microphone(folder: Path, form: BaresipCodec, *, times: int = 1) -> Path:
    """Write the speech in the form that a codec wants, then silence that outlasts the call."""
    path = folder / f"microphone-{form.sample_rate_hz}-{form.channels}.wav"
    speech = np.tile(to_int16(resample(*load_speech(), form.sample_rate_hz)), times)
    before, after = (int(secs * form.sample_rate_hz) for secs in (0.3, 30))
    return write_wave(path, np.pad(speech, (before, after)), form.sample_rate_hz, form.channels)


def judge(said: Path, heard: Path, *, since_secs: float = 0.0) -> AudioMetrics:
    """Compare two wave files at the lower of their rates."""
    (one, one_hz), (other, other_hz) = read_recording(said), read_recording(heard)
    rate = min(one_hz, other_hz)
    other = other[int(since_secs * other_hz) :]
    # The silence after the speech has nothing to be found.
    one = one[: int((SPEECH_SECS + 0.5) * one_hz)]
    return compare(resample(one, one_hz, rate), resample(other, other_hz, rate), rate)


def all_of_it(blocks: list[bool]) -> bool:
    """Tell whether there was sound, and then silence for long."""
    return any(blocks) and not any(blocks[-QUIET_BLOCKS:])


def certificates(folder: Path) -> tuple[Certificate, Certificate]:
    authority = make_authority(folder, "authority")
    return authority, make_certificate(folder, authority, f"IP:{LOOPBACK}")


def the_line(port: int, transport: str) -> str:
    return f"sip:echo@{LOOPBACK}:{port + (transport == 'tls')};transport={transport}"


def made(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path


async def all_at_once(
    cases: list[tuple[str, str]], one: Callable[[str, str], Awaitable[Spoken]]
) -> dict[tuple[str, str], Spoken]:
    """Make all calls at the same time, since each lasts as long as the speech."""

    async def watched(codec: str, transport: str) -> Spoken:
        try:
            return await one(codec, transport)
        except Exception:  # noqa: BLE001 - it is the outcome of one call
            return Spoken(trouble=traceback.format_exc())

    return dict(zip(cases, await asyncio.gather(*(watched(*c) for c in cases)), strict=True))


async def call_the_lines(folder: Path) -> dict[tuple[str, str], Spoken]:
    """Call a line for each codec by a phone for each transport."""
    _, own = certificates(folder)
    serving = ("--tls-cert", own.certificate, "--tls-key", own.key)
    said = {codec: microphone(folder, form) for codec, form in CODECS.items()}
    async with contextlib.AsyncExitStack() as stack:
        lines = {
            codec: VoipEcho(made(folder, f"line-{codec}"), *serving, "--codec", codec)
            for codec in CODECS
        }
        await asyncio.gather(*(stack.enter_async_context(line) for line in lines.values()))

        async def one(codec: str, transport: str) -> Spoken:
            where = made(folder, f"{codec}-{transport}")
            phone = Baresip(where, said[codec], codec=CODECS[codec], transport=transport)
            async with phone:
                await phone.command("dial", the_line(lines[codec].port, transport))
                await phone.event("CALL_ESTABLISHED")
                await phone.hears(all_of_it, seconds=30, what="all of its words")
                await phone.command("hangup")
                await phone.event("CALL_CLOSED")
            return Spoken(judge(said[codec], phone.heard), output=lines[codec].output)

        return await all_at_once([(c, t) for c in CODECS for t in TRANSPORTS], one)


async def call_the_phones(folder: Path) -> dict[tuple[str, str], Spoken]:
    """Let `voip call` dial phones that answer and speak."""
    authority, own = certificates(folder)

    async def one(codec: str, transport: str) -> Spoken:
        where = made(folder, f"{codec}-{transport}")
        ours = where / "recorded.wav"
        form = OFFERED.get(codec, CODECS[codec])
        said = microphone(where, form)
        phone = Baresip(
            where / "phone",
            said,
            codec=form,
            transport=transport,
            answers=True,
            certificate=own,
        )
        played = ("--play", said, "--record", ours, "--duration", "8", "--codec", codec)
        async with phone:
            caller = voip(where, "call", phone.uri, *played, "--tls-ca", authority.certificate)
            async with caller:
                status = await caller.ended(seconds=30)
            await phone.event("CALL_CLOSED")
        assert status == 0, caller.output
        return Spoken(judge(said, phone.heard), judge(said, ours), output=caller.output)

    return await all_at_once(list(ANSWERED), one)


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> dict[tuple[str, str], Spoken]:
    return asyncio.run(call_the_lines(tmp_path_factory.mktemp("calls")))


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> dict[tuple[str, str], Spoken]:
    return asyncio.run(call_the_phones(tmp_path_factory.mktemp("answered")))


def assert_same_words(metrics: AudioMetrics | None) -> None:
    assert metrics is not None
    print(
        f"correlation {metrics.correlation:.4f}, worst {metrics.worst_correlation:.4f},"
        f" frames {metrics.frames_found}/{metrics.frames}, {metrics.snr_db:.1f} dB,"
        f" delay {metrics.delay:.2f} s, {metrics.said_dbfs:.1f} -> {metrics.heard_dbfs:.1f} dBFS"
    )
    assert metrics.correlation > 0.9
    assert metrics.frames > 150
    assert metrics.frames_found == metrics.frames


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("codec", CODECS)
def test_baresip_hears_its_own_words(calls, codec, transport):
    call = calls[codec, transport]
    assert not call.trouble, call.trouble
    assert f"answered with {codec}" in call.output
    assert_same_words(call.echoed)


@pytest.mark.parametrize(("codec", "transport"), ANSWERED)
def test_voip_call_speaks_with_baresip(answered, codec, transport):
    call = answered[codec, transport]
    assert not call.trouble, call.trouble
    assert_same_words(call.echoed)
    assert_same_words(call.recorded)
    assert "we hung up" in call.output


async def test_bye_of_baresip_ends_the_call(tmp_path):
    async with VoipEcho(tmp_path, "--codec", "pcmu") as line:
        phone = Baresip(
            tmp_path / "phone", microphone(tmp_path, CODECS["pcmu"]), codec=CODECS["pcmu"]
        )
        async with phone:
            for number in (1, 2):  # the line is as good as new
                await phone.command("dial", the_line(line.port, "udp"))
                await phone.event("CALL_ESTABLISHED", count=number)
                await line.peer.said(f"call {number}: answered")
                await phone.command("hangup")
                await line.peer.said(f"call {number}: ended")
                await phone.event("CALL_CLOSED", count=number)
    assert line.output.count("they hung up") == 2


async def test_ending_the_line_ends_the_call_of_baresip(tmp_path):
    async with VoipEcho(tmp_path, "--codec", "pcmu") as line:
        phone = Baresip(
            tmp_path / "phone", microphone(tmp_path, CODECS["pcmu"]), codec=CODECS["pcmu"]
        )
        async with phone:
            await phone.command("dial", the_line(line.port, "udp"))
            await phone.event("CALL_ESTABLISHED")
            assert await line.stop() == 0
            await phone.event("CALL_CLOSED")


async def hold_and_resume(phone: Baresip, ours: Peer) -> None:
    """Hold a call in which it hears us, until nothing comes any more, and resume it."""
    await phone.hears(any, seconds=10, what="a word")
    await phone.command("hold")
    await ours.said("a=recvonly")
    held = [await phone.last_sequence()]

    async def silent() -> bool:
        held.append(await phone.last_sequence())
        return len(held) > 20 and len(set(held[-20:])) == 1

    await soon(silent, seconds=5, what="silence while on hold")
    await phone.command("resume")

    async def spoken_to() -> bool:
        return (await phone.last_sequence() - held[-1]) & 0xFFFF > 100

    await soon(spoken_to, seconds=10, what="packets after the hold")


async def soon(condition: Callable[[], Awaitable[bool]], *, seconds: float, what: str) -> None:
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while not await condition():
        assert clock() < deadline, f"no {what} within {seconds} s"
        await asyncio.sleep(0.05)


async def hold_an_echo(tmp_path: Path) -> list[float]:
    """Hold and resume a call to the line; return the words that it heard since, in seconds."""
    async with VoipEcho(tmp_path, "--codec", "pcma", "-vvv") as line:
        said = microphone(tmp_path, CODECS["pcma"], times=4)
        phone = Baresip(tmp_path / "phone", said, codec=CODECS["pcma"])
        async with phone:
            await phone.command("dial", the_line(line.port, "udp"))
            await phone.event("CALL_ESTABLISHED")
            await hold_and_resume(phone, line.peer)
            resumed = len(line.output)

            def heard() -> list[float]:
                found = re.findall(r"heard (\S+) s at -2\d dBFS, saying it", line.output[resumed:])
                return [float(secs) for secs in found]

            await until(lambda: len(heard()) >= 3, seconds=10, what="words after the hold")
            await phone.command("hangup")
            await phone.event("CALL_CLOSED")
    return heard()


async def hold_a_recording(tmp_path: Path) -> AudioMetrics:
    """Let a phone that was called hold and resume; return what we heard of it since."""
    said = microphone(tmp_path, CODECS["pcmu"], times=4)
    phone = Baresip(tmp_path / "phone", said, codec=CODECS["pcmu"], answers=True)
    record = tmp_path / "recorded.wav"
    played = ("--play", said, "--record", record, "--duration", "13", "--codec", "pcmu", "-vvv")
    async with phone, voip(tmp_path, "call", phone.uri, *played) as caller:
        await hold_and_resume(phone, caller)
        assert await caller.ended(seconds=20) == 0, caller.output
    # The speech is said over and over: past the hold, it is there once from begin to end.
    return judge(said, record, since_secs=4.0)


async def test_hold_silences_a_call_and_resume_lets_it_go_on_both_ways(tmp_path):
    words, recorded = await asyncio.gather(
        hold_an_echo(made(tmp_path, "echo")), hold_a_recording(made(tmp_path, "recording"))
    )
    # The first one was under way when the call was resumed.
    assert words[1:3] == pytest.approx([1.55, 1.55], abs=0.15)
    assert_same_words(recorded)

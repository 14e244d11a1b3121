from __future__ import annotations

import asyncio
import io
import re
import wave
from pathlib import Path

import pytest

from voip.cli.audio import load_speech, read_wave
from voip.cli.call import CallOptions, call
from voip.cli.echo import EchoOptions, make_session
from voip.cli.messages import describe
from voip.cli.output import Output
from voip.cli.running import UsageError
from voip.errors import CallFailed
from voip.media.dsp import resample
from voip.media.measure import compare
from voip.testing import SipPeer, run_virtual

HERE, THERE = "192.0.2.1", "192.0.2.2"


async def dial(options, verbosity=0):
    stream = io.StringIO()
    status = await call(options, Output(verbosity, stream))
    return status, stream.getvalue()


async def with_echo(*, verbosity=0, **options):
    """Call an echo line in the same virtual world."""
    line = make_session(EchoOptions(host=THERE), Output(0, io.StringIO()))
    async with line.serve(host=THERE, port=5060):
        return await dial(CallOptions(f"sip:echo@{THERE}", host=HERE, **options), verbosity)


@pytest.fixture
def speech_file(tmp_path):
    path = tmp_path / "say.wav"
    speech, rate = load_speech()
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes((speech * 32767).astype("<i2").tobytes())
    return path


def test_plays_records_and_reports(speech_file, tmp_path):
    heard = tmp_path / "heard.wav"
    status, said = run_virtual(
        with_echo(play=speech_file, record=heard, duration=9.0, codec="pcma", verbosity=1)
    )
    assert status == 0
    for words in ("answered with pcma/8000", "set-up time", "0.00% (0 packets)", "we hung up"):
        assert words in said
    assert "→ INVITE sip:echo@" in said
    assert "← SIP/2.0 200 OK" in said
    speech, rate = load_speech()
    audio, rate = read_wave(heard)
    assert (
        compare(resample(speech, rate, 8000), resample(audio, rate, 8000), 8000).correlation > 0.98
    )


def test_without_a_duration_it_hangs_up_a_second_after_its_file(speech_file):
    status, said = run_virtual(with_echo(play=speech_file))
    assert status == 0
    assert "6.7 s" in said or "6.8 s" in said


def test_reports_when_the_far_end_hangs_up_first():
    async def main():
        async with SipPeer.open(THERE, 5060) as peer:
            calling = asyncio.create_task(dial(CallOptions(f"sip:bob@{THERE}", host=HERE)))
            invite = await peer.expect("INVITE")
            peer.reply(invite, 200, body=peer.sdp())
            await peer.expect("ACK")
            peer.remote = invite.source
            peer.bye(invite)
            await peer.expect(200)
            return await calling

    status, said = run_virtual(main())
    assert status == 0
    assert "ended  they hung up" in said


def test_ctrl_c_hangs_up_and_still_reports():
    async def main():
        line = make_session(EchoOptions(host=THERE), Output(0, io.StringIO()))
        async with line.serve(host=THERE, port=5060):
            calling = asyncio.create_task(dial(CallOptions(f"sip:echo@{THERE}", host=HERE)))
            await asyncio.sleep(3)
            calling.cancel()
            return await calling

    status, said = run_virtual(main())
    assert status == 0
    assert "hanging up" in said
    assert "duration  2.9 s" in said or "duration  3.0 s" in said


def test_a_refusal_has_the_words_of_the_far_end():
    async def main():
        async with SipPeer.open(THERE, 5060) as peer:
            calling = asyncio.create_task(dial(CallOptions(f"sip:bob@{THERE}", host=HERE)))
            peer.reply(await peer.expect("INVITE"), 486, "Gone Fishing")
            await peer.expect("ACK")
            return await calling

    with pytest.raises(CallFailed, match="486 Gone Fishing"):
        run_virtual(main())


def failing(script, **options):
    """Call a scripted phone; returns what the caller said, and what it failed with."""
    stream = io.StringIO()

    async def main():
        async with SipPeer.open(THERE, 5060) as peer:
            asked = CallOptions(f"sip:bob@{THERE}", host=HERE, **options)
            calling = asyncio.create_task(call(asked, Output(0, stream)))
            await script(peer, calling)
            return (await asyncio.gather(calling, return_exceptions=True))[0]

    failed = run_virtual(main())
    return stream.getvalue().splitlines(), failed


def test_ringing_is_said_once():
    async def script(peer, _):
        invite = await peer.expect("INVITE")
        for status in (180, 180, 183, 603):
            peer.reply(invite, status, "Decline")
        await peer.expect("ACK")

    said, failed = failing(script)
    assert said == ["call 1: dialling **b@192.0.2.2", "call 1: ringing"]
    assert describe(failed) == "the call failed: 603 Decline"


def test_silence_is_no_status_of_the_far_end():
    async def script(peer, calling):
        await asyncio.wait({calling})

    said, failed = failing(script)
    assert said == ["call 1: dialling **b@192.0.2.2"]
    assert re.fullmatch(r"cannot reach \*\*b@192\.0\.2\.2: \D+", describe(failed))


def test_who_rings_for_ever_does_not_answer():
    async def script(peer, calling):
        invite = await peer.expect("INVITE")
        peer.reply(invite, 180)
        peer.reply(await peer.expect("CANCEL", timeout=400), 200)
        peer.reply(invite, 487)

    said, failed = failing(script)
    assert said[-1] == "call 1: ringing"
    assert describe(failed) == "**b@192.0.2.2: nobody answered"


def test_a_challenge_without_an_account_points_to_the_option():
    async def script(peer, _):
        challenge = [("WWW-Authenticate", 'Digest realm="r", nonce="n"')]
        peer.reply(await peer.expect("INVITE"), 401, "Unauthorized", headers=challenge)
        await peer.expect("ACK")

    _, failed = failing(script)
    words = "the call failed: 401 Unauthorized: they want an account, see --account"
    assert describe(failed) == words


def test_ctrl_c_takes_a_call_back_that_rings():
    async def script(peer, calling):
        invite = await peer.expect("INVITE")
        peer.reply(invite, 180)
        await asyncio.sleep(1)
        calling.cancel()
        peer.reply(await peer.expect("CANCEL"), 200)
        peer.reply(invite, 487)
        await peer.expect("ACK")

    said, failed = failing(script)
    assert said[-1] == "call 1: given up"
    assert isinstance(failed, asyncio.CancelledError)


def test_a_far_end_that_makes_no_sense_is_told_apart_from_the_address():
    async def script(peer, _):
        peer.reply(await peer.expect("INVITE"), 200, body=b"nonsense")
        await peer.expect("ACK")
        peer.reply(await peer.expect("BYE"), 200)

    assert describe(failing(script)[1]).startswith("the far end makes no sense: ")


def test_a_call_that_ends_badly_fails():
    async def script(peer, calling):
        peer.reply(await peer.expect("INVITE"), 200, body=peer.sdp())
        await peer.expect("ACK")
        peer.reply(await peer.expect("BYE", timeout=400), 200)

    said, status = failing(script)
    assert said[-1].split() == ["ended", "no", "sound", "came", "any", "more"]
    assert status == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_after_the_report():
    with pytest.raises(OSError, match="/dev/full"):
        run_virtual(with_echo(record=Path("/dev/full"), duration=1.0))


def test_what_cannot_be_is_told_before_anything_opens(speech_file, tmp_path):
    for options, error, words in (
        ({"duration": 0.0}, UsageError, "--duration 0"),
        ({"duration": float("inf")}, UsageError, "--duration inf"),
        ({"play": speech_file, "record": speech_file}, UsageError, "that --play says"),
        ({"play": tmp_path / "none.wav"}, FileNotFoundError, "none.wav"),
        ({"host": "no such host"}, UsageError, "bad host"),
        ({"tls_ca": tmp_path / "none.pem"}, UsageError, "--tls-ca"),
        ({"proxy": THERE}, UsageError, "--proxy needs"),
    ):
        with pytest.raises(error, match=words):
            call(CallOptions("sip:bob@192.0.2.2", **options), Output(0, io.StringIO()))
    assert speech_file.stat().st_size > 1000
    CallOptions("sip:bob@192.0.2.2", play=speech_file, record=tmp_path / "new.wav").check()


def test_an_account_registers_before_it_calls(monkeypatch):
    monkeypatch.setenv("SIP_PASSWORD", "secret")

    async def main():
        async with SipPeer.open(THERE, 5060) as peer:
            options = CallOptions(
                "sip:bob@example.com", host=HERE, aor="alice@example.com", proxy=THERE
            )
            calling = asyncio.create_task(dial(options))
            request = await peer.expect("REGISTER")
            peer.reply(request, 200, headers=[("Contact", request["Contact"])])
            peer.reply(await peer.expect("INVITE"), 404, "Not Here")
            await peer.expect("ACK")
            peer.reply(await peer.expect("REGISTER"), 200)
            return await calling

    with pytest.raises(CallFailed, match="404"):
        run_virtual(main())

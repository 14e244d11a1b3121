from __future__ import annotations

import asyncio
import io
import wave

import pytest

from voip.cli.audio import load_speech, read_wave
from voip.cli.call import CallOptions, call
from voip.cli.echo import EchoOptions, make_session
from voip.cli.output import Output
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
    for words in ("answered with pcma/8000", "set-up time", "0.00% (0 packets)", "local_hangup"):
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
    assert "remote_hangup" in said


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

"""What only real sockets show: `python -m voip echo` among strangers on the loopback device.

Loopback is trusted, so that the limits for strangers do not bind here; `tests/sip/test_hostile.py`
has them in virtual time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time

import pytest
from peers.besieged import session
from peers.ourselves import VoipEcho
from peers.process import LOOPBACK, until
from peers.strangers import Stranger, StrangerOverTcp, request

from voip.audio import EchoCall
from voip.codecs import PCMU
from voip.sip.protocol import SIP
from voip.testing import SipPeer

pytestmark = [pytest.mark.interop, pytest.mark.skipif(os.name != "posix", reason="127.0.0.x")]


async def hears_itself(port, number):
    """Make one call and check that what is said comes back."""
    host = f"127.0.1.{number}"
    media = await Stranger.at(host)
    try:
        async with SipPeer.open(host, remote=(LOOPBACK, port)) as peer:
            peer.request("INVITE", f"sip:echo@{LOOPBACK}", body=peer.sdp(media.address[1]))
            answer = await peer.expect(200)
            peer.ack(answer)
            rtp = (LOOPBACK, int(answer.body.split(b"m=audio ")[1].split()[0]))
            for _ in range(25):
                media.speak(rtp, ssrc=number)
                await asyncio.sleep(0.02)
            assert len(media.audio) >= 20
            peer.bye(answer)
            await peer.expect(200)
    finally:
        media.close()


def assert_quiet(echo):
    assert "Traceback" not in echo.output
    assert "rror" not in echo.output


async def test_banners_are_closed_within_50_ms(tmp_path):
    async with VoipEcho(tmp_path) as echo:
        lasted = []
        for banner in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"SSH-2.0-x\r\n",
        ):
            for number in range(5):
                tcp = await StrangerOverTcp.to((LOOPBACK, echo.port), f"127.0.2.{number + 1}")
                tcp.send(banner)
                await asyncio.wait_for(tcp.lost, 2)
                assert bytes(tcp.got) == b""
                lasted.append(tcp.lasted)
        assert sorted(lasted)[len(lasted) // 2] < 0.05
        await hears_itself(echo.port, 1)
        assert_quiet(echo)


async def test_connections_that_come_and_go_leave_nothing(tmp_path):
    async with VoipEcho(tmp_path) as echo:
        fds = f"/proc/{echo.peer.process.pid}/fd"
        if not os.path.isdir(fds):
            pytest.skip("no /proc here")
        before = len(os.listdir(fds))
        draw = random.Random(3)
        whole = request("OPTIONS", (LOOPBACK, 5060), via="TCP")
        for number in range(400):
            tcp = await StrangerOverTcp.to((LOOPBACK, echo.port), f"127.0.3.{number % 50 + 1}")
            tcp.send(whole[: draw.randrange(len(whole))])
            if number % 2:
                tcp._transport.abort()
            else:
                tcp.close()
        await until(
            lambda: len(os.listdir(fds)) <= before + 1, seconds=5, what="closed connections"
        )
        await hears_itself(echo.port, 2)
        assert_quiet(echo)


async def test_junk_on_every_port_while_a_call_is_up(tmp_path):
    async with VoipEcho(tmp_path) as echo:
        call = asyncio.create_task(hears_itself(echo.port, 3))
        junk = [await Stranger.at(f"127.0.4.{number + 1}") for number in range(20)]
        draw = random.Random(4)
        whole = request("INVITE", (LOOPBACK, 5060), body=session(LOOPBACK, 40000))
        for number in range(800):
            data = bytearray(whole)
            for _ in range(4):
                data[draw.randrange(len(data))] = draw.randrange(256)
            stranger = junk[number % 20]
            stranger.send(bytes(data), (LOOPBACK, echo.port))
            stranger.send(draw.randbytes(60), (LOOPBACK, 10000 + number % 6))
            if number % 30 == 0:
                await asyncio.sleep(0.01)
        await call
        assert [packet for stranger in junk for packet in stranger.audio] == []
        await hears_itself(echo.port, 4)
        assert echo.peer.running
        assert "Traceback" not in echo.output
        for stranger in junk:
            stranger.close()


async def test_who_reads_nothing_holds_no_memory(tmp_path):
    async with VoipEcho(tmp_path) as echo:
        before = echo.resident_bytes()
        whole = request("OPTIONS", (LOOPBACK, 5060), via="TCP")
        tcp = await StrangerOverTcp.to((LOOPBACK, echo.port), "127.0.5.1")
        tcp._transport.pause_reading()
        for _ in range(60):
            tcp.send(whole * 200)
            await asyncio.sleep(0.02)
            if tcp.lost_at is not None:
                break
        assert echo.resident_bytes() - before < 24 * 2**20
        tcp._transport.abort()
        await hears_itself(echo.port, 5)


class Sleepy(EchoCall):
    """Blocks the loop in its fifth frame, on the call of one caller."""

    PREFERRED_CODECS = [PCMU]
    frames = 0

    def audio_received(self, *, audio, rms):
        super().audio_received(audio=audio, rms=rms)
        self.frames += 1
        if self.frames == 5 and self.caller.host == "127.0.1.6":
            time.sleep(0.12)


class SleepyLine(SIP):
    def call_received(self, request):
        self.answer(request=request, call_class=Sleepy)


async def test_a_hook_that_blocks_is_named_and_the_other_call_goes_on(caplog):
    caplog.set_level(logging.WARNING, "voip.watchdog")
    async with SleepyLine().serve(LOOPBACK, 0) as line:
        port = line.listeners["UDP"].port
        await asyncio.gather(hears_itself(port, 6), hears_itself(port, 7))
        assert line.counters["loop_blocked"] >= 1
    line_number = Sleepy.audio_received.__code__.co_firstlineno + 4
    assert f"test_hostile.py:{line_number}" in caplog.text

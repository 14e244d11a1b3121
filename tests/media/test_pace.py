"""Ticks that are left out are missed by nobody: with and without them the same happens, at the same
moments, as long as the process does not stand still."""

import asyncio
import random

import pytest

from voip.audio import AudioCall
from voip.codecs import PCMU
from voip.media.plane import InlinePlane
from voip.rtp.packet import RTPPacket
from voip.rtp.source import RemoteSource, SourceRules
from voip.rtp.ticker import Ticker
from voip.sdp.negotiation import Agreement
from voip.sdp.types import MediaDescription
from voip.testing import leg, run_virtual
from voip.types import HostPort

PTIMES_MS = (10, 20, 20, 20, 30, 60, 100)


class Hearing(AudioCall):
    def audio_received(self, *, audio, rms):
        self.note("heard", audio.size)


class Exchange:
    """Calls that come and go, on a plane whose ticker leaves ticks out, or does not."""

    def __init__(self, seed, *, leaves_out):
        self.seed = seed
        self.loop = asyncio.get_running_loop()
        self.plane = InlinePlane(random.Random(seed).randbytes)
        self.wakes = 0
        self.log = []
        deadline = self.plane.deadline if leaves_out else None
        self.ticker = Ticker(self.tick, self.loop, deadline=deadline)
        if leaves_out:
            self.plane.pace = self.ticker
        self.ticker.start()  # for good: a grid that lapses may begin anew at another moment

    def tick(self, now):
        self.wakes += 1
        self.plane.tick(now)

    async def call(self, number):
        dice = random.Random(f"{self.seed} {number}")
        await asyncio.sleep(dice.random() * 3)
        remote = HostPort("192.0.2.1", 40000 + number)
        call = leg(Hearing)
        call.note = lambda *what: self.log.append((round(self.loop.time(), 6), number, *what))
        section = MediaDescription("audio", 0, "RTP/AVP", [PCMU.to_payload_format()])
        ptime = dice.choice(PTIMES_MS)
        agreed = Agreement(
            index=0,
            media=section,
            remote=remote,
            remote_rtcp=None,
            rtcp_mux=False,
            send=True,
            receive=True,
            ptime_ms=ptime,
            payload_types=frozenset({0}),
        )
        media = self.plane.adopt(
            call,
            Wire(call.note),
            source=RemoteSource(SourceRules("learn", remote, remote.host, frozenset({0}))),
            agreement=agreed,
            now=self.loop.time(),
        )
        self.ticker.start()
        for index in range(dice.choice((0, 1, 10, 40))):
            await asyncio.sleep(dice.uniform(0.015, 0.025))
            if dice.random() < 0.9:
                packet = RTPPacket(0, index, index * 160, 9, b"\x30" * 160)
                media.receive(bytes(packet), remote, self.loop.time())
            if dice.random() < 0.02:
                media.update(agreed, self.loop.time())
        await asyncio.sleep(dice.random() * 0.1)
        self.plane.release(media)
        self.ticker.stop()
        call.note("over")


class Wire:
    def __init__(self, note):
        self.note = note

    def send(self, data, addr):
        self.note("sent", data)

    def send_rtcp(self, data, addr):
        self.note("sent RTCP", data)

    def close(self):
        self.note("closed")


def happened(seed, calls, *, leaves_out):
    async def main():
        exchange = Exchange(seed, leaves_out=leaves_out)
        await asyncio.gather(*(exchange.call(number) for number in range(calls)))
        return exchange.log, exchange.wakes

    return run_virtual(main())


@pytest.mark.parametrize("seed", range(40))
def test_leaving_ticks_out_changes_nothing(seed):
    calls = 1 + seed % 5
    every, wakes = happened(seed, calls, leaves_out=False)
    wanted, fewer = happened(seed, calls, leaves_out=True)
    assert wanted == every
    assert fewer < wakes

"""sipp, which speaks SIP as telephone exchanges do, calls us and is called.

In the suite 300 calls a transport; `python -m benchmarks.acceptance` runs the 2,000.
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from peers import sipp
from peers.ourselves import VoipEcho

from voip import SIP, AudioCall
from voip.codecs import get
from voip.errors import CallFailed, EndCause

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", autouse=True)
def installed():
    sipp.require()


@pytest.mark.parametrize("transport", ["u1", "t1", "tn"])
async def test_echo_answers_a_hundred_calls_a_second(tmp_path, transport):
    async with VoipEcho(tmp_path) as line:
        outcome = await sipp.call(tmp_path, line.port, calls=300, transport=transport)

        assert (outcome.status, outcome.successful, outcome.failed) == (0, 300, 0), outcome.log
        assert outcome.retransmissions == 0
        assert await line.stop() == 0

    assert line.output.count("they hung up") == 300
    assert "Traceback" not in line.output


async def test_fifty_calls_stay_up_together(tmp_path):
    async with VoipEcho(tmp_path) as line:
        outcome = await sipp.call(tmp_path, line.port, calls=50, hold_ms=700)

        assert (outcome.status, outcome.successful, outcome.failed) == (0, 50, 0), outcome.log
        assert outcome.retransmissions == 0


class Talker(AudioCall):
    """Counts what comes back."""

    PREFERRED_CODECS = [get("pcmu")]

    def __post_init__(self):
        super().__post_init__()
        self.heard = 0
        self.over = asyncio.get_running_loop().create_future()

    def audio_received(self, *, audio, rms):
        self.heard += len(audio)

    def call_ended(self, reason):
        self.over.set_result(reason)


@pytest.mark.parametrize(("transport", "suffix"), [("u1", ""), ("t1", ";transport=tcp")])
async def test_our_calls_are_answered_and_ended(tmp_path, leaks, transport, suffix):
    async with (
        sipp.SippCallee(tmp_path, calls=5, transport=transport) as callee,
        SIP().serve("127.0.0.1", 0) as phone,
    ):
        uri = f"sip:service@127.0.0.1:{callee.port}{suffix}"
        legs = await asyncio.gather(*(phone.dial(uri, call_class=Talker) for _ in range(5)))
        # sipp sends back the RTP of one call after another's; this one spoke alone.
        await legs[0].send_rtp_audio(np.full(1600, 0.25, np.float32))
        for leg in legs:
            await leg.hang_up()
        reasons = [await asyncio.wait_for(leg.over, 5) for leg in legs]
        assert phone.calls == []
        # It counts a call 4 s after its BYE, if the connection stands until then.
        outcome = await callee.outcome()

    assert {reason.cause for reason in reasons} == {EndCause.LOCAL_HANGUP}
    assert legs[0].heard >= 1440
    assert (outcome.status, outcome.successful, outcome.failed) == (0, 5, 0), outcome.log


async def test_nobody_at_the_port_fails_the_call_at_once(leaks):
    async with SIP().serve("127.0.0.1", 0) as phone:
        clock = asyncio.get_running_loop().time
        began = clock()
        with pytest.raises(CallFailed) as caught:
            await phone.dial("sip:service@127.0.0.1:9", call_class=Talker)
        # RFC 3261 §8.1.3.1: a transport error counts as 503.
        assert (caught.value.status, caught.value.phrase) == (503, "connection refused")
        assert clock() - began < 2.0

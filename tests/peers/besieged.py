"""A line that is up in virtual time, and one call through it, while a test attacks both."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from peers.strangers import Stranger
from voip.audio import AudioCall
from voip.codecs import PCMU
from voip.sip.protocol import SIP
from voip.testing import Network, SipPeer, run_virtual

__all__ = [
    "ATTACKER",
    "HOST",
    "LINE",
    "URI",
    "VICTIM",
    "Leg",
    "Line",
    "call",
    "session",
    "under_attack",
    "works",
]

HOST = "192.0.2.1"
LINE = (HOST, 5060)
URI = f"sip:line@{HOST}"
VICTIM = "203.0.113.7"
ATTACKER = "198.51.100.66"


class Leg(AudioCall):
    """Remembers what it heard and how it ended."""

    PREFERRED_CODECS = [PCMU]

    def __post_init__(self):
        super().__post_init__()
        self.heard = []
        self.ended = []

    def audio_received(self, *, audio, rms):
        self.heard.append(rms)

    def call_ended(self, reason):
        self.ended.append(reason.cause)


class Line(SIP):
    """Answers everybody."""

    def __post_init__(self):
        super().__post_init__()
        self.taken = []
        self.failures = []

    def call_received(self, request):
        self.taken.append(request.call_id)
        self.answer(request=request, call_class=Leg)

    def hook_failed(self, exc):
        self.failures.append(exc)


def under_attack(scene, line=None, **serve):
    """Run `scene(line)` in virtual time with a line that is up; nothing may fail unhandled."""
    line = line or Line()
    unhandled = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        async with line.serve(HOST, 5060, **serve):
            await scene(line)
            strays = {n: c for n, c in line.counters.items() if n.endswith("_failed")}
            assert strays == {}
        assert loop.ether._servers == {}

    run_virtual(main(), network=Network())
    assert unhandled == []
    return line


@asynccontextmanager
async def call(host=VICTIM, *, transport="UDP", port=5060, rtp_port=40000):
    """One legitimate call, from its INVITE to its BYE."""
    async with SipPeer.open(host, port, remote=LINE, transport=transport) as peer:
        peer.call_id = f"legit-{port}@{host}"
        media = await Stranger.at(host, rtp_port)
        peer.request("INVITE", URI, body=peer.sdp(rtp_port))
        answer = await peer.expect(200)
        peer.ack(answer)
        peer.media, peer.answer = media, answer
        peer.rtp = (HOST, int(answer.body.split(b"m=audio ")[1].split()[0]))
        yield peer
        peer.bye(answer)
        await peer.expect(200)
        media.close()


async def works(host="203.0.113.99", transport="UDP"):
    """Check that the line answers a call as if nothing had been."""
    async with call(host, transport=transport, port=5099) as peer:
        for _ in range(25):
            peer.media.speak(peer.rtp)
            await asyncio.sleep(0.02)
        assert len(peer.media.audio) >= 20


def session(host, port):
    """Return an offer of PCMU and telephone-event."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
    ).encode()

"""Ours as a callee that answers every INVITE with 180 and 200: voip_uas.py PORT alone|legs.

`alone`: the endpoint on its UDP and TCP transports, offer and answer negotiated by `voip.sdp`, no leg.
`legs`: the SIP object with an AudioCall, a media session and a pair of ports per call.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

from voip.aio import Driver
from voip.codecs import PCMA, PCMU
from voip.entropy import EntropyPool
from voip.errors import NegotiationError
from voip.sdp.answering import AnswerBook
from voip.sdp.negotiation import LocalMedia
from voip.sdp.types import MediaDescription
from voip.sip import events
from voip.sip.endpoint import Endpoint, EndpointSettings
from voip.sip.transport import SipTransports

HOST = "127.0.0.1"
FORMATS = [PCMA.to_payload_format(), PCMU.to_payload_format()]


def choose(section: MediaDescription) -> MediaDescription:
    for ours in FORMATS:
        for theirs in section.fmt:
            if theirs.matches(ours):
                return MediaDescription("audio", 0, section.proto, [theirs])
    raise NegotiationError("no codec in common")


class Signalling(Driver[Endpoint]):
    """The endpoint on sockets, and nothing above it."""

    def __init__(self) -> None:
        self.settings = EndpointSettings()
        self.entropy = EntropyPool()
        super().__init__(Endpoint(self.settings, self.entropy))
        self.transports = SipTransports(self.feed, loop=self.loop)
        self.book = AnswerBook(choose)
        self.transmit = self.transports.transmit

    async def listen(self, port: int) -> None:
        for name in ("UDP", "TCP"):
            await self.transports.listen(name, HOST, port)
        self.settings.listeners = self.transports.listeners

    def handle(self, event) -> None:
        if type(event) is events.CallOffered:
            call, now = event.call, self.now
            call.ring(now)
            session_id = int.from_bytes(self.entropy(4))
            local = LocalMedia(HOST, 40000, 40001, session_id=session_id)
            answer, _ = self.book.open(event.request.raw_body).answer(local)
            call.accept(now, answer)


async def alone(port: int) -> None:
    await Signalling().listen(port)
    await settle()


async def legs(port: int) -> None:
    from voip.audio.call import AudioCall
    from voip.sip.protocol import SIP

    class Leg(AudioCall):
        PREFERRED_CODECS = [PCMA, PCMU]  # noqa: RUF012

    class Line(SIP):
        def call_received(self, request):
            self.ringing(request)
            self.answer(request, call_class=Leg)

    async with Line(rtp_ports=(20000, 60000), max_calls=100_000).serve(HOST, port) as line:
        # Each call names the same address in its SDP, and comes alone; a port for each all the same.
        line._driver.rtp._can_share = lambda *_: False
        await settle()


async def settle() -> None:
    gc.collect()
    gc.freeze()
    await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    asyncio.run({"alone": alone, "legs": legs}[sys.argv[2]](int(sys.argv[1])))

"""Answers leave together, but none waits for code of the user: real sockets, a peer written by hand."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field

import pytest
from peers.process import until

from voip import SIP
from voip.audio import EchoCall
from voip.sockets import bind_udp

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0\r\n"
)


class Peer:
    """A caller on a socket of its own."""

    def __init__(self, sock, target):
        self.sock, self.target = sock, target
        self.heard = []

    def say(self, method, number, call_id="c1", *, tag="", body=b""):
        port = self.sock.getsockname()[1]
        lines = [
            f"{method} sip:us@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{call_id}{method}{number}",
            "Max-Forwards: 70",
            "From: <sip:peer@127.0.0.1>;tag=them",
            f"To: <sip:us@127.0.0.1>{tag}",
            f"Call-ID: {call_id}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:peer@127.0.0.1:{port}>",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        head = "\r\n".join([*lines, "", ""]).encode()
        self.sock.sendto(head + body, self.target)

    def listen(self):
        """Return all that was heard so far: (status, method, Call-ID) of each response."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self.sock.recv(4000).decode()
                status = int(data[8:11])
                method = re.search(r"\r\nCSeq: \d+ (\w+)", data)[1]
                call_id = re.search(r"\r\nCall-ID: (\S+)", data)[1]
                self.heard.append((status, method, call_id))
                self.tag = re.search(r"\r\nTo: [^\r]*?(;tag=\w+|)\r", data)[1]
        return self.heard


@pytest.fixture
def peer():
    with bind_udp("127.0.0.1", 0) as sock:
        yield Peer(sock, None)


async def test_the_answer_to_a_bye_leaves_before_call_ended_runs(peer):
    heard = []

    @dataclass(kw_only=True, eq=False)
    class Leg(EchoCall):
        def call_ended(self, reason):
            heard.extend(peer.listen())
            return super().call_ended(reason)

    class Line(SIP):
        def call_received(self, request):
            self.answer(request, call_class=Leg)

    async with Line().serve("127.0.0.1", 0, ["udp"]) as line:
        peer.target = line.listeners["UDP"]
        peer.say("INVITE", 1, body=SDP)
        await until(lambda: (200, "INVITE", "c1") in peer.listen(), seconds=5, what="the 200")
        peer.say("ACK", 1, tag=peer.tag)
        peer.say("BYE", 2, tag=peer.tag)
        await until(lambda: heard, seconds=5, what="the end of the call")
    assert heard[-1] == (200, "BYE", "c1")


@dataclass(eq=False)
class Busy(SIP):
    """Refuses every call, and looks what the caller has heard before each."""

    peer: object = None
    before: list = field(default_factory=list)

    def call_received(self, request):
        self.before.append([call_id for status, _, call_id in self.peer.listen() if status == 486])
        self.reject(request)


async def test_the_answer_to_a_call_leaves_before_the_hook_of_the_next_one(peer):
    async with Busy(peer=peer).serve("127.0.0.1", 0, ["udp"]) as line:
        peer.target = line.listeners["UDP"]
        for number in range(5):  # the loop reads them in one wake-up
            peer.say("INVITE", 1, f"c{number}", body=SDP)
        await until(lambda: len(line.before) == 5, seconds=5, what="five calls")
        assert line.before == [[f"c{n}" for n in range(count)] for count in range(5)]

"""Bar 10: call-minutes per CPU second in virtual time: `python -m benchmarks.simulation`.

Without media: two endpoints and a registrar on a network in memory; half of the calls last one
minute and half thirty, while every caller's registration is refreshed at 50–90 % of five minutes.
With media: one full leg (signalling, jitter buffer, statistics, decoding to 16 kHz, a hook per
frame, playout) on the inline plane against a scripted end that sends and takes a packet each 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import sys
import time
from collections import Counter
from pathlib import Path

from voip.machine import Target
from voip.sip import events
from voip.sip.account import Account
from voip.sip.endpoint import Endpoint, EndpointSettings
from voip.sip.registration import Registered, Registration, RegistrationSettings
from voip.testing import Link, Network, World
from voip.types import HostPort

ALICE, BOB = HostPort("192.0.2.1", 5060), HostPort("192.0.2.2", 5060)
REGISTRAR = HostPort("192.0.2.3", 5060)
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"
GRANTED = 300
SIGNALLING_BAR, MEDIA_BAR = 4000.0, 5.0


class Exchange:
    """Callers at one endpoint, callees at the other, a registrar for the callers."""

    def __init__(self, seed: int) -> None:
        names = {"example.net": [Target("UDP", *REGISTRAR)]}
        self.world = World(Network(Link(delay=0.02), seed=seed), names=names)
        self.outcomes: Counter[str] = Counter()
        self.seconds = 0.0
        self._lengths: dict[object, float] = {}
        self.alice = self._add(ALICE, seed + 1, self._at_alice)
        self.bob = self._add(BOB, seed + 2, self._at_bob)
        self.registrar = self._add(REGISTRAR, seed + 3, self._at_registrar, ("REGISTER",))

    def _add(self, address, seed, handler, methods=()):
        settings = EndpointSettings(
            listeners={"UDP": address},
            methods=methods,
            peers=(ALICE.host, BOB.host, REGISTRAR.host),
        )
        return self.world.add(Endpoint(settings, random.Random(seed).randbytes), address, handler)

    def register(self, user: str) -> Registration:
        registration = Registration(
            Account(f"sip:{user}@example.net", password="secret"),
            settings=RegistrationSettings(expires=GRANTED),
            entropy=random.Random(user).randbytes,
        )
        self.alice.command(lambda machine, now: machine.register(registration, now))
        return registration

    def dial(self, minutes: float) -> None:
        call = self.alice.command(
            lambda machine, now: machine.call("sip:bob@192.0.2.2", now=now, body=SDP)
        )
        self._lengths[call] = 60.0 * minutes

    def _at_alice(self, node, event) -> None:
        if isinstance(event, events.CallAnswered):
            length = self._lengths.pop(event.call)
            self.seconds += length
            self.world.schedule(self.world.now + length, self._bye, event.call)
        elif isinstance(event, events.CallFinished):
            self.outcomes[event.cause.value] += 1
        elif isinstance(event, Registered):
            self.outcomes["registered"] += 1

    def _at_bob(self, node, event) -> None:
        if isinstance(event, events.CallOffered):
            node.command(lambda _, now: event.call.ring(now))
            node.command(lambda _, now: event.call.accept(now, SDP))

    def _at_registrar(self, node, event) -> None:
        if isinstance(event, events.RequestArrived):
            contact = event.request.headers["Contact"].partition(";expires")[0]
            headers = [("Contact", f"{contact};expires={GRANTED}")]
            response = event.request.respond(200, to_tag="registrar", headers=headers)
            node.command(lambda machine, now: machine.respond(event.transaction, response, now))

    def _bye(self, call) -> None:
        self.alice.command(lambda _, now: call.hang_up(now))

    def left(self) -> dict[str, int]:
        sizes: Counter[str] = Counter()
        for node in (self.alice, self.bob, self.registrar):
            sizes.update(node.machine.sizes())
        return {name: size for name, size in sizes.items() if size}


def without_media(calls: int, seed: int) -> dict[str, object]:
    exchange = Exchange(seed)
    began = time.process_time()
    bindings = [exchange.register(f"user{number}") for number in range(max(1, calls // 50))]
    for number in range(calls):
        minutes = 1.0 if number % 2 else 30.0
        exchange.world.schedule(exchange.world.now + number * 0.2, exchange.dial, minutes)
    exchange.world.run(calls * 0.2 + 1800 + 60)
    for registration in bindings:
        exchange.alice.command(lambda machine, now, one=registration: machine.unregister(one, now))
    exchange.world.run(60)
    cpu = time.process_time() - began
    completed = exchange.outcomes["local_hangup"]
    return {
        "calls": calls,
        "completed": completed,
        "registrations": exchange.outcomes["registered"],
        "left": exchange.left(),
        "cpu_s": round(cpu, 2),
        "call_minutes_per_cpu_second": round(exchange.seconds / 60 / cpu),
    }


class Far(asyncio.DatagramProtocol):
    """The scripted end's media: one recorded packet, renumbered, every 20 ms."""

    def __init__(self) -> None:
        self.taken = 0
        self.sent = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, addr) -> None:
        self.taken += 1

    async def speak(self, to: tuple[str, int], packets: int) -> None:
        loop = asyncio.get_running_loop()
        began, over = loop.time(), loop.create_future()
        payload = b"\x00\x00\x12\x34" + bytes(range(0x30, 0x30 + 160))

        def send() -> None:
            number = self.sent
            header = b"\x80\x00" + (number & 0xFFFF).to_bytes(2) + (number * 160).to_bytes(4)
            self.transport.sendto(header + payload, to)
            self.sent = number + 1
            if self.sent < packets:
                loop.call_at(began + self.sent * 0.02, send)
            else:
                over.set_result(None)

        send()
        await over


def with_media(minutes: float) -> dict[str, object]:
    from voip.audio import AudioCall
    from voip.codecs import PCMU
    from voip.sip.protocol import SIP
    from voip.testing import SipPeer, run_virtual

    heard = Counter()

    class Leg(AudioCall):
        PREFERRED_CODECS = [PCMU]  # noqa: RUF012

        def audio_received(self, *, audio, rms):
            heard["frames"] += 1
            self.play(audio[::2])

    class Line(SIP):
        def call_received(self, request):
            self.answer(request, call_class=Leg)

    async def talk() -> Far:
        loop = asyncio.get_running_loop()
        remote = ("192.0.2.2", 5060)
        async with (
            Line().serve(*remote),
            SipPeer.open("192.0.2.1", 5060, remote=remote) as peer,
        ):
            _, far = await loop.create_datagram_endpoint(Far, local_addr=("192.0.2.1", 40000))
            peer.request("INVITE", "sip:line@192.0.2.2", body=peer.sdp())
            answer = await peer.expect(200)
            peer.ack(answer)
            section = answer.body.partition(b"m=audio ")[2]
            await far.speak((remote[0], int(section.split(b" ")[0])), int(minutes * 3000))
            peer.bye(answer)
            await peer.expect(200)
            far.transport.close()
        return far

    began = time.process_time()
    far = run_virtual(talk(), network=Network(Link(delay=0.02), seed=1))
    cpu = time.process_time() - began
    return {
        "minutes": minutes,
        "packets_sent": far.sent,
        "packets_back": far.taken,
        "frames_heard": heard["frames"],
        "cpu_s": round(cpu, 2),
        "call_minutes_per_cpu_second": round(minutes / cpu, 1),
    }


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    signalling = without_media(arguments.calls, arguments.seed)
    media = with_media(arguments.minutes)
    sound = signalling["completed"] == arguments.calls and not signalling["left"]
    spoken = media["frames_heard"] > 0.99 * media["packets_sent"]
    bars = [
        ("call-minutes per CPU second, no media", signalling, SIGNALLING_BAR, sound),
        ("call-minutes per CPU second, inline media", media, MEDIA_BAR, spoken),
    ]
    lines = []
    for what, result, bar, whole in bars:
        rate = result["call_minutes_per_cpu_second"]
        lines.append({"what": what, "ratio": rate, "bar": bar, "passed": whole and rate >= bar})
    return {
        "benchmark": "simulation",
        "python": platform.python_version(),
        "seed": arguments.seed,
        "signalling": signalling,
        "media": media,
        "bars": lines,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the call with media")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    report = measure(arguments)
    for part in ("signalling", "media"):
        print(f"{part:12}{report[part]}")
    for bar in report["bars"]:
        verdict = "ok" if bar["passed"] else "MISSED"
        print(f"{bar['what']:44}{bar['ratio']:>10} (bar {bar['bar']:g}) {verdict}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(bar["passed"] for bar in report["bars"]) else 1


if __name__ == "__main__":
    sys.exit(main())

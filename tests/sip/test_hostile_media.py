"""What strangers do to the media of a call that is up: in virtual time, over the whole stack."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from peers.besieged import ATTACKER, HOST, LINE, URI, VICTIM, Leg, Line, call, session, under_attack
from peers.strangers import Stranger, request

from voip.codecs import REGISTRY
from voip.rtp.rtcp import Goodbye, SenderReport, serialise
from voip.testing import SipPeer

QUIET = bytes([0x5A]) * 160  # -33 dBFS: heard, and told apart from what an attacker sends


def victim_speaks(peer, **options):
    peer.media.speak(peer.rtp, ssrc=77, payload=QUIET, **options)


def assert_unharmed(line, peer, attackers, *, seconds):
    (leg,) = line.calls
    frames = seconds * 50
    assert leg.ended == []
    assert max(leg.heard) < 0.1, "an attacker's frame was heard"
    assert sum(level > 0.005 for level in leg.heard) >= 0.97 * frames - 10
    assert [packet for one in attackers for packet in one.audio] == []


# Bleed and injection


@pytest.mark.parametrize(
    ("host", "port"),
    [(ATTACKER, 40000), (ATTACKER, 45000), (VICTIM, 45000), (HOST, 45000)],
    ids=["elsewhere", "elsewhere-other-port", "behind-the-same-address", "our-own-address"],
)
@pytest.mark.parametrize("ssrc", [77, 4242], ids=["its-ssrc", "another-ssrc"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_nobody_else_hears_or_is_heard(host, port, ssrc, when):
    async def scene(line):
        attacker = await Stranger.at(host, port)

        async def spray(ports, count):
            for number in range(count):
                for one in ports:
                    attacker.speak((HOST, one), ssrc=ssrc, number=number, timestamp=number * 160)
                await asyncio.sleep(0.02)

        if when == "before":
            await spray(range(10000, 10010, 2), 20)
        async with call() as peer:
            victim_speaks(peer)
            task = asyncio.create_task(spray([peer.rtp[1]], 150))
            for _ in range(150):
                victim_speaks(peer)
                await asyncio.sleep(0.02)
            assert_unharmed(line, peer, [attacker], seconds=3)
            await task
        attacker.close()

    under_attack(scene)


def test_ten_thousand_probes_of_every_port_yield_nothing():
    async def scene(line):
        attackers = [await Stranger.at(ATTACKER, 41000 + number) for number in range(20)]
        async with call() as peer:
            for number in range(100):
                victim_speaks(peer)
                for attacker in attackers:
                    for step in range(5):
                        port = 10000 + (number * 5 + step) % 40
                        attacker.speak((HOST, port), number=number)
                        attacker.send(b"\x80" * 12, (HOST, port))
                await asyncio.sleep(0.02)
            assert_unharmed(line, peer, attackers, seconds=2)

    under_attack(scene)


@pytest.mark.parametrize(
    "forged",
    [
        {"ssrc": 4242},
        {"number": 30000},
        {"payload_type": 8},
        {"payload_type": 96},
        {"payload_type": 13},
    ],
    ids=str,
)
def test_forged_packets_of_the_right_address_are_not_heard(forged):
    async def scene(line):
        async with call() as peer:
            for number in range(150):
                victim_speaks(peer, number=number)
                if number < 5:
                    await asyncio.sleep(0.02)
                    continue
                options = {"ssrc": 77, "number": number + 5000} | forged
                options["number"] = (options["number"] + 7 * number) & 0xFFFF
                peer.media.speak(peer.rtp, **options)
                await asyncio.sleep(0.02)
            assert_unharmed(line, peer, [], seconds=3)

    under_attack(scene)


def test_alternating_sources_do_not_reset_the_stream():
    async def scene(line):
        async with call() as peer:
            for number in range(150):
                victim_speaks(peer, number=number)
                peer.media.speak(peer.rtp, ssrc=1000 + number)
                peer.media.speak(peer.rtp, ssrc=5, number=number)
                await asyncio.sleep(0.02)
            assert_unharmed(line, peer, [], seconds=3)

    under_attack(scene)


def test_a_flood_at_one_call_costs_the_others_nothing():
    async def scene(line):
        async with call("203.0.113.1") as one, call("203.0.113.2") as two:
            attacker = await Stranger.at(ATTACKER, 40000)
            for number in range(200):  # 20 000 packets a second, for one second
                for step in range(100):
                    who = (one.media, attacker)[step % 2]
                    who.speak(one.rtp, ssrc=9, number=number * 100 + step)
                if number % 4 == 0:
                    two.media.speak(two.rtp, ssrc=77, payload=QUIET)
                await asyncio.sleep(0.005)
            first, second = sorted(line.calls, key=lambda leg: str(leg.caller.host))
            assert first.ended == second.ended == []
            assert sum(level > 0.005 for level in second.heard) >= 45
            assert len(one.media.audio) >= 49
            assert len(two.media.audio) >= 49
            assert attacker.got == []

    under_attack(scene)


# Calls that name what is not theirs


@pytest.mark.parametrize("port", [40000, 40100])
def test_a_call_that_names_anothers_media_address_takes_nothing_from_it(port):
    async def scene(line):
        async with call() as peer, call(ATTACKER, rtp_port=41000) as attacker:
            attacker.in_dialog("INVITE", attacker.answer, body=session(VICTIM, port))
            answer = await attacker.expect(200)
            attacker.ack(answer)
            leg = next(leg for leg in line.calls if leg.caller.host == VICTIM)
            await asyncio.sleep(0.5)
            leg.heard.clear()
            before = len(peer.media.audio)
            for _ in range(100):
                victim_speaks(peer)
                await asyncio.sleep(0.02)
            assert leg.ended == []
            assert sum(level > 0.005 for level in leg.heard) >= 90
            ours = {packet.ssrc for packet in peer.media.audio[:before]}
            assert sum(packet.ssrc in ours for packet in peer.media.audio[before:]) >= 98

    under_attack(scene)


def test_a_victim_that_a_call_names_gets_few_packets():
    async def scene(line):
        victim = await Stranger.at(VICTIM, 40000)
        async with SipPeer.open(ATTACKER, 5060, remote=LINE) as peer:
            peer.request("INVITE", URI, body=session(VICTIM, 40000))
            answer = await peer.expect(200)
            peer.ack(answer)
            await asyncio.sleep(20)
            assert 0 < len(victim.audio) <= 250
            peer.bye(answer)
            await peer.expect(200)

    under_attack(scene)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "169.254.169.254", "10.0.0.1"],
)
def test_addresses_that_no_stranger_may_name_are_not_sent_to(host):
    async def scene(line):
        victim = await Stranger.at(host, 40000)
        async with SipPeer.open(ATTACKER, 5060, remote=LINE) as peer:
            peer.request("INVITE", URI, body=session(host, 40000))
            answer = await peer.expect(200)
            peer.ack(answer)
            await asyncio.sleep(5)
            assert victim.got == []
            peer.bye(answer)
            await peer.expect(200)

    under_attack(scene)


def test_who_never_acknowledges_gets_few_packets():
    async def scene(line):
        # The source of the INVITE is forged: whoever is there never asked for a call.
        signalling = await Stranger.at(VICTIM, 5060)
        media = await Stranger.at(VICTIM, 40000)
        signalling.send(request("INVITE", (VICTIM, 5060), body=session(VICTIM, 40000)), LINE)
        await asyncio.sleep(100)
        assert signalling.statuses.count(200) == 11
        assert len(media.audio) <= 250
        assert line.calls == []

    under_attack(scene)


# Reports


@pytest.mark.parametrize("host", [VICTIM, ATTACKER])
def test_a_goodbye_ends_no_call(host):
    async def scene(line):
        async with call() as peer:
            control = await Stranger.at(host, 40001)
            report = SenderReport(77, 0, 0, 0, 0, ())
            for _ in range(10):
                victim_speaks(peer)
                for to in (peer.rtp, (HOST, peer.rtp[1] + 1)):
                    control.send(serialise([report, Goodbye((77,), b"bye")]), to)
                    control.send(b"\x80\xcb\x00\x00", to)
                    control.send(b"\x81\xc8\xff\xff" + bytes(200), to)
                await asyncio.sleep(0.02)
            for _ in range(100):
                victim_speaks(peer)
                await asyncio.sleep(0.02)
            assert_unharmed(line, peer, [], seconds=2)

    under_attack(scene)


# What decoders and clocks are fed


@pytest.mark.parametrize("codec", list(REGISTRY))
def test_garbage_of_every_codec_is_concealed_at_worst(codec):
    """A phone sends nonsense under each payload type that was agreed on."""
    cls = REGISTRY[codec]
    draw = np.random.default_rng(5)

    class Speaking(Line):
        def call_received(self, request):
            from_line = type("FromLine", (Leg,), {"PREFERRED_CODECS": [cls]})
            self.answer(request=request, call_class=from_line)

    async def scene(line):
        async with SipPeer.open(VICTIM, 5060, remote=LINE) as peer:
            media = await Stranger.at(VICTIM, 40000)
            fmt = cls.to_payload_format()
            offer = peer.sdp(
                40000, str(fmt.payload_type), f"rtpmap:{fmt.payload_type} {rtpmap(fmt)}"
            )
            peer.request("INVITE", URI, body=offer)
            answer = await peer.expect(200)
            peer.ack(answer)
            rtp = (HOST, int(answer.body.split(b"m=audio ")[1].split()[0]))
            kind = int(answer.body.split(b"RTP/AVP ")[1].split()[0])
            step = int(cls.timestamp_increment)
            for number in range(200):
                size = int(draw.choice([0, 1, 2, 3, 19, 80, 159, 160, 161, 640, 1500, 4000]))
                payload = draw.bytes(size) or b"\x00"
                media.speak(
                    rtp, payload=payload, payload_type=kind, number=number, timestamp=number * step
                )
                await asyncio.sleep(0.02)
            (leg,) = line.calls
            assert leg.ended == []
            assert len(leg.heard) >= 190
            assert all(np.isfinite(level) and level <= 1.5 for level in leg.heard)
            assert len(media.audio) >= 195
            peer.bye(answer)
            await peer.expect(200)

    line = under_attack(scene, Speaking())
    assert line.failures == []


def rtpmap(fmt):
    text = f"{fmt.encoding_name}/{fmt.sample_rate}"
    channels = getattr(fmt, "channels", 1) or 1
    return text if channels == 1 else f"{text}/{channels}"


@pytest.mark.parametrize(
    "jump", [2**31, -(2**31), 2**31 - 1, 2**32 - 160, 8000 * 3600, 100_000_000, -1]
)
def test_a_jump_of_the_clock_is_survived(jump):
    async def scene(line):
        async with call() as peer:
            for number in range(50):
                victim_speaks(peer, number=number)
                await asyncio.sleep(0.02)
            for number in range(50, 200):
                victim_speaks(peer, number=number, timestamp=number * 160 + jump)
                await asyncio.sleep(0.02)
            (leg,) = line.calls
            assert sum(level > 0.005 for level in leg.heard[-75:]) >= 70
            assert len(leg.heard) <= 210

    under_attack(scene)


def test_jumps_with_every_packet_are_survived():
    async def scene(line):
        async with call() as peer:
            for number in range(300):
                victim_speaks(peer, number=number * 977, timestamp=number * 2_654_435_761)
                await asyncio.sleep(0.02)
            for number in range(100):
                victim_speaks(peer, number=number, timestamp=number * 160)
                await asyncio.sleep(0.02)
            (leg,) = line.calls
            assert leg.ended == []
            assert sum(level > 0.005 for level in leg.heard[-50:]) >= 45

    under_attack(scene)


# Ports


def test_ports_come_back_after_a_thousand_calls_that_fail():
    class Choosy(Line):
        def call_received(self, request):
            if request.call_id[-3:] in ("0-x", "5-x"):
                self.reject(request)
            else:
                super().call_received(request)

    async def scene(line):
        for number in range(1000):
            host = f"203.0.{113 + number // 250}.{number % 250 + 1}"
            async with SipPeer.open(host, 5060, remote=LINE) as peer:
                peer.call_id = f"{number}-x"
                # media behind another address: the call needs a port of its own
                body = session("203.0.112.1", 40000 + 2 * number)
                if number % 5 == 1:
                    body = body.replace(b"RTP/AVP 0 101", b"RTP/AVP 3").replace(b"a=", b"b=")
                elif number % 5 == 2:
                    body = b"v=0\r\nnonsense"
                peer.request("INVITE", URI, body=body)
                if number % 5 == 3:
                    peer.cancel()
                answer = await peer.receive()
                while answer.method != "INVITE" or (answer.status or 0) < 200:
                    answer = await peer.receive()
                peer.ack(answer)
                if answer.status == 200:
                    peer.bye(answer)
                    await peer.expect(200)
                await asyncio.sleep(0.05)  # within what one network may ask
        await asyncio.sleep(40)
        assert line.calls == []
        rtp = line._driver.rtp
        assert len(rtp._shared) == 0
        assert rtp._sockets == set()
        assert len(line.taken) >= 700
        async with call(), call("203.0.112.9"):
            assert len(line.calls) == 2

    under_attack(scene, Choosy(rtp_ports=(20000, 20009)))

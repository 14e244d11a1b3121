"""What strangers do to a line that is up: in virtual time, over the whole stack."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import random
import sys
from pathlib import Path

import pytest
from peers.besieged import (
    ATTACKER,
    LINE,
    URI,
    VICTIM,
    Leg,
    Line,
    call,
    session,
    under_attack,
    works,
)
from peers.strangers import Stranger, StrangerOverTcp, request

from voip.testing import SipPeer

# What is no SIP

BANNERS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /phpinfo.php HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\nREGISTER ",
    b"HEAD / HTTP/1.1\r\n\r\n",
    b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"EHLO mail\r\n",
    b"USER anonymous\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"\x16\x03\x03\x00\x31\x01\x00\x00\x2d",
    b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
    b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
    b"\x80\x00\x00\x01" + bytes(200),
    b"\x05\x01\x00",
    b"*1\r\n$4\r\nPING\r\n",
    b"\x12\x01\x00\x2f\x00\x00\x01\x00",
    b"JRMI\x00\x02K",
    bytes(100),
    b"\xff" * 100,
    b"{}\n{}\n",
    b"help\r\n\r\n",
]


def test_other_protocols_are_closed_at_once_and_not_logged(caplog):
    caplog.set_level(logging.DEBUG)

    async def scene(line):
        ends = []
        for number, banner in enumerate(BANNERS):
            tcp = await StrangerOverTcp.to(LINE, f"198.51.100.{number + 1}")
            tcp.send(banner)
            ends.append(tcp)
        await asyncio.sleep(0.06)
        slow = [banner for banner, tcp in zip(BANNERS, ends, strict=True) if tcp.lasted > 0.05]
        assert slow == []
        assert [bytes(tcp.got) for tcp in ends if tcp.got] == []
        assert line.taken == []
        await works(transport="TCP")

    caplog.clear()
    under_attack(scene)
    loud = [r for r in caplog.records if r.levelno > logging.DEBUG and "listening" not in r.msg]
    assert [r for r in loud if not hasattr(r, "event")] == []


def test_a_post_that_carries_sip_is_no_sip():
    async def scene(line):
        tcp = await StrangerOverTcp.to(LINE, ATTACKER)
        inner = request("INVITE", (ATTACKER, 5060), via="TCP")
        tcp.send(b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
        await asyncio.sleep(1)
        tcp.send(inner)
        await asyncio.sleep(1)
        assert (line.taken, bytes(tcp.got)) == ([], b"")
        assert tcp.lasted < 0.05

    under_attack(scene)


# Framing

GOOD = request("OPTIONS", (ATTACKER, 5060), via="TCP")


@pytest.mark.parametrize(
    "length",
    [
        "-1",
        "+5",
        "0x10",
        "1_0",
        "１２",
        "",
        "9" * 30,
        "4294967296",
        "1e3",
        "1 2",
        "0;0",
        "65537",
        "0\r\nContent-Length: 0",
        "0\r\nl: 5",
        "4000000000",
        "٠",
        "0,0",
        "None",
        "1.0",
    ],
)
def test_a_doubtful_length_ends_the_connection_and_what_follows_is_not_read(length):
    async def scene(line):
        tcp = await StrangerOverTcp.to(LINE, ATTACKER)
        bad = GOOD.replace(b"Content-Length: 0", f"Content-Length: {length}".encode())
        invite = request("INVITE", (ATTACKER, 5060), via="TCP", number=2)
        tcp.send(bad + invite)
        await asyncio.sleep(0.2)
        assert tcp.lasted < 0.1
        assert tcp.got.count(b"SIP/2.0 ") == 1
        assert tcp.got[8:11] in (b"400", b"413")
        assert line.taken == []

    under_attack(scene)


@pytest.mark.parametrize(
    "data",
    [
        GOOD.replace(b"Content-Length: 0\r\n", b""),
        GOOD.replace(b"\r\n", b"\n"),
        GOOD.replace(b"\r\n", b"\r"),
        GOOD.replace(b"Max-Forwards: 70", b"X: " + b"a" * 20000),
        GOOD.replace(b"Max-Forwards: 70\r\n", b"a: b\r\n" * 5000),
        b"OPTIONS " + b"a" * 9000 + b" SIP/2.0\r\n",
        b"a" * 100_000,
        b"\r\n" * 10 + b"x" * 200,
    ],
)
def test_a_stream_without_boundaries_is_closed(data):
    async def scene(line):
        tcp = await StrangerOverTcp.to(LINE, ATTACKER)
        tcp.send(data + request("INVITE", (ATTACKER, 5060), via="TCP", number=2))
        await asyncio.sleep(11)
        assert tcp.lasted < 10.1
        assert line.taken == []

    under_attack(scene)


def test_declared_lengths_cost_nothing_over_udp():
    async def scene(line):
        stranger = await Stranger.at("127.0.0.66", 5070)
        for number in range(1000):
            data = request("OPTIONS", stranger.address, number=number)
            data = data.replace(b"Content-Length: 0", b"Content-Length: 4000000000")
            stranger.send(data, LINE)
        await asyncio.sleep(1)
        assert stranger.statuses == [400] * 1000

    under_attack(scene)


# Slowness


def test_slow_connections_are_ended_and_calls_go_on_meanwhile():
    whole = request("INVITE", (ATTACKER, 5060), via="TCP")

    async def dribble(tcp, pause):
        for octet in whole[:-1]:
            if tcp.lost_at is not None:
                return
            tcp.send(bytes([octet]))
            await asyncio.sleep(pause)

    async def scene(line):
        silent, slow = [], []
        for number in range(10):
            for _ in range(32):
                silent.append(await StrangerOverTcp.to(LINE, f"198.51.100.{number}"))
        for number in range(10, 20):
            for _ in range(20):
                slow.append(await StrangerOverTcp.to(LINE, f"198.51.100.{number}"))
        tasks = [asyncio.create_task(dribble(tcp, 3.0)) for tcp in slow]
        await asyncio.sleep(2)
        await works(transport="TCP")
        await asyncio.sleep(10)
        assert max(tcp.lasted for tcp in silent + slow) <= 12.0
        for task in tasks:
            task.cancel()
        assert line.taken == ["legit-5099@203.0.113.99"]

    under_attack(scene)


def test_a_connection_that_only_pings_before_its_first_message_is_ended():
    async def scene(line):
        tcp = await StrangerOverTcp.to(LINE, ATTACKER)
        for _ in range(10):
            tcp.send(b"\r\n\r\n")
            await asyncio.sleep(2)
        assert tcp.lasted < 12

    under_attack(scene)


def test_one_source_gets_32_connections():
    async def scene(line):
        ends = [await StrangerOverTcp.to(LINE, ATTACKER) for _ in range(40)]
        await asyncio.sleep(0.1)
        assert sum(tcp.lost_at is None for tcp in ends) == 32
        await works(transport="TCP")

    under_attack(scene)


# Mutations


@pytest.fixture(scope="module")
def fuzz():
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz_sip.py"
    spec = importlib.util.spec_from_file_location("fuzz_sip_hostile", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_sip_hostile"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz_sip_hostile"]


def mutants(fuzz, via, count):
    """Yield mutations of the torture messages and of whole calls, each from its seed and number."""
    source = ("127.0.0.66", 5070)
    calls = [
        request(method, source, via=via, number=number, body=body)
        for number, (method, body) in enumerate(
            [
                ("INVITE", session(*source)),
                ("INVITE", b""),
                ("ACK", session(*source)),
                ("CANCEL", b""),
                ("BYE", b""),
                ("OPTIONS", b""),
                ("REGISTER", b""),
            ]
        )
    ]
    seeds = fuzz.corpus() + calls * 8
    for number in range(count):
        yield fuzz.mutated(8, number, seeds)


def test_mutated_datagrams_leave_the_line_as_it_was(fuzz):
    async def scene(line):
        stranger = await Stranger.at("127.0.0.66", 5070)
        for number, data in enumerate(mutants(fuzz, "UDP", 5000)):
            stranger.send(data, LINE)
            if number % 50 == 0:
                await asyncio.sleep(0.1)
        await asyncio.sleep(200)  # whatever was begun has ended
        assert {400, 405} <= set(stranger.statuses)
        await works()
        assert line.calls == []

    line = under_attack(scene, Line(rtp_ports=(20000, 20999)))
    assert line.failures == []


def test_mutated_streams_leave_the_line_as_it_was(fuzz):
    async def scene(line):
        for number, data in enumerate(mutants(fuzz, "TCP", 5000)):
            tcp = await StrangerOverTcp.to(LINE, f"127.0.{number % 200}.66")
            tcp.send(data)
            if number % 50 == 0:
                await asyncio.sleep(1)
        await asyncio.sleep(200)
        await works(transport="TCP")
        assert line.calls == []

    line = under_attack(scene, Line(rtp_ports=(20000, 20999)))
    assert line.failures == []


def test_mutated_requests_within_a_call_leave_it_up(fuzz):
    async def scene(line):
        async with call() as peer:
            dialog = {
                "to": peer.answer["To"],
                "sender": peer.answer["From"],
                "call_id": peer.call_id,
                "uri": peer.answer.contact_uri,
            }
            for number in range(1000):
                method = ("INVITE", "OPTIONS", "INFO", "UPDATE")[number % 4]
                whole = request(
                    method,
                    (VICTIM, 5060),
                    number=number,
                    cseq=f"{number + 10} {method}",
                    body=session(VICTIM, 40000),
                    **dialog,
                )
                head, _, body = whole.partition(b"\r\n\r\n")
                twisted = fuzz.mutated(9, number, [body])[:1200]
                length = b"Content-Length: %d" % len(twisted)
                head = head.replace(b"Content-Length: %d" % len(body), length)
                peer.send(head + b"\r\n\r\n" + twisted)
                await asyncio.sleep(0.05)
                while not peer._inbox.queue.empty():
                    answer = peer._inbox.queue.get_nowait()
                    if answer.method == "INVITE" and answer.status and answer.status >= 200:
                        branch = answer["Via"].partition("branch=")[2].partition(";")[0]
                        ack = request(
                            "ACK",
                            (VICTIM, 5060),
                            cseq=answer["CSeq"].replace("INVITE", "ACK"),
                            branch=branch if answer.status >= 300 else branch + "ack",
                            **dialog,
                        )
                        peer.send(ack)
            await asyncio.sleep(40)
            while not peer._inbox.queue.empty():
                peer._inbox.queue.get_nowait()
            assert len(line.calls) == 1
            peer._cseq = iter(range(5000, 5010))
        assert line.calls == []

    under_attack(scene)


# Floods


def strangers(count, seed=1):
    draw = random.Random(seed)
    return [f"198.{draw.randrange(18, 20)}.{n // 250}.{n % 250 + 1}" for n in range(count)]


def test_an_invite_flood_takes_no_call_down():
    async def scene(line):
        sources = [await Stranger.at(host, 5060) for host in strangers(200)]
        async with call("203.0.113.1") as one, call("203.0.113.2") as two:
            sent = 0
            for tick in range(500):  # 2000 a second for 5 s
                for _ in range(20):
                    stranger = sources[sent % len(sources)]
                    stranger.send(request("INVITE", stranger.address, number=sent), LINE)
                    sent += 1
                if tick % 2 == 0:
                    one.media.speak(one.rtp)
                    two.media.speak(two.rtp)
                await asyncio.sleep(0.01)
            assert len(one.media.audio) >= 245
            assert len(two.media.audio) >= 245
            assert len(line.calls) == 2
            assert all(sum(level > 0.5 for level in leg.heard) >= 240 for leg in line.calls)
            await works()
            over = [line.counters[f"admission.over_{one}_rate"] for one in ("source", "network")]
            assert sum(over) > 2000
        for stranger in sources:
            stranger.close()

    class Choosy(Line):
        def call_received(self, request):
            if b"@198." in bytes(request):
                self.reject(request, status_code=403)
            else:
                super().call_received(request)

    under_attack(scene, Choosy(peers=["203.0.113.99"]))


def test_what_is_shed_is_answered_less_than_it_cost_and_once():
    async def scene(line):
        stranger = await Stranger.at(ATTACKER, 5060)
        cost = 0
        for number in range(1000):
            data = request("REGISTER", stranger.address, number=number)
            cost += len(data)
            stranger.send(data, LINE)
            await asyncio.sleep(0.002)
        await asyncio.sleep(60)
        assert sum(len(data) for _, data in stranger.got) < cost / 3
        assert stranger.statuses.count(503) <= 150  # 50 at once, and 50 a second for 2 s
        assert stranger.got[-1][0] < 1000 + 3

    under_attack(scene)


@pytest.mark.parametrize(
    "data",
    [
        request("REGISTER", (ATTACKER, 5060)),
        request("INVITE", (ATTACKER, 5060), cseq="1 BYE"),
        request("INVITE", (ATTACKER, 5060), extra=["Require: nothing"]),
        request("INVITE", (ATTACKER, 5060), uri="http://x"),
        request("INVITE", (ATTACKER, 5060), to="<sip:x@y>;tag=z"),
        request("BYE", (ATTACKER, 5060), to="<sip:x@y>;tag=z"),
        request("CANCEL", (ATTACKER, 5060)),
        request("NOTIFY", (ATTACKER, 5060)),
        request("INVITE", (ATTACKER, 5060)).replace(b"SIP/2.0\r", b"SIP/9.0\r", 1),
    ],
)
def test_a_refusal_of_a_stranger_is_sent_once(data):
    async def scene(line):
        stranger = await Stranger.at(ATTACKER, 5060)
        stranger.send(data, LINE)
        await asyncio.sleep(60)
        assert len(stranger.got) == 1
        assert stranger.statuses[0] >= 400
        assert line.taken == []

    under_attack(scene)


def smallest(method):
    """Return the shortest requests that are worth an answer."""
    host, port = ATTACKER, 5060
    for via in (
        f"v:SIP/2.0/UDP {host};branch=z9hG4bKa",
        f"v:SIP/2.0/UDP {host};branch=z9hG4bKa;rport",
    ):
        head = f"{method} sip:a SIP/2.0\r\n{via}\r\n"
        yield f"{head}f:<sip:a>;tag=a\r\nt:<sip:a>\r\ni:a\r\nCSeq:1 {method}\r\nMax-Forwards:9\r\n\r\n"
        yield f"{head}f:<sip:a>;tag=a\r\nt:<sip:a>\r\ni:a\r\nCSeq:1 {method}\r\n\r\n"
        yield f"{head}\r\n"
    yield f"{method} sip:a SIP/2.0\r\n\r\n"
    yield f"{method} sip:a SIP/7.0\r\n\r\n"
    yield f"{method} x:a SIP/2.0\r\nv:SIP/2.0/UDP a\r\n\r\n"
    yield request(method, (host, port)).decode()


@pytest.mark.parametrize(
    "method", ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "SUBSCRIBE", "A", "UPDATE"]
)
def test_no_answer_is_much_longer_than_its_request(method):
    longer = []

    async def scene(line):
        for number, text in enumerate(smallest(method)):
            stranger = await Stranger.at("198.51.100.67" if number else ATTACKER, 5061 + number)
            data = text.encode()
            stranger.send(data, LINE)
            await asyncio.sleep(0.15)
            longer.extend(
                (len(answer) / len(data), data, answer)
                for _, answer in stranger.got
                # A call that an open line takes is longer than any refusal, and is repeated.
                if len(answer) > 1.5 * len(data) and answer[8:11] != b"200"
            )
            if method == "ACK":
                assert stranger.got == []
            stranger.close()

    under_attack(scene)
    assert longer == []


# Forgeries within a call


def of_dialog(peer):
    return {
        "to": peer.answer["To"],
        "sender": peer.answer["From"],
        "call_id": peer.call_id,
        "uri": peer.answer.contact_uri,
    }


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("method", ["BYE", "INVITE", "CANCEL", "OPTIONS", "INFO", "UPDATE"])
def test_who_guessed_the_dialog_but_is_elsewhere_gets_481(method, transport):
    async def scene(line):
        async with call() as peer:
            body = session(ATTACKER, 40000) if method == "INVITE" else b""
            data = request(
                method,
                (ATTACKER, 5060),
                cseq=f"50 {method}",
                body=body,
                via=transport,
                **of_dialog(peer),
            )
            media = await Stranger.at(ATTACKER, 40000)
            if transport == "UDP":
                stranger = await Stranger.at(ATTACKER, 5060)
                stranger.send(data, LINE)
                await asyncio.sleep(40)
                answers = stranger.got[0][1] if stranger.got else b""
                assert len(stranger.got) == 1
            else:
                tcp = await StrangerOverTcp.to(LINE, ATTACKER)
                tcp.send(data)
                await asyncio.sleep(5)
                answers = bytes(tcp.got)
            assert answers[8:11] in (
                (b"481",) if method not in ("INFO", "UPDATE") else (b"481", b"405")
            )
            assert media.got == []
            (leg,) = line.calls
            assert leg.ended == []
            count = len(peer.media.audio)
            await asyncio.sleep(1)
            assert len(peer.media.audio) >= count + 48
            # the numbers that the forger used are not spent
            peer.in_dialog("OPTIONS", peer.answer)
            await peer.expect(200)

    under_attack(scene)


@pytest.mark.parametrize("wrong", ["to", "sender", "call_id", "cseq"])
def test_a_bye_of_the_right_address_needs_every_part_of_the_dialog(wrong):
    async def scene(line):
        async with call() as peer:
            fields = of_dialog(peer) | {"cseq": "50 BYE"}
            other = {"to": "<sip:a@b>;tag=x", "sender": "<sip:a@b>;tag=y", "call_id": "z"}
            fields[wrong] = other.get(wrong, "1 BYE")
            peer.send(request("BYE", (VICTIM, 5060), **fields))
            answer = await peer.receive()
            assert answer.status == (500 if wrong == "cseq" else 481)
            assert len(line.calls) == 1

    under_attack(scene)


@pytest.mark.parametrize("wrong", ["branch", "sender", "call_id", "cseq", "address"])
def test_a_forged_cancel_leaves_the_phone_ringing(wrong):
    class Ringing(Line):
        def call_received(self, request):
            self.taken.append(request)
            self.ringing(request)

    async def scene(line):
        async with SipPeer.open(VICTIM, 5060, remote=LINE) as peer:
            peer.request("INVITE", URI, body=peer.sdp())
            await peer.receive()
            invite = peer._invite
            stranger = await Stranger.at(ATTACKER, 5060)
            branch = invite["Via"].partition("branch=")[2].partition(";")[0]
            fields = {
                "branch": branch,
                "sender": invite["From"],
                "call_id": invite["Call-ID"],
                "cseq": "1 CANCEL",
            }
            other = {"branch": "z9hG4bKx", "sender": "<sip:a@b>;tag=q", "call_id": "q"}
            if wrong != "address":
                fields[wrong] = other.get(wrong, "2 CANCEL")
            forged = request("CANCEL", (VICTIM, 5060), **fields)
            if wrong == "address":
                stranger.send(forged, LINE)
            else:
                peer.send(forged)
            await asyncio.sleep(3)
            statuses = [] if wrong == "address" else [(await peer.receive()).status]
            assert statuses + stranger.statuses == [481]
            line.answer(line.taken[0], call_class=Leg)
            answer = await peer.expect(200)
            peer.ack(answer)
            peer.bye(answer)
            await peer.expect(200)

    under_attack(scene, Ringing())


def test_an_ack_for_nothing_gets_no_byte():
    async def scene(line):
        stranger = await Stranger.at(ATTACKER, 5060)
        whole = request("ACK", stranger.address, to="<sip:a@b>;tag=x")
        for data in (
            whole,
            whole.replace(b"SIP/2.0\r", b"SIP/7.0\r", 1),
            whole.replace(b"CSeq: 1", b"CSeq: x"),
            whole.replace(b"Via", b"Via2"),
            whole.replace(b"Content-Length: 0", b"Content-Length: 99"),
            whole.replace(b"Max-Forwards: 70", b"Require: x"),
            whole.replace(b"ACK sip:", b"ACK x:", 1),
        ):
            stranger.send(data, LINE)
        for _ in range(100):
            stranger.send(whole, LINE)
        await asyncio.sleep(40)
        assert stranger.got == []

    under_attack(scene)


def test_forged_responses_to_our_own_call_change_nothing():
    async def scene(line):
        async with SipPeer.open(VICTIM, 5060) as peer:
            dialing = asyncio.create_task(line.dial(f"sip:x@{VICTIM}", call_class=Leg))
            invite = await peer.expect("INVITE")
            stranger = await Stranger.at(ATTACKER, 5060)
            tag = {"To": invite["To"] + ";tag=q"}
            vias = "".join(f"Via: {via}\r\n" for via in invite.all("Via"))
            rest = (
                f"From: {invite['From']}\r\nTo: {tag['To']}\r\nCall-ID: {invite['Call-ID']}\r\n"
                f"Contact: <sip:x@{ATTACKER}>\r\nContent-Length: 0\r\n\r\n"
            )
            cseq = f"CSeq: {invite['CSeq']}\r\n"
            wrong_branch = vias.replace("branch=z9hG4bK", "branch=z9hG4bKx")
            for status in ("200 OK", "302 Moved", "404 Gone", "503 Never", "401 Who"):
                for via, line_ in (
                    (wrong_branch, cseq),
                    (vias * 2, cseq),
                    (vias, cseq.replace("INVITE", "BYE")),
                    (vias, "CSeq: 1\r\n"),
                ):
                    stranger.send(f"SIP/2.0 {status}\r\n{via}{line_}{rest}".encode(), LINE)
            await asyncio.sleep(0.3)
            assert not dialing.done()
            peer.reply(invite, 200, body=peer.sdp())
            leg = await dialing
            await peer.expect("ACK")
            assert leg.ended == []
            assert stranger.got == []

    under_attack(scene)

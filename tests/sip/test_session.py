"""Offer, answer and media of one call, against a scripted peer that shares no code with the stack."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import numpy as np
import pytest

from voip.audio import AudioCall
from voip.codecs import PCMA, PCMU
from voip.errors import CallEnded, CallFailed, EndCause, NegotiationError
from voip.rtp.packet import RTPPacket
from voip.sip.protocol import SIP
from voip.testing import SipPeer, run_virtual


class Leg(AudioCall):
    PREFERRED_CODECS = [PCMA, PCMU]

    def __post_init__(self):
        super().__post_init__()
        self.heard = []
        self.log = []

    def audio_received(self, *, audio, rms):
        self.heard.append(rms)

    def call_ended(self, reason):
        self.log.append(reason)


class Line(SIP):
    def __post_init__(self):
        super().__post_init__()
        self.answers = []

    def call_received(self, request):
        self.answers.append(self.answer(request, call_class=Leg))


class Sink(asyncio.DatagramProtocol):
    """The peer's media socket."""

    def __init__(self):
        self.packets = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.packets.append((RTPPacket.parse(data), addr))


async def media(port=40000):
    loop = asyncio.get_running_loop()
    _, sink = await loop.create_datagram_endpoint(Sink, local_addr=("127.0.0.2", port))
    return sink


URI = "sip:line@127.0.0.1"


def scripted(script, line_class=Line):
    """Run `script(line, peer)` with a line that answers at 127.0.0.1 and a peer at 127.0.0.2."""

    async def main():
        async with (
            line_class().serve("127.0.0.1", 5060) as line,
            SipPeer.open("127.0.0.2", 5060, remote=("127.0.0.1", 5060)) as peer,
        ):
            await script(line, peer)

    run_virtual(main())


async def establish(peer, body=None):
    peer.request("INVITE", URI, body=peer.sdp() if body is None else body)
    answer = await peer.expect(200)
    peer.ack(answer)
    return answer


def sdp_of(message):
    return message.body.decode()


def port_of(message):
    row = next(row for row in sdp_of(message).splitlines() if row.startswith("m=audio"))
    return int(row.split()[1])


def test_sends_silence_from_the_answer_on():
    async def script(line, peer):
        sink = await media()
        answer = await establish(peer)
        await asyncio.sleep(1.0)
        assert "RTP/AVP 0" in sdp_of(answer)
        assert 48 <= len(sink.packets) <= 52
        first, source = sink.packets[0]
        assert source == ("127.0.0.1", port_of(answer))
        assert first.marker
        assert first.payload_type == 0
        numbers = [packet.sequence_number for packet, _ in sink.packets]
        stamps = [packet.timestamp for packet, _ in sink.packets]
        assert {(b - a) % 65536 for a, b in itertools.pairwise(numbers)} == {1}
        assert {(b - a) % 2**32 for a, b in itertools.pairwise(stamps)} == {160}
        peer.bye(answer)
        await peer.expect(200)

    scripted(script)


def test_nothing_is_sent_once_the_call_is_over():
    async def script(line, peer):
        sink = await media()
        answer = await establish(peer)
        await asyncio.sleep(0.2)
        peer.bye(answer)
        await peer.expect(200)
        await asyncio.sleep(0.1)
        count = len(sink.packets)
        await asyncio.sleep(1)
        assert len(sink.packets) == count
        leg = await line.answers[0]
        assert leg.log[0].cause is EndCause.REMOTE_HANGUP
        assert line.calls == []

    scripted(script)


def test_audio_of_the_peer_reaches_the_hook():
    async def script(line, peer):
        sink = await media()
        answer = await establish(peer)
        leg = await line.answers[0]
        payload = PCMU.encode(np.full(160, 0.5, np.float32))
        for number in range(25):
            packet = RTPPacket(0, 100 + number, 160 * number, 7, payload)
            sink.transport.sendto(bytes(packet), ("127.0.0.1", port_of(answer)))
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert sum(rms > 0.4 for rms in leg.heard) >= 24

    scripted(script)


def test_a_stranger_is_not_heard():
    async def script(line, peer):
        await media()
        answer = await establish(peer)
        leg = await line.answers[0]
        loop = asyncio.get_running_loop()
        _, stranger = await loop.create_datagram_endpoint(Sink, local_addr=("127.0.0.66", 40000))
        payload = PCMU.encode(np.full(160, 0.5, np.float32))
        for number in range(50):
            packet = RTPPacket(0, 100 + number, 160 * number, 7, payload)
            stranger.transport.sendto(bytes(packet), ("127.0.0.1", port_of(answer)))
            await asyncio.sleep(0.02)
        assert max(leg.heard, default=0) < 0.01
        assert stranger.packets == []

    scripted(script)


def test_an_invite_without_an_offer_gets_ours():
    async def script(line, peer):
        sink = await media()
        peer.request("INVITE", URI)
        answer = await peer.expect(200)
        assert "RTP/AVP 8 0 101" in sdp_of(answer)
        await asyncio.sleep(0.1)
        assert not line.answers[0].done
        peer.ack(answer, body=peer.sdp(40000, "0"))
        leg = await line.answers[0]
        assert leg.codec is PCMU
        await asyncio.sleep(0.5)
        assert len(sink.packets) > 20
        peer.bye(answer)
        await peer.expect(200)

    scripted(script)


def test_a_delayed_offer_without_an_answer_ends_the_call():
    async def script(line, peer):
        peer.request("INVITE", URI)
        peer.ack(await peer.expect(200))
        bye = await peer.expect("BYE")
        peer.reply(bye, 200)
        with pytest.raises(NegotiationError, match="no answer"):
            await line.answers[0]

    scripted(script)


def test_a_lost_ack_repeats_the_200_and_then_ends_the_call():
    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        copies = 0
        while True:
            message = await peer.receive(timeout=40)
            if message.method == "BYE":
                break
            copies += message.status == 200
        peer.reply(message, 200)
        assert copies == 11
        leg = await line.answers[0]
        assert leg.log[0].cause is EndCause.ACK_TIMEOUT

    scripted(script)


@pytest.mark.parametrize(
    ("direction", "answered"),
    [("sendonly", "recvonly"), ("inactive", "inactive"), ("recvonly", "sendonly")],
)
def test_hold_by_the_peer_is_mirrored(direction, answered):
    async def script(line, peer):
        sink = await media()
        answer = await establish(peer)
        peer.in_dialog("INVITE", answer, body=peer.sdp(40000, "0", direction))
        again = await peer.expect(200)
        peer.ack(again)
        assert f"a={answered}" in sdp_of(again)
        version = next(row.split()[2] for row in sdp_of(again).splitlines() if row[:2] == "o=")
        before = next(row.split()[2] for row in sdp_of(answer).splitlines() if row[:2] == "o=")
        assert int(version) == int(before) + 1
        await asyncio.sleep(0.1)
        count = len(sink.packets)
        await asyncio.sleep(1)
        assert (len(sink.packets) > count + 40) == (direction == "recvonly")
        peer.in_dialog("INVITE", answer, body=peer.sdp(40000, "0"))
        resumed = await peer.expect(200)
        peer.ack(resumed)
        count = len(sink.packets)
        await asyncio.sleep(1)
        assert len(sink.packets) > count + 40

    scripted(script)


def test_an_unchanged_re_invite_gets_the_unchanged_answer():
    async def script(line, peer):
        answer = await establish(peer)
        peer.in_dialog("INVITE", answer, body=peer.sdp())
        again = await peer.expect(200)
        peer.ack(again)
        assert again.body == answer.body

    scripted(script)


def test_a_re_invite_may_move_the_media():
    async def script(line, peer):
        old, new = await media(40000), await media(40010)
        answer = await establish(peer)
        await asyncio.sleep(0.2)
        peer.in_dialog("INVITE", answer, body=peer.sdp(40010))
        peer.ack(await peer.expect(200))
        await asyncio.sleep(0.1)
        count = len(old.packets)
        await asyncio.sleep(0.5)
        assert len(old.packets) == count
        assert len(new.packets) > 20

    scripted(script)


def test_a_re_invite_may_change_the_codec():
    async def script(line, peer):
        sink = await media()
        answer = await establish(peer)
        leg = await line.answers[0]
        assert leg.codec is PCMU
        peer.in_dialog("INVITE", answer, body=peer.sdp(40000, "8"))
        again = await peer.expect(200)
        peer.ack(again)
        assert "RTP/AVP 8" in sdp_of(again)
        await asyncio.sleep(0.2)
        assert leg.codec is PCMA
        assert sink.packets[-1][0].payload_type == 8

    scripted(script)


def test_a_re_invite_that_cannot_be_met_leaves_the_call_as_it_was():
    async def script(line, peer):
        sink = await media()
        answer = await establish(peer)
        peer.in_dialog("INVITE", answer, body=peer.sdp(40000, "18"))
        peer.ack(await peer.expect(488))
        await asyncio.sleep(0.5)
        assert len(sink.packets) > 20
        peer.bye(answer)
        await peer.expect(200)

    scripted(script)


def test_a_re_invite_without_an_offer_gets_ours():
    async def script(line, peer):
        answer = await establish(peer)
        peer.in_dialog("INVITE", answer)
        again = await peer.expect(200)
        assert "m=audio" in sdp_of(again)
        peer.ack(again, body=peer.sdp(40000, "8"))
        await asyncio.sleep(0.1)
        assert (await line.answers[0]).codec is PCMA

    scripted(script)


@pytest.mark.parametrize(
    "body",
    [
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n"
        b"m=audio 40000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"
        b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n",
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n"
        b"m=video 40000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n",
        b"v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n"
        b"m=audio 40000 RTP/AVP 18\r\n",
    ],
    ids=["srtp", "video", "g729"],
)
def test_an_offer_that_cannot_be_met_is_488(body):
    async def script(line, peer):
        peer.request("INVITE", URI, body=body)
        peer.ack(await peer.expect(488))
        with pytest.raises(NegotiationError):
            await line.answers[0]
        assert line.calls == []

    scripted(script)


def test_a_body_that_is_no_description_is_400():
    async def script(line, peer):
        peer.request("INVITE", URI, body=b"v=0\r\nm=audio nonsense\r\n")
        peer.ack(await peer.expect(400))

    scripted(script)


def test_it_is_400_also_where_stun_is_asked_first():
    async def script(line, peer):
        line.rtp_stun_server_address = ("127.0.0.77", 3478)
        peer.request("INVITE", URI, body=b"v=0\r\nm=audio nonsense\r\n")
        peer.ack(await peer.expect(400))

    scripted(script)


def test_a_second_stream_is_refused_in_its_place():
    async def script(line, peer):
        body = peer.sdp() + b"m=video 40002 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n"
        answer = await establish(peer, body)
        assert "m=video 0 " in sdp_of(answer)

    scripted(script)


def test_cancel_ends_the_wait():
    class Ringing(Line):
        def call_received(self, request):
            self.ringing(request)
            self.request = request

    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        while (await peer.receive()).status != 180:
            pass
        peer.cancel()
        await peer.expect(200)
        refused = await peer.expect(487)
        peer.ack(refused)
        with pytest.raises(CallEnded) as caught:
            await line.answer(line.request, call_class=Leg)
        assert caught.value.cause is EndCause.CANCELLED

    scripted(script, Ringing)


# What comes in one piece of a stream is all taken before the first event of it is heard


@contextlib.contextmanager
def one_chunk(peer):
    """Hold what the peer sends back, and send it at once."""
    chunks, send = [], peer.send
    peer.send = chunks.append
    yield
    peer.send = send
    send(b"".join(chunks))


def streamed(script, line_class=Line, **fields):
    """Run `script(line, peer, errors)` over TCP; nothing may be left to the loop's own handler."""

    async def main():
        errors = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with (
            line_class(**fields).serve("127.0.0.1", 5060) as line,
            SipPeer.open("127.0.0.2", 5060, remote=("127.0.0.1", 5060), transport="TCP") as peer,
        ):
            await script(line, peer)
            assert errors == []
            assert "handler_failed" not in line.counters

    run_virtual(main())


def test_a_re_invite_that_comes_with_its_cancel_changes_nothing():
    async def script(line, peer):
        answer = await establish(peer)
        with one_chunk(peer):
            peer.in_dialog("INVITE", answer, body=peer.sdp(40000, "0", "sendonly"))
            peer.cancel()
        assert {(await peer.receive()).status for _ in range(2)} == {200, 487}
        peer.in_dialog("INVITE", answer, body=peer.sdp())
        again = await peer.expect(200)
        assert sdp_of(again) == sdp_of(answer)  # the version too
        peer.ack(again)
        peer.bye(answer)
        await peer.expect(200)

    streamed(script)


def test_a_re_invite_without_an_offer_that_comes_with_its_cancel_changes_nothing():
    async def script(line, peer):
        answer = await establish(peer)
        with one_chunk(peer):
            peer.in_dialog("INVITE", answer)
            peer.cancel()
        assert {(await peer.receive()).status for _ in range(2)} == {200, 487}
        peer.in_dialog("INVITE", answer, body=peer.sdp())
        again = await peer.expect(200)
        assert sdp_of(again) == sdp_of(answer)
        peer.ack(again)

    streamed(script)


def test_the_re_invite_that_follows_a_cancelled_one_in_the_same_chunk_is_answered():
    async def script(line, peer):
        answer = await establish(peer)
        with one_chunk(peer):
            peer.in_dialog("INVITE", answer, body=peer.sdp(40000, "0", "inactive"))
            peer.cancel()
            peer.in_dialog("INVITE", answer, body=peer.sdp(40000, "0", "sendonly"))
        got = [await peer.receive() for _ in range(3)]
        (accepted,) = [one for one in got if one.status == 200 and "INVITE" in one["CSeq"]]
        assert "a=recvonly" in sdp_of(accepted)
        peer.ack(accepted)

    streamed(script)


def test_a_re_invite_that_comes_with_a_bye_ends_with_the_call():
    async def script(line, peer):
        answer = await establish(peer)
        leg = await line.answers[0]
        with one_chunk(peer):
            peer.in_dialog("INVITE", answer, body=peer.sdp())
            peer.bye(answer)
        assert {(await peer.receive()).status for _ in range(2)} == {200, 487}
        await asyncio.sleep(0.1)
        assert [reason.cause for reason in leg.log] == [EndCause.REMOTE_HANGUP]

    streamed(script)


def test_an_invite_that_comes_with_its_cancel_makes_no_leg():
    made = []

    class Watched(Leg):
        def __post_init__(self):
            super().__post_init__()
            made.append(self)

    class Watching(Line):
        def call_received(self, request):
            self.answers.append(self.answer(request, call_class=Watched))

    async def script(line, peer):
        with one_chunk(peer):
            peer.request("INVITE", URI, body=peer.sdp())
            peer.cancel()
        assert {(await peer.receive()).status for _ in range(2)} == {200, 487}
        with pytest.raises(CallEnded) as caught:
            await line.answers[0]
        assert caught.value.cause is EndCause.CANCELLED
        assert made == []

    streamed(script, Watching)


def test_an_invite_that_comes_with_its_cancel_keeps_no_port_where_stun_is_asked_first():
    async def script(line, peer):
        line.rtp_stun_server_address = ("127.0.0.77", 3478)
        with one_chunk(peer):
            peer.request("INVITE", URI, body=peer.sdp())
            peer.cancel()
        assert {(await peer.receive()).status for _ in range(2)} == {200, 487}
        await asyncio.sleep(60)
        line.rtp_stun_server_address = None
        answer = await establish(peer)
        assert port_of(answer) == 40000

    streamed(script, rtp_ports=(40000, 40001))


# Our own calls


def dialled(script):
    """Run `script(dialing, peer)` while a phone at 127.0.0.1 dials the peer at 127.0.0.2."""

    async def main():
        async with (
            SIP().serve("127.0.0.1", 5060) as phone,
            SipPeer.open("127.0.0.2", 5060, remote=("127.0.0.1", 5060)) as peer,
        ):
            dialing = asyncio.create_task(phone.dial("sip:peer@127.0.0.2", call_class=Leg))
            await script(phone, peer, dialing)

    run_virtual(main())


def test_dial_yields_the_leg_that_was_agreed_on():
    async def script(phone, peer, dialing):
        sink = await media()
        invite = await peer.expect("INVITE")
        assert "RTP/AVP 8 0 101" in sdp_of(invite)
        peer.reply(invite, 180)
        peer.reply(invite, 200, body=peer.sdp(40000, "0"))
        await peer.expect("ACK")
        leg = await dialing
        assert leg.codec is PCMU
        await asyncio.sleep(0.5)
        assert len(sink.packets) > 20
        hanging = asyncio.create_task(leg.hang_up())
        peer.reply(await peer.expect("BYE"), 200)
        await hanging

    dialled(script)


def test_dial_raises_the_words_of_the_callee():
    async def script(phone, peer, dialing):
        invite = await peer.expect("INVITE")
        peer.reply(invite, 603, "Not Today")
        await peer.expect("ACK")
        with pytest.raises(CallFailed) as caught:
            await dialing
        assert (caught.value.status, caught.value.phrase) == (603, "Not Today")
        assert phone.calls == []

    dialled(script)


def test_an_answer_that_does_not_fit_ends_the_call():
    async def script(phone, peer, dialing):
        invite = await peer.expect("INVITE")
        peer.reply(invite, 200, body=peer.sdp(40000, "18"))
        await peer.expect("ACK")
        peer.reply(await peer.expect("BYE"), 200)
        with pytest.raises(NegotiationError):
            await dialing

    dialled(script)


def test_cancelling_the_dial_cancels_the_invite():
    async def script(phone, peer, dialing):
        invite = await peer.expect("INVITE")
        peer.reply(invite, 180)
        await asyncio.sleep(0.1)
        dialing.cancel()
        cancel = await peer.expect("CANCEL")
        peer.reply(cancel, 200)
        peer.reply(invite, 487)
        await peer.expect("ACK")
        with pytest.raises(asyncio.CancelledError):
            await dialing

    dialled(script)


def test_a_200_that_crosses_the_cancel_is_acknowledged_and_ended():
    async def script(phone, peer, dialing):
        invite = await peer.expect("INVITE")
        peer.reply(invite, 180)
        await asyncio.sleep(0.1)
        dialing.cancel()
        peer.reply(invite, 200, body=peer.sdp(40000, "0"))
        await peer.expect("CANCEL")
        await peer.expect("ACK")
        peer.reply(await peer.expect("BYE"), 200)
        with pytest.raises(asyncio.CancelledError):
            await dialing
        assert phone.calls == []

    dialled(script)

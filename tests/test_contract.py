"""The contract of call legs and the SIP object, sentence by sentence, where no other file holds it.

Virtual time, legs made by hand, and a scripted peer that shares no code with the stack.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import json
import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import voip
from voip.audio import AudioCall, EchoCall, VoiceActivityCall
from voip.codecs import L16, PCMA, PCMU, RTPCodec
from voip.errors import (
    CallEnded,
    CallFailed,
    EndCause,
    NegotiationError,
    ParseError,
    RegistrationError,
)
from voip.rtp import RTP, RTPCall, RTPPacket
from voip.sdp.messages import SessionDescription
from voip.sdp.types import MediaDescription, RTPPayloadFormat
from voip.sip.messages import Message
from voip.sip.protocol import SIP
from voip.sip.types import CallerID
from voip.testing import SipPeer, leg, run_virtual, say_to
from voip.types import HostPort

REMOTE = HostPort("192.0.2.1", 40000)
URI = "sip:line@127.0.0.1"


# Names


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("voip", "blocking RTPCall AudioCall VoiceActivityCall EchoCall SIP RTP CallFailed"),
        ("voip", "SessionInitiationProtocol RealtimeTransportProtocol RegistrationError CallEnded"),
        ("voip.rtp", "RTPCall RTPPacket RTPPayloadType RealtimeTransportProtocol RTP"),
        ("voip.audio", "AudioCall VoiceActivityCall EchoCall"),
        ("voip.codecs", "REGISTRY get RTPCodec PCMA PCMU L16"),
        ("voip.sip.protocol", "SessionInitiationProtocol SIP"),
        ("voip.sip.messages", "Message Request Response"),
        ("voip.sip.types", "SipURI CallerID Status DigestAlgorithm DigestQoP"),
        ("voip.sdp.messages", "SessionDescription"),
        ("voip.sdp.types", "MediaDescription RTPPayloadFormat ConnectionData Origin Timing"),
        ("voip.sdp.types", "Attribute"),
    ],
)
def test_names_are_where_the_contract_says(module, names):
    found = importlib.import_module(module)
    assert all(hasattr(found, name) for name in names.split())


def test_the_short_names_are_the_long_ones():
    assert voip.SIP is voip.SessionInitiationProtocol
    assert voip.RTP is voip.RealtimeTransportProtocol


def defaults(cls):
    return {field.name: field.default for field in dataclasses.fields(cls) if field.init}


def test_fields_have_the_defaults_of_the_contract():
    wanted = {"speech_threshold": 0.001, "silence_gap": 0.5, "min_speech": 0.1}
    wanted |= {"send_silence": True, "srtp": None}
    assert wanted.items() <= defaults(VoiceActivityCall).items()
    fields = defaults(SIP)
    for name in ("aor", "username", "password", "outbound_proxy", "rtp_stun_server_address"):
        assert fields[name] is None
    assert (AudioCall.RESAMPLING_RATE_HZ, AudioCall.RTP_PACKET_DURATION_SECS) == (16000, 0.02)


def test_the_codecs_are_preferred_in_the_order_of_the_contract():
    have = [name for name in ("opus", "g722", "pcma", "pcmu") if name in voip.codecs.REGISTRY]
    assert [codec.encoding_name for codec in AudioCall.PREFERRED_CODECS] == have


def parameters(function):
    return {
        name: one.default
        for name, one in inspect.signature(function).parameters.items()
        if one.default is not one.empty
    }


def test_packets_and_descriptions_take_their_values_in_order():
    packet = RTPPacket(8, 1, 2, 3, b"x")
    assert (packet.marker, packet.csrc, packet.extension) == (False, (), None)
    assert RTPPacket(8, 1, 2, 3, b"x", True, (4,), None).csrc == (4,)
    assert RTPPacket.parse(bytes(packet)) == packet
    media = MediaDescription("audio", 1, "RTP/AVP", [RTPPayloadFormat(8)], [], None)
    assert (media.fmt[0].encoding_name, media.fmt[0].sample_rate) == ("PCMA", 8000)
    bare = RTPPayloadFormat(97)
    assert dataclasses.astuple(bare) == (97, None, None, 1, None)
    assert RTPPayloadFormat(10).channels == 2
    assert parameters(SIP.reject)["status_code"] == 486


def test_messages_give_text_and_a_description():
    data = (
        b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
        b"From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"
        b"Content-Type: application/sdp\r\nContent-Length: 29\r\n\r\n"
        b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n"
    )
    body = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"
    data = data.partition(b"\r\n\r\n")[0].replace(b"29", str(len(body)).encode())
    request = Message.parse(data + b"\r\n\r\n" + body)
    assert request.headers["From"] == "<sip:c@d>;tag=1"
    assert isinstance(request.body, SessionDescription)
    assert bytes(Message.parse(bytes(request))) == bytes(request)
    request.body = None
    assert request.body is None
    with pytest.raises(ValueError, match=r".") as caught:
        Message.parse(b"nonsense\r\n\r\n")
    assert isinstance(caught.value, ParseError)


def test_a_caller_is_a_str_that_hides_its_number():
    caller = CallerID.parse('"Bob" <sip:+15551234567@example.com>;tag=9')
    assert isinstance(caller, str)
    assert (caller.user, caller.host) == ("+15551234567", "example.com")
    assert (caller.display_name, caller.tag) == ("Bob", "9")
    assert "4567" in repr(caller)
    assert "1234567" not in repr(caller)


def test_errors_carry_status_and_phrase():
    for kind in (CallFailed, RegistrationError):
        error = kind(403, "Go away")
        assert (error.status, error.phrase) == (403, "Go away")
    ended = CallEnded(EndCause.REMOTE_HANGUP)
    assert (ended.cause, ended.status) == (EndCause.REMOTE_HANGUP, None)


@pytest.mark.parametrize("module", ["voip.rtp.protocol", "voip.hooks", "voip.watchdog", "voip.aio"])
def test_each_module_alone_is_silent_until_logging_is_set_up(module):
    code = f"import {module}, logging; logging.getLogger('voip.rtp').warning('loud')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b""


def test_without_av_the_numpy_codecs_and_the_legs_work():
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from voip import codecs\n"
        "from voip.audio import EchoCall\n"
        "from voip.testing import leg\n"
        "assert list(codecs.REGISTRY) == ['pcma', 'pcmu', 'l16'], codecs.REGISTRY\n"
        "assert [c.encoding_name for c in EchoCall.PREFERRED_CODECS] == ['pcma', 'pcmu']\n"
        "assert leg(EchoCall, 'pcma').decode_payload(bytes(160)).size == 320\n"
        "try: codecs.get('opus')\n"
        "except NotImplementedError as error: assert str(error).startswith('Unsupported codec')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Legs made by hand


def test_a_leg_needs_an_rtp_with_calls_and_send_and_nothing_else():
    sent = []
    rtp = SimpleNamespace(calls={}, send=lambda data, addr: sent.append((data, addr)))
    media = MediaDescription("audio", 0, "RTP/AVP", [RTPPayloadFormat(8)])

    async def main():
        call = AudioCall(rtp=rtp, sip=None, media=media, caller="+15551234567")
        rtp.calls[REMOTE] = call
        assert call.wire is None
        await call.send_rtp_audio(np.zeros(160, np.float32))
        rtp.calls = {None: call}
        assert call.remote_address is None

    run_virtual(main())
    ((data, addr),) = sent
    assert type(data) is bytes
    assert addr == REMOTE
    assert len(data) == 172


def test_the_first_packet_is_decoded_whole_and_at_once_whatever_its_number():
    class Heard(AudioCall):
        def audio_received(self, *, audio, rms):
            self.sizes = [*getattr(self, "sizes", []), audio.size]

    call = leg(Heard, "pcma")
    for number in (7, 9, 8, 8, 60000):  # no reordering, no waiting, no duplicates dropped
        call.packet_received(RTPPacket(8, number, 160 * number, 1, bytes([0xD5]) * 160), REMOTE)
    assert call.sizes == [320] * 5


@pytest.mark.parametrize(
    ("codec", "step"), [("opus", 960), ("g722", 160), ("pcma", 160), ("pcmu", 160), ("l16", 441)]
)
def test_timestamps_step_as_the_table_says(codec, step):
    if codec in ("opus", "g722"):
        pytest.importorskip("av")
    call = leg(AudioCall, codec)

    async def main():
        await call.send_rtp_audio(np.zeros(10 * call.codec.frame_size, np.float32))
        return call.rtp.packets

    packets = run_virtual(main())
    assert [one.timestamp for one in packets] == [step * k for k in range(10)]
    assert max(len(bytes(one)) for one in packets) <= 1452  # under the MTU, on IPv6 too
    if codec == "g722":
        assert {len(one.payload) for one in packets} == {160}


def test_audio_is_paced_and_can_be_taken_back_while_it_plays():
    async def main():
        call = leg(AudioCall, "pcmu")
        talking = asyncio.ensure_future(call.send_rtp_audio(np.zeros(24000, np.float32)))
        await asyncio.sleep(0.5)
        sent = len(call.rtp.sent)
        assert call.cancel_audio()
        await talking
        return sent, len(call.rtp.sent), call.cancel_audio()

    assert run_virtual(main()) == (26, 26, False)


def test_the_words_of_the_errors():
    with pytest.raises(ValueError, match=r"^No encoding name for payload type 97$"):
        leg(AudioCall, media=MediaDescription("audio", 0, "RTP/AVP", [RTPPayloadFormat(97)]))
    with pytest.raises(NotImplementedError, match=r"Unsupported codec .*speex.*pcma, pcmu"):
        voip.codecs.get("speex")
    with pytest.raises(NotImplementedError, match=r"^Nobody"):
        type("Nobody", (RTPCall,), {}).negotiate_codec(MediaDescription("audio", 1, "RTP/AVP"))


@pytest.mark.parametrize("proto", ["RTP/AVP", "RTP/AVPF", "RTP/SAVP"])
def test_the_chosen_section_has_one_format_port_0_and_the_proto_of_the_offer(proto):
    event = RTPPayloadFormat(101, "telephone-event", 8000)
    offer = MediaDescription(
        "audio", 4000, proto, [RTPPayloadFormat(3), RTPPayloadFormat(0), event, RTPPayloadFormat(8)]
    )
    chosen = AudioCall.negotiate_codec(offer)
    assert [fmt.payload_type for fmt in chosen.fmt] == [8]
    assert (chosen.port, chosen.proto, chosen.media) == (0, proto, "audio")


def test_a_dynamic_number_is_refused_without_its_rtpmap_and_taken_with_it():
    name = "opus" if "opus" in voip.codecs.REGISTRY else "pcma"
    rate, channels = (48000, 2) if name == "opus" else (8000, 1)
    with pytest.raises(NotImplementedError, match="111"):
        AudioCall.negotiate_codec(MediaDescription("audio", 1, "RTP/AVP", [RTPPayloadFormat(111)]))
    wrong = RTPPayloadFormat(111, "speex", 16000)
    right = RTPPayloadFormat(120, name.upper(), rate, channels)
    chosen = AudioCall.negotiate_codec(MediaDescription("audio", 1, "RTP/AVP", [wrong, right]))
    assert chosen.fmt[0].payload_type == 120
    assert leg(AudioCall, media=chosen).payload_type == 120


def test_stereo_l16_is_negotiated_only_where_ten_milliseconds_fit():
    class Linear(AudioCall):
        PREFERRED_CODECS = [L16]

    def offered(*formats):
        return MediaDescription("audio", 1, "RTP/AVP", list(formats))

    with pytest.raises(NegotiationError):
        Linear.negotiate_codec(offered(RTPPayloadFormat(10)))
    chosen = Linear.negotiate_codec(offered(RTPPayloadFormat(97, "L16", 32000, 2)))
    assert chosen.value("ptime") == "10"
    wide = L16.for_format(RTPPayloadFormat(97, "L16", 16000))
    assert (wide.timestamp_increment, wide.frame_size) == (320, 320)


def test_a_custom_codec_needs_decode_and_encode_only():
    class Plain(RTPCodec):
        payload_type = 97
        encoding_name = "plain"

        @classmethod
        def decode(cls, payload, output_rate_hz, *, input_rate_hz=None):
            audio = np.frombuffer(payload, np.int8).astype(np.float32) / 128
            return cls.resample(audio, cls.sample_rate_hz, output_rate_hz)

        @classmethod
        def encode(cls, samples):
            return (samples * 128).astype(np.int8).tobytes()

    class Mine(AudioCall):
        PREFERRED_CODECS = [Plain]

        def audio_received(self, *, audio, rms):
            self.level = rms

    async def main():
        call = leg(Mine, Plain)
        await call.send_rtp_audio(np.full(160, 0.5, np.float32))
        call.packet_received(call.rtp.packets[0], REMOTE)
        return call

    call = run_virtual(main())
    assert call.codec is Plain
    assert call.level == pytest.approx(0.5, abs=0.02)


def test_the_gap_runs_by_the_loop_on_a_leg_made_by_hand_and_its_handle_can_be_set():
    class Heard(VoiceActivityCall):
        async def speech_buffer_ready(self, audio):
            self.utterance = audio.size

    async def main():
        call = leg(Heard, "pcmu")
        speech, nothing = np.full(320, 0.3, np.float32), np.zeros(320, np.float32)
        for _ in range(10):
            call.audio_received(audio=speech, rms=0.3)
        call.audio_received(audio=nothing, rms=0.0)
        assert isinstance(call.silence_handle, asyncio.TimerHandle)
        # No frame comes any more: by media time the gap would never end.
        await asyncio.sleep(0.49)
        assert not hasattr(call, "utterance")
        await asyncio.sleep(0.02)
        assert call.utterance == 3200
        call.silence_handle = None
        return call

    run_virtual(main())


def test_a_leg_without_udp_speaks_through_its_wire():
    sent = []
    media = MediaDescription("audio", 0, "RTP/AVP", [RTPPayloadFormat(8)])

    async def main():
        call = AudioCall(rtp=None, sip=None, media=media, caller="somebody")
        call.wire = SimpleNamespace(send=sent.append, close=lambda: None)
        await call.send_rtp_audio(np.zeros(320, np.float32))

    run_virtual(main())
    assert [packet.sequence_number for packet in sent] == [0, 1]


# Hooks


def test_fifty_failing_frames_end_a_call_that_was_registered_by_hand(caplog):
    class Failing(AudioCall):
        def audio_received(self, *, audio, rms):
            self.count = getattr(self, "count", 0) + 1
            if self.count != 10:
                raise ValueError("no")

        def hook_failed(self, exc):
            self.failures = getattr(self, "failures", 0) + 1

        def call_ended(self, reason):
            self.why = reason.cause

    async def main():
        rtp = RTP()
        call, other = leg(Failing, "pcmu", rtp=rtp), leg(AudioCall, "pcmu", rtp=rtp, remote=None)
        rtp.register_call(("192.0.2.9", 9), other)
        for number in range(70):
            data = bytes(RTPPacket(0, number, 160 * number, 1, bytes(160)))
            rtp.datagram_received(data, REMOTE)
            rtp.datagram_received(data, ("192.0.2.9", 9))
            await asyncio.sleep(0)
        return call, other, rtp.counters

    call, other, counters = run_virtual(main())
    assert call.why is EndCause.HOOK_FAILED
    assert call.failures == call.hooks.counters["failed"]
    assert 59 <= call.failures <= 61  # nine, then fifty in a row
    assert counters["rtp_after_the_end"] >= 8
    assert other.played_samples == 0
    assert not other.hooks.counters
    assert "packet_received failed on 50 frames in a row" in caplog.text


def test_whoever_presses_keys_is_heard_in_order_by_an_async_hook_that_has_two_seconds_more():
    class Slow(AudioCall):
        async def dtmf_received(self, digit, duration_ms):
            self.keys = [*getattr(self, "keys", []), digit]
            await asyncio.sleep(1.5)
            self.done = [*getattr(self, "done", []), digit]

    async def main():
        call = leg(Slow, "pcmu")
        for digit in "123":
            call.hooks.fire("dtmf_received", digit, 100.0)
        await call.hang_up()
        await asyncio.sleep(10)
        return call

    call = run_virtual(main())
    assert call.keys == ["1", "2"]
    assert call.done == ["1"]


class Line(SIP):
    """Answers with a class of its own."""

    leg_class: type = AudioCall

    def __post_init__(self):
        super().__post_init__()
        self.answers = []
        self.failures = []

    def call_received(self, request):
        self.ringing(request=request)
        self.answers.append(self.answer(request=request, call_class=self.leg_class))

    def hook_failed(self, exc):
        self.failures.append(exc)


def scripted(script, line=None):
    """Run `script(line, peer)` with a line at 127.0.0.1 and a peer at 127.0.0.2."""

    async def main():
        async with (
            (line or Line()).serve("127.0.0.1", 5060) as session,
            SipPeer.open("127.0.0.2", 5060, remote=("127.0.0.1", 5060)) as peer,
        ):
            assert isinstance(session, SIP)
            await script(session, peer)

    run_virtual(main())


async def establish(peer, body=None, **headers):
    peer.request("INVITE", URI, body=peer.sdp() if body is None else body)
    answer = await peer.expect(200)
    peer.ack(answer)
    return answer


def sdp_of(message):
    return message.body.decode().splitlines()


def test_an_async_call_received_has_two_seconds_once_the_caller_gave_up():
    class Slow(Line):
        async def call_received(self, request):
            loop = asyncio.get_running_loop()
            began = loop.time()
            try:
                await asyncio.sleep(100)
            finally:
                self.took = loop.time() - began

    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        await asyncio.sleep(1)
        peer.cancel()
        await peer.expect(200)
        peer.ack(await peer.expect(487))
        await asyncio.sleep(3)
        assert line.took == pytest.approx(3.0, abs=0.1)
        assert line.failures == []

    scripted(script, Slow())


@pytest.mark.parametrize(("seconds", "stored"), [(1.0, True), (5.0, False)])
def test_leaving_gives_the_hooks_of_its_calls_their_two_seconds(seconds, stored):
    ends = []

    class Storing(AudioCall):
        async def call_ended(self, reason):
            await asyncio.sleep(seconds)
            ends.append(reason.cause)

    class StoringLine(Line):
        leg_class = Storing

    async def main():
        async with SipPeer.open("127.0.0.2", 5060, remote=("127.0.0.1", 5060)) as peer:
            async with StoringLine().serve("127.0.0.1", 5060):
                await establish(peer)
                answering = asyncio.ensure_future(peer.expect("BYE"))
                answering.add_done_callback(lambda bye: peer.reply(bye.result(), 200, "OK"))
                began = asyncio.get_running_loop().time()
            return asyncio.get_running_loop().time() - began

    assert run_virtual(main()) == pytest.approx(min(seconds, 2.0), abs=0.1)
    assert ends == ([EndCause.SHUTDOWN] if stored else [])


def test_an_async_call_received_may_go_on_for_the_whole_call():
    class Host(Line):
        async def call_received(self, request):
            leg = await self.answer(request, call_class=AudioCall)
            await leg.send_rtp_audio(np.zeros(40000, np.float32))
            await leg.hang_up()

    async def script(line, peer):
        await establish(peer)
        peer.reply(await peer.expect("BYE", timeout=10), 200)
        await asyncio.sleep(0.1)
        assert line.calls == []

    scripted(script, Host())


def test_a_blocking_call_received_that_raises_is_500():
    class Blocked(Line):
        @voip.blocking
        def call_received(self, request):
            raise ValueError("no")

    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        peer.ack(await peer.expect(500))
        assert [str(error) for error in line.failures] == ["no"]

    scripted(script, Blocked())


def test_a_blocking_call_received_may_ring_and_answer_or_reject_from_its_thread():
    threads = set()

    class Threaded(AudioCall):
        def call_started(self):
            threads.add(threading.get_ident())

    class Blocked(Line):
        @voip.blocking
        def call_received(self, request):
            threads.add(threading.get_ident())
            self.ringing(request)
            if "answer" in request.headers["Call-ID"]:
                self.answers.append(self.answer(request, call_class=Threaded))
                self.answer(request, call_class=Threaded)  # once too often
            else:
                self.reject(request)

    async def script(line, peer):
        peer.call_id = "reject"
        peer.request("INVITE", URI, body=peer.sdp())
        peer.ack(await peer.expect(486))
        peer.call_id = "answer"
        answer = await establish(peer)
        assert line.calls == [await line.answers[0]]
        assert len(threads) == 2
        assert threading.get_ident() in threads
        peer.bye(answer)
        await peer.expect(200)
        assert ["before" in str(error) for error in line.failures] == [True]

    scripted(script, Blocked())


@pytest.mark.parametrize("name", ["call_received", "registered", "request_received"])
def test_hooks_of_the_sip_object_are_checked_when_the_class_is_made(name):
    with pytest.raises(TypeError, match=f"{name}.* must take"):
        type("Wrong", (SIP,), {name: lambda: None})


def test_the_sip_object_may_be_subclassed_in_every_way_of_a_leg():
    class Bare(SIP):
        aor = "sip:alice@example.com"
        methods = ["MESSAGE"]
        greeting: str = "hello"

    @dataclasses.dataclass
    class Decorated(Bare):
        extra: int = 0

    one, other = Bare(greeting="good day"), Decorated(extra=3)
    assert (one.aor, one.greeting, other.greeting, other.extra) == (
        "sip:alice@example.com",
        "good day",
        "hello",
        3,
    )
    one.methods.append("INFO")
    assert other.methods == Bare().methods == ["MESSAGE"]
    assert Bare() != Bare()
    assert len({one, other}) == 2


# Answering


def test_an_answer_that_nobody_reads_says_nothing(caplog):
    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp(40000, "18"))
        peer.ack(await peer.expect(488))
        with pytest.raises(NegotiationError):
            await line.answers[0]
        line.answers.clear()

    scripted(script)
    assert "never" not in caplog.text


def test_cancelling_the_awaiter_does_not_cancel_the_answer():
    class Patient(Line):
        async def call_received(self, request):
            answer = self.answer(request, call_class=AudioCall)
            waiting = asyncio.ensure_future(answer)
            waiting.cancel()
            self.leg = await answer

    async def script(line, peer):
        answer = await establish(peer)
        assert line.calls == [line.leg]
        peer.bye(answer)
        await peer.expect(200)

    scripted(script, Patient())


def test_a_caller_who_gave_up_is_call_ended():
    class Late(Line):
        async def call_received(self, request):
            self.ringing(request)
            await asyncio.sleep(1)
            self.answers.append(self.answer(request, call_class=AudioCall))

    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        await asyncio.sleep(0.5)
        peer.cancel()
        await peer.expect(200)
        peer.ack(await peer.expect(487))
        await asyncio.sleep(1)
        with pytest.raises(CallEnded):
            await line.answers[0]
        await peer.expect_nothing()
        assert line.calls == []

    scripted(script, Late())


@pytest.mark.parametrize("status", [486, 603])
def test_reject_says_what_it_was_told(status):
    class Refusing(Line):
        def call_received(self, request):
            if status == 486:
                self.reject(request)
            else:
                self.reject(request=request, status_code=status, reason="Never again")

    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        answer = await peer.expect(status)
        peer.ack(answer)
        wanted = "Busy Here" if status == 486 else "Never again"
        assert answer.first_line == f"SIP/2.0 {status} {wanted}"

    scripted(script, Refusing())


@pytest.mark.parametrize("wrong", [{"status_code": 200}, {"reason": "No\r\nX-More: yes"}])
def test_a_refusal_that_is_none_is_an_error_of_the_hook_and_500(wrong):
    class Wrong(Line):
        def call_received(self, request):
            self.reject(request, **wrong)

    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        peer.ack(await peer.expect(500))
        assert [type(error) for error in line.failures] == [ValueError]

    scripted(script, Wrong())


def test_what_a_hook_raises_after_its_answer_leaves_the_call_up():
    class Raising(Line):
        def call_received(self, request):
            super().call_received(request)
            raise ValueError("afterwards")

    class Failing(AudioCall):
        def call_started(self):
            raise ValueError("started")

        def hook_failed(self, exc):
            self.failure = str(exc)

    class RaisingLine(Raising):
        leg_class = Failing

    async def script(line, peer):
        answer = await establish(peer)
        await asyncio.sleep(1)
        (call,) = line.calls
        assert (call.failure, str(line.failures[0])) == ("started", "afterwards")
        peer.bye(answer)
        await peer.expect(200)

    scripted(script, RaisingLine())


def test_hanging_up_before_the_ack_waits_for_it():
    class Brief(Line):
        async def call_received(self, request):
            await (await self.answer(request, call_class=AudioCall)).hang_up()

    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        answer = await peer.expect(200)
        await peer.expect_nothing(seconds=0.4)  # RFC 3261 §15: no BYE before the ACK
        peer.ack(answer)
        peer.reply(await peer.expect("BYE"), 200, "OK")
        await asyncio.sleep(0.1)
        assert line.calls == []

    scripted(script, Brief())


# Logs


def events_of(caplog):
    return [
        json.loads(record.getMessage())
        for record in caplog.records
        if record.levelno == logging.INFO and record.getMessage().startswith("{")
    ]


def test_every_event_of_a_call_is_json_with_the_same_extra_fields_and_nobodys_number(caplog):
    caplog.set_level(logging.DEBUG)

    async def script(line, peer):
        peer.user = "+15551234567"
        answer = await establish(peer)
        await asyncio.sleep(0.2)
        peer.bye(answer)
        await peer.expect(200)
        peer.call_id = "again"
        peer.request("INVITE", URI, body=peer.sdp())
        answer = await peer.expect(200)
        peer.ack(answer)
        await line.calls[0].hang_up()
        peer.reply(await peer.expect("BYE"), 200)

    scripted(script)
    events = events_of(caplog)
    names = Counter(event["event"] for event in events)
    assert names == dict.fromkeys(
        ["call_received", "call_ringing", "call_started", "call_ended"], 2
    )
    assert {event["caller"] for event in events} == {"********4567@127.0.0.2"}
    assert all(event["call_id"] for event in events)
    for record in caplog.records:
        assert "555123" not in record.getMessage()
        if record.getMessage().startswith("{"):
            said = json.loads(record.getMessage())
            assert said.items() <= vars(record).items()
    started = next(event for event in events if event["event"] == "call_started")
    assert started["codec"] == "pcmu"
    assert (started["sample_rate"], started["channels"], started["payload_type"]) == (8000, 1, 0)


def test_a_call_that_is_refused_is_logged_with_the_callee(caplog):
    caplog.set_level(logging.INFO, "voip")

    async def script(line, peer):
        call = asyncio.ensure_future(line.dial("sip:+15557654321@127.0.0.2", call_class=AudioCall))
        invite = await peer.expect("INVITE")
        peer.reply(invite, 180, "Ringing")
        peer.reply(invite, 486, "Busy Here")
        await peer.expect("ACK")
        with pytest.raises(CallFailed, match="486 Busy Here"):
            await call

    scripted(script, SIP())
    events = events_of(caplog)
    assert [event["event"] for event in events] == ["call_ringing", "call_ended"]
    assert {event["caller"] for event in events} == {"********4321@127.0.0.2"}


# Registration


def registering(*answers, **fields):
    """Serve an account whose registrar, the peer, answers as told; return what it asked for."""

    async def main():
        asked = []
        async with SipPeer.open("127.0.0.2", 5060, remote=("127.0.0.1", 5060)) as peer:

            async def registrar():
                for status, phrase, headers in answers:
                    request = await peer.expect("REGISTER")
                    asked.append(request)
                    peer.reply(request, status, phrase, headers=headers)

            task = asyncio.ensure_future(registrar())
            account = SIP(aor="sip:alice@127.0.0.2", **fields)
            try:
                async with account.serve("127.0.0.1", 5060) as session:
                    assert session is account
                    asked.append("serving")
            finally:
                task.cancel()
        return asked

    return run_virtual(main())


def test_a_refusal_of_the_registrar_is_a_registration_error_in_its_own_words():
    with pytest.raises(RegistrationError) as caught:
        registering((403, "Wrong password, friend", []))
    assert (caught.value.status, caught.value.phrase) == (403, "Wrong password, friend")


def test_serving_begins_once_registered_and_ends_by_unregistering():
    granted = [("Contact", "<sip:alice@127.0.0.1:5060>;expires=600"), ("Expires", "600")]
    asked = registering((200, "OK", granted), (200, "OK", []))
    assert asked[1] == "serving"
    assert "expires=0" in asked[2]["Contact"] or asked[2]["Expires"] == "0"
    again = registering((200, "OK", granted), (200, "OK", []))
    assert again[0]["To"] == "<sip:alice@127.0.0.2>"


def test_a_register_that_is_lost_is_sent_again():
    async def main():
        async with SipPeer.open("127.0.0.2", 5060, remote=("127.0.0.1", 5060)) as peer:
            account = SIP(aor="sip:alice:secret@127.0.0.2")
            context = account.serve("127.0.0.1", 5060)
            serving = asyncio.ensure_future(context.__aenter__())
            first, second = await peer.expect("REGISTER"), await peer.expect("REGISTER")
            assert first.headers == second.headers
            assert "secret" not in "".join(value for _, value in first.headers)
            peer.reply(second, 403, "Forbidden")
            with pytest.raises(RegistrationError):
                await serving
            await account.close()

    run_virtual(main())


# What other backends get wrong, and a user of ours must never meet


def test_a_law_is_positive_where_the_reference_is():
    assert PCMA.decode(b"\xd5", 8000)[0] > 0 > PCMA.decode(b"\x55", 8000)[0]
    assert PCMA.encode(np.array([0.5], np.float32))[0] & 0x80
    assert PCMU.encode(np.array([0.5], np.float32))[0] & 0x80


@pytest.mark.parametrize("number", [96, 111, 127])
def test_opus_is_reached_over_sip_by_its_name(number):
    pytest.importorskip("av")

    async def script(line, peer):
        body = peer.sdp(40000, f"{number} 0", f"rtpmap:{number} opus/48000/2")
        answer = sdp_of(await establish(peer, body))
        assert f"a=rtpmap:{number} opus/48000/2" in answer
        call = await line.answers[0]
        assert (call.payload_type, call.codec.encoding_name) == (number, "opus")

    scripted(script)


class Hearing(AudioCall):
    PREFERRED_CODECS = [PCMU]

    def __post_init__(self):
        super().__post_init__()
        self.levels = []

    def audio_received(self, *, audio, rms):
        self.levels.append(rms)


class HearingLine(Line):
    leg_class = Hearing


class Media(asyncio.DatagramProtocol):
    """The peer's media socket."""

    def __init__(self):
        self.packets = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        if data[1] & 0x7F < 64 or data[1] & 0x7F > 95:  # not RTCP
            self.packets.append(RTPPacket.parse(data))

    def say(self, port, number, *, payload_type=0, ssrc=7, payload=None):
        payload = PCMU.encode(np.full(160, 0.5, np.float32)) if payload is None else payload
        packet = RTPPacket(payload_type, number, 160 * number, ssrc, payload)
        self.transport.sendto(bytes(packet), ("127.0.0.1", port))

    @classmethod
    async def open(cls, host="127.0.0.2", port=40000):
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(cls, local_addr=(host, port)))[1]


def port_of(answer):
    row = next(row for row in sdp_of(answer) if row.startswith("m=audio"))
    return int(row.split()[1])


def test_a_key_has_the_number_of_the_offer_and_is_never_heard_as_audio():
    async def script(line, peer):
        media = await Media.open()
        body = peer.sdp(40000, "0 96", "rtpmap:96 telephone-event/8000", "fmtp:96 0-15")
        answer = await establish(peer, body)
        assert "a=rtpmap:96 telephone-event/8000" in sdp_of(answer)
        for number in range(30):
            event = {"payload_type": 96, "payload": b"\x04\x0a\x00\xa0"} if number > 20 else {}
            media.say(port_of(answer), number, **event)
            await asyncio.sleep(0.02)
        call = await line.answers[0]
        assert max(call.levels) == pytest.approx(0.5, abs=0.02)
        assert len(call.levels) == pytest.approx(28, abs=3)

    scripted(script, HearingLine())


def test_a_stray_source_neither_silences_nor_takes_over_the_call():
    async def script(line, peer):
        media, stranger = await Media.open(), await Media.open("127.0.0.9", 40000)
        answer = await establish(peer)
        for number in range(100):
            media.say(port_of(answer), number)
            if number % 3 == 0:
                media.say(port_of(answer), number, ssrc=99)  # another source on the same address
                stranger.say(port_of(answer), number, ssrc=55)
            await asyncio.sleep(0.02)
        call = await line.answers[0]
        loud = sum(level > 0.4 for level in call.levels)
        assert loud >= 90
        assert stranger.packets == []

    scripted(script, HearingLine())


@pytest.mark.parametrize("proto", ["RTP/SAVP", "UDP/TLS/RTP/SAVPF"])
def test_a_secure_offer_is_488_and_never_plain(proto):
    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp().replace(b"RTP/AVP", proto.encode()))
        answer = await peer.expect(488)
        peer.ack(answer)
        assert b"m=audio" not in answer.body

    scripted(script)


@pytest.mark.parametrize("content_type", ["Application/SDP", "application/sdp;charset=utf-8"])
def test_the_content_type_is_read_without_regard_to_case_and_parameters(content_type):
    async def script(line, peer):
        headers = [("Content-Type", content_type)]
        peer.request("INVITE", URI, body=peer.sdp(), headers=headers)
        answer = await peer.expect(200)
        peer.ack(answer)

    scripted(script)


@pytest.mark.parametrize(("ptime", "size"), [(10, 80), (20, 160), (30, 240), (40, 320)])
def test_the_packet_time_of_the_answer_is_the_one_that_is_sent(ptime, size):
    async def script(line, peer):
        media = await Media.open()
        answer = await establish(peer, peer.sdp(40000, "0", f"ptime:{ptime}"))
        await asyncio.sleep(0.6)
        assert f"a=ptime:{ptime}" in sdp_of(answer)
        assert {len(one.payload) for one in media.packets} == {size}
        steps = np.diff([one.timestamp for one in media.packets]) % 2**32
        assert set(steps) == {size}

    scripted(script)


@pytest.mark.parametrize(
    ("codec", "number", "ptime", "size", "step"),
    [("l16", 11, 10, 882, 441), ("g722", 9, 20, 160, 160), ("pcma", 8, 20, 160, 160)],
)
def test_a_call_of_sip_sends_what_the_table_of_codecs_says(codec, number, ptime, size, step):
    if codec not in voip.codecs.REGISTRY:
        pytest.skip("needs av")

    class Speaking(AudioCall):
        PREFERRED_CODECS = [voip.codecs.get(codec)]

    class SpeakingLine(Line):
        leg_class = Speaking

    async def script(line, peer):
        media = await Media.open()
        answer = await establish(peer, peer.sdp(40000, f"0 {number}"))
        await asyncio.sleep(0.5)
        assert f"a=ptime:{ptime}" in sdp_of(answer)
        assert {len(one.payload) for one in media.packets} == {size}
        assert set(np.diff([one.timestamp for one in media.packets]) % 2**32) == {step}
        assert {one.payload_type for one in media.packets} == {number}

    scripted(script, SpeakingLine())


def test_a_leg_of_sip_queues_what_is_said_and_takes_it_back():
    async def script(line, peer):
        media = await Media.open()
        await establish(peer)
        call = await line.answers[0]
        low, high = np.full(24000, 0.1, np.float32), np.full(16100, 0.4, np.float32)
        await asyncio.gather(call.send_rtp_audio(low), call.send_rtp_audio(high))
        assert call.played_samples == 40100
        heard = np.concatenate([PCMU.decode(one.payload, 8000) for one in media.packets])
        (said,) = np.nonzero(heard > 0.05)
        levels = heard[said[0] : said[-1] + 1]
        assert levels.size == pytest.approx(40100, abs=160)
        assert np.count_nonzero(np.diff(levels > 0.25)) == 1  # one after the other
        talking = asyncio.ensure_future(call.send_rtp_audio(low))
        await asyncio.sleep(0.5)
        assert call.cancel_audio()
        assert call.played_samples == pytest.approx(44100, abs=160)
        await talking
        assert not call.cancel_audio()

    scripted(script, HearingLine())


def test_an_offer_without_an_address_is_answered_and_nothing_is_sent():
    async def script(line, peer):
        media = await Media.open()
        body = peer.sdp().replace(b"c=IN IP4 127.0.0.2", b"c=IN IP4 0.0.0.0")
        await establish(peer, body)
        call = await line.answers[0]
        await asyncio.sleep(1)
        assert call.remote_address is None
        assert media.packets == []

    scripted(script)


def test_an_invite_and_a_bye_that_are_repeated_get_the_same_answer():
    async def script(line, peer):
        peer.request("INVITE", URI, body=peer.sdp())
        invite = peer._invite
        sent = next(text for text in peer.log if text.startswith("→ INVITE"))[2:].encode()
        answer = await peer.expect(200)
        peer.send(sent)
        again = await peer.expect(200)
        assert again["To"] == answer["To"]
        peer.ack(answer)
        assert len(line.calls) == 1
        peer.bye(answer)
        bye = next(text for text in peer.log if text.startswith("→ BYE"))[2:].encode()
        await peer.expect(200)
        peer.send(bye)
        assert (await peer.receive()).status == 200
        peer.send(sent)  # long over: not a new call
        await peer.expect_nothing()
        assert invite is not None

    scripted(script)


def test_a_call_of_ours_is_repeated_acknowledged_and_routed():
    async def script(line, peer):
        dialling = asyncio.ensure_future(line.dial("sip:bob@127.0.0.2", call_class=AudioCall))
        first, second = await peer.expect("INVITE"), await peer.expect("INVITE")
        assert first.headers == second.headers
        headers = [
            ("Record-Route", "<sip:127.0.0.2:5060;lr>"),
            ("Contact", "<sip:desk@127.0.0.2:5060>"),
        ]
        peer.reply(second, 200, "OK", body=peer.sdp(), headers=headers)
        ack = await peer.expect("ACK")
        assert ack.first_line.startswith("ACK sip:desk@127.0.0.2:5060 ")
        assert ack["Route"] == "<sip:127.0.0.2:5060;lr>"
        call = await dialling
        ending = asyncio.ensure_future(call.hang_up())
        byes = [await peer.expect("BYE"), await peer.expect("BYE")]
        assert byes[0].headers == byes[1].headers
        assert byes[0].first_line.startswith("BYE sip:desk@127.0.0.2:5060 ")
        peer.reply(byes[1], 200, "OK")
        await ending

    scripted(script, SIP())


def test_starting_says_nothing_alarming(caplog):
    async def script(line, peer):
        await asyncio.sleep(1)

    scripted(script)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_fifty_failing_frames_end_a_sip_call_by_bye_and_no_other_call():
    class Failing(Hearing):
        def audio_received(self, *, audio, rms):
            raise ValueError("no")

    class Choosing(Line):
        def call_received(self, request):
            kind = Failing if "one" in request.headers["Call-ID"] else Hearing
            self.answers.append(self.answer(request, call_class=kind))

    async def script(line, peer):
        media, other = await Media.open(), await Media.open(port=41000)
        peer.call_id = "one"
        answer = await establish(peer)
        peer.call_id = "two"
        second = await establish(peer, peer.sdp(41000))
        peer.call_id = "one"
        for number in range(70):
            media.say(port_of(answer), number)
            other.say(port_of(second), number)
            await asyncio.sleep(0.02)
        peer.reply(await peer.expect("BYE"), 200, "OK")
        await asyncio.sleep(0.1)
        failed, healthy = await line.answers[0], await line.answers[1]
        assert failed.hooks.counters["failed"] == 50
        assert line.calls == [healthy]
        assert sum(level > 0.4 for level in healthy.levels) > 60

    scripted(script, Choosing())


def test_on_a_leg_of_sip_sip_and_caller_are_the_object_and_the_remote_party():
    async def script(line, peer):
        dialling = asyncio.ensure_future(
            line.dial("sip:+15557654321@127.0.0.2", call_class=AudioCall)
        )
        invite = await peer.expect("INVITE")
        peer.reply(invite, 200, "OK", body=peer.sdp())
        await peer.expect("ACK")
        out = await dialling
        assert (out.sip, out.caller.user) == (line, "+15557654321")
        peer.call_id, peer.user = "in", "+15551234567"
        await establish(peer)
        came = await line.answers[0]
        assert (came.sip, came.caller.user) == (line, "+15551234567")
        for one in (came, out):
            for name in ("send", "clear", "close", "describe", "start", "stop"):
                assert callable(getattr(one.wire, name))

    scripted(script)


def test_an_account_goes_by_its_proxy_with_what_the_aor_says_and_logs_no_secret(caplog):
    caplog.set_level(logging.DEBUG)
    challenge = [("WWW-Authenticate", 'Digest realm="example.com", nonce="n1", qop="auth"')]

    async def main():
        async with SipPeer.open("127.0.0.2", 5060, remote=("127.0.0.1", 5060)) as proxy:
            account = SIP(aor="sip:alice:t0psecret@example.com", outbound_proxy=("127.0.0.2", 5060))
            context = account.serve("127.0.0.1", 5060)
            serving = asyncio.ensure_future(context.__aenter__())
            first = await proxy.expect("REGISTER")
            assert first.first_line == "REGISTER sip:example.com SIP/2.0"
            assert first["To"] == "<sip:alice@example.com>"
            proxy.reply(first, 401, "Unauthorized", headers=challenge)
            second = await proxy.expect("REGISTER")
            assert 'username="alice"' in second["Authorization"]
            proxy.reply(second, 200, "OK", headers=[("Contact", second["Contact"])])
            await serving
            dialling = asyncio.ensure_future(account.dial("tel:+1555", call_class=AudioCall))
            invite = await proxy.expect("INVITE")
            proxy.reply(invite, 404, "Nobody")
            await proxy.expect("ACK")
            with pytest.raises(CallFailed, match="404 Nobody"):
                await dialling
            assert "t0psecret" not in repr(account)
            leaving = asyncio.ensure_future(context.__aexit__(None, None, None))
            proxy.reply(await proxy.expect("REGISTER"), 200, "OK")
            await leaving
            return proxy.log

    log = run_virtual(main())
    assert "t0psecret" not in caplog.text + "".join(log)


async def test_a_hook_that_blocks_is_named_and_counted(caplog):
    class Blocking(Line):
        def call_received(self, request):
            time.sleep(0.15)  # the fault that is to be found
            self.reject(request)

    async with (
        Blocking(rtp_ports=(23000, 23100)).serve("127.0.0.1", 0) as line,
        SipPeer.open("127.0.0.1", 0, remote=line.listeners["UDP"]) as peer,
    ):
        peer.request("INVITE", URI, body=peer.sdp())
        peer.ack(await peer.expect(486))
        assert line.counters["loop_blocked"] == 1
    assert f"{__file__.rpartition('/')[2]}:" in caplog.text
    assert "call_received" in caplog.text


@pytest.mark.parametrize("rate_hz", [8000, 24000, 48000])
def test_the_rate_of_the_hook_can_be_changed(rate_hz):
    class Mine(Hearing):
        RESAMPLING_RATE_HZ = rate_hz

        def audio_received(self, *, audio, rms):
            self.levels.append(audio.size)

    call = leg(Mine, "pcmu")
    say_to(call, np.zeros(480, np.float32))
    assert call.levels == [rate_hz // 50] * 3


def test_the_packet_time_of_the_class_is_what_it_sends():
    class Long(AudioCall):
        PREFERRED_CODECS = [PCMU]
        RTP_PACKET_DURATION_SECS = 0.04

    class LongLine(Line):
        leg_class = Long

    async def by_hand():
        call = leg(Long, "pcmu")
        await call.send_rtp_audio(np.zeros(960, np.float32))
        return [len(packet.payload) for packet in call.rtp.packets]

    assert run_virtual(by_hand()) == [320] * 3

    async def script(line, peer):
        media = await Media.open()
        answer = await establish(peer)
        assert "a=ptime:40" in sdp_of(answer)
        await asyncio.sleep(0.5)
        assert {len(one.payload) for one in media.packets} == {320}

    scripted(script, LongLine())

    async def wished(line, peer):  # the peer's own wish counts more
        assert "a=ptime:30" in sdp_of(await establish(peer, peer.sdp(40000, "0", "ptime:30")))

    scripted(wished, LongLine())


def test_run_serves_until_a_signal():
    code = (
        "import os, signal, threading\n"
        "from voip.sip.protocol import SIP\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "SIP(rtp_ports=(24000, 24100)).run(host='127.0.0.1', port=0)\n"
        "print('left')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == (b"left\n", b"")


# The page that lists it all

OF_THE_CONTRACT = {
    "voip.rtp.call.RTPCall": "rtp sip media caller srtp wire packet_received send_packet hang_up "
    "negotiate_codec call_started call_ended dtmf_received hook_failed",
    "voip.audio.AudioCall": "PREFERRED_CODECS RESAMPLING_RATE_HZ RTP_PACKET_DURATION_SECS codec "
    "rtp_sequence_number rtp_timestamp rtp_ssrc payload_type sample_rate negotiate_codec "
    "packet_received decode_payload audio_received emit_audio send_rtp_audio send_silence "
    "next_rtp_packet resample cancel_audio played_samples",
    "voip.audio.VoiceActivityCall": "speech_threshold silence_gap min_speech speech_buffer "
    "silence_handle collect_audio on_audio_speech on_audio_silence flush_speech_buffer "
    "speech_buffer_ready speech_started speech_ended",
    "voip.audio.EchoCall": "speech_buffer_ready",
    "voip.codecs.base.RTPCodec": "payload_type encoding_name sample_rate_hz rtp_clock_rate_hz "
    "frame_size timestamp_increment channels decode encode packetize to_payload_format resample "
    "for_format create_decoder create_encoder",
    "voip.codecs": "REGISTRY get",
    "voip.sip.protocol.SessionInitiationProtocol": "aor username password outbound_proxy "
    "rtp_stun_server_address call_received ringing answer reject ack_received bye_received "
    "cancel_received registered register dial request_received response_received send close serve "
    "run connection_made data_received datagram_received eof_received error_received pause_writing "
    "resume_writing connection_lost",
    "voip.rtp.protocol.RealtimeTransportProtocol": "calls register_call unregister_call "
    "public_address send",
    "voip.rtp.packet.RTPPacket": "payload_type sequence_number timestamp ssrc payload marker csrc "
    "extension parse",
    "voip.sip.messages": "Message Request Response",
    "voip.sip.types": "SipURI CallerID Status DigestAlgorithm DigestQoP",
    "voip.sdp.messages": "SessionDescription",
    "voip.sdp.types": "MediaDescription RTPPayloadFormat ConnectionData Origin Timing Attribute",
    "voip.sdp.types.MediaDescription": "media port proto fmt attributes connection",
    "voip.sdp.types.RTPPayloadFormat": "payload_type encoding_name sample_rate channels fmtp",
    "voip.errors": "RegistrationError CallFailed CallEnded NegotiationError ParseError",
    "voip": "SIP RTP blocking",
}


def test_the_page_lists_every_member_with_a_verdict_and_a_test_that_exists():
    root = Path(__file__).resolve().parent.parent
    listed, section = {}, ""
    for row in (root / "docs" / "compatibility.md").read_text().splitlines():
        if row.startswith("## "):
            section = row[3:]
        elif row.startswith("| `"):
            member, verdict, _, test = (cell.strip(" `") for cell in row.strip("|").split("|"))
            assert verdict in ("kept", "extended", "changed"), row
            file, _, name = test.partition("::")
            assert f"def {name}(" in (root / file).read_text(), row
            listed.setdefault(section, set()).add(member)
    for owner, members in OF_THE_CONTRACT.items():
        assert set(members.split()) <= listed[owner], owner


# Echo


def test_the_echo_comes_back_in_the_codec_of_the_call():
    async def main():
        call = leg(EchoCall, "pcma")
        seconds = np.arange(4000) / 8000
        for start in range(0, 4000, 160):
            say_to(call, (0.3 * np.sin(2700 * seconds))[start : start + 160].astype(np.float32))
            await asyncio.sleep(0.02)
        for _ in range(60):
            say_to(call, np.zeros(160, np.float32))
            await asyncio.sleep(0.02)
        return call

    call = run_virtual(main())
    assert {one.payload_type for one in call.rtp.packets} == {8}
    # half a second and its tail of 0.2
    assert len(call.rtp.packets) == pytest.approx(35, abs=2)

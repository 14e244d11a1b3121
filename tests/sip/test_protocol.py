"""The SIP object: hooks, answers, calls in both directions, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Coroutine
from dataclasses import dataclass

import numpy as np
import pytest

from voip.audio import AudioCall, EchoCall
from voip.codecs import G722, PCMA, PCMU
from voip.errors import (
    CallEnded,
    CallFailed,
    EndCause,
    LocalProtocolError,
    NegotiationError,
    ParseError,
    PortsExhaustedError,
    TransportError,
)
from voip.media.plane import InlineMedia
from voip.rtp.wires import OwnSocket
from voip.sip.headers import Headers
from voip.sip.messages import Request
from voip.sip.protocol import SIP, SessionInitiationProtocol
from voip.sip.session import CallSession
from voip.testing import Link, Network, run_virtual


class Leg(AudioCall):
    """Remembers what happened to it."""

    PREFERRED_CODECS = [PCMU]

    def __post_init__(self):
        super().__post_init__()
        self.log = []
        self.heard = []

    def call_started(self):
        self.log.append("started")

    def audio_received(self, *, audio, rms):
        self.heard.append(rms)

    def call_ended(self, reason):
        self.log.append((reason.cause, reason.status))


class Line(SIP):
    """Answers, and remembers."""

    leg_class: type = Leg

    def __post_init__(self):
        super().__post_init__()
        self.answers = []
        self.failures = []

    def call_received(self, request):
        self.ringing(request=request)
        self.answers.append(self.answer(request=request, call_class=self.leg_class))

    def hook_failed(self, exc):
        self.failures.append(exc)


def between(line, talk, phone=None):
    """Run `talk(line, phone, uri)` with both serving."""

    async def main():
        caller = phone or SIP()
        async with line.serve("127.0.0.1", 5060), caller.serve("127.0.0.2", 5060):
            await talk(line, caller, "sip:line@127.0.0.1")

    run_virtual(main())


# Calls


def test_dials_and_hangs_up():
    async def talk(line, phone, uri):
        leg = await phone.dial(uri, call_class=Leg)
        there = await line.answers[0]
        assert leg.codec is PCMU
        assert there.codec is PCMU
        assert leg in phone.calls
        assert there.caller.host == "127.0.0.2"
        await leg.send_rtp_audio(np.full(8000, 0.25, np.float32))
        await asyncio.sleep(0.2)
        assert max(there.heard) == pytest.approx(0.25, abs=0.02)
        await leg.hang_up()
        await asyncio.sleep(0.5)
        assert leg.log == ["started", (EndCause.LOCAL_HANGUP, None)]
        assert there.log == ["started", (EndCause.REMOTE_HANGUP, None)]
        assert phone.calls == line.calls == []
        await leg.hang_up()  # twice is harmless

    between(Line(), talk)


def test_the_callee_hangs_up_too():
    async def talk(line, phone, uri):
        leg = await phone.dial(uri, call_class=Leg)
        await (await line.answers[0]).hang_up()
        await asyncio.sleep(0.5)
        assert leg.log[-1] == (EndCause.REMOTE_HANGUP, None)

    between(Line(), talk)


def test_calls_over_tcp():
    async def talk(line, phone, uri):
        leg = await phone.dial(uri + ";transport=tcp", call_class=Leg)
        assert "TCP" in (await line.answers[0]).sip.listeners
        await leg.hang_up()

    between(Line(), talk)


def test_leaving_ends_calls_with_bye():
    async def main():
        async with Line().serve("127.0.0.1", 5060):
            async with SIP().serve("127.0.0.2", 5060) as phone:
                leg = await phone.dial("sip:line@127.0.0.1", call_class=Leg)
            assert leg.log[-1] == (EndCause.SHUTDOWN, None)

    run_virtual(main())


def test_fields_reach_the_leg_and_defaults_do_not_leak():
    @dataclass(kw_only=True)
    class Greeter(Leg):
        greeting: str = "hello"
        words: list = None

    class Named(Line):
        def call_received(self, request):
            self.answers.append(self.answer(request, call_class=Greeter, greeting="good day"))

    async def talk(line, phone, uri):
        await phone.dial(uri, call_class=Leg)
        assert (await line.answers[0]).greeting == "good day"

    between(Named(), talk)


# Answers


def test_every_way_to_wait_for_an_answer_yields_the_leg():
    async def talk(line, phone, uri):
        for _ in range(5):
            await phone.dial(uri, call_class=Leg)
        answers = line.answers
        assert all(isinstance(one, Coroutine) for one in answers)
        legs = [await answers[0]]
        legs.append(await asyncio.create_task(answers[1]))
        legs += await asyncio.gather(answers[2])
        legs.append(await asyncio.wait_for(answers[3], 1))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(answers[4])
        legs.append(task.result())
        assert len(set(legs)) == 5
        assert all(isinstance(leg, Leg) for leg in legs)

    between(Line(), talk)


def test_an_async_hook_may_await_the_answer():
    class Slow(Line):
        async def call_received(self, request):
            self.ringing(request)
            await asyncio.sleep(2)
            self.answers.append(await self.answer(request, call_class=Leg))

    async def talk(line, phone, uri):
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(phone.dial(uri, call_class=Leg) for _ in range(3)))
        # one hook per request, side by side
        assert asyncio.get_running_loop().time() - started < 3
        assert len(line.answers) == 3

    between(Slow(), talk)


def test_a_request_is_answered_once():
    class Twice(Line):
        def call_received(self, request):
            super().call_received(request)
            with pytest.raises(LocalProtocolError):
                self.answer(request, call_class=Leg)

    async def talk(line, phone, uri):
        await phone.dial(uri, call_class=Leg)
        assert line.failures == []

    between(Twice(), talk)


def test_the_caller_gives_up():
    class Slow(Line):
        async def call_received(self, request):
            self.ringing(request)
            await asyncio.sleep(2)
            self.answers.append(self.answer(request, call_class=Leg))

    async def talk(line, phone, uri):
        dialing = asyncio.create_task(phone.dial(uri, call_class=Leg))
        await asyncio.sleep(1)
        dialing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialing
        await asyncio.sleep(6)
        with pytest.raises(CallEnded) as caught:
            await line.answers[0]
        assert caught.value.cause is EndCause.CANCELLED
        assert phone.calls == line.calls == []

    between(Slow(), talk)


# Refusals


def refusal(line, leg_class=Leg, phone=None):
    """Return the CallFailed that a dial ends with."""
    failed = []

    async def talk(line, phone, uri):
        with pytest.raises(CallFailed) as caught:
            await phone.dial(uri, call_class=leg_class)
        failed.append(caught.value)
        assert phone.calls == line.calls == []

    between(line, talk, phone)
    return failed[0]


def test_rejects_with_status_and_phrase():
    class Busy(Line):
        def call_received(self, request):
            self.reject(request, status_code=486, reason="Talking Already")
            self.reject(request)  # over: nothing happens
            self.ringing(request)

    error = refusal(Busy())
    assert (error.status, error.phrase) == (486, "Talking Already")


def test_without_a_hook_nobody_is_there():
    assert refusal(SIP()).status == 480


def test_no_common_codec_is_488_for_the_caller_and_an_error_for_the_answerer():
    class Wide(Leg):
        PREFERRED_CODECS = [G722]

    line = Line()
    assert refusal(line, Wide).status == 488
    with pytest.raises(NegotiationError):
        line.answers[0].send(None)


def test_a_hook_that_raises_is_500_and_counted():
    class Broken(Line):
        def call_received(self, request):
            raise RuntimeError("no")

    line = Broken()
    assert refusal(line).status == 500
    assert [str(one) for one in line.failures] == ["no"]
    assert line.hooks.counters["failed"] == 1


def test_an_async_hook_that_raises_is_500_too():
    class Broken(Line):
        async def call_received(self, request):
            await asyncio.sleep(0.1)
            raise RuntimeError("no")

    assert refusal(Broken()).status == 500


def test_a_leg_that_cannot_be_made_is_500():
    class Broken(Leg):
        def __post_init__(self):
            super().__post_init__()
            raise RuntimeError("no model")

    line = Line(leg_class=Broken)
    assert refusal(line).status == 500
    assert "no model" in str(line.failures[0])


def test_ports_exhausted_is_503():
    # A caller whose media is elsewhere than its signalling needs a port of its own; the only pair
    # of the range is the shared socket's.
    line = Line(rtp_ports=(20000, 20001))
    assert refusal(line, phone=SIP(media_address="127.0.0.3")).status == 503
    with pytest.raises(PortsExhaustedError):
        line.answers[0].send(None)


def test_nobody_there_is_408():
    async def main():
        async with SIP().serve("127.0.0.2", 5060) as phone:
            with pytest.raises(CallFailed) as caught:
                await phone.dial("sip:nobody@127.0.0.9", call_class=Leg)
            assert caught.value.status in (408, 503)

    run_virtual(main())


def test_a_bad_uri_and_an_unknown_host_are_clear_errors():
    async def main():
        async with SIP().serve("127.0.0.2", 5060) as phone:
            with pytest.raises(ParseError):
                await phone.dial("sip:", call_class=Leg)
            with pytest.raises(TransportError, match="an account that knows the way"):
                await phone.dial("tel:+4930123456", call_class=Leg)

    run_virtual(main())


# Media in a call


def test_holds_and_resumes():
    async def talk(line, phone, uri):
        leg = await phone.dial(uri, call_class=Leg)
        there = await line.answers[0]
        media = leg.media
        media.attributes = [one for one in media.attributes if one.name != "sendrecv"]
        await phone._driver.legs[leg].update("sendonly")
        await asyncio.sleep(0.1)
        count = len(leg.heard)
        await asyncio.sleep(1)
        assert len(leg.heard) == count  # on hold nothing is received
        await phone._driver.legs[leg].update("sendrecv")
        await asyncio.sleep(1)
        assert len(leg.heard) > count + 40
        assert there.log == ["started"]

    between(Line(), talk)


def test_both_re_invite_at_once_and_both_get_through():
    async def talk(line, phone, uri):
        leg = await phone.dial(uri, call_class=Leg)
        there = await line.answers[0]
        await asyncio.sleep(0.1)
        await asyncio.gather(
            phone._driver.legs[leg].update("sendrecv"), line._driver.legs[there].update("sendrecv")
        )
        assert leg.log == there.log == ["started"]

    between(Line(), talk)


def test_two_calls_of_one_caller_are_told_apart():
    async def talk(line, phone, uri):
        one = await phone.dial(uri, call_class=Leg)
        two = await phone.dial(uri, call_class=Leg)
        await one.send_rtp_audio(np.full(4000, 0.5, np.float32))
        await asyncio.sleep(0.3)
        first, second = [await answer for answer in line.answers]
        assert max(first.heard) > 0.4
        assert max(second.heard) < 0.01
        assert two.log == ["started"]

    between(Line(), talk)


def test_what_was_a_call_is_gone_with_it_and_not_at_a_garbage_collection():
    def parts():
        return [
            one for one in gc.get_objects() if type(one) in (CallSession, InlineMedia, OwnSocket)
        ]

    async def talk(line, phone, uri):
        leg = await phone.dial(uri, call_class=Leg)
        answered = await line.answers.pop()
        gone = [weakref.ref(leg), weakref.ref(answered)]
        await asyncio.sleep(1)
        await leg.hang_up()
        await asyncio.sleep(1)
        assert answered.wire.describe() is answered.media
        assert answered.remote_address
        del leg, answered
        await asyncio.sleep(40)
        assert [one() for one in gone] == [None, None]
        assert [one for one in parts() if all(one is not old for old in before)] == []

    gc.collect()
    gc.disable()
    before = parts()
    try:
        between(Line(), talk)
    finally:
        gc.enable()


def test_who_will_not_wait_for_the_end_leaves_nothing_open():
    async def main():
        line = Line()
        async with SIP().serve("127.0.0.2", 5060) as phone, line.serve("127.0.0.1", 5060):
            await phone.dial("sip:line@127.0.0.1", call_class=Leg)
            phone._driver.transports.close()  # nobody answers our BYE
            driver = line._driver
            closing = asyncio.ensure_future(line.close())
            await asyncio.sleep(0.1)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert driver.watchdog._thread is None
            assert driver.closed
            assert driver.rtp.closed
            assert all(udp.closed for udp in driver.transports._udp)

    run_virtual(main())


# Requests beside calls


def test_an_application_serves_further_methods():
    class Pager(Line):
        def request_received(self, request):
            if request.method == "MESSAGE":
                self.texts = request.raw_body
                task = asyncio.ensure_future(self.send(request.respond(202, to_tag="x")))
                self.answers.append(task)

    async def talk(line, phone, uri):
        headers = [("Content-Type", "text/plain")]
        message = Request("MESSAGE", uri, Headers(headers), b"hello")
        answer = await phone.send(message)
        assert (answer.status_code, line.texts) == (202, b"hello")
        assert (await phone.send(Request("OPTIONS", uri, Headers()))).status_code == 200
        assert (await phone.send(Request("INFO", uri, Headers()))).status_code == 405
        with pytest.raises(LocalProtocolError):
            await phone.send(Request("INVITE", uri, Headers()))
        with pytest.raises(LocalProtocolError):
            await phone.send(answer)

    pager = Pager(methods=["MESSAGE"], accept=["application/sdp", "text/plain"])
    between(pager, talk)


class Pager(Line):
    """Keeps the messages that come."""

    def request_received(self, request):
        self.answers.append(request)


PAGER = {"methods": ["MESSAGE"], "accept": ["application/sdp", "text/plain"]}


def text(uri):
    return Request("MESSAGE", uri, Headers([("Content-Type", "text/plain")]), b"hello")


def test_who_thinks_for_long_about_a_request_gets_it_once():
    async def talk(line, phone, uri):
        sent = asyncio.ensure_future(phone.send(text(uri)))
        await asyncio.sleep(20)
        (request,) = line.answers
        await line.send(request.respond(200, to_tag="x"))
        assert (await sent).status_code == 200

    between(Pager(**PAGER), talk)


def test_an_answer_that_comes_too_late_is_an_error_and_the_next_one_works():
    async def talk(line, phone, uri):
        sent = asyncio.ensure_future(phone.send(text(uri)))
        await asyncio.sleep(40)
        with pytest.raises(LocalProtocolError):
            await line.send(line.answers[0].respond(200, to_tag="x"))
        with pytest.raises(TransportError):
            await sent
        sent = asyncio.ensure_future(phone.send(text(uri)))
        await asyncio.sleep(1)
        await line.send(line.answers[-1].respond(200, to_tag="x"))
        assert (await sent).status_code == 200

    between(Pager(**PAGER), talk)


def test_a_request_that_nobody_answers_is_an_error():
    async def main():
        async with SIP().serve("127.0.0.2", 5060) as phone:
            with pytest.raises(TransportError):
                await phone.send(Request("OPTIONS", "sip:nobody@127.0.0.9", Headers()))

    run_virtual(main())


# Taps and transports


def test_taps_see_every_message():
    class Tapped(Line):
        def __post_init__(self):
            super().__post_init__()
            self.seen = []

        def request_received(self, request):
            self.seen.append(request.method)

        def response_received(self, response):
            self.seen.append(response.status_code)

        def ack_received(self, request):
            self.seen.append("tap ACK")

        def bye_received(self, request):
            self.seen.append("tap BYE")

    async def talk(line, phone, uri):
        leg = await phone.dial(uri, call_class=Leg)
        await leg.hang_up()
        await asyncio.sleep(0.5)
        assert line.seen == ["INVITE", "ACK", "tap ACK", "BYE", "tap BYE"]

    between(Tapped(), talk)


def test_the_object_adopts_a_datagram_endpoint():
    async def main():
        loop = asyncio.get_running_loop()
        transport, line = await loop.create_datagram_endpoint(
            lambda: Line(), local_addr=("127.0.0.1", 5060)
        )
        async with SIP().serve("127.0.0.2", 5060) as phone:
            leg = await phone.dial("sip:line@127.0.0.1", call_class=Leg)
            assert (await line.answers[0]).codec is PCMU
            await leg.hang_up()
        await line.close()
        transport.close()

    run_virtual(main())


def test_the_object_adopts_a_connection():
    async def main():
        loop = asyncio.get_running_loop()
        async with Line().serve("127.0.0.1", 5060) as line:
            transport, phone = await loop.create_connection(lambda: SIP(), "127.0.0.1", 5060)
            leg = await phone.dial("sip:line@127.0.0.1;transport=tcp", call_class=Leg)
            assert (await line.answers[0]).codec is PCMU
            await leg.hang_up()
            await phone.close()
            transport.close()

    run_virtual(main())


def test_a_second_start_and_a_command_without_one_are_refused():
    async def main():
        line = Line()
        with pytest.raises(LocalProtocolError):
            await line.dial("sip:a@127.0.0.1", call_class=Leg)
        async with line.serve("127.0.0.1", 5060):
            with pytest.raises(LocalProtocolError):
                async with line.serve("127.0.0.1", 5070):
                    pass
            with pytest.raises(LocalProtocolError):
                await line.register()
            with pytest.raises(LocalProtocolError):
                await line.transfer(None, "sip:x@y")
        await line.close()

    run_virtual(main())


def test_a_port_in_use_is_a_clear_error():
    async def main():
        async with SIP().serve("127.0.0.1", 5060):
            with pytest.raises(TransportError, match="in use"):
                async with SIP().serve("127.0.0.1", 5060):
                    pass

    run_virtual(main())


def test_a_bad_aor_is_refused_at_once():
    with pytest.raises(ParseError):
        SIP(aor="not an address")


def test_the_password_is_nowhere_in_the_repr():
    session = SessionInitiationProtocol(aor="sip:alice@example.com", password="hunter2")
    assert "hunter2" not in repr(session)
    assert "hunter2" not in repr(session._account)


def test_echo_says_it_back():
    async def talk(line, phone, uri):
        leg = await phone.dial(uri, call_class=Leg)
        await asyncio.sleep(0.5)
        tone = 0.3 * np.sin(np.arange(8000) * 0.4).astype(np.float32)
        leg.heard.clear()
        await leg.send_rtp_audio(tone)
        await asyncio.sleep(3)
        loud = sum(rms > 0.15 for rms in leg.heard)
        assert 48 <= loud <= 52

    between(Line(leg_class=type("Echo", (EchoCall,), {"PREFERRED_CODECS": [PCMA, PCMU]})), talk)


def test_calls_over_ipv6():
    async def main():
        async with Line().serve("::1", 5060) as line, SIP().serve("::1", 5070) as phone:
            leg = await phone.dial("sip:line@[::1]:5060", call_class=Leg)
            there = await line.answers[0]
            await leg.send_rtp_audio(np.full(8000, 0.25, np.float32))
            await asyncio.sleep(0.2)
            assert max(there.heard) == pytest.approx(0.25, abs=0.02)
            await leg.hang_up()

    run_virtual(main())


def test_ten_percent_loss_both_ways_loses_no_call():
    async def main():
        async with Line().serve("127.0.0.1", 5060), SIP().serve("127.0.0.2", 5060) as phone:
            for _ in range(20):
                leg = await phone.dial("sip:line@127.0.0.1", call_class=Leg)
                await leg.hang_up()

    run_virtual(main(), network=Network(Link(loss=0.1), seed=11))


def test_a_repeated_start_finds_the_port_free():
    async def main():
        line = Line()
        for _ in range(3):
            async with line.serve("127.0.0.1", 5060), SIP().serve("127.0.0.2", 5060) as phone:
                leg = await phone.dial("sip:line@127.0.0.1", call_class=Leg)
                await leg.hang_up()

    run_virtual(main())


def test_nothing_is_left_after_a_call():
    async def main():
        async with Line().serve("127.0.0.1", 5060) as line, SIP().serve("127.0.0.2", 5060) as phone:
            leg = await phone.dial("sip:line@127.0.0.1", call_class=Leg)
            await leg.hang_up()
            await asyncio.sleep(40)
            for one in (line, phone):
                assert not any(one._driver.machine.sizes().values())
                assert one._driver.sessions == one._driver.legs == {}
                assert not one._driver.rtp.ticker.running

    run_virtual(main())

"""The leg that deals in packets, without an engine and with one that is scripted."""

import asyncio
import json
import logging

import pytest

from voip.errors import CallEnded, EndCause
from voip.rtp.call import RTPCall
from voip.rtp.packet import RTPPacket
from voip.sdp.types import MediaDescription, RTPPayloadFormat
from voip.testing import RecordingRTP, run_virtual
from voip.types import HostPort

REMOTE = HostPort("192.0.2.1", 40000)
CALLER = "sip:+15551234567@example.com"
PACKET = RTPPacket(0, 1, 160, 7, b"abc")


def media():
    return MediaDescription("audio", 0, "RTP/AVP", [RTPPayloadFormat(0)])


def make(call_class=RTPCall, *, rtp="own", **fields):
    rtp = RecordingRTP() if rtp == "own" else rtp
    made = call_class(
        rtp=rtp, sip=fields.pop("sip", None), media=media(), caller=CALLER, call_id="c1", **fields
    )
    if rtp is not None:
        rtp.calls[REMOTE] = made
    return made


class Wire:
    """A wire that remembers."""

    def __init__(self):
        self.sent = []
        self.closed = 0

    def send(self, packet):
        self.sent.append(packet)

    def close(self):
        self.closed += 1


class Sip:
    """Signalling that ends the call at once."""

    def __init__(self):
        self.causes = []

    async def hang_up(self, call, cause=EndCause.LOCAL_HANGUP):
        self.causes.append(cause)
        await asyncio.sleep(0)
        call._end(CallEnded(cause))


class Keys:
    def protect(self, data):
        return data[::-1]

    def unprotect(self, data):
        return data[::-1]


class Watching(RTPCall):
    def __post_init__(self):
        super().__post_init__()
        self.seen = []

    def call_started(self):
        self.seen.append("started")

    def call_ended(self, reason):
        self.seen.append(reason)

    def hook_failed(self, exc):
        self.seen.append(exc)


# Sending


def test_a_packet_is_serialised_and_sent_once():
    made = make()
    made.send_packet(PACKET, REMOTE)
    assert made.rtp.sent == [(bytes(PACKET), REMOTE)]


def test_a_packet_is_encrypted_when_there_are_keys():
    made = make(srtp=Keys())
    made.send_packet(PACKET, REMOTE)
    assert made.rtp.sent == [(bytes(PACKET)[::-1], REMOTE)]


def test_without_rtp_the_wire_takes_the_packet():
    made = make(rtp=None)
    made.wire = Wire()
    made.send_packet(PACKET, None)
    assert made.wire.sent == [PACKET]


def test_without_rtp_and_wire_a_packet_goes_nowhere():
    make(rtp=None).send_packet(PACKET, None)


def test_an_adopted_leg_sends_from_its_own_port():
    made = make()
    sent = []
    made._transmit = lambda data, addr: sent.append((data, addr))
    made.send_packet(PACKET, REMOTE)
    assert sent == [(bytes(PACKET), REMOTE)]
    assert not made.rtp.sent


# Who it is


def test_the_remote_address_is_the_key_in_calls():
    made = make()
    assert made.remote_address == REMOTE
    made.rtp.calls.clear()
    assert made.remote_address is None
    assert make(rtp=None).remote_address is None


def test_the_catch_all_has_no_known_address():
    made = make()
    made.rtp.calls = {None: made}
    assert made.remote_address is None


def test_the_repr_names_class_and_call_and_hides_the_number():
    assert repr(make()) == "<RTPCall c1 ********4567@example.com>"


def test_the_base_negotiates_no_codec():
    class Mine(RTPCall):
        pass

    with pytest.raises(NotImplementedError, match="Mine"):
        Mine.negotiate_codec(media())


def test_hooks_do_nothing_by_default():
    made = make()
    assert made.packet_received(PACKET, REMOTE) is None
    assert made.call_started() is None
    assert made.call_ended(CallEnded(EndCause.SHUTDOWN)) is None
    assert made.dtmf_received("1", 80.0) is None


# Its life


def test_hanging_up_without_signalling_just_stops():
    async def main():
        made = make(Watching)
        made.wire = Wire()
        made._begin()
        await made.hang_up()
        await made.hang_up()
        return made

    made = run_virtual(main())
    assert made.seen[0] == "started"
    assert [reason.cause for reason in made.seen[1:]] == [EndCause.LOCAL_HANGUP]
    assert made.wire.closed == 1


def test_hanging_up_is_the_signallings_business_where_there_is_one():
    async def main():
        made = make(Watching, sip=Sip())
        await made.hang_up()
        await made.hang_up()
        return made

    made = run_virtual(main())
    assert made.sip.causes == [EndCause.LOCAL_HANGUP]
    assert len(made.seen) == 1


def test_the_end_is_one_line_of_json(caplog):
    caplog.set_level(logging.INFO, "voip")
    made = make()
    made._end(CallEnded(EndCause.REMOTE_HANGUP, 200, "OK"))
    made._end(CallEnded(EndCause.SHUTDOWN))
    (said,) = [json.loads(record.getMessage()) for record in caplog.records]
    assert said == {
        "event": "call_ended",
        "caller": "********4567@example.com",
        "call_id": "c1",
        "cause": "remote_hangup",
        "status": 200,
        "phrase": "OK",
    }


def test_media_tasks_end_with_the_call_and_others_do_not():
    async def main():
        made = make()
        pump = made._spawn(asyncio.sleep(60), "media pump")
        other = made._spawn(asyncio.sleep(60), "hang up")
        made._end(CallEnded(EndCause.SHUTDOWN))
        await asyncio.sleep(0)
        outcome = pump.cancelled(), other.done()
        other.cancel()
        return outcome

    assert run_virtual(main()) == (True, False)


def test_fifty_failing_frames_in_a_row_end_the_call_with_a_clear_log(caplog):
    async def main():
        made = make(Watching, sip=Sip())
        for _ in range(60):
            made._frame_failed("audio_received", ValueError("no"))
        await asyncio.sleep(1)
        return made

    made = run_virtual(main())
    assert made.sip.causes == [EndCause.HOOK_FAILED]
    assert "call c1: audio_received failed on 50 frames in a row, hanging up" in caplog.text


def test_a_task_that_fails_is_reported():
    async def fail():
        raise ValueError("in a task")

    async def main():
        made = make(Watching)
        made._spawn(fail(), "media pump")
        await asyncio.sleep(1)
        return made

    made = run_virtual(main())
    assert [str(error) for error in made.seen] == ["in a task"]
    assert not made._tasks


# The helpers


def test_waiters_wake_together_and_only_for_what_they_wait_for():
    async def main():
        made = make()
        woken = []

        async def wait(what):
            await made._wait(what)
            woken.append(what)

        tasks = [asyncio.ensure_future(wait(what)) for what in ("a", "a", "b")]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        made._wake("a")
        made._wake("nobody")
        await asyncio.sleep(0)
        tasks[2].cancel()
        return woken

    assert run_virtual(main()) == ["a"]


def test_sleeping_goes_by_absolute_time():
    async def main():
        made, loop = make(), asyncio.get_running_loop()
        start = made._now()
        await made._sleep_until(start + 0.5)
        await made._sleep_until(start + 0.2)
        called = []
        made._call_later(0.25, lambda: called.append(made._now() - start))
        await asyncio.sleep(1)
        return loop.time() - start, called

    passed, called = run_virtual(main())
    assert passed == pytest.approx(1.5)
    assert called == [pytest.approx(0.75)]


def test_a_leg_adopted_by_an_engine_asks_it_for_the_address():
    class Engine:
        remote = REMOTE

    made = make(rtp=None)
    made._engine = Engine()
    assert made.remote_address == REMOTE


def test_the_worker_ends_with_the_call():
    async def main():
        made = make()
        result = await made._run_in_thread(lambda: 7)
        made._end(CallEnded(EndCause.SHUTDOWN))
        with pytest.raises(RuntimeError):
            made._run_in_thread(lambda: 8)
        return result

    assert run_virtual(main()) == 7

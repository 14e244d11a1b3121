"""Which commands a call takes in which state; what they set in motion is in test_invite.py."""

from __future__ import annotations

import pytest

from voip.errors import EndCause, LocalProtocolError
from voip.sip.commands import UNANSWERED, CallState, Commands

SDP = b"v=0\r\n"


def refused(*commands):
    for command in commands:
        with pytest.raises(LocalProtocolError):
            command()


def test_states_are_few_and_say_their_names():
    assert len(CallState) == 7
    assert str(CallState.CONFIRMED) == "confirmed"
    assert UNANSWERED == ("calling", "ringing")


def test_callee_rings_and_accepts_once(bench):
    _, call = bench.invite()
    refused(lambda: call.ring(bench.now, 100), lambda: call.ring(bench.now, 200))
    bench.do(lambda _, now: call.ring(now))
    bench.do(lambda _, now: call.ring(now, 183, SDP))
    bench.do(lambda _, now: call.accept(now, SDP))
    assert bench.names() == ["180 INVITE", "183 INVITE", "200 INVITE"]
    refused(
        lambda: call.ring(bench.now),
        lambda: call.accept(bench.now, SDP),
        lambda: call.reject(bench.now),
    )


def test_callee_rejects_with_a_refusal(bench):
    _, call = bench.invite()
    refused(lambda: call.reject(bench.now, 200), lambda: call.reject(bench.now, 700))
    bench.do(lambda _, now: call.reject(now, 480, "Not now", [("Retry-After", "9")]))
    assert (bench.sent[-1].reason, bench.sent[-1].headers["Retry-After"]) == ("Not now", "9")
    assert bench.finished() == [("rejected", 480)]
    refused(lambda: call.reject(bench.now))


def test_caller_cancels_until_the_answer(bench):
    _, incoming = bench.invite()
    refused(lambda: incoming.cancel(bench.now))
    call = bench.dial()
    bench.reply(180)
    bench.do(lambda _, now: call.cancel(now))
    assert bench.names()[-1] == "CANCEL"
    refused(lambda: call.cancel(bench.now))


def test_caller_acknowledges_a_late_offer_once(bench):
    call = bench.dial(body=b"")
    refused(lambda: call.acknowledge(bench.now, SDP))
    bench.reply(200, body=SDP)
    bench.do(lambda _, now: call.acknowledge(now, SDP))
    assert bench.names()[-1] == "ACK"
    refused(lambda: call.acknowledge(bench.now, SDP))


def test_bye_wants_an_answered_call(bench):
    _, call = bench.invite()
    refused(lambda: call.bye(bench.now))
    call = bench.answered(call_id="another")
    bench.do(lambda _, now: call.bye(now, "enough"))
    assert bench.sent[-1].headers["Reason"] == 'SIP;text="enough"'
    refused(lambda: call.bye(bench.now))


def test_hanging_up_is_what_the_state_wants(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.hang_up(now))
    assert bench.names()[-1] == "603 INVITE"
    call = bench.dial()
    bench.reply(180)
    bench.do(lambda _, now: call.hang_up(now, EndCause.NO_ANSWER))
    assert bench.names()[-1] == "CANCEL"
    call = bench.answered(call_id="another")
    bench.do(lambda _, now: call.hang_up(now))
    assert bench.names()[-1] == "BYE"
    count = len(bench.sent)
    bench.do(lambda _, now: call.hang_up(now))
    assert len(bench.sent) == count


def test_one_offer_at_a_time(bench):
    _, unanswered = bench.invite()
    refused(
        lambda: unanswered.reinvite(bench.now, SDP),
        lambda: unanswered.answer_offer(bench.now, SDP),
        lambda: unanswered.refuse_offer(bench.now),
    )
    call = bench.answered(call_id="another")
    bench.do(lambda _, now: call.reinvite(now, SDP))
    refused(lambda: call.reinvite(bench.now, SDP))
    bench.reply(200, body=SDP)
    bench.hear(bench.inside(call, "INVITE", cseq=3, body=SDP))
    refused(lambda: call.reinvite(bench.now, SDP))
    bench.do(lambda _, now: call.refuse_offer(now))
    assert bench.names()[-1] == "488 INVITE"
    bench.hear(bench.inside(call, "INVITE", cseq=4, body=SDP))
    bench.do(lambda _, now: call.answer_offer(now, SDP))
    assert bench.names()[-1] == "200 INVITE"


def test_acknowledging_a_late_offer_of_a_reinvite(bench):
    call = bench.answered()
    bench.do(lambda _, now: call.reinvite(now, b""))
    bench.reply(200, body=SDP)
    bench.do(lambda _, now: call.acknowledge(now, SDP))
    assert (bench.names()[-1], bench.sent[-1].raw_body) == ("ACK", SDP)
    refused(lambda: call.acknowledge(bench.now, SDP))


def test_steps_are_those_of_a_call():
    bare = Commands()
    for step in (
        lambda: bare.give_up(EndCause.CANCELLED, 0.0),
        lambda: bare.lost(EndCause.CANCELLED, None, "", 0.0),
        lambda: bare.acknowledged(),
        lambda: bare._unanswered(),
        lambda: bare._refuse(486, EndCause.REJECTED, 0.0),
        lambda: bare._offer(b"", 0.0),
    ):
        with pytest.raises(NotImplementedError):
            step()


def test_an_offer_is_open_until_it_is_settled(bench):
    call = bench.answered()
    first, second = bench.inside(call, "INVITE"), bench.inside(call, "INVITE", cseq=3)
    bench.hear(first)
    offered = bench.events[-1].request
    assert call.offer_is_open(offered)
    bench.hear(bench.inside(call, "CANCEL", branch=first.branch))
    assert not call.offer_is_open(offered)
    bench.hear(second)
    assert not call.offer_is_open(offered)
    assert call.offer_is_open(bench.events[-1].request)
    bench.do(lambda _, now: call.hang_up(now))
    assert not call.offer_is_open(bench.events[-1].call.request)

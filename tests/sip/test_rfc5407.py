"""The race flows of RFC 5407: six in the moratorium state (§3.1), four in the mortal state (§3.2)."""

from __future__ import annotations

import pytest

from voip.errors import LocalProtocolError

# §3.1: the 2xx is sent or received, its ACK is not


def test_3_1_1_callee_gets_the_initial_invite_again(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.ring(now))
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    bench.hear(request)
    assert bench.told() == ["CallOffered"]
    assert bench.names() == ["180 INVITE", "200 INVITE"]
    bench.run(0.5)
    assert bench.names()[-1] == "200 INVITE"  # the usage repeats it, not the transaction
    bench.hear(bench.ack(request, bench.sent[-1]))
    assert bench.told() == ["CallOffered", "CallConfirmed"]


def test_3_1_2_callee_gets_cancel_when_it_has_answered(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    answer = bench.sent[-1]
    cancel = bench.request("CANCEL", branch=request.branch)
    bench.hear(cancel)
    assert bench.names() == ["200 INVITE", "200 CANCEL"]
    assert bench.sent[-1].to.tag == call.local_tag
    assert bench.finished() == []
    bench.hear(bench.ack(request, answer))
    bench.hear(bench.inside(call, "BYE"))
    assert bench.told() == ["CallOffered", "CallConfirmed", "CallFinished"]
    assert bench.names()[-1] == "200 BYE"
    bench.settle()


def test_3_1_2_caller_cancels_and_gets_the_200(bench):
    call = bench.dial()
    invite = bench.sent[0]
    bench.reply(180)
    bench.do(lambda _, now: call.cancel(now))
    bench.reply(200, invite, body=b"v=0\r\n")
    assert bench.names() == ["INVITE", "CANCEL", "ACK", "BYE"]
    assert bench.finished() == [("cancelled", 487)]
    bench.reply(200, bench.sent[-1])
    bench.settle()


def test_3_1_3_callee_gets_a_bye_of_the_early_dialog_when_it_has_answered(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.ring(now))
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    answer = bench.sent[-1]
    bench.hear(bench.inside(call, "BYE"))
    assert bench.names()[-1] == "200 BYE"
    assert bench.finished() == [("remote_hangup", None)]
    bench.forget()
    bench.hear(bench.ack(request, answer))  # the caller got the 200 after its BYE left
    bench.run(40)
    assert bench.names() == []
    bench.settle()


def test_3_1_4_callee_gets_a_reinvite_before_the_ack(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    answer = bench.sent[-1]
    again = bench.inside(call, "INVITE", body=b"v=0\r\n")
    bench.hear(again)  # the ACK was lost; offer and answer are complete, so it can be taken
    assert bench.told()[-1] == "CallReoffered"
    bench.do(lambda _, now: call.answer_offer(now, b"v=0\r\n"))
    second = bench.sent[-1]
    bench.hear(bench.ack(again, second))
    bench.run(0.5)
    assert bench.names()[-1] == "200 INVITE"
    assert bench.sent[-1].cseq.number == 1
    bench.hear(bench.ack(request, answer))
    bench.forget()
    bench.run(40)
    assert bench.names() == []
    assert call.state == "confirmed"


def test_3_1_5_callee_gets_a_reinvite_while_its_own_offer_waits(bench):
    request, call = bench.invite(body=b"")
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))  # the offer is ours
    answer = bench.sent[-1]
    again = bench.inside(call, "INVITE", body=b"v=0\r\n")
    bench.hear(again)
    assert bench.names()[-1] == "491 INVITE"
    bench.hear(bench.ack(again, bench.sent[-1]))
    bench.hear(bench.ack(request, answer, body=b"v=0\r\n"))
    assert bench.told() == ["CallOffered", "CallConfirmed"]
    assert bench.events[-1].request.raw_body == b"v=0\r\n"
    bench.hear(bench.inside(call, "INVITE", cseq=3, body=b"v=0\r\n"))
    assert bench.told()[-1] == "CallReoffered"


def test_3_1_6_callee_gets_a_bye_before_the_ack(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    bench.hear(bench.inside(call, "BYE"))
    bench.forget()
    bench.run(40)
    assert bench.names() == []  # the 200 is not repeated any more
    bench.settle()


# §3.2: a BYE is sent or received


def test_3_2_1_bye_crosses_bye(bench):
    call = bench.answered()
    bench.do(lambda _, now: call.bye(now))
    ours = bench.sent[-1]
    bench.hear(bench.inside(call, "BYE"))
    assert bench.names()[-1] == "200 BYE"
    bench.reply(200, ours)
    assert bench.finished() == [("local_hangup", None)]
    bench.settle()


def test_3_2_2_reinvite_meets_a_bye_of_ours(bench):
    call = bench.answered()
    bench.do(lambda _, now: call.bye(now))
    again = bench.inside(call, "INVITE", body=b"v=0\r\n")
    bench.hear(again)
    assert bench.names()[-2:] == ["BYE", "481 INVITE"]
    bench.hear(bench.ack(again, bench.sent[-1]))
    assert "CallReoffered" not in bench.told()
    bench.run(1)
    bench.reply(200, next(m for m in bench.sent if getattr(m, "method", "") == "BYE"))
    bench.settle()


def test_3_2_3_the_200_of_our_reinvite_comes_after_our_bye(bench):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    again = bench.sent[-1]
    bench.do(lambda _, now: call.bye(now))
    bye = bench.sent[-1]
    bench.reply(200, again, body=b"v=0\r\n")
    assert bench.names()[-1] == "ACK"
    assert bench.sent[-1].cseq.number == again.cseq.number
    bench.reply(200, again, body=b"v=0\r\n")
    assert bench.names()[-2:] == ["ACK", "ACK"]
    bench.reply(200, bye)
    assert "CallReanswered" not in bench.told()
    assert bench.finished() == [("local_hangup", None)]
    bench.settle()


def test_3_2_4_the_ack_comes_after_our_bye(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    answer = bench.sent[-1]
    bench.run(32.0)  # RFC 3261 §15: no BYE before the ACK, or before we gave up on it
    assert bench.names()[-1] == "BYE"
    bye = bench.sent[-1]
    bench.forget()
    bench.hear(bench.ack(request, answer))
    assert bench.names() == []
    assert bench.told() == []
    bench.reply(200, bye)
    bench.settle()


def test_a_callee_that_hangs_up_before_the_ack_says_bye_after_it(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    answer = bench.sent[-1]
    bench.do(lambda _, now: call.hang_up(now))
    assert bench.finished() == [("local_hangup", None)]  # the application is told at once
    assert "BYE" not in bench.names()
    bench.hear(bench.ack(request, answer))
    assert bench.names()[-1] == "BYE"
    assert "CallConfirmed" not in bench.told()
    with pytest.raises(LocalProtocolError):
        call.bye(bench.now)
    bench.reply(200)
    bench.settle()

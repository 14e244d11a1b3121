"""The caller's INVITE: early dialogs, CANCEL in every state, ACKs and their credentials."""

from __future__ import annotations

import pytest


def test_a_call_that_is_taken_back_before_it_left(bench):
    bench.answers_resolve = False
    call = bench.dial("sip:peer@somewhere.example")
    bench.do(lambda _, now: call.cancel(now))
    assert bench.names() == []
    assert bench.finished() == [("cancelled", 487)]
    assert call.state == "ended"
    bench.settle()


def test_cancel_waits_for_a_provisional_response(bench):
    call = bench.dial()
    bench.do(lambda _, now: call.cancel(now))
    assert bench.names() == ["INVITE"]
    bench.reply(100)
    assert bench.names() == ["INVITE", "CANCEL"]
    bench.reply(180, bench.sent[0])
    assert bench.names().count("CANCEL") == 1
    assert "CallRinging" not in bench.told()


def test_cancel_is_the_invite_with_another_method(bench):
    call = bench.dial()
    invite = bench.sent[0]
    bench.reply(180)
    bench.do(lambda _, now: call.cancel(now))
    cancel = bench.sent[-1]
    assert cancel.raw_uri == invite.raw_uri
    assert str(cancel.via) == str(invite.via)
    assert (cancel.cseq.number, cancel.to.tag, cancel.call_id) == (1, None, invite.call_id)
    assert bench.machine.sizes()["dialogs"] == 0


def test_a_cancelled_invite_without_any_final_response_ends(bench):
    call = bench.dial()
    bench.reply(180)
    bench.do(lambda _, now: call.cancel(now))
    bench.reply(200, bench.sent[-1])
    bench.run(31.9)
    assert call.state == "cancelling"
    bench.run(0.2)
    assert call.state == "ended"
    bench.settle()


def test_a_cancelled_invite_that_never_got_anything_times_out(bench):
    call = bench.dial()
    bench.do(lambda _, now: call.cancel(now))
    bench.run(33)
    assert call.state == "ended"
    assert bench.finished() == [("cancelled", 487)]
    bench.settle()


def test_requests_of_an_early_dialog(bench):
    call = bench.dial()
    bench.reply(183, bench.sent[0], tag="early")
    bench.hear(bench.request("OPTIONS", call_id=call.id, from_tag="early", to_tag=call.local_tag))
    assert bench.names()[-1] == "200 OPTIONS"
    bench.hear(
        bench.request("INVITE", cseq=2, call_id=call.id, from_tag="early", to_tag=call.local_tag)
    )
    assert bench.names()[-1] == "491 INVITE"


def test_a_callee_that_says_bye_before_it_answered(bench):
    call = bench.dial()
    bench.reply(183, bench.sent[0], tag="early")
    bench.hear(bench.request("BYE", call_id=call.id, from_tag="early", to_tag=call.local_tag))
    assert bench.names() == ["INVITE", "200 BYE", "CANCEL"]
    assert bench.finished() == [("remote_hangup", None)]
    bench.reply(487, bench.sent[0])
    bench.settle()


def test_the_2xx_keeps_the_cseq_of_its_early_dialog(bench):
    call = bench.dial()
    bench.reply(183, bench.sent[0], tag="one")
    bench.reply(183, bench.sent[0], tag="two")
    assert bench.machine.sizes()["dialogs"] == 2
    bench.hear(
        bench.request("OPTIONS", cseq=9, call_id=call.id, from_tag="one", to_tag=call.local_tag)
    )
    bench.reply(200, bench.sent[0], tag="one", body=b"v=0\r\n")
    assert bench.machine.sizes()["dialogs"] == 1
    assert call.dialog.remote_cseq == 9


def test_a_response_without_a_tag_makes_no_early_dialog(bench):
    bench.dial()
    bench.reply(180, tag=None)
    assert bench.told() == ["CallRinging"]
    assert bench.machine.sizes()["dialogs"] == 0


def test_a_repeated_2xx_gets_the_same_ack(bench):
    bench.connected()
    bench.reply(200, bench.sent[0], body=b"v=0\r\n")
    assert bench.names() == ["INVITE", "ACK", "ACK"]
    assert bench.raw[1] == bench.raw[2]


def test_a_2xx_whose_contact_leads_nowhere(bench):
    call = bench.dial()
    bench.reply(200, contact=False, headers=[("Contact", "<tel:+4930123>")], body=b"v=0\r\n")
    assert bench.machine.counters["call.unreachable_contact"] == 1
    bench.do(lambda _, now: call.bye(now))
    assert call.state == "ended"


def test_a_stray_2xx_whose_contact_leads_nowhere(bench):
    bench.connected()
    bench.reply(
        200, bench.sent[0], tag="fork", contact=False, headers=[("Contact", "<tel:+4930123>")]
    )
    assert bench.names() == ["INVITE", "ACK"]


def test_strays_are_bounded(bench):
    bench.dial()
    invite = bench.sent[0]
    for number in range(70):
        bench.reply(200, invite, tag=f"fork{number}")
    assert bench.names().count("BYE") == 64
    assert bench.machine.counters["call.too_many_forks"] == 5


def test_the_ack_of_a_delayed_offer_never_comes_twice(bench):
    call = bench.dial(body=b"")
    bench.reply(200, body=b"v=0\r\n")
    bench.do(lambda _, now: call.hang_up(now))
    assert bench.names() == ["INVITE", "ACK", "BYE"]
    bench.reply(200, bench.sent[0], body=b"v=0\r\n")
    assert bench.names() == ["INVITE", "ACK", "BYE", "ACK"]


@pytest.mark.parametrize("reason", ["no such host", "timeout"])
def test_a_name_that_does_not_resolve(bench, reason):
    bench.answers_resolve = False
    bench.dial("sip:peer@somewhere.example")
    if reason == "timeout":
        bench.run(5)
        assert bench.finished() == [("no_answer", 408)]
    else:
        from voip.machine import Resolved

        bench.feed(Resolved(bench.asked[0].token, (), reason))
        assert bench.finished() == [("failed", 503)]
        assert bench.events[-1].phrase == reason
    bench.settle()

"""The caller's INVITE: early dialogs, CANCEL in every state, ACKs and their credentials."""

from __future__ import annotations

import pytest

from voip.machine import Flow, FlowOpened, Target
from voip.sip.account import Account

CHALLENGE = 'Digest realm="127.0.0.1", nonce="n1", algorithm=MD5, qop="auth"'
TWO_PHONES = (Target("UDP", "127.0.0.1", 5070), Target("UDP", "127.0.0.2", 5070))


def left_behind(bench, **options):
    """Call the second phone since the first is silent; returns the call and both INVITEs."""
    call = bench.dial(targets=TWO_PHONES, **options)
    bench.run(4.5)
    one, two = bench.sent[0], bench.sent[-1]
    assert one.branch != two.branch
    return call, one, two


def sent(bench, method):
    return [message for message in bench.sent if getattr(message, "method", "") == method]


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


def test_the_second_phone_is_cancelled_when_the_first_answers_late(bench):
    call, one, two = left_behind(bench)
    bench.reply(180, two, tag="two")
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    assert call.state == "confirmed"
    (cancel,) = sent(bench, "CANCEL")
    assert cancel.branch == two.branch
    bench.reply(180, two, tag="two")
    assert len(sent(bench, "CANCEL")) == 1
    bench.reply(200, cancel, tag="two")
    bench.reply(487, two, tag="two")
    assert call.state == "confirmed"
    bench.do(lambda _, now: call.hang_up(now))
    bench.reply(200)
    assert bench.finished() == [("local_hangup", None)]
    bench.settle()


def test_a_second_phone_that_is_silent_is_cancelled_once_it_rings(bench):
    call, one, two = left_behind(bench)
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    bench.run(20)
    assert sent(bench, "CANCEL") == []
    bench.reply(180, two, tag="two")
    assert [cancel.branch for cancel in sent(bench, "CANCEL")] == [two.branch]
    assert bench.told() == ["CallAnswered"]
    bench.reply(200, bench.sent[-1])
    bench.run(31.9)
    assert bench.machine.sizes()["requests"] == 1
    bench.run(0.2)
    assert bench.machine.sizes()["requests"] == 0
    assert call.state == "confirmed"
    bench.do(lambda _, now: call.hang_up(now))
    bench.settle()


def test_a_second_phone_that_stays_silent_ends_by_timer_b(bench):
    call, one, _ = left_behind(bench)
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    bench.run(32)
    assert bench.machine.sizes()["requests"] == 0
    assert call.state == "confirmed"
    bench.do(lambda _, now: call.hang_up(now))
    bench.settle()


def test_the_second_phone_is_not_called_once_the_first_has_answered(bench):
    bench.answers_open = False
    call = bench.dial(targets=TWO_PHONES)
    bench.open(bench.asked[0])
    bench.drain()
    bench.run(4.5)
    bench.reply(200, bench.sent[0], tag="one", body=b"v=0\r\n")
    bench.open(bench.asked[-1])
    bench.drain()
    assert len({invite.branch for invite in sent(bench, "INVITE")}) == 1
    bench.do(lambda _, now: call.hang_up(now))
    bench.settle()


def test_both_phones_answer(bench):
    call, one, two = left_behind(bench)
    bench.reply(180, two, tag="two")
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    bench.reply(200, two, tag="two", body=b"v=0\r\n")
    assert [ack.to.tag for ack in sent(bench, "ACK")] == ["one", "two"]
    assert [bye.to.tag for bye in sent(bench, "BYE")] == ["two"]
    assert call.state == "confirmed"
    bench.do(lambda _, now: call.hang_up(now))
    bench.settle()


def test_a_phone_that_rang_on_may_answer_64_t1_after_its_cancel(bench):
    call, one, two = left_behind(bench)
    bench.reply(180, two, tag="two")
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    bench.run(40)
    assert bench.machine.sizes()["requests"] == 0
    bench.reply(200, two, tag="two", body=b"v=0\r\n")
    assert [bye.to.tag for bye in sent(bench, "BYE")] == ["two"]
    assert call.state == "confirmed"


@pytest.mark.parametrize("end", ["487", "200", "nothing"])
def test_a_late_2xx_of_the_first_phone_leaves_the_cancel_of_the_second_alone(bench, end):
    call, one, two = left_behind(bench)
    bench.reply(180, two, tag="two")
    bench.do(lambda _, now: call.cancel(now))
    bench.reply(200, sent(bench, "CANCEL")[0], tag="two")
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    assert [bye.to.tag for bye in sent(bench, "BYE")] == ["one"]
    assert call.state == "cancelling"
    if end != "nothing":
        bench.reply(int(end), two, tag="two")
    else:
        bench.run(32)
    assert call.state == "ended"
    ended = {bye.to.tag for bye in sent(bench, "BYE")}
    assert ended == ({"one", "two"} if end == "200" else {"one"})
    assert bench.finished() == [("cancelled", 487)]
    bench.settle()


def test_a_2xx_after_a_challenge_ends_the_invite_with_credentials(bench):
    account = Account("sip:us@127.0.0.1", password="secret")
    call = bench.dial("sip:peer@127.0.0.1", account=account)
    one = bench.sent[0]
    bench.reply(407, one, tag="proxy", headers=[("Proxy-Authenticate", CHALLENGE)])
    two = sent(bench, "INVITE")[-1]
    assert two.branch != one.branch
    bench.reply(180, two, tag="two")
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    assert [cancel.branch for cancel in sent(bench, "CANCEL")] == [two.branch]
    assert bench.machine.sizes()["requests"] == 1
    bench.do(lambda _, now: call.hang_up(now))
    bench.settle()


def test_a_call_is_taken_back_between_two_phones(bench):
    bench.answers_open = False
    call = bench.dial(targets=TWO_PHONES)
    bench.open(bench.asked[0])
    bench.drain()
    bench.run(4.5)
    bench.do(lambda _, now: call.cancel(now))
    assert call.state == "ended"
    bench.reply(200, bench.sent[0], tag="one", body=b"v=0\r\n")
    assert bench.names()[-2:] == ["ACK", "BYE"]
    bench.settle()


def test_a_call_that_is_taken_back_waits_for_its_first_phone_only(bench):
    call = bench.dial(targets=TWO_PHONES)
    invite = bench.sent[0]
    bench.do(lambda _, now: call.cancel(now))
    bench.run(10)
    bench.reply(180, invite)
    assert [cancel.branch for cancel in sent(bench, "CANCEL")] == [invite.branch]
    bench.reply(487, invite)
    bench.settle()


def test_the_ack_has_the_cseq_of_the_invite_that_was_answered(bench):
    account = Account("sip:us@127.0.0.1", password="secret")
    call = bench.dial("sip:peer@127.0.0.1", account=account)
    one = bench.sent[0]
    bench.reply(407, one, tag="proxy", headers=[("Proxy-Authenticate", CHALLENGE)])
    two = sent(bench, "INVITE")[-1]
    bench.forget()
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    bench.reply(200, two, tag="two", body=b"v=0\r\n")
    first, again, second = sent(bench, "ACK")
    assert (first.cseq.number, "Proxy-Authorization" in first.headers) == (1, False)
    assert bytes(again) == bytes(first)
    assert (second.cseq.number, "Proxy-Authorization" in second.headers) == (2, True)
    bench.do(lambda _, now: call.hang_up(now))
    assert (bench.sent[-1].method, bench.sent[-1].cseq.number) == ("BYE", 2)
    bench.settle()


def test_a_call_goes_on_over_the_flow_of_the_phone_that_answered(bench):
    call, one, _ = left_behind(bench)
    bench.reply(200, one, tag="one", body=b"v=0\r\n")
    assert call.flow == bench.flows[0]
    assert call.welcomed == "127.0.0.1"
    bench.do(lambda _, now: call.hang_up(now))
    assert bench.flows[-1] == bench.flows[0]


@pytest.mark.parametrize("state", ["calling", "ringing", "cancelled"])
def test_a_2xx_that_comes_over_another_transport_ends_its_invite_too(bench, kit, state):
    call = bench.dial("sip:peer@127.0.0.1:5070")
    invite = bench.sent[0]
    other = Flow("TCP", kit.OURS, kit.THEIRS, 7)
    bench.feed(FlowOpened(other))
    if state != "calling":
        bench.reply(180, invite)
    if state == "cancelled":
        bench.do(lambda _, now: call.cancel(now))
    cancels = len(sent(bench, "CANCEL"))
    answer = invite.respond(
        200, to_tag="them", headers=[("Contact", "<sip:peer@127.0.0.1:5070>")], body=b"v=0\r\n"
    )
    bench.hear(answer, other)
    assert len(sent(bench, "CANCEL")) == cancels
    assert [ack.cseq.number for ack in sent(bench, "ACK")] == [1]
    assert call.state == ("ended" if state == "cancelled" else "confirmed")
    bench.hear(answer)
    assert len(sent(bench, "ACK")) == 2
    bench.do(lambda _, now: call.hang_up(now))
    bench.run(400)
    left = {name: size for name, size in bench.machine.sizes().items() if size}
    assert left.keys() <= {"timers"}


def test_two_phones_with_one_tag_answer_after_the_cancel(bench):
    call, one, two = left_behind(bench)
    bench.reply(180, two)
    bench.do(lambda _, now: call.cancel(now))
    bench.reply(200, one, body=b"v=0\r\n")
    bench.reply(200, two, body=b"v=0\r\n")
    assert call.state == "ended"
    bench.settle()

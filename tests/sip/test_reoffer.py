"""Offers inside a call, from both sides."""

from __future__ import annotations

import pytest

from voip.errors import LocalProtocolError
from voip.sip.account import Account


def reinvited(bench, **options):
    call = bench.answered()
    options.setdefault("body", b"v=0\r\n")
    request = bench.inside(call, "INVITE", **options)
    bench.hear(request)
    bench.forget()
    return call, request


def test_our_offer_is_answered(bench):
    call = bench.connected()
    bench.forget()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    again = bench.sent[-1]
    assert (again.raw_body, again.cseq.number, again.to.tag) == (b"v=0\r\n", 2, "them")
    with pytest.raises(LocalProtocolError, match="our own"):
        call.reinvite(bench.now, b"")
    bench.reply(100)
    bench.reply(
        200, again, body=b"v=0\r\n", contact=False, headers=[("Contact", "<sip:n@127.0.0.1:5071>")]
    )
    assert bench.names() == ["INVITE", "ACK"]
    assert bench.told() == ["CallReanswered"]
    assert str(call.dialog.contact.uri) == "sip:n@127.0.0.1:5071"
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    assert bench.sent[-1].cseq.number == 3


def test_a_reinvite_without_offer_waits_for_our_answer(bench):
    call = bench.connected()
    bench.forget()
    bench.do(lambda _, now: call.reinvite(now, b""))
    again = bench.sent[-1]
    bench.reply(200, body=b"v=0\r\n")
    assert bench.names() == ["INVITE"]
    with pytest.raises(LocalProtocolError, match="our own"):
        call.reinvite(bench.now, b"")
    bench.reply(200, again, body=b"v=0\r\n")
    bench.do(lambda _, now: call.acknowledge(now, b"v=0\r\n"))
    assert bench.names() == ["INVITE", "ACK"]
    assert bench.sent[-1].raw_body == b"v=0\r\n"


def test_our_offer_is_refused_and_the_call_goes_on(bench):
    call = bench.connected()
    bench.forget()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.reply(488)
    assert bench.names() == ["INVITE", "ACK"]
    assert bench.events[-1].response.status_code == 488
    assert call.state == "confirmed"


def test_our_offer_without_any_answer_ends_the_call(bench):
    call = bench.connected()
    bench.forget()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.run(32)
    assert bench.told() == ["CallReanswered", "CallFinished"]
    assert bench.events[0].response is None
    assert bench.names()[-1] == "BYE"


def test_a_bye_while_our_offer_is_out(bench):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    again = bench.sent[-1]
    bench.hear(bench.inside(call, "BYE", cseq=1))
    bench.forget()
    bench.reply(487, again)
    assert bench.names() == ["ACK"]
    assert bench.told() == []
    bench.settle()


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_our_offer_is_given_up_64_t1_after_the_call(bench, whose):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.reply(180)
    if whose == "ours":
        bench.do(lambda _, now: call.hang_up(now))
        bench.reply(200)
    else:
        bench.hear(bench.inside(call, "BYE", cseq=1))
    bench.run(31.9)
    assert bench.machine.sizes()["requests"] == 1
    bench.settle()
    assert bench.machine.idle


def test_the_ack_has_the_cseq_of_the_reinvite_that_was_accepted(bench):
    challenge = 'Digest realm="127.0.0.1", nonce="n1", algorithm=MD5, qop="auth"'
    call = bench.dial("sip:peer@127.0.0.1", account=Account("sip:us@127.0.0.1", password="pw"))
    home = [("Contact", "<sip:peer@127.0.0.1:5060>")]
    bench.reply(200, contact=False, headers=home, body=b"v=0\r\n")
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    first = bench.sent[-1]
    bench.reply(407, headers=[("Proxy-Authenticate", challenge)])
    second = bench.sent[-1]
    assert (first.cseq.number, second.cseq.number) == (2, 3)
    bench.reply(180, second)
    bench.reply(200, first, body=b"v=0\r\n")
    assert (bench.sent[-1].method, bench.sent[-1].cseq.number) == ("ACK", 2)
    bench.do(lambda _, now: call.hang_up(now))
    bench.settle()


def test_no_ack_of_ours_is_owed_for_a_refusal(bench):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b""))
    bench.reply(488)
    assert bench.names()[-1] == "ACK"
    with pytest.raises(LocalProtocolError, match="no ACK is owed"):
        bench.do(lambda _, now: call.acknowledge(now, b"v=0\r\n"))


def test_our_offer_fails_after_the_call_is_over(bench):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.hear(bench.inside(call, "BYE", cseq=1))
    bench.forget()
    bench.run(40)
    assert bench.told() == []
    bench.settle()


def test_a_glare_retry_is_forgotten_when_the_call_ends(bench):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.reply(491)
    bench.hear(bench.inside(call, "BYE", cseq=1))
    bench.forget()
    bench.run(40)
    assert "INVITE" not in bench.names()
    bench.settle()


def test_a_glare_retry_waits_for_the_peers_own_offer(bench):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.reply(491)
    bench.run(1)
    theirs = bench.inside(call, "INVITE", cseq=1, body=b"v=0\r\n")
    bench.hear(theirs)
    assert bench.told()[-1] == "CallReoffered"
    bench.forget()
    bench.run(4)
    assert bench.names() == ["100 INVITE"]
    bench.do(lambda _, now: call.answer_offer(now, b"v=0\r\n"))
    bench.hear(bench.ack(theirs, bench.sent[-1]))
    bench.run(0.3)
    assert bench.names()[-1] == "INVITE"


def test_the_peers_offer_is_answered(bench):
    call, request = reinvited(bench)
    with pytest.raises(LocalProtocolError, match="peer"):
        call.reinvite(bench.now, b"")
    bench.do(lambda _, now: call.answer_offer(now, b"v=0\r\n"))
    assert bench.names() == ["200 INVITE"]
    assert str(bench.sent[-1].contact.uri) == "sip:voip@127.0.0.9:5060"
    bench.run(0.5)
    assert bench.names() == ["200 INVITE"] * 2
    bench.hear(bench.ack(request, bench.sent[-1]))
    bench.run(40)
    assert bench.names() == ["200 INVITE"] * 2
    assert bench.told() == ["CallReconfirmed"]
    with pytest.raises(LocalProtocolError, match="answered"):
        call.answer_offer(bench.now, b"")
    with pytest.raises(LocalProtocolError, match="answered"):
        call.refuse_offer(bench.now)


def test_the_peers_reinvite_without_offer_brings_the_answer_with_the_ack(bench):
    call, request = reinvited(bench, body=b"")
    bench.do(lambda _, now: call.answer_offer(now, b"v=0\r\n"))
    bench.hear(bench.inside(call, "INVITE", cseq=3, body=b"v=0\r\n"))
    assert bench.names()[-1] == "491 INVITE"
    bench.hear(bench.ack(request, bench.sent[0], body=b"v=0\r\n"))
    assert bench.told() == ["CallReconfirmed"]
    assert bench.events[0].request.raw_body == b"v=0\r\n"


def test_the_peers_offer_is_refused_and_the_call_goes_on(bench):
    call, request = reinvited(bench)
    bench.do(lambda _, now: call.refuse_offer(now))
    assert bench.names() == ["488 INVITE"]
    bench.hear(bench.ack(request, bench.sent[-1]))
    assert call.state == "confirmed"


def test_the_peer_takes_its_offer_back(bench):
    call, request = reinvited(bench)
    bench.hear(bench.inside(call, "CANCEL", branch=request.branch))
    assert bench.names() == ["200 CANCEL", "487 INVITE"]
    with pytest.raises(LocalProtocolError):
        call.answer_offer(bench.now, b"")
    assert call.state == "confirmed"


def test_an_offer_that_the_application_ignores(bench):
    call, _ = reinvited(bench)
    bench.run(32)
    assert bench.names() == ["100 INVITE", "500 INVITE"]
    assert call.state == "confirmed"


def test_a_bye_while_the_peers_offer_is_open(bench):
    call, request = reinvited(bench)
    bench.hear(bench.inside(call, "BYE", cseq=3))
    assert bench.names() == ["200 BYE", "487 INVITE"]
    bench.hear(bench.ack(request, bench.sent[-1]))
    bench.settle()


def test_an_acceptance_of_an_offer_that_is_never_acked_ends_the_call(bench):
    call, _ = reinvited(bench)
    bench.do(lambda _, now: call.answer_offer(now, b"v=0\r\n"))
    bench.run(32)
    assert bench.finished() == [("ack_timeout", None)]
    assert bench.names()[-1] == "BYE"


def test_a_bye_of_ours_ends_the_repeats_of_an_accepted_offer(bench):
    call, _ = reinvited(bench)
    bench.do(lambda _, now: call.answer_offer(now, b"v=0\r\n"))
    bench.do(lambda _, now: call.bye(now))
    bye = bench.sent[-1]
    bench.reply(200, bye)
    bench.forget()
    bench.run(40)
    assert bench.names() == []
    bench.settle()

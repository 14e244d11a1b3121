"""Requests of ours: where they go, fail-over, credentials, deadlines."""

from __future__ import annotations

import pytest

from voip.errors import LocalProtocolError
from voip.machine import FlowLost, FlowOpened, OpenFlow, Resolved, Target
from voip.sip.account import Account
from voip.sip.client import ClientRequest
from voip.sip.messages import Request

CHALLENGE = 'Digest realm="127.0.0.1", nonce="n1", algorithm=MD5, qop="auth"'


def targets(*hosts, transport="UDP"):
    return tuple(Target(transport, host, 5060) for host in hosts)


def ask(bench, uri="sip:peer@127.0.0.1:5070", method="OPTIONS", **options):
    return bench.do(lambda machine, now: machine.request(method, uri, now=now, **options))


def outcome(bench):
    event = bench.events[-1]
    return event.response.status_code if event.response else event.reason


def test_a_request_from_resolve_to_answer(bench):
    client = ask(bench, headers=[("Accept", "text/plain")])
    assert [type(wish).__name__ for wish in bench.asked] == ["Resolve", "OpenFlow"]
    assert bench.sent[0].headers["Accept"] == "text/plain"
    bench.reply(200)
    assert (outcome(bench), client.done) == (200, True)
    assert client.response.status_code == 200
    assert repr(client) == "<client request OPTIONS, done>"


def test_a_request_over_a_given_flow_asks_nobody(bench):
    ask(bench, flow=bench.flow)
    assert bench.asked == []
    assert bench.names() == ["OPTIONS"]


def test_a_large_request_prefers_a_stream(bench):
    bench.answers_resolve = False
    bench.dial(body=b"v=0\r\n" + b"a=x\r\n" * 300)
    both = (*targets("127.0.0.1"), *targets("127.0.0.1", transport="TCP"))
    bench.feed(Resolved(bench.asked[0].token, both))
    assert bench.asked[-1].target.transport == "TCP"
    bench.dial()
    bench.feed(Resolved(bench.asked[-1].token, both))
    assert bench.asked[-1].target.transport == "UDP"


def test_a_large_request_prefers_a_stream_among_given_targets(bench):
    both = (*targets("127.0.0.1"), *targets("127.0.0.1", transport="TCP"))
    bench.dial(targets=both, body=b"v=0\r\n" + b"a=x\r\n" * 300)
    assert bench.asked[-1].target.transport == "TCP"


def test_a_refused_connection_is_followed_by_the_next_target(bench):
    bench.answers_open = False
    bench.dial(targets=targets("127.0.0.1", "127.0.0.2", transport="TCP"))
    bench.feed(FlowLost(None, "connection refused", bench.asked[0].token))
    assert [wish.target.host for wish in bench.asked] == ["127.0.0.1", "127.0.0.2"]
    bench.feed(FlowLost(None, "connection refused", bench.asked[1].token))
    assert bench.finished() == [("failed", 503)]
    assert bench.events[-1].phrase == "connection refused"


def test_a_connection_that_takes_too_long(bench):
    bench.answers_open = False
    bench.dial(targets=targets("127.0.0.1", "127.0.0.2", transport="TCP"))
    bench.run(4)
    assert len(bench.asked) == 2
    first = bench.asked[0]
    bench.open(first)  # too late: the next one is being tried
    bench.drain()
    assert bench.names() == []
    bench.run(4)
    assert bench.finished() == [("no_answer", 408)]
    assert bench.machine.counters["client.open_timeout"] == 2


def test_a_silent_target_is_left_for_the_next(bench):
    bench.dial(targets=targets("127.0.0.1", "127.0.0.2"))
    bench.run(4.1)
    assert bench.flows[-1].remote.host == "127.0.0.2"
    first, second = bench.sent[0], bench.sent[-1]
    assert first.branch != second.branch
    assert first.call_id == second.call_id
    bench.forget()
    bench.reply(200, first, tag="late", body=b"v=0\r\n")  # the first one answers after all
    assert bench.told() == ["CallAnswered"]
    bench.reply(200, second, tag="other", body=b"v=0\r\n")
    assert bench.names() == ["ACK", "ACK", "BYE"]


def test_the_target_that_was_not_needed_is_cancelled(bench):
    call = bench.dial(targets=targets("127.0.0.1", "127.0.0.2"))
    bench.run(4.1)
    first, second = bench.sent[0], bench.sent[-1]
    bench.reply(200, first, tag="late", body=b"v=0\r\n")
    bench.forget()
    bench.reply(180, second, tag="other")
    bench.reply(180, second, tag="other")
    assert bench.names() == ["CANCEL"]
    bench.reply(200, bench.sent[0])
    bench.reply(487, second)
    assert bench.names() == ["CANCEL", "ACK"]
    assert (call.state, bench.told()) == ("confirmed", [])


def test_the_target_that_was_not_needed_stays_silent(bench):
    call = bench.dial(targets=targets("127.0.0.1", "127.0.0.2"))
    bench.run(4.1)
    bench.reply(200, bench.sent[0], tag="late", body=b"v=0\r\n")
    bench.run(40)
    assert (call.state, bench.finished()) == ("confirmed", [])
    bench.hear(bench.request("BYE", call_id=call.id, from_tag="late", to_tag=call.local_tag))
    bench.settle()


def test_a_provisional_response_keeps_us_with_a_target(bench):
    bench.dial(targets=targets("127.0.0.1", "127.0.0.2"))
    bench.reply(100)
    bench.run(30)
    assert bench.names() == ["INVITE"]


def test_503_goes_to_the_next_target(bench):
    bench.dial(targets=targets("127.0.0.1", "127.0.0.2"))
    bench.reply(503)
    assert bench.names() == ["INVITE", "ACK", "INVITE"]
    bench.reply(503)
    assert bench.finished() == [("rejected", 503)]


def test_an_icmp_error_goes_to_the_next_target(bench):
    bench.dial(targets=targets("127.0.0.1", "127.0.0.2"))
    bench.lose(bench.flows[-1], "port unreachable")
    assert bench.flows[-1].remote.host == "127.0.0.2"
    bench.lose(bench.flows[-1], "port unreachable")
    assert bench.finished() == [("transport_lost", 503)]
    assert bench.machine.counters["client.next_target"] >= 1


def account(**options):
    return Account("sip:me@127.0.0.1", password="secret", **options)


def dial_as(bench, **options):
    who = account(realms=["127.0.0.1"], **options)
    return bench.dial("sip:you@127.0.0.1", account=who)


def test_a_challenge_is_answered_with_the_next_cseq(bench):
    call = dial_as(bench)
    first = bench.sent[0]
    assert str(first.from_.uri) == "sip:me@127.0.0.1"
    bench.reply(407, headers=[("Proxy-Authenticate", CHALLENGE)])
    assert bench.names() == ["INVITE", "ACK", "INVITE"]
    again = bench.sent[-1]
    assert (again.cseq.number, again.call_id, again.from_.tag) == (
        2,
        first.call_id,
        first.from_.tag,
    )
    assert again.raw_uri == first.raw_uri
    assert again.branch != first.branch
    assert 'username="me"' in again.headers["Proxy-Authorization"]
    bench.reply(200, body=b"v=0\r\n")
    ack = bench.sent[-1]
    assert ack.cseq.number == 2
    assert ack.headers["Proxy-Authorization"] == again.headers["Proxy-Authorization"]
    assert call.request.cseq.number == 2
    bench.do(lambda _, now: call.bye(now))
    bye = bench.sent[-1]
    assert bye.cseq.number == 3


def test_a_server_that_always_challenges_gets_two_answers(bench):
    dial_as(bench)
    for number in range(3):
        stale = f'Digest realm="127.0.0.1", nonce="n{number}", qop="auth", stale=true'
        bench.reply(407, headers=[("Proxy-Authenticate", stale)])
    assert bench.names().count("INVITE") == 3
    assert bench.finished() == [("rejected", 407)]


def test_nobodys_credentials_answer_a_challenge(bench):
    bench.dial()
    bench.reply(407, headers=[("Proxy-Authenticate", CHALLENGE)])
    assert bench.finished() == [("rejected", 407)]


def test_a_challenge_of_another_realm_is_refused(bench):
    dial_as(bench)
    bench.reply(401, headers=[("WWW-Authenticate", CHALLENGE.replace("127.0.0.1", "evil"))])
    assert bench.finished() == [("rejected", 401)]
    assert bench.machine.counters["client.challenge_refused"] == 1


def test_a_cancelled_call_answers_no_challenge(bench):
    call = dial_as(bench)
    bench.reply(180)
    bench.do(lambda _, now: call.cancel(now))
    bench.reply(407, bench.sent[0], headers=[("Proxy-Authenticate", CHALLENGE)])
    assert bench.names().count("INVITE") == 1
    bench.settle()


def test_a_challenged_reinvite_takes_the_next_cseq_of_the_dialog(bench):
    call = dial_as(bench)
    bench.reply(200, body=b"v=0\r\n", headers=[("Record-Route", "<sip:127.0.0.1;lr>")])
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.reply(407, headers=[("Proxy-Authenticate", CHALLENGE)])
    assert bench.sent[-1].cseq.number == 3
    assert "Proxy-Authorization" in bench.sent[-1].headers
    bench.reply(200, body=b"v=0\r\n")
    bench.do(lambda _, now: call.bye(now))
    assert bench.sent[-1].cseq.number == 4


def test_the_accounts_proxy_is_the_next_hop(bench):
    who = account(outbound_proxy=("127.0.0.5", 5099))
    bench.dial("sip:you@elsewhere.example", account=who)
    wish = bench.asked[0]
    assert (wish.host, wish.port, wish.transport) == ("127.0.0.5", 5099, None)


def test_the_accounts_transport_is_used_for_its_own_domain(bench):
    who = Account("sip:me@example.com:5065;transport=tls", password="x")
    bench.dial("sip:you@example.com", account=who)
    assert (bench.asked[0].port, bench.asked[0].transport) == (5065, "TLS")
    bench.dial("tel:+4930123", account=who)
    assert bench.asked[2].host == "example.com"
    assert bench.sent[-1].raw_uri == b"tel:+4930123"


@pytest.mark.parametrize("from_", ["<sip:other@example.com>", '"Me" <sip:other@example.com>'])
def test_from_can_be_another(bench, from_):
    bench.dial(from_=from_)
    assert str(bench.sent[0].from_.uri) == "sip:other@example.com"
    assert bench.sent[0].from_.tag


def test_what_cannot_be_asked(bench):
    with pytest.raises(LocalProtocolError, match="account"):
        bench.dial("tel:+4930123")
    with pytest.raises(LocalProtocolError, match="http"):
        bench.dial("http://example.com")
    with pytest.raises(LocalProtocolError, match="belongs to a call"):
        ask(bench, method="INVITE")
    with pytest.raises(ValueError):
        bench.dial("not a uri")
    with pytest.raises(ValueError):
        bench.dial(headers=[("Subject", "a\r\nContact: evil")])
    with pytest.raises(LocalProtocolError, match="next hop"):
        ClientRequest(bench.machine.core, Request("OPTIONS", "sip:a@b"), None).start(0.0)
    assert bench.machine.sizes()["calls"] == 0


def test_sips_asks_for_tls(bench):
    bench.dial("sips:you@example.com")
    assert bench.asked[0].secure


def test_answers_that_nobody_waits_for(bench):
    bench.feed(Resolved(99, targets("127.0.0.1")))
    bench.feed(FlowLost(None, "gone", 99))
    bench.feed(FlowOpened(bench.flow, 99))
    assert bench.names() == []
    assert not [wish for wish in bench.asked if isinstance(wish, OpenFlow)]

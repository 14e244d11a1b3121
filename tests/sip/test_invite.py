"""Calls: the commands of both sides, what a peer may do inside a dialog, and how a call ends."""

from __future__ import annotations

import pytest

from voip.errors import EndCause, LocalProtocolError
from voip.machine import Flow, FlowOpened, Target
from voip.types import HostPort

STRANGER = Flow("UDP", HostPort("127.0.0.9", 5060), HostPort("127.0.0.66", 5070))


def test_an_incoming_call_from_offer_to_bye(bench):
    request, call = bench.invite()
    assert (call.incoming, call.id, call.state) == (True, "call-1@peer", "calling")
    assert call.request == request
    assert call.remote.tag == "them"
    bench.do(lambda _, now: call.ring(now))
    ringing = bench.sent[-1]
    assert ringing.to.tag == call.local_tag
    assert str(ringing.contact.uri) == "sip:voip@127.0.0.9:5060"
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    answer = bench.sent[-1]
    assert (answer.raw_body, answer.content_type) == (b"v=0\r\n", "application/sdp")
    assert "INVITE" in answer.headers["Allow"]
    bench.hear(bench.ack(request, answer))
    assert call.state == "confirmed"
    bench.do(lambda _, now: call.bye(now, 'say "bye"'))
    assert bench.sent[-1].headers["Reason"] == 'SIP;text="say \\"bye\\""'
    bench.reply(200)
    assert call.state == "ended"
    assert bench.told() == ["CallOffered", "CallConfirmed", "CallFinished"]
    bench.settle()


def test_a_provisional_status_without_a_usual_phrase_rings_too(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.ring(now, 150))
    assert bench.sent[-1].status_code == 150
    assert call.state == "ringing"


def test_an_outgoing_call_from_invite_to_bye(bench):
    call = bench.dial(headers=[("Subject", "hello")])
    invite = bench.sent[0]
    assert call.remote.uri == invite.to.uri
    assert invite.headers["Subject"] == "hello"
    assert str(invite.contact.uri) == "sip:voip@127.0.0.9:5060"
    assert str(invite.from_.uri) == "sip:voip@127.0.0.9"
    assert invite.max_forwards == 70
    assert "rport" in invite.via.parameters
    bench.reply(100)
    assert bench.told() == []
    bench.reply(180, invite)
    assert (call.state, bench.machine.sizes()["dialogs"]) == ("ringing", 1)
    bench.reply(200, invite, body=b"v=0\r\n")
    assert bench.names() == ["INVITE", "ACK"]
    assert call.state == "confirmed"
    bench.hear(bench.inside(call, "BYE"))
    assert bench.finished() == [("remote_hangup", None)]
    bench.settle()


def test_a_delayed_offer_of_the_caller(bench):
    call = bench.dial(body=b"")
    bench.reply(200, body=b"v=0\r\n")
    assert (bench.names(), call.state) == (["INVITE"], "answered")
    bench.reply(200, bench.sent[0], body=b"v=0\r\n")  # nothing to repeat yet
    bench.do(lambda _, now: call.acknowledge(now, b"v=0\r\n"))
    assert bench.names() == ["INVITE", "ACK"]
    assert (bench.sent[-1].raw_body, call.state) == (b"v=0\r\n", "confirmed")
    with pytest.raises(LocalProtocolError):
        call.acknowledge(bench.now, b"")


def test_a_delayed_offer_that_nobody_answers_ends(bench):
    bench.dial(body=b"")
    bench.reply(200, body=b"v=0\r\n")
    bench.run(32)
    assert bench.names() == ["INVITE", "ACK", "BYE"]
    assert bench.finished() == [("failed", None)]


def test_the_answer_to_our_delayed_offer_comes_with_the_ack(bench):
    request, call = bench.invite(body=b"")
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    bench.hear(bench.ack(request, bench.sent[-1], body=b"v=0\r\n"))
    assert bench.events[-1].request.raw_body == b"v=0\r\n"


@pytest.mark.parametrize("status", [302, 404, 486, 603])
def test_rejecting(bench, status):
    request, call = bench.invite()
    bench.do(lambda _, now: call.reject(now, status, "No", [("Contact", "<sip:else@127.0.0.3>")]))
    assert (bench.sent[-1].status_code, bench.sent[-1].reason) == (status, "No")
    assert "127.0.0.3" in bench.sent[-1].headers["Contact"]
    assert bench.finished() == [("rejected", status)]
    bench.hear(bench.ack(request, bench.sent[-1]))
    bench.settle()


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (302, "rejected"),
        (486, "rejected"),
        (408, "no_answer"),
        (480, "no_answer"),
        (600, "rejected"),
    ],
)
def test_being_refused(bench, status, cause):
    call = bench.dial()
    bench.reply(status)
    assert bench.finished() == [(cause, status)]
    assert call.state == "ended"
    bench.settle()


def test_commands_that_the_state_forbids(bench):
    _, call = bench.invite()
    for command in (
        lambda: call.ring(bench.now, 200),
        lambda: call.reject(bench.now, 200),
        lambda: call.cancel(bench.now),
        lambda: call.bye(bench.now),
        lambda: call.reinvite(bench.now, b""),
        lambda: call.answer_offer(bench.now, b""),
        lambda: call.refuse_offer(bench.now),
        lambda: call.acknowledge(bench.now, b""),
    ):
        with pytest.raises(LocalProtocolError):
            command()
    bench.do(lambda _, now: call.accept(now, b""))
    for command in (
        lambda: call.ring(bench.now),
        lambda: call.accept(bench.now, b""),
        lambda: call.reject(bench.now),
    ):
        with pytest.raises(LocalProtocolError):
            command()
    outgoing = bench.dial()
    with pytest.raises(LocalProtocolError):
        outgoing.accept(bench.now, b"")


def test_hanging_up_by_state(kit):
    offered = kit.Bench()
    _, call = offered.invite()
    offered.do(lambda _, now: call.hang_up(now))
    assert offered.names() == ["603 INVITE"]
    assert offered.finished() == [("rejected", 603)]

    calling = kit.Bench()
    call = calling.dial()
    calling.do(lambda _, now: call.hang_up(now))
    assert calling.names() == ["INVITE"]  # no CANCEL before a provisional response
    calling.reply(180)
    assert calling.names() == ["INVITE", "CANCEL"]
    assert calling.finished() == [("cancelled", 487)]

    confirmed = kit.Bench()
    call = confirmed.answered()
    confirmed.do(lambda _, now: call.hang_up(now, EndCause.MEDIA_TIMEOUT))
    assert confirmed.names()[-1] == "BYE"
    assert confirmed.finished() == [("media_timeout", None)]
    confirmed.do(lambda _, now: call.hang_up(now))
    assert confirmed.names().count("BYE") == 1


def test_a_failing_hook_makes_it_a_500(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.hang_up(now, EndCause.HOOK_FAILED))
    assert bench.names() == ["500 INVITE"]
    assert bench.finished() == [("hook_failed", 500)]


def test_shutting_down(kit):
    bench = kit.Bench()
    bench.answered()
    bench.invite(call_id="second")
    dialled = bench.dial()
    bench.forget()
    bench.do(lambda machine, now: machine.shutdown(now))
    assert sorted(bench.names()) == ["503 INVITE", "BYE"]
    assert sorted(cause for cause, _ in bench.finished()) == ["shutdown"] * 3
    bye = next(m for m in bench.sent if getattr(m, "method", "") == "BYE")
    assert not bench.machine.idle
    bench.reply(200, bye)
    bench.reply(487, dialled.attempt.client.sent)
    assert bench.machine.idle
    bench.forget()
    bench.hear(bench.request("INVITE", call_id="third", body=kit.SDP))
    bench.hear(bench.request("OPTIONS", call_id="fourth"))
    assert bench.names() == ["503 INVITE", "503 OPTIONS"]
    assert bench.sent[0].headers["Retry-After"] == "5"
    with pytest.raises(LocalProtocolError, match="goes down"):
        bench.dial()


@pytest.mark.parametrize("method", ["BYE", "INVITE", "OPTIONS"])
def test_a_stranger_who_knows_every_tag_changes_nothing(bench, method):
    call = bench.answered()
    bench.forget()
    bench.hear(bench.inside(call, method, sent_by="127.0.0.66:5070"), STRANGER)
    assert bench.names() == [f"481 {method}"]
    assert bench.flows[0].remote == STRANGER.remote
    assert bench.told() == []
    assert call.state == "confirmed"
    assert bench.machine.counters["request.foreign_source"] == 1


def test_a_forged_ack_does_not_stop_the_200(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b""))
    bench.hear(bench.ack(request, bench.sent[-1]), STRANGER)
    bench.run(0.5)
    assert bench.names() == ["200 INVITE", "200 INVITE"]
    assert call.state == "answered"


@pytest.mark.parametrize("wrong", ["call_id", "from_tag", "to_tag"])
def test_every_identifier_of_a_dialog_counts(bench, wrong):
    call = bench.answered()
    names = {"call_id": call.id, "from_tag": "them", "to_tag": call.local_tag, wrong: "guessed"}
    bench.hear(bench.request("BYE", cseq=2, **names))
    assert bench.names()[-1] == "481 BYE"
    assert call.state == "confirmed"


def test_the_cseq_only_rises(bench):
    call = bench.answered()
    bench.hear(bench.inside(call, "OPTIONS", cseq=5))
    bench.hear(bench.inside(call, "OPTIONS", cseq=5))
    bench.hear(bench.inside(call, "BYE", cseq=4))
    assert bench.names()[-3:] == ["200 OPTIONS", "500 OPTIONS", "500 BYE"]
    assert call.state == "confirmed"
    bench.hear(bench.inside(call, "BYE", cseq=6))
    assert call.state == "ended"


def test_a_bye_of_an_unanswered_caller(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.ring(now))
    bench.hear(bench.inside(call, "BYE"))
    assert bench.names() == ["180 INVITE", "200 BYE", "487 INVITE"]
    assert bench.finished() == [("remote_hangup", 487)]
    bench.hear(bench.ack(request, bench.sent[-1]))
    bench.settle()


def test_a_peer_whose_contact_leads_nowhere(bench):
    call = bench.answered()
    call.dialog.contact = type(call.dialog.contact).parse("<tel:+4930123>")
    bench.do(lambda _, now: call.bye(now))
    assert bench.finished() == [("local_hangup", None)]
    assert bench.machine.counters["call.unreachable_contact"] == 1
    bench.settle()


def test_a_peer_behind_a_nat_is_reached_where_its_packets_come_from(bench):
    call = bench.answered(contact="<sip:peer@192.168.7.7:5060>", sent_by="192.168.7.7:5060")
    assert call.natted
    assert bench.sent[0].via.received == "127.0.0.1"
    bench.do(lambda _, now: call.bye(now))
    assert bench.sent[-1].raw_uri == b"sip:peer@192.168.7.7:5060"
    assert bench.flows[-1].remote == HostPort("127.0.0.1", 5070)


def test_a_contact_on_another_port_is_used(bench):
    call = bench.answered(contact="<sip:peer@127.0.0.1:5099>")
    bench.do(lambda _, now: call.bye(now))
    assert bench.flows[-1].remote == HostPort("127.0.0.1", 5099)


def test_a_contact_elsewhere_is_resolved(bench):
    call = bench.answered(contact="<sip:peer@phone.example>")
    bench.do(lambda _, now: call.bye(now))
    assert bench.asked[0].host == "phone.example"
    assert bench.names()[-1] == "BYE"


def test_a_lost_connection_ends_an_unanswered_call(tcp):
    tcp.invite()
    tcp.lose()
    assert tcp.finished() == [("transport_lost", None)]
    tcp.settle()


def test_a_lost_connection_does_not_end_an_answered_call(tcp):
    call = tcp.answered(contact="<sip:peer@127.0.0.1:5070;transport=tcp>")
    tcp.lose()
    assert tcp.finished() == []
    tcp.do(lambda _, now: call.bye(now))
    assert tcp.names()[-1] == "BYE"
    assert tcp.flows[-1].number != tcp.flow.number


def test_a_lost_connection_ends_an_outgoing_call_at_once(tcp):
    tcp.dial("sip:peer@127.0.0.1:5070;transport=tcp")
    tcp.reply(180)
    tcp.lose(tcp.flows[-1])
    assert tcp.finished() == [("transport_lost", 503)]
    tcp.settle()


def test_calls_name_themselves_without_secrets(bench):
    _, call = bench.invite()
    assert repr(call) == "<incoming call, calling>"
    assert repr(bench.dial()) == "<outgoing call, calling>"


def test_a_repeated_ack_is_absorbed(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b""))
    ack = bench.ack(request, bench.sent[-1])
    bench.hear(ack)
    bench.hear(ack)
    assert bench.told().count("CallConfirmed") == 1
    assert bench.machine.counters["ack.absorbed"] == 1


def test_an_rfc_2543_peer_whose_ack_has_the_branch_of_its_invite(bench):
    request, call = bench.invite(branch="old")
    bench.do(lambda _, now: call.accept(now, b""))
    bench.hear(bench.ack(request, bench.sent[-1], branch="old"))
    assert call.state == "confirmed"


def test_a_bye_of_the_peer_while_ours_waits_for_the_ack(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b""))
    bench.do(lambda _, now: call.hang_up(now))
    bench.hear(bench.request("BYE", cseq=2, call_id=call.id, to_tag=call.local_tag))
    bench.forget()
    bench.run(40)
    assert bench.names() == []
    assert call.state == "ended"
    bench.settle()


def test_a_bye_of_ours_that_waits_for_an_ack_that_never_comes(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b""))
    bench.do(lambda _, now: call.hang_up(now))
    bench.run(32)
    assert bench.names()[-1] == "BYE"
    assert bench.finished() == [("local_hangup", None)]
    bench.settle()


def test_a_reinvite_over_a_new_connection_is_followed(tcp):
    call = tcp.answered(contact="<sip:peer@127.0.0.1:5070;transport=tcp>")
    tcp.lose()
    fresh = Flow("TCP", HostPort("127.0.0.9", 5060), HostPort("127.0.0.1", 41000), 99)
    tcp.feed(FlowOpened(fresh))
    tcp.hear(tcp.inside(call, "INVITE", body=b"v=0\r\n"), fresh)
    tcp.do(lambda _, now: call.answer_offer(now, b"v=0\r\n"))
    tcp.do(lambda _, now: call.bye(now))
    assert tcp.flows[-1] == fresh


def test_the_trying_response_repeats_a_timestamp(bench):
    bench.invite(headers=[("Timestamp", "54.2")])
    bench.run(0.2)
    assert bench.sent[0].headers["Timestamp"] == "54.2"


def test_whom_we_call_is_no_stranger_while_the_call_lasts(kit):
    bench = kit.Bench(transport="UDP")
    callee = Flow("UDP", HostPort("127.0.0.9", 5060), HostPort("198.51.100.1", 5060))
    bench.dial(targets=[Target("UDP", "198.51.100.1", 5060)])
    response = bench.sent[0].respond(200, to_tag="t", headers=[("Contact", "<sip:p@198.51.100.1>")])
    bench.hear(response, callee)
    assert bench.machine.core.admission.trusted("198.51.100.1")
    call = next(iter(bench.machine.core.calls))
    bench.do(lambda _, now: call.bye(now))
    bench.hear(bench.sent[-1].respond(200), callee)
    assert not bench.machine.core.admission.trusted("198.51.100.1")

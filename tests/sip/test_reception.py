"""What becomes of a request: the answer it is owed, or whom it belongs to."""

from __future__ import annotations

import pytest

from voip.machine import Flow
from voip.sip.admission import AdmissionSettings
from voip.sip.messages import Message
from voip.sip.reception import mark_source
from voip.types import HostPort

HERE = HostPort("127.0.0.9", 5060)
STRANGER = Flow("UDP", HERE, HostPort("198.51.100.66", 5070))


def test_options_is_answered_without_state(bench):
    bench.hear(bench.request("OPTIONS"))
    answer = bench.sent[-1]
    assert bench.names() == ["200 OPTIONS"]
    assert answer.headers["Allow"] == "INVITE, ACK, CANCEL, BYE, OPTIONS"
    assert answer.headers["Accept"] == "application/sdp"
    assert answer.to.tag
    assert bench.machine.sizes()["transactions"] == 0


def test_copies_of_a_request_get_the_same_stateless_tag(bench):
    request = bench.request("BYE")
    bench.hear(request)
    bench.hear(request)
    assert bench.raw[0] == bench.raw[1]
    assert bench.sent[0].status_code == 481


def test_supported_extensions_are_told(kit):
    bench = kit.Bench(supported=("replaces",), user_agent="test/1")
    bench.hear(bench.request("OPTIONS"))
    assert bench.sent[-1].headers["Supported"] == "replaces"
    bench.dial()
    assert bench.sent[-1].headers["Supported"] == "replaces"
    assert bench.sent[-1].headers["User-Agent"] == "test/1"


def test_what_is_wrong_gets_the_status_it_is_owed(bench):
    bench.hear(bench.request("REGISTER"))
    bench.hear(bench.request("OPTIONS", headers=[("Require", "teleport")]))
    assert bench.names() == ["405 REGISTER", "420 OPTIONS"]
    assert bench.machine.counters["request.405"] == 1
    assert bench.machine.sizes()["transactions"] == 0


def test_a_bad_ack_is_not_answered(bench):
    bench.hear(bench.request("ACK", headers=[("Max-Forwards", "900")]))
    assert bench.raw == []


def test_a_request_without_any_usable_via_still_gets_its_400(bench):
    bench.hear(b"OPTIONS sip:us@127.0.0.9 SIP/2.0\r\nVia: nonsense\r\nTo: <sip:a b>\r\n\r\n")
    assert bench.sent[-1].status_code == 400
    assert bench.machine.counters["request.unusable_via"] == 1


def test_a_merged_request_is_482(bench):
    bench.invite()
    bench.hear(bench.request("INVITE", body=b"v=0\r\n"))
    assert bench.names() == ["482 INVITE"]
    assert bench.told() == ["CallOffered"]


def test_the_same_request_to_another_method_is_not_merged(bench):
    bench.invite()
    bench.hear(bench.request("OPTIONS"))
    assert bench.names() == ["200 OPTIONS"]


def test_our_own_request_comes_back(bench):
    bench.dial()
    bench.hear(bench.sent[0])
    assert bench.names() == ["INVITE", "482 INVITE"]


def test_the_source_is_written_into_the_via(bench):
    plain = bench.request("OPTIONS")
    asked = Message.parse(bytes(plain).replace(b"branch=", b"rport;branch="))
    proxied = Message.parse(
        bytes(bench.request("OPTIONS", sent_by="10.0.0.1:5060")).replace(
            b"Max-Forwards",
            b"Via: SIP/2.0/TCP one.example, SIP/2.0/TCP two.example\r\nMax-Forwards",
        )
    )
    for request in (plain, asked, proxied):
        bench.hear(request)
    assert bench.sent[0].via.parameters.keys() == {"branch"}
    assert (bench.sent[1].via.rport, bench.sent[1].via.received) == (5070, "127.0.0.1")
    assert bench.sent[2].via.received == "127.0.0.1"
    assert [via.host for via in bench.sent[2].vias[1:]] == ["one.example", "two.example"]


def test_ipv6_is_compared_as_an_address(bench):
    flow = Flow("UDP", HostPort("::1", 5060), HostPort("::1", 5070))
    bench.hear(bench.request("OPTIONS", sent_by="[0:0:0:0:0:0:0:1]:5070"), flow)
    assert bench.sent[0].via.received is None


def test_cancel_finds_its_invite_by_everything(bench):
    request, call = bench.invite()
    for wrong in (
        {"branch": "z9hG4bKother"},
        {"branch": request.branch, "sent_by": "127.0.0.1:5999"},
        {"branch": request.branch, "cseq": 2},
        {"branch": request.branch, "from_tag": "other"},
        {"branch": request.branch, "call_id": "other"},
    ):
        bench.hear(bench.request("CANCEL", **wrong))
        assert bench.names()[-1] == "481 CANCEL"
    bench.hear(
        bench.request("CANCEL", branch=request.branch),
        Flow("UDP", HERE, HostPort("127.0.0.66", 5070)),
    )
    assert bench.names()[-1] == "481 CANCEL"
    assert call.state == "calling"
    assert bench.machine.counters["request.cancel_unmatched"] == 6
    assert bench.machine.sizes()["transactions"] == 1


def test_a_cancel_after_the_call_is_over_changes_nothing(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.reject(now))
    bench.hear(bench.request("CANCEL", branch=request.branch))
    assert bench.names() == ["486 INVITE", "200 CANCEL"]
    assert bench.finished() == [("rejected", 486)]


def test_other_methods_are_handed_up(kit):
    bench = kit.Bench(methods=("MESSAGE", "INFO"))
    bench.hear(bench.request("MESSAGE"))
    event = bench.events[-1]
    bench.hear(bench.request("MESSAGE"))  # another copy
    assert bench.names() == ["482 MESSAGE"]
    response = event.request.respond(202, to_tag="ours")
    bench.do(lambda machine, now: machine.respond(event.transaction, response, now))
    assert bench.names()[-1] == "202 MESSAGE"
    call = bench.answered()
    bench.hear(bench.inside(call, "INFO"))
    assert bench.told()[-1] == "RequestArrived"
    assert bench.events[-1].transaction.user is call


def test_calls_are_bounded(kit):
    bench = kit.Bench(max_calls=1)
    bench.invite()
    bench.hear(bench.request("INVITE", call_id="second", body=kit.SDP))
    assert bench.names() == ["503 INVITE"]
    assert "Retry-After" in bench.sent[-1].headers


def test_unanswered_calls_of_one_stranger_are_bounded(kit):
    limits = AdmissionSettings(max_pending_invites=2)
    bench = kit.Bench(admission=limits)
    calls = []
    for number in range(3):
        request = bench.request("INVITE", call_id=f"c{number}", body=kit.SDP)
        bench.hear(request, STRANGER)
        calls += [event.call for event in bench.events[-1:]] if number < 2 else []
    assert bench.names() == ["503 INVITE"]
    bench.do(lambda _, now: calls[0].reject(now))
    bench.hear(bench.request("INVITE", call_id="c9", body=kit.SDP), STRANGER)
    assert len(bench.told()) == 4


def test_transactions_of_strangers_are_bounded(kit):
    bench = kit.Bench(admission=AdmissionSettings(max_transactions=1))
    for number in range(2):
        bench.hear(bench.request("INVITE", call_id=f"c{number}", body=kit.SDP), STRANGER)
    assert bench.names() == ["503 INVITE"]
    assert bench.machine.counters["request.too_many_transactions"] == 1
    call = bench.events[0].call
    bench.hear(bench.inside(call, "OPTIONS"), STRANGER)
    bench.hear(bench.request("CANCEL", branch=call.request.branch, call_id="c0"), STRANGER)
    assert bench.names()[-2:] == ["503 OPTIONS", "503 CANCEL"]


def test_a_message_of_a_stranger_beyond_the_bound(kit):
    bench = kit.Bench(methods=("MESSAGE",), admission=AdmissionSettings(max_transactions=0))
    bench.hear(bench.request("MESSAGE"), STRANGER)
    assert bench.names() == ["503 MESSAGE"]


def test_a_stranger_over_his_rate_is_shed_and_then_ignored(bench):
    for number in range(60):
        bench.hear(bench.request("OPTIONS", call_id=f"c{number}"), STRANGER)
    names = bench.names()
    assert names.count("200 OPTIONS") == 40
    assert names.count("503 OPTIONS") == 10
    assert bench.machine.counters["admission.over_source_rate"] == 20


VIAS = {
    "two lines": b"Via: SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK0",
    "apart": b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport\r\nX: y\r\nv: SIP/2.0/UDP b;branch=z9hG4bK0",
    "one line": b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport , SIP/2.0/UDP b;branch=z9hG4bK0",
    "quoted": b'Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;x="y";rport\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK0',
    "filled in": b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport=9;received=8.8.8.8\r\nv: SIP/2.0/UDP b;branch=z9hG4bK0",
    "of another spelling": b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;RPORT\r\nv: SIP/2.0/UDP b;branch=z9hG4bK0",
    "an empty one": b"Via:\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK0",
}


@pytest.mark.parametrize("front", [b"", b"\r\n"])
@pytest.mark.parametrize("name", VIAS)
def test_the_order_of_via_is_kept_whatever_stands_before_them(name, front):
    # A proxy puts its Record-Route on top; a response with another order would go astray.
    request = Message.parse(
        front + b"OPTIONS sip:us@127.0.0.9 SIP/2.0\r\nRecord-Route: <sip:p;lr>\r\n"
        b"Max-Forwards: 70\r\n" + VIAS[name] + b"\r\nFrom: <sip:a@x>;tag=1\r\n"
        b"To: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    mark_source(request, STRANGER)
    vias = request.vias
    assert [via.host for via in vias] == ["10.0.0.1", "b"]
    assert (vias[0].received, vias[0].rport) == ("198.51.100.66", 5070)
    answer = Message.parse(bytes(request.respond(200, to_tag="x")))
    assert [via.host for via in answer.vias] == ["10.0.0.1", "b"]
    assert (answer.via.received, answer.via.rport) == ("198.51.100.66", 5070)
    assert answer.via.branch == "z9hG4bK1"


def test_without_rport_only_another_address_is_marked():
    for host, received in (("198.51.100.66", None), ("10.0.0.1", "198.51.100.66")):
        for front in (b"", b"\r\n"):
            request = Message.parse(
                front
                + b"OPTIONS sip:us@127.0.0.9 SIP/2.0\r\nVia: SIP/2.0/UDP "
                + host.encode()
                + b":5062;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n"
                b"To: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            )
            mark_source(request, STRANGER)
            assert request.via.received == received
            assert request.via.rport is None

"""The endpoint as a machine: its verbs, its streams, what it says of itself."""

from __future__ import annotations

import pytest

from voip.errors import LocalProtocolError
from voip.machine import Flow, FlowOpened, StreamBytes
from voip.types import HostPort


def test_junk_is_counted_and_dropped(bench):
    bench.hear(b"hello")
    bench.hear(b"\r\n\r\n")
    bench.hear(b"GET / HTTP/1.1\r\n\r\n")
    bench.hear(b"SIP/2.0 999 What\r\n\r\n")
    assert bench.raw == []
    counters = bench.machine.counters
    assert counters["admission.not_sip"] == 2
    assert counters["admission.keep_alive"] == 1
    assert counters["message.unparsable"] == 1


def test_stray_and_invalid_responses_are_counted(bench):
    bench.hear(bench.request("OPTIONS").respond(200))
    bench.hear(b"SIP/2.0 200 OK\r\nVia: nonsense\r\n\r\n")
    assert bench.machine.counters["response.stray"] == 1
    assert bench.machine.counters["response.invalid"] == 1
    assert bench.told() == []


def test_an_input_of_another_kind_is_a_mistake(bench):
    with pytest.raises(LocalProtocolError, match="str"):
        bench.feed("datagram")


def test_every_message_is_seen_when_asked_for(kit):
    bench = kit.Bench(trace=True)
    bench.hear(bench.request("OPTIONS"))
    seen = [(event.message.cseq.method, event.outgoing) for event in bench.events]
    assert seen == [("OPTIONS", False), ("OPTIONS", True)]
    assert bench.events[0].flow == bench.flow


def test_nothing_is_due_at_first(bench):
    assert bench.machine.deadline() is None
    assert bench.machine.idle
    assert not any(bench.machine.sizes().values())
    assert bench.machine.allow == "INVITE, ACK, CANCEL, BYE, OPTIONS"


def test_a_deadline_has_a_reason(bench):
    bench.dial()
    assert bench.machine.deadline().reason == "timer A"


def test_a_timer_whose_owner_fails_costs_no_other_timer(bench):
    class Owner:
        def expired(self, reason, now):
            told.append(reason)
            if reason == "bad":
                raise RuntimeError("a bug")

    told, timers = [], bench.machine.core.timers
    for reason in ("first", "bad", "last"):
        timers.start_at(bench.now + 1, reason, Owner())
    with pytest.raises(RuntimeError, match="a bug"):
        bench.machine.advance(bench.now + 1)
    bench.machine.advance(bench.now + 1)
    assert told == ["first", "bad", "last"]


def test_messages_come_in_any_pieces(tcp):
    data = bytes(tcp.request("OPTIONS")) + b"\r\n\r\n" + bytes(tcp.request("OPTIONS"))
    for at in range(0, len(data), 7):
        tcp.feed(StreamBytes(tcp.flow, data[at : at + 7]))
    assert tcp.names() == ["200 OPTIONS", "200 OPTIONS"]
    assert b"\r\n" in tcp.raw  # the ping between them


def test_bytes_of_a_connection_that_is_not_there(bench):
    bench.feed(StreamBytes(Flow("TCP", HostPort("127.0.0.9", 5060), bench.flow.remote, 3), b"x"))
    assert bench.machine.counters["stream.unknown"] == 1


def test_a_broken_stream_gets_its_answer_and_is_closed(tcp):
    data = bytes(tcp.request("OPTIONS")).replace(b"Content-Length: 0", b"Content-Length: -1")
    tcp.feed(StreamBytes(tcp.flow, data + bytes(tcp.request("OPTIONS"))))
    assert tcp.names() == ["400 OPTIONS"]
    assert tcp.sent[0].reason == "Bad content length"
    assert [wish.flow for wish in tcp.closed] == [tcp.flow]
    tcp.feed(StreamBytes(tcp.flow, bytes(tcp.request("OPTIONS"))))
    assert tcp.names() == ["400 OPTIONS"]


def test_a_broken_response_is_not_answered(tcp):
    tcp.feed(StreamBytes(tcp.flow, b"SIP/2.0 200 OK\r\nl: x\r\n\r\n"))
    assert (tcp.raw, len(tcp.closed)) == ([], 1)


def test_a_broken_head_that_is_no_message(tcp):
    tcp.feed(StreamBytes(tcp.flow, b"SIP/2.0 999 OK\r\nl: x\r\n\r\n"))
    assert (tcp.raw, len(tcp.closed)) == ([], 1)
    assert tcp.machine.counters["message.unparsable"] == 1


def test_what_is_not_sip_is_closed_without_a_word(tcp):
    tcp.feed(StreamBytes(tcp.flow, b"GET / HTTP/1.1\r\n"))
    assert (tcp.raw, len(tcp.closed)) == ([], 1)


def test_the_end_of_a_stream_closes_it(tcp):
    tcp.feed(StreamBytes(tcp.flow, b""))
    assert [wish.reason for wish in tcp.closed] == ["end of stream"]
    tcp.lose()
    assert tcp.machine.counters["flow.lost"] == 1


def test_what_should_go_over_a_lost_connection_is_counted(tcp):
    _, call = tcp.invite()
    tcp.do(lambda _, now: call.accept(now, b""))
    tcp.lose()
    tcp.run(1)
    assert tcp.names() == ["200 INVITE"]
    assert tcp.machine.counters["sent.flow_lost"] == 1


def test_a_connection_is_opened_once(tcp):
    tcp.feed(FlowOpened(tcp.flow))
    assert len(tcp.machine.core.streams) == 1

"""Every timer of RFC 3261 §17 and RFC 6026, exact to the microsecond, in virtual time."""

from __future__ import annotations

import pytest

INVITE_SENDS = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
OTHER_SENDS = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


def at(bench, name):
    return [t for t, n in zip(bench.times, bench.names(), strict=True) if n == name]


def test_timer_a_doubles_without_end(bench):
    bench.dial()
    bench.run(31.9)
    assert at(bench, "INVITE") == INVITE_SENDS


def test_timer_b_ends_an_invite_that_nobody_answers(bench):
    bench.dial()
    bench.run(31.999)
    assert bench.finished() == []
    bench.run(0.001)
    assert bench.finished() == [("no_answer", 408)]
    bench.settle()


def test_timer_a_stops_at_any_provisional_response(bench):
    bench.dial()
    bench.run(0.6)
    bench.reply(100)
    bench.run(30)
    assert at(bench, "INVITE") == [0, 0.5]


def test_timer_a_is_not_used_on_a_stream(tcp):
    tcp.dial("sip:peer@127.0.0.1:5070;transport=tcp")
    tcp.run(31.9)
    assert at(tcp, "INVITE") == [0]


def test_timer_c_takes_back_a_call_that_rings_too_long(bench):
    bench.dial()
    bench.reply(180)
    bench.run(179.9)
    assert "CANCEL" not in bench.names()
    bench.run(0.2)
    assert bench.names()[-1] == "CANCEL"
    assert bench.finished() == [("no_answer", 408)]


@pytest.mark.parametrize(("transport", "absorbed"), [("UDP", 32.0), ("TCP", 0.0)])
def test_timer_d_absorbs_repeated_refusals(kit, transport, absorbed):
    bench = kit.Bench(transport)
    bench.dial(f"sip:peer@127.0.0.1:5070;transport={transport}")
    response = bench.reply(486)
    assert bench.names() == ["INVITE", "ACK"]
    assert bool(bench.machine.core.transactions.clients) == bool(absorbed)
    if absorbed:
        for _ in range(3):
            bench.run(absorbed / 4)
            bench.hear(response)
        assert bench.names() == ["INVITE"] + ["ACK"] * 4
        assert bench.raw[1] == bench.raw[2]
        bench.run(absorbed / 4 + 0.01)
    assert not bench.machine.core.transactions.clients
    assert bench.finished() == [("rejected", 486)]


def test_timer_e_doubles_up_to_t2(bench):
    bench.do(lambda m, now: m.request("OPTIONS", "sip:peer@127.0.0.1:5070", now=now))
    bench.run(31.9)
    assert at(bench, "OPTIONS") == OTHER_SENDS


def test_timer_e_is_t2_once_a_provisional_response_came(bench):
    bench.do(lambda m, now: m.request("OPTIONS", "sip:peer@127.0.0.1:5070", now=now))
    bench.run(0.2)
    bench.reply(100)
    bench.run(15)
    assert at(bench, "OPTIONS") == [0, 0.5, 4.5, 8.5, 12.5]


def test_timer_f_ends_a_request_that_nobody_answers(bench):
    bench.do(lambda m, now: m.request("OPTIONS", "sip:peer@127.0.0.1:5070", now=now))
    bench.run(31.999)
    assert bench.told() == []
    bench.run(0.001)
    assert [event.reason for event in bench.events] == ["timeout"]
    bench.settle()


@pytest.mark.parametrize(("transport", "length"), [("UDP", 5.0), ("TCP", 0.0)])
def test_timer_k_absorbs_repeated_finals(kit, transport, length):
    bench = kit.Bench(transport)
    uri = f"sip:peer@127.0.0.1:5070;transport={transport}"
    bench.do(lambda m, now: m.request("OPTIONS", uri, now=now))
    response = bench.reply(200)
    if length:
        bench.run(length - 0.01)
        bench.hear(response)
        assert bench.told() == ["RequestFinished"]
        assert len(bench.machine.core.transactions.clients) == 1
        bench.run(0.02)
    assert not bench.machine.core.transactions.clients


def test_timer_g_repeats_a_refusal_until_its_ack(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.reject(now))
    bench.run(8)
    assert at(bench, "486 INVITE") == [0, 0.5, 1.5, 3.5, 7.5]
    bench.hear(bench.ack(request, bench.sent[-1]))
    bench.run(60)
    assert len(at(bench, "486 INVITE")) == 5
    bench.settle()


def test_timer_h_gives_up_on_the_ack(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.reject(now))
    bench.run(31.99)
    assert at(bench, "486 INVITE") == OTHER_SENDS
    assert bench.served
    bench.run(0.02)
    assert not bench.served


def test_timer_g_is_not_used_on_a_stream(tcp):
    request, call = tcp.invite()
    tcp.do(lambda _, now: call.reject(now))
    tcp.run(20)
    assert at(tcp, "486 INVITE") == [0]
    tcp.hear(tcp.ack(request, tcp.sent[-1]))
    assert not tcp.served  # timer I is zero


def test_timer_i_absorbs_repeated_acks(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.reject(now))
    ack = bench.ack(request, bench.sent[-1])
    bench.hear(ack)
    bench.run(4.99)
    bench.hear(ack)
    bench.hear(request)
    assert at(bench, "486 INVITE") == [0]
    assert len(bench.served) == 1
    bench.run(0.02)
    assert not bench.served


@pytest.mark.parametrize(("transport", "length"), [("UDP", 32.0), ("TCP", 0.0)])
def test_timer_j_answers_repeats_with_the_same_bytes(kit, transport, length):
    bench = kit.Bench(transport)
    call = bench.answered()
    bye = bench.inside(call, "BYE")
    bench.forget()
    bench.hear(bye)
    if length:
        bench.run(length - 0.1)
        bench.hear(bye)
        assert bench.raw[0] == bench.raw[1]
        bench.run(0.2)
    keys = [key for key in bench.served if key.endswith("BYE")]
    assert keys == []
    assert bench.finished() == [("remote_hangup", None)]


def test_timer_l_absorbs_repeated_invites_after_the_200(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    bench.hear(bench.ack(request, bench.sent[-1]))
    bench.run(31.9)
    bench.hear(request)
    assert bench.told().count("CallOffered") == 1
    assert at(bench, "200 INVITE") == [0]
    bench.run(0.2)
    assert not bench.served


def test_timer_m_lets_further_2xx_through(bench):
    bench.connected()
    bench.run(31.9)
    assert len(bench.machine.core.transactions.clients) == 1
    bench.run(0.2)
    assert not bench.machine.core.transactions.clients


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_the_200_is_repeated_on_any_transport_and_then_given_up(kit, transport):
    bench = kit.Bench(transport)
    _, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    bench.run(31.99)
    assert at(bench, "200 INVITE") == OTHER_SENDS
    assert bench.finished() == []
    bench.run(0.01)
    assert bench.finished() == [("ack_timeout", None)]
    assert at(bench, "BYE") == [32.0]


def test_100_comes_after_200_ms_of_silence(bench):
    _, call = bench.invite()
    bench.run(0.199)
    assert bench.names() == []
    bench.run(0.001)
    assert bench.names() == ["100 INVITE"]
    assert bench.sent[0].to.tag is None
    bench.do(lambda _, now: call.ring(now))
    assert bench.names() == ["100 INVITE", "180 INVITE"]


def test_100_is_not_sent_when_something_better_was(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.ring(now))
    bench.run(1)
    assert bench.names() == ["180 INVITE"]


def test_100_at_once_when_asked_for(kit):
    bench = kit.Bench(trying_at_once=True)
    bench.invite()
    assert bench.names() == ["100 INVITE"]


def test_ringing_is_repeated_every_minute_and_ends_after_three(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.ring(now))
    bench.run(181)
    assert bench.times[:4] == [0, 60.0, 120.0, 180.0]
    assert bench.names()[:4] == ["180 INVITE", "180 INVITE", "180 INVITE", "480 INVITE"]
    assert bench.finished() == [("no_answer", 480)]
    bench.settle()


def test_an_application_that_never_answers_a_request_leaves_nothing(kit):
    bench = kit.Bench(methods=("MESSAGE",))
    bench.hear(bench.request("MESSAGE"))
    assert bench.told() == ["RequestArrived"]
    bench.run(32.01)
    assert bench.names() == []
    bench.settle()

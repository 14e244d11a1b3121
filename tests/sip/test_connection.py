"""Connections: deadlines, pings and pongs, and who keeps them in use."""

from __future__ import annotations

from voip.machine import FlowOpened, StreamBytes


def test_a_connection_that_says_nothing_is_closed(tcp):
    tcp.run(9.9)
    assert tcp.closed == []
    tcp.run(0.2)
    assert [wish.reason for wish in tcp.closed] == ["first_message_timeout"]
    assert tcp.machine.counters["stream.first_message_timeout"] == 1
    tcp.settle()


def test_a_message_that_dribbles_is_closed(tcp):
    tcp.hear(tcp.request("OPTIONS"))
    tcp.run(50)
    tcp.feed(StreamBytes(tcp.flow, b"OPT"))
    tcp.run(9.9)
    assert tcp.closed == []
    tcp.run(0.2)
    assert [wish.reason for wish in tcp.closed] == ["message_timeout"]


def test_an_idle_connection_is_closed_after_two_minutes(tcp):
    tcp.hear(tcp.request("OPTIONS"))
    tcp.run(100)
    tcp.feed(StreamBytes(tcp.flow, b"\r\n\r\n"))
    assert tcp.raw[-1] == b"\r\n"
    tcp.run(119)
    assert tcp.closed == []
    tcp.run(2)
    assert [wish.reason for wish in tcp.closed] == ["idle_timeout"]


def test_a_connection_with_a_call_may_be_idle_for_longer(tcp):
    call = tcp.answered()
    tcp.run(899)
    assert tcp.closed == []
    assert call.state == "confirmed"
    tcp.run(2)
    assert len(tcp.closed) == 1


def kept(kit):
    bench = kit.Bench("TCP")
    bench.hear(bench.request("OPTIONS"))
    connection = bench.machine.core.streams[bench.flow]
    connection.keep_alive("one", bench.now)
    connection.keep_alive("one", bench.now)
    bench.forget()
    return bench


def test_a_kept_connection_is_pinged_every_95_to_120_seconds(kit):
    bench = kept(kit)
    bench.run(94)
    assert bench.raw == []
    bench.run(27)
    assert bench.raw == [b"\r\n\r\n"]
    bench.run(600)
    assert 5 <= len(bench.raw) <= 8
    assert bench.closed == []


def test_a_peer_that_answered_pings_and_stops_is_dead(kit):
    bench = kept(kit)
    bench.run(121)
    bench.feed(StreamBytes(bench.flow, b"\r\n"))
    bench.run(121)
    assert len(bench.raw) == 2
    bench.feed(StreamBytes(bench.flow, b"\r\n"))
    bench.run(135)
    assert [wish.reason for wish in bench.closed] == ["no pong"]
    assert bench.machine.counters["stream.no_pong"] == 1


def test_any_bytes_count_as_a_pong(kit):
    bench = kept(kit)
    bench.run(121)
    bench.feed(StreamBytes(bench.flow, b"\r\n"))
    while len(bench.raw) < 2:
        bench.run(1)
    bench.hear(bench.request("OPTIONS", call_id="again"))
    bench.run(20)
    assert bench.closed == []


def test_the_last_user_of_a_kept_connection_ends_its_pings(kit):
    bench = kept(kit)
    connection = bench.machine.core.streams[bench.flow]
    connection.keep_alive("two", bench.now)
    connection.let_go("one")
    bench.run(121)
    assert bench.raw == [b"\r\n\r\n"]
    connection.let_go("two")
    connection.let_go("two")
    bench.run(121)
    assert len(bench.raw) == 1


def test_a_connection_of_ours_has_no_first_message_deadline(kit):
    bench = kit.Bench("TCP")
    bench.lose()
    bench.feed(FlowOpened(bench.flow, "token"))
    bench.run(60)
    assert bench.closed == []

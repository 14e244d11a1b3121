"""What machines share: flows, timers, counters."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from voip.machine import Deadline, Flow, Timers
from voip.types import HostPort

HERE, THERE = HostPort("127.0.0.1", 5060), HostPort("127.0.0.2", 5060)


def test_only_udp_is_unreliable():
    assert not Flow("UDP", HERE, THERE).reliable
    assert Flow("TCP", HERE, THERE, 1).reliable
    assert Flow("TLS", HERE, THERE, 2, "example.com").reliable


def test_two_connections_between_the_same_addresses_differ():
    assert Flow("TCP", HERE, THERE, 1) != Flow("TCP", HERE, THERE, 2)


def test_no_timer_no_deadline():
    timers = Timers()
    assert timers.deadline() is None
    assert timers.due(1e9) == []
    assert len(timers) == 0


def test_the_earliest_timer_is_the_deadline_whatever_its_length():
    timers = Timers()
    timers.start(0.0, 32.0, "B", "late")
    timers.start(1.0, 0.5, "A", "soon")
    timers.start_at(1.2, "own", "sooner")
    assert timers.deadline() == Deadline(1.2, "own")
    assert [timer.owner for timer in timers.due(1.5)] == ["sooner", "soon"]
    assert timers.deadline() == Deadline(32.0, "B")
    assert timers.due(31.9) == []


def test_a_cancelled_timer_never_comes_up_and_lets_its_owner_go():
    timers = Timers()
    first = timers.start(0.0, 1.0, "A", object())
    second = timers.start_at(2.0, "B", object())
    first.cancel()
    second.cancel()
    assert first.owner is None
    assert timers.deadline() is None
    assert timers.due(10.0) == []
    assert len(timers) == 0


def test_a_timer_may_be_cancelled_between_two_others_of_its_length():
    timers = Timers()
    kept = [timers.start(float(at), 4.0, "T2", at) for at in range(3)]
    kept[1].cancel()
    assert [timer.owner for timer in timers.due(10.0)] == [0, 2]


def test_a_clock_that_was_wound_back_keeps_the_order():
    timers = Timers()
    timers.start(10.0, 1.0, "A", "later")
    timers.start(5.0, 1.0, "A", "earlier")
    assert [timer.owner for timer in timers.due(20.0)] == ["earlier", "later"]


@given(st.lists(st.tuples(st.sampled_from([0.5, 4.0, 32.0, None]), st.booleans()), max_size=60))
def test_timers_come_up_in_order_and_none_is_lost(plan):
    timers, now, expected, dice = Timers(), 0.0, [], random.Random(1)
    for length, cancelled in plan:
        now += dice.random()
        timer = (
            timers.start_at(now + dice.random() * 40, "x", None)
            if length is None
            else timers.start(now, length, "x", None)
        )
        if cancelled:
            timer.cancel()
        else:
            expected.append(timer.at)
    assert len(timers) == len(expected)
    seen = []
    while (deadline := timers.deadline()) is not None:
        seen += [timer.at for timer in timers.due(deadline.at)]
    assert seen == sorted(expected)


def test_the_deadline_is_that_of_the_earliest_timer_whatever_happened_since():
    timers = Timers()
    late = timers.start(0.0, 32.0, "late", None)
    assert timers.deadline() == Deadline(32.0, "late")
    soon = timers.start(0.0, 4.0, "soon", None)
    own = timers.start_at(2.0, "own", None)
    assert timers.deadline() == Deadline(2.0, "own")
    assert timers.deadline() is timers.deadline()
    own.cancel()
    assert timers.deadline() == Deadline(4.0, "soon")
    soon.cancel()
    late.cancel()
    assert timers.deadline() is None
    timers.start(1.0, 4.0, "again", None)
    assert timers.deadline() == Deadline(5.0, "again")


def test_what_was_cancelled_is_forgotten_while_others_come_and_go():
    timers = Timers()
    timers.start(0.0, 60.0, "kept", None)
    assert timers.deadline() == Deadline(60.0, "kept")
    for at in range(1000):
        timers.start(at / 100, 0.5, "short", None).cancel()
        timers.start_at(100 + at / 100, "own", None).cancel()
    assert len(timers._fifos[0.5]) == 1
    assert len(timers._heap) == 1


def test_timers_that_were_taken_back_come_up_again():
    timers = Timers()
    for reason, at in (("a", 1.0), ("b", 2.0), ("c", 9.0)):
        timers.start_at(at, reason, None)
    due = timers.due(5.0)
    timers.restore(due[1:])
    assert timers.deadline() == Deadline(2.0, "b")
    assert [timer.reason for timer in timers.due(5.0)] == ["b"]
    assert [timer.reason for timer in timers.due(9.0)] == ["c"]


def test_flows_that_differ_in_nothing_are_one_key():
    held = {Flow("TCP", HERE, THERE, 1): "one"}
    assert held[Flow("TCP", HERE, HostPort("127.0.0.2", 5060), 1)] == "one"

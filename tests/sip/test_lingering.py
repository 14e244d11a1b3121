"""Answered server transactions as plain values: what still finds them, and that they end."""

from __future__ import annotations

import dataclasses
import gc
import sys
from random import Random

import pytest

from tests.sip.conftest import SDP
from voip.machine import Timers
from voip.sip.lingering import Entry, Lingering
from voip.sip.tables import TABLES, Input, Kind, State
from voip.types import HostPort


class Gone:
    """A table, and which of its entries ended when."""

    def __init__(self):
        self.timers = Timers()
        self.keys = []
        self.table = Lingering(self.timers, lambda key, entry: self.keys.append((key, entry.data)))

    def add(self, key, at, data=b""):
        self.table.add(key, Entry(at, True, "", "", data))

    def advance(self, now):
        for timer in self.timers.due(now):
            timer.owner.expired(timer.reason, now)


def test_each_ends_at_its_own_moment_and_one_timer_serves_all():
    bed = Gone()
    for key, at in (("a", 32.0), ("b", 32.0), ("c", 33.5)):
        bed.add(key, at, key.encode())
    assert (len(bed.timers), len(bed.table), list(bed.table)) == (1, 3, ["a", "b", "c"])
    bed.advance(31.999)
    assert bed.keys == []
    bed.advance(32.0)
    assert bed.keys == [("a", b"a"), ("b", b"b")]
    assert bed.table.get("a") is None
    assert bed.table.get("c") == Entry(33.5, True, "", "", b"c")
    assert list(bed.table) == ["c"]
    assert bed.timers.deadline().at == 33.5
    bed.advance(40.0)
    assert (bed.keys[-1], len(bed.table), bed.timers.deadline()) == (("c", b"c"), 0, None)
    bed.add("a", 72.0)
    assert bed.timers.deadline().at == 72.0


def test_a_long_run_keeps_32_seconds_of_them_and_ends_each_in_time():
    bed, random, now, ends = Gone(), Random(1), 0.0, {}
    for number in range(4000):
        now += random.expovariate(20)
        if number % 1000 == 999:
            now += random.choice([10, 40])  # nobody calls for a while
        bed.advance(now)
        ends[f"k{number}"] = now + 32
        bed.add(f"k{number}", now + 32, b"%d" % number)
        alive = [key for key, at in ends.items() if at > now]
        assert len(bed.table) == len(alive)
        if number % 100 == 0:
            assert list(bed.table) == alive
            assert all((bed.table.get(key) is not None) is (key in alive) for key in ends)
        assert len(bed.table._tables) <= 10
    bed.advance(now + 32)
    assert [key for key, _ in bed.keys] == list(ends)
    assert (len(bed.table), len(bed.table._tables), len(bed.timers)) == (0, 0, 0)


def test_a_key_may_come_again_once_it_has_ended():
    bed = Gone()
    bed.add("a", 32.0, b"first")
    bed.add("b", 33.0)
    bed.advance(32.0)
    bed.add("a", 64.0, b"second")
    assert bed.table.get("a").data == b"second"
    bed.advance(33.0)
    assert bed.table.get("a").data == b"second"
    bed.advance(64.0)
    assert bed.keys == [("a", b"first"), ("b", b""), ("a", b"second")]


def test_none_is_lost_where_the_clock_is_wound_back():
    bed = Gone()
    bed.add("a", 132.0)
    bed.advance(132.0)
    bed.add("b", 122.0)
    assert bed.table.get("b").until > 132.0
    assert list(bed.table) == ["b"]
    bed.add("c", 164.0)
    bed.advance(150.0)
    assert [key for key, _ in bed.keys] == ["a", "b"]
    assert list(bed.table) == ["c"]


@pytest.mark.parametrize("identity", ["", "c1@host\nthem\n1\nINVITE", "\udcff\n\xe4"])
def test_an_entry_is_what_it_was_packed_as(identity):
    entry = Entry(132.25, False, identity, "us", b"SIP/2.0 200 OK\r\n\n\x00")
    assert Entry.of(entry.packed()) == entry


def test_the_garbage_collector_has_nothing_to_walk_over(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, SDP))
    bench.hear(bench.ack(request, bench.sent[-1]))
    bench.hear(bench.inside(call, "BYE"))
    transactions = bench.machine.core.transactions
    assert not transactions.servers
    assert len(transactions.lingering) == 2
    assert len(transactions.merged) == 1
    tables = [transactions.merged, *transactions.lingering._tables]
    for table in tables:
        assert {type(one) for pair in table.items() for one in pair} <= {str, bytes}
    if sys.version_info < (3, 14):  # which tracks every dictionary
        assert not any(map(gc.is_tracked, tables))


@pytest.mark.parametrize("given", [Input.REQUEST, Input.ACK, Input.SEND_SUCCESS])
@pytest.mark.parametrize(
    ("method", "kind", "state"),
    [
        ("INVITE", Kind.INVITE_SERVER, State.ACCEPTED),
        ("OPTIONS", Kind.SERVER, State.COMPLETED),
    ],
)
def test_it_follows_its_table_like_any_other(bench, method, kind, state, given):
    call = bench.answered()
    request = bench.inside(call, method, body=SDP if method == "INVITE" else b"")
    bench.hear(request)
    if method == "INVITE":
        bench.do(lambda _, now: call.answer_offer(now, SDP))
    transactions = bench.machine.core.transactions
    key = next(key for key in transactions.lingering if key.startswith(request.branch))
    transaction = transactions.server(key, bench.flow)
    assert (transaction.kind, transaction.state) == (kind, state)
    taken = bench.do(lambda _, now: transactions.step(transaction, given, now, request))
    assert taken is ((state, given) in TABLES[kind])


def test_a_repeat_from_another_port_is_answered_there(bench):
    call = bench.answered()
    bye = bench.inside(call, "BYE")
    bench.hear(bye)
    moved = dataclasses.replace(bench.flow, remote=HostPort(bench.flow.remote.host, 40_000))
    bench.forget()
    bench.hear(bye, moved)
    assert bench.names() == ["200 BYE"]
    assert bench.flows[-1] == moved


def test_a_late_cancel_gets_its_200_with_the_tag_of_the_2xx(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, SDP))
    accepted = bench.sent[-1]
    bench.hear(bench.request("CANCEL", branch=request.branch))
    assert bench.names()[-1] == "200 CANCEL"
    assert bench.sent[-1].to.tag == accepted.to.tag
    assert call.state == "answered"


def test_a_cancel_of_somebody_elses_call_meets_nothing(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, SDP))
    bench.hear(bench.request("CANCEL", branch=request.branch, call_id="another@peer"))
    assert bench.names()[-1] == "481 CANCEL"


def test_a_cancel_of_a_reinvite_that_was_refused_for_its_cseq_is_200(bench):
    call = bench.answered()
    late = bench.inside(call, "INVITE", cseq=1, body=SDP)
    bench.hear(late)
    assert bench.names()[-1] == "500 INVITE"
    bench.hear(bench.inside(call, "CANCEL", cseq=1, branch=late.branch))
    assert bench.names()[-1] == "200 CANCEL"


def test_an_ack_by_the_branch_of_a_reinvite_reaches_its_call_too(bench):
    call = bench.answered()
    again = bench.inside(call, "INVITE", body=SDP)
    bench.hear(again)
    bench.do(lambda _, now: call.answer_offer(now, SDP))
    accepted = bench.sent[-1]
    bench.hear(bench.inside(call, "CANCEL", branch=again.branch))
    assert bench.names()[-1] == "200 CANCEL"
    assert bench.sent[-1].to.tag == accepted.to.tag
    ack = bench.request("ACK", cseq=2, branch=again.branch, call_id=call.id)
    bench.hear(ack)
    bench.forget()
    bench.run(31)
    assert bench.names() == []  # the 2xx is not repeated


def test_an_ack_by_the_branch_reaches_its_call_without_our_tag_too(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, SDP))
    bench.hear(bench.request("ACK", branch=request.branch))
    assert call.state == "confirmed"
    bench.do(lambda _, now: call.hang_up(now))
    bench.reply(200)
    bench.hear(bench.request("ACK", branch=request.branch))  # the call is gone: nothing happens
    assert bench.machine.counters["ack.stray"] == 1
    assert bench.finished() == [("local_hangup", None)]


def test_a_fork_of_an_answered_invite_is_merged_until_timer_l(bench):
    bench.answered()
    bench.run(31.9)
    bench.hear(bench.request("INVITE", body=SDP))
    assert bench.names()[-1] == "482 INVITE"
    bench.run(0.2)
    assert bench.machine.sizes()["merged"] == 0
    bench.hear(bench.request("INVITE", body=SDP))
    assert bench.told().count("CallOffered") == 2


def test_it_counts_in_its_budget_until_it_ends(kit):
    bench = kit.Bench(start=0.0)
    budget = bench.machine.core.admission._transactions
    bench.hear(bench.inside(bench.answered(), "BYE"))
    assert budget == [0, 2]
    bench.run(32.1)
    assert budget == [0, 0]
    bench.settle()


def test_a_lost_connection_leaves_those_that_linger_alone(kit):
    bench = kit.Bench("TCP")
    bench.answered()
    assert len(bench.machine.core.transactions.lingering) == 1
    assert bench.machine.core.transactions.path_lost(bench.flow, bench.now) == 0

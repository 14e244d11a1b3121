"""Two endpoints and a bad network: every call completes, nothing is left."""

from __future__ import annotations

import pytest

from voip.testing import Link


def run(pair, calls, transport="udp"):
    for number in range(calls):
        pair.world.schedule(pair.world.now + number * 0.05, pair.call, transport)
    pair.world.run(calls * 0.05 + 400)


@pytest.mark.parametrize(
    "link",
    [
        Link(loss=0.1),
        Link(duplication=0.2, reorder=0.5, reorder_delay=0.3, jitter=0.2),
        Link(loss=0.05, burst_enter=0.02, burst_leave=0.3, delay=0.1),
    ],
    ids=["loss", "duplication and reordering", "bursts"],
)
def test_calls_complete_over_a_bad_network(kit, link):
    pair = kit.Pair(link, seed=5)
    run(pair, 150)
    assert pair.finished["alice"] == [("local_hangup", None)] * 150
    assert len(pair.finished["bob"]) == 150
    assert pair.confirmed > 130  # a BYE may overtake an ACK that was lost (RFC 5407 §3.1.6)
    assert pair.left() == {}


def test_calls_over_streams(kit):
    pair = kit.Pair(Link(delay=0.02))
    run(pair, 20, "tcp")
    assert pair.finished["alice"] == [("local_hangup", None)] * 20
    assert {name: size for name, size in pair.left().items() if name != "timers"} == {}


def test_callers_that_give_up_at_any_moment(kit):
    pair = kit.Pair(Link(loss=0.1, delay=0.02), seed=9, answer_after=0.3)
    ended = []
    for number in range(200):
        at = pair.world.now + number * 0.01

        def start(number=number):
            call = pair.call()

            def end():
                pair.alice.command(lambda _, now: call.hang_up(now))
                ended.append(call)

            pair.world.schedule(pair.world.now + number * 0.004, end)

        pair.world.schedule(at, start)
    pair.world.run(500)
    assert len(ended) == 200
    assert len(pair.finished["alice"]) == 200
    assert pair.left() == {}


def test_the_same_seed_gives_the_same_run(kit):
    traces = []
    for _ in range(2):
        pair = kit.Pair(Link(loss=0.3), seed=3)
        run(pair, 30)
        traces.append((pair.finished, dict(pair.world.network.counters)))
    assert traces[0] == traces[1]

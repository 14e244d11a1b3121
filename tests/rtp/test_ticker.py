"""Ticks come every 5 ms on absolute deadlines, only while wanted; a stall is made up for."""

from __future__ import annotations

import asyncio

import pytest

from voip.machine import Deadline
from voip.rtp.ticker import Ticker
from voip.testing.loop import run_virtual


class Wheel:
    """Who is ticked; in `wanted` are the moments when something is due, once they are told."""

    def __init__(self, loop):
        self.loop = loop
        self.ticks = []
        self.then = lambda: None
        self.wanted = None
        self.ticker = Ticker(self.tick, loop, deadline=self.deadline)

    def tick(self, now):
        self.ticks.append((now, self.loop.time()))
        self.then()

    def deadline(self):
        if not self.wanted:
            return None
        last = self.ticks[-1][0] if self.ticks else 0.0
        return Deadline(min(at for at in self.wanted if at > last + 0.0025), "a test")

    @property
    def due(self):
        return [at for at, _ in self.ticks]


def virtual(test):
    def run():
        async def main():
            await test(Wheel(asyncio.get_running_loop()))

        run_virtual(main())

    return run


@virtual
async def test_ticks_keep_their_distance_without_drift(wheel):
    start = wheel.loop.time()
    wheel.ticker.start()
    await asyncio.sleep(10.001)
    assert len(wheel.ticks) == 2000
    assert wheel.due[-1] == pytest.approx(start + 10.0, abs=1e-6)
    wheel.ticker.stop()


@virtual
async def test_no_ticks_while_nobody_wants_them(wheel):
    wheel.ticker.start()
    wheel.ticker.start()
    wheel.ticker.stop()
    await asyncio.sleep(0.011)
    assert len(wheel.ticks) == 2
    assert wheel.ticker.running
    wheel.ticker.stop()
    wheel.ticker.stop()
    assert not wheel.ticker.running
    await asyncio.sleep(1)
    assert len(wheel.ticks) == 2
    wheel.ticker.start()
    await asyncio.sleep(0.006)
    assert len(wheel.ticks) == 3
    wheel.ticker.stop()


@virtual
async def test_calls_that_come_and_go_within_a_tick_share_its_timer(wheel):
    start = wheel.loop.time()
    for _ in range(10):
        wheel.ticker.start()
        wheel.ticker.stop()
    wheel.ticker.start()
    await asyncio.sleep(0.0101)
    assert wheel.due == pytest.approx([start + 0.005, start + 0.01])
    wheel.ticker.stop()


@virtual
async def test_closing_ends_the_ticks_at_once(wheel):
    wheel.ticker.start()
    wheel.ticker.close()
    assert not wheel.ticker.running
    await asyncio.sleep(1)
    assert not wheel.ticks
    wheel.ticker.start()
    wheel.then = wheel.ticker.close
    await asyncio.sleep(1)
    assert len(wheel.ticks) == 1


@virtual
async def test_a_tick_may_close_the_ticker_and_start_it_anew(wheel):
    def anew():
        wheel.then = lambda: None
        wheel.ticker.close()
        wheel.ticker.start()

    wheel.then = anew
    wheel.ticker.start()
    await asyncio.sleep(0.0301)
    assert len(wheel.ticks) == 6
    wheel.ticker.stop()


@virtual
async def test_ticks_that_a_stall_swallowed_are_made_up_for_in_order(wheel):
    start = wheel.loop.time()
    wheel.ticker.start()

    def stall_once():
        wheel.then = lambda: None
        wheel.loop._now += 0.05

    wheel.then = stall_once
    await asyncio.sleep(0.0051)
    await asyncio.sleep(0.02)
    expected = [start + 0.005 * (number + 1) for number in range(len(wheel.ticks))]
    assert wheel.due == pytest.approx(expected)
    assert len(wheel.ticks) >= 11
    assert not wheel.ticker.counters
    wheel.ticker.stop()


@virtual
async def test_a_long_stall_ends_in_a_gap_and_not_in_a_burst(wheel):
    wheel.ticker.start()
    wheel.loop._now += 3600
    await asyncio.sleep(0.0001)
    assert 11 <= len(wheel.ticks) <= 13
    assert wheel.due[-1] == pytest.approx(wheel.loop.time(), abs=0.006)
    assert wheel.ticker.counters["ticks_skipped"] == pytest.approx(720_000, abs=20)
    wheel.ticker.stop()


@virtual
async def test_a_tick_that_fails_is_reported_and_the_next_one_comes(wheel):
    errors = []
    wheel.loop.set_exception_handler(lambda _, context: errors.append(context))

    def fail():
        raise ValueError("a plane")

    wheel.then = fail
    wheel.ticker.start()
    await asyncio.sleep(0.011)
    assert len(wheel.ticks) == 2
    assert wheel.ticker.counters["tick_failed"] == 2
    assert [str(context["exception"]) for context in errors] == ["a plane"] * 2
    wheel.ticker.stop()


@virtual
async def test_the_last_user_may_leave_during_a_tick(wheel):
    wheel.then = wheel.ticker.stop
    wheel.ticker.start()
    wheel.loop._now += 0.05
    await asyncio.sleep(1)
    assert len(wheel.ticks) == 1
    assert not wheel.ticker.running


@virtual
async def test_another_may_come_when_the_last_leaves(wheel):
    def swap():
        wheel.ticker.stop()
        wheel.ticker.start()

    wheel.then = swap
    wheel.ticker.start()
    await asyncio.sleep(0.0501)
    timers = [timer for timer in wheel.loop._scheduled if not timer.cancelled()]
    assert len(timers) == 1
    wheel.then = lambda: None
    wheel.ticker.stop()


@virtual
async def test_a_tick_that_is_cancelled_is_not_the_last_one(wheel):
    def cancelled():
        wheel.then = lambda: None
        raise asyncio.CancelledError

    wheel.loop.set_exception_handler(lambda *_: None)
    wheel.then = cancelled
    wheel.ticker.start()
    await asyncio.sleep(0.0501)
    assert len(wheel.ticks) == 10
    wheel.ticker.stop()
    wheel.ticker.start()
    await asyncio.sleep(0.05)
    assert len(wheel.ticks) == 20
    wheel.ticker.stop()


@virtual
async def test_ticks_before_the_deadline_are_left_out_and_the_grid_stays(wheel):
    start = wheel.loop.time()
    wheel.wanted = [start + at for at in (0.005, 0.025, 0.0461, 0.049, 0.1, 9)]
    wheel.ticker.start()
    await asyncio.sleep(1)
    # The nearest tick, where the deadline lies beside the grid; the next, where that is over.
    assert wheel.due == pytest.approx([start + at for at in (0.005, 0.025, 0.045, 0.05, 0.1)])
    wheel.ticker.stop()


@virtual
async def test_an_earlier_deadline_brings_the_tick_forward(wheel):
    start = wheel.loop.time()
    wheel.wanted = [start + 0.005, start + 5]
    wheel.ticker.start()
    await asyncio.sleep(1.0012)
    assert wheel.ticker.upcoming() == pytest.approx(start + 1.005)
    wheel.wanted.append(start + 1.1)
    wheel.ticker.hasten()
    wheel.ticker.hasten()  # nothing is earlier than it was
    await asyncio.sleep(0.5)
    assert wheel.due == pytest.approx([start + 0.005, start + 1.1])
    wheel.wanted.append(start)  # over already: at the next tick
    wheel.wanted.append(start + 1.4)
    wheel.ticker.hasten()
    await asyncio.sleep(0.01)
    assert wheel.due[2:] == pytest.approx([start + 1.505])
    timers = [timer for timer in wheel.loop._scheduled if not timer.cancelled()]
    assert len(timers) == 1
    wheel.ticker.close()


@virtual
async def test_what_is_due_earlier_since_a_tick_is_not_lost(wheel):
    start = wheel.loop.time()

    def sooner():
        wheel.then = lambda: None
        wheel.wanted = [start + 0.03, start + 5]
        wheel.ticker.hasten()

    wheel.wanted = [start + 0.005, start + 5]
    wheel.then = sooner
    wheel.ticker.start()
    await asyncio.sleep(1)
    assert wheel.due == pytest.approx([start + 0.005, start + 0.03])
    wheel.ticker.close()


@virtual
async def test_a_stall_makes_up_for_the_ticks_that_were_wanted(wheel):
    start = wheel.loop.time()
    wheel.wanted = [start + at for at in (0.005, 0.025, 0.045, 0.065, 5)]
    wheel.ticker.start()
    await asyncio.sleep(0.01)
    wheel.loop._now += 0.05
    await asyncio.sleep(0.02)
    assert wheel.due == pytest.approx([start + at for at in (0.005, 0.025, 0.045, 0.065)])
    assert not wheel.ticker.counters
    wheel.ticker.close()
    assert wheel.ticker.upcoming() == pytest.approx(wheel.loop.time() + 0.005)

"""Reads wait while wake-ups are close, and only then."""

from __future__ import annotations

import asyncio

import pytest

from voip.gathering import GatheredReader, Gathering


def phases(distances):
    """Return what the gathering said at each wake-up."""
    gathering, now, said = Gathering(), 100.0, []
    for distance in distances:
        now += distance
        said.append(gathering.woken(now))
    return said


def test_nothing_waits_while_wake_ups_are_far_apart():
    assert not any(phases([0.0008] * 2000))


def test_close_wake_ups_gather_for_a_phase_and_are_measured_again():
    said = phases([0.0002] * 33 + [0.001] * 256 + [0.0002] * 33 + [0.001] * 10)
    assert not any(said[:32])
    assert all(said[32:288])
    assert not any(said[288:320])
    assert all(said[321:])


def test_when_calls_become_few_reading_is_direct_again():
    said = phases([0.0002] * 33 + [0.001] * 256 + [0.01] * 100)
    assert not any(said[288:])


def test_a_pause_in_a_measurement_is_no_rush():
    assert not any(phases(([0.0002] * 20 + [0.1]) * 50))


class Loop:
    """What a reader asks of the loop, with time by hand."""

    def __init__(self):
        self.now = 100.0
        self.readers = {}
        self.timers = []

    def time(self):
        return self.now

    def is_closed(self):
        return False

    def add_reader(self, fd, callback):
        self.readers[fd] = callback

    def remove_reader(self, fd):
        del self.readers[fd]

    def call_later(self, delay, callback):
        return self.call_at(self.now + delay, callback)

    def call_soon(self, callback):
        return self.call_at(self.now, callback)

    def call_at(self, at, callback):
        timer = Timer(at, callback)
        self.timers.append(timer)
        return timer

    def step(self, seconds):
        self.now += seconds
        due = [timer for timer in self.timers if timer.at <= self.now + 1e-9]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            if not timer.cancelled:
                timer.callback()


class Timer:
    def __init__(self, at, callback):
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self):
        self.cancelled = True


class Reads:
    def __init__(self, **options):
        self.loop, self.count, self.left = Loop(), 0, False
        self.then = lambda: None
        self.reader = GatheredReader(self.loop, 5, self.read, **options)

    def read(self):
        self.count += 1
        self.then()
        return self.left

    def rush(self):
        """Wake the reader until it gathers."""
        for _ in range(33):
            self.loop.now += 0.0001
            self.loop.readers[5]()


@pytest.fixture
def reads():
    return Reads()


def test_a_reader_that_does_not_gather_reads_at_each_wake_up():
    reads = Reads(gathers=False)
    reads.rush()
    reads.rush()
    assert (reads.count, reads.loop.timers, list(reads.loop.readers)) == (66, [], [5])
    reads.reader.close()
    assert reads.loop.readers == {}


def test_while_gathering_the_timer_reads_and_not_the_loop(reads):
    reads.rush()
    assert reads.loop.readers == {}
    for count in range(1, 200):
        reads.loop.step(0.001)
        assert reads.count == 33 + count
    assert reads.loop.readers == {}


def test_after_the_phase_the_loop_reads_again_and_no_timer_is_left(reads):
    reads.rush()
    for _ in range(256):
        reads.loop.step(0.001)
    assert list(reads.loop.readers) == [5]
    assert not reads.loop.timers


def test_what_a_bound_left_is_read_at_once(reads):
    reads.rush()
    reads.left = True
    reads.loop.step(0.001)
    reads.left = False
    reads.loop.step(0.0)
    assert reads.count == 35


@pytest.mark.parametrize("gathering", [False, True])
def test_closing_leaves_neither_reader_nor_timer(reads, gathering):
    if gathering:
        reads.rush()
    reads.reader.close()
    reads.reader.close()
    assert reads.loop.readers == {}
    before = reads.count
    reads.loop.step(1.0)
    assert reads.count == before


@pytest.mark.parametrize("gathering", [False, True])
def test_a_read_may_close_the_reader(reads, gathering):
    if gathering:
        reads.rush()
    reads.then = reads.reader.close
    if gathering:
        reads.loop.step(0.001)
    else:
        reads.loop.readers[5]()
    assert reads.loop.readers == {}
    assert not reads.loop.timers


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_read_that_raises_is_not_the_last_one(reads, error):
    def fail():
        raise error

    reads.rush()
    reads.then = fail
    with pytest.raises(error):
        reads.loop.step(0.001)
    reads.then = lambda: None
    before = reads.count
    for _ in range(10):
        reads.loop.step(0.001)
    assert reads.count == before + 10


def test_a_loop_without_readers_says_so():
    class Proactor(asyncio.AbstractEventLoop):
        def add_reader(self, fd, callback, *args):
            raise NotImplementedError

    with pytest.raises(NotImplementedError):
        GatheredReader(Proactor(), 5, lambda: False)

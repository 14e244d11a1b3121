"""The Driver keeps the machine's door, owns one timer and its tasks; a recording replays."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from voip.aio import Driver, Recorder, replay
from voip.errors import LocalProtocolError
from voip.machine import Deadline, Timers
from voip.testing.loop import run_virtual


class Clockwork:
    """A machine that answers each input with a token and once more after a delay."""

    def __init__(self, entropy=lambda count: bytes(count), delay=2.0):
        self.counters = Counter()
        self.timers = Timers()
        self.sent = []
        self.happened = []
        self.log = []
        self.entropy = entropy
        self.delay = delay

    def receive(self, event, now):
        self.log.append(("receive", event, now))
        if event == "bomb":
            raise ValueError("a bug")
        self.sent.append((event, self.entropy(4)))
        self.timers.start(now, self.delay, "again", event)

    def advance(self, now):
        self.log.append(("advance", now))
        for timer in self.timers.due(now):
            if timer.owner == "late bomb":
                raise ValueError("a bug in time")
            self.happened.append((timer.owner, now))

    def say(self, word, now):
        self.sent.append((word, now))
        return f"said {word} {self.entropy(1)!r}"

    def refuse(self, now):
        self.sent.append(("refused", now))
        raise LocalProtocolError("not now")

    def deadline(self):
        return self.timers.deadline()

    def outgoing(self):
        sent, self.sent = self.sent, []
        return sent

    def events(self):
        happened, self.happened = self.happened, []
        return happened


class Shell(Driver):
    def __init__(self, machine=None, **options):
        super().__init__(machine or Clockwork(), **options)
        self.transmitted = []
        self.handled = []

    def transmit(self, output):
        self.transmitted.append(output)

    def handle(self, event):
        self.handled.append(event)


def in_virtual_time(test):
    """Run an async test on a virtual loop that collects what nobody handled."""

    def run():
        async def main():
            errors = []
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: errors.append(context)
            )
            await test(errors)

        run_virtual(main())

    run.__name__ = test.__name__
    return run


@in_virtual_time
async def test_an_input_is_received_and_drained_at_once(errors):
    shell = Shell()
    shell.feed("hello")
    assert shell.transmitted == [("hello", bytes(4))]
    assert shell.machine.log == [("receive", "hello", shell.now)]


@in_virtual_time
async def test_a_plain_driver_drains_into_nothing(errors):
    driver = Driver(Clockwork(delay=0.5))
    driver.feed("hello")
    await asyncio.sleep(1)
    assert not driver.machine.sent
    assert not driver.machine.happened


@in_virtual_time
async def test_the_timer_comes_at_the_deadline(errors):
    shell = Shell()
    start = shell.now
    shell.feed("one")
    await asyncio.sleep(3)
    assert shell.handled == [("one", start + 2.0)]


@in_virtual_time
async def test_the_timer_moves_forward_when_an_earlier_deadline_turns_up(errors):
    shell = Shell()
    start = shell.now
    shell.machine.timers.start_at(start + 10, "far", "far")
    shell.drain()
    shell.machine.timers.start_at(start + 1, "near", "near")
    shell.drain()
    await asyncio.sleep(1.5)
    assert shell.handled == [("near", start + 1)]
    await asyncio.sleep(10)
    assert shell.handled[1:] == [("far", start + 10)]


@in_virtual_time
async def test_a_cancelled_deadline_leaves_no_timer_and_a_later_one_is_kept(errors):
    shell = Shell()
    first = shell.machine.timers.start_at(shell.now + 1, "first", "first")
    shell.drain()
    first.cancel()
    later = shell.machine.timers.start_at(shell.now + 2, "later", "later")
    shell.drain()  # the timer of `first` stays armed and finds nothing due
    await asyncio.sleep(1.5)
    assert ("advance", shell.now) not in shell.machine.log
    later.cancel()
    shell.drain()
    assert not [t for t in asyncio.get_running_loop()._scheduled if not t.cancelled()]


@in_virtual_time
async def test_a_timer_that_a_loop_runs_early_counts_as_due(errors):
    shell = Shell()
    at = shell.now + 0.0005
    shell.machine.timers.start_at(at, "soon", "soon")
    shell._wake()  # as a loop does whose clock is coarse
    assert shell.handled == [("soon", at)]


@in_virtual_time
async def test_a_thousand_timers_in_a_second_share_a_hundred_wake_ups(errors):
    shell = Shell()
    start = shell.now
    for number in range(1000):
        shell.machine.timers.start_at(start + 1 + number / 1000, "linger", number)
    shell.drain()
    await asyncio.sleep(3)
    assert [owner for owner, _ in shell.handled] == list(range(1000))
    late = [at - (start + 1 + number / 1000) for number, at in shell.handled]
    assert min(late) > -1e-6
    assert max(late) <= Driver.GATHER_SECONDS + 1e-6
    woken = {at for kind, at in shell.machine.log if kind == "advance"}
    assert len(woken) <= 102


@in_virtual_time
async def test_what_is_fed_while_draining_waits_its_turn(errors):
    shell = Shell()
    order = []

    def transmit(output):
        order.append(output[0])
        if output[0] == "one":
            shell.feed("two")
            order.append("after feed")

    shell.transmit = transmit
    shell.feed("one")
    assert order == ["one", "after feed", "two"]


@in_virtual_time
async def test_a_command_returns_its_result_and_is_drained(errors):
    shell = Shell()
    assert shell.command(lambda machine, now: machine.say("yes", now)) == "said yes b'\\x00'"
    assert shell.transmitted == [("yes", shell.now)]


@in_virtual_time
async def test_a_refused_command_raises_and_is_drained_all_the_same(errors):
    shell = Shell()
    with pytest.raises(LocalProtocolError):
        shell.command(lambda machine, now: machine.refuse(now))
    assert shell.transmitted == [("refused", shell.now)]


@in_virtual_time
async def test_a_command_of_a_handler_is_drained_in_order(errors):
    shell = Shell(Clockwork(delay=1.0))
    handled = []

    def handle(event):
        handled.append(event[0])
        shell.command(lambda machine, now: machine.say(f"re {event[0]}", now))

    shell.handle = handle
    shell.feed("a")
    shell.feed("b")
    await asyncio.sleep(2)
    assert handled == ["a", "b"]
    assert [word for word, _ in shell.transmitted] == ["a", "b", "re a", "re b"]


@in_virtual_time
async def test_a_bug_of_the_machine_is_reported_and_the_next_input_is_taken(errors):
    shell = Shell(Clockwork(delay=0.1))
    shell.feed("bomb")
    shell.feed("late bomb")
    await asyncio.sleep(1)
    shell.feed("fine")
    assert shell.counters["machine_failed"] == 2
    assert [str(context["exception"]) for context in errors] == ["a bug", "a bug in time"]
    assert errors[1]["message"] == "machine failed on again"
    assert shell.transmitted[-1] == ("fine", bytes(4))


@in_virtual_time
async def test_a_failing_transmit_or_handler_costs_nobody_else(errors):
    shell = Shell(Clockwork(delay=0.1))
    taken = []

    def transmit(output):
        taken.append(output[0])
        if output[0] == "one":
            raise OSError("no socket")

    def handle(event):
        taken.append(event[0])
        raise RuntimeError("a hook")

    shell.transmit, shell.handle = transmit, handle
    shell.feed("one")
    shell.feed("two")
    await asyncio.sleep(1)
    assert taken == ["one", "two", "one", "two"]
    assert shell.counters == {"transmit_failed": 1, "handler_failed": 2}
    assert len(errors) == 3


@in_virtual_time
async def test_tasks_are_owned_and_their_failure_is_reported(errors):
    shell = Shell()

    async def fail():
        raise ValueError("the task")

    async def wait():
        await asyncio.Event().wait()

    shell.spawn(fail(), "failing")
    waiting = shell.spawn(wait(), "waiting")
    await asyncio.sleep(0.1)
    assert shell.tasks == {waiting}
    assert shell.counters["task_failed"] == 1
    assert errors[0]["message"] == "task failed on failing"
    shell.close()
    await shell.wait_closed()
    assert waiting.cancelled()
    assert not shell.tasks
    assert len(errors) == 1


@in_virtual_time
async def test_a_task_may_close_its_own_driver_and_wait(errors):
    shell = Shell()

    async def leave():
        shell.feed("x")
        await asyncio.sleep(0)
        shell.closed = True
        await shell.wait_closed()
        return "left"

    assert await shell.spawn(leave(), "leaving") == "left"


@in_virtual_time
async def test_closing_stops_the_timer_and_takes_no_more_input(errors):
    shell = Shell()
    shell.feed("one")
    shell.close()
    shell.close()
    shell.feed("two")
    await asyncio.sleep(5)
    assert shell.counters["input_after_close"] == 1
    assert not shell.handled
    assert len(shell.transmitted) == 1


def record(limit=1_000_000):
    """Return the recording of a run with inputs, timers and a command, and what was transmitted."""
    draws = itertools.count()
    recorder = Recorder(lambda count: bytes([next(draws)]) * count, limit=limit)

    async def main():
        shell = Shell(Clockwork(recorder.entropy), recorder=recorder)
        shell.feed("one")
        await asyncio.sleep(0.5)
        shell.feed("two")
        shell.command(lambda machine, now: machine.say("hi", now))
        with pytest.raises(LocalProtocolError):
            shell.command(lambda machine, now: machine.refuse(now))
        await asyncio.sleep(5)
        return shell.transmitted + shell.handled

    return recorder.recording, run_virtual(main())


def test_a_recording_replays_bit_for_bit():
    recording, seen = record()
    assert recording.complete
    assert [entry.kind for entry in recording.entries] == [
        *("receive", "receive", "command", "command", "advance", "advance")
    ]
    assert sorted(map(repr, recording.outputs)) == sorted(map(repr, seen))
    assert replay(Clockwork, recording) == recording.outputs


def test_a_replay_that_draws_other_entropy_says_so():
    recording, _ = record()
    recording.entropy[1] = b"too long for it"
    with pytest.raises(LocalProtocolError, match="diverged"):
        replay(Clockwork, recording)
    recording.entropy[1:] = [bytes(4)]
    with pytest.raises(LocalProtocolError, match="diverged"):  # in the command
        replay(Clockwork, recording)
    recording.entropy.clear()
    with pytest.raises(LocalProtocolError, match="diverged"):
        replay(Clockwork, recording)


def test_a_recording_has_an_end():
    recording, _ = record(limit=1)
    assert not recording.complete
    assert len(recording.entries) == 1
    assert recording.outputs[0][0] == "one"
    assert replay(Clockwork, recording)[0] == recording.outputs[0]


def test_deadlines_carry_their_reason():
    machine = Clockwork()
    machine.receive("x", 1.0)
    assert machine.deadline() == Deadline(3.0, "again")

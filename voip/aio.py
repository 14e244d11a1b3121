"""The Driver: one generic shell that gives any machine a loop, a timer and an owner for its tasks.

Datagram or bytes → receive → drain; timer → advance → drain; one timer, re-armed from `deadline()`.
The door of `voip.machine` (drain before the next receive, advance or command) is kept here and
nowhere else: an input that arrives while the Driver drains waits its turn in a queue.

A machine knows no clock and draws its entropy from outside, so a run is its inputs. A `Recorder`
keeps them, and `replay` gives them to a fresh machine, bit for bit.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from voip.errors import LocalProtocolError
from voip.machine import Counters, Entropy, Machine

__all__ = ["Driver", "Entry", "Recorder", "Recording", "replay"]

MachineT = TypeVar("MachineT", bound=Machine)
ResultT = TypeVar("ResultT")
Command = Callable[[Any, float], Any]


class Entry(NamedTuple):
    """One step of a run.

    Attributes:
        at: the `now` that the machine was given.
        kind: which verb.
        value: the input of a receive, the callable of a command, None for an advance.
    """

    at: float
    kind: Literal["receive", "advance", "command"]
    value: Any


@dataclass(slots=True)
class Recording:
    """What a run was: its inputs, the entropy drawn, and what came out.

    Attributes:
        entries: every step, in order.
        entropy: every draw, in order.
        outputs: everything that `outgoing()` and `events()` gave, in order.
        complete: False once the limit was reached; such a recording replays its beginning only.
    """

    entries: list[Entry] = field(default_factory=list)
    entropy: list[bytes] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    complete: bool = True


class Recorder:
    """Keeps the inputs of one machine; make the machine with `recorder.entropy`.

    Args:
        entropy: where the randomness comes from.
        limit: steps after which recording stops (a recording without an end is a leak).
    """

    def __init__(self, entropy: Entropy = secrets.token_bytes, *, limit: int = 1_000_000) -> None:
        self.recording = Recording()
        self._source = entropy
        self._limit = limit

    def entropy(self, count: int) -> bytes:
        """Draw `count` random bytes and remember them."""
        drawn = self._source(count)
        if self.recording.complete:
            self.recording.entropy.append(drawn)
        return drawn

    def step(self, at: float, kind: Literal["receive", "advance", "command"], value: Any) -> None:
        """Remember one step."""
        if len(self.recording.entries) >= self._limit:
            self.recording.complete = False
        if self.recording.complete:
            self.recording.entries.append(Entry(at, kind, value))

    def output(self, value: Any) -> None:
        """Remember one output or event."""
        if self.recording.complete:
            self.recording.outputs.append(value)


def replay(machine_factory: Callable[[Entropy], Machine], recording: Recording) -> list[Any]:
    """Give a recorded run to a fresh machine and return everything that comes out.

    Args:
        machine_factory: makes the machine from an entropy source.
        recording: what a `Recorder` kept; the result equals its `outputs` when nothing diverged.

    Raises:
        LocalProtocolError: the machine drew other entropy than in the recorded run.
    """
    draws = deque(recording.entropy)

    diverged = False

    def entropy(count: int) -> bytes:
        nonlocal diverged
        if not draws or len(draws[0]) != count:
            diverged = True
            raise LocalProtocolError(
                f"the replay diverged: {count} bytes of entropy were not drawn"
            )
        return draws.popleft()

    machine = machine_factory(entropy)
    outputs: list[Any] = []
    for at, kind, value in recording.entries:
        if kind == "receive":
            machine.receive(value, at)
        elif kind == "advance":
            machine.advance(at)
        else:
            try:
                value(machine, at)
            except LocalProtocolError:  # refused then as now
                if diverged:
                    raise
        while produced := [*machine.outgoing(), *machine.events()]:
            outputs += produced
    return outputs


class Driver(Generic[MachineT]):
    """Binds one machine to the loop; owns its tasks and its timer.

    Subclass points: `transmit(output)` for everything that `outgoing()` gives, `handle(event)` for
    everything that `events()` gives. What they raise is counted and reported to the loop's
    exception handler; the machine goes on.

    Args:
        machine: any object with the five verbs.
        loop: the event loop; the running one when absent.
        recorder: keeps the inputs for `replay`; the machine must draw from `recorder.entropy`.
    """

    #: Seconds between wake-ups for timers: no timer of SIP or STUN minds a hundredth of one.
    GATHER_SECONDS = 0.01

    def __init__(
        self,
        machine: MachineT,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.machine = machine
        self.loop = loop or asyncio.get_running_loop()
        self.counters: Counters = Counter()
        self.closed = False
        self._recorder = recorder
        self._inputs: deque[Any] = deque()
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None
        self._woken_at = float("-inf")
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def now(self) -> float:
        """The loop's clock, monotonic seconds: what commands of the machine take."""
        return self.loop.time()

    # Subclass points

    def transmit(self, output: Any) -> None:
        """Carry out one output of the machine."""

    def handle(self, event: Any) -> None:
        """Take one event of the machine."""

    # In

    def feed(self, event: Any) -> None:
        """Give the machine one input, and drain. While draining, the input waits its turn."""
        if self.closed:
            self.counters["input_after_close"] += 1
        elif self._draining:
            self._inputs.append(event)
        else:
            self._receive(event)
            self.drain()

    def command(self, action: Callable[[MachineT, float], ResultT]) -> ResultT:
        """Run a command as `action(machine, now)`, drain, and return its result.

        Raises:
            Exception: whatever the action raises (`LocalProtocolError` for a refused command).
        """
        now = self.now
        if self._recorder is not None:
            self._recorder.step(now, "command", action)
        try:
            return action(self.machine, now)
        finally:
            self.drain()

    def _receive(self, event: Any) -> None:
        now = self.loop.time()
        if self._recorder is not None:
            self._recorder.step(now, "receive", event)
        try:
            self.machine.receive(event, now)
        except Exception as error:  # noqa: BLE001 - a bug of the machine must not end the listener
            self._report("machine_failed", error, event)

    # Out

    def drain(self) -> None:
        """Carry out what the machine wants and hand out what happened, until nothing is left."""
        if self._draining:
            return
        self._draining = True
        machine = self.machine
        try:
            while True:
                outgoing, events = machine.outgoing(), machine.events()
                if outgoing or events:
                    self._carry_out(outgoing, events)
                elif self._inputs:
                    self._receive(self._inputs.popleft())
                else:
                    break
        finally:
            self._draining = False
        self._arm()

    def _carry_out(self, outgoing: list[Any], events: list[Any]) -> None:
        recorder = self._recorder
        # Written out twice: a call per output costs as much as most of them do.
        for output in outgoing:
            if recorder is not None:
                recorder.output(output)
            try:
                self.transmit(output)
            except Exception as error:  # noqa: BLE001 - here is where strangers are caught
                self._report("transmit_failed", error, output)
        for event in events:
            if recorder is not None:
                recorder.output(event)
            try:
                self.handle(event)
            except Exception as error:  # noqa: BLE001 - as above
                self._report("handler_failed", error, event)

    def _report(self, counter: str, error: BaseException, subject: Any) -> None:
        self.counters[counter] += 1
        name = subject if isinstance(subject, str) else type(subject).__name__
        self.loop.call_exception_handler(
            {"message": f"{counter.replace('_', ' ')} on {name}", "exception": error}
        )

    # Time

    def _arm(self) -> None:
        """Have one timer that is never later than the deadline; an early one re-arms itself."""
        timer, soon = self._timer, self._woken_at + self.GATHER_SECONDS
        if timer is not None and timer.when() <= soon and not self.closed:
            return  # whatever the deadline is, the wake-up that is set will not be late for it
        deadline = None if self.closed else self.machine.deadline()
        if deadline is None:
            if timer is not None:
                timer.cancel()
                self._timer = None
            return
        # What is due just after a wake-up waits for the next one: a thousand calls a second leave
        # two thousand timers a second behind, and each wake-up costs more than its timer.
        at = max(deadline.at, soon)
        if timer is not None:
            # A timer that comes too early costs one look; cancelling costs a dead entry in the
            # loop's heap per message.
            if timer.when() <= at:
                return
            timer.cancel()
        self._timer = self.loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self._woken_at = self.now
        deadline = self.machine.deadline()
        # The loop may run a timer up to its clock's resolution early: the machine must see the
        # moment that it asked for, or it would spin until the clock gets there.
        if deadline is not None and deadline.at <= now + 0.001:
            now = max(now, deadline.at)
            if self._recorder is not None:
                self._recorder.step(now, "advance", None)
            try:
                self.machine.advance(now)
            except Exception as error:  # noqa: BLE001 - see _receive
                self._report("machine_failed", error, deadline.reason)
        self.drain()

    # Tasks

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that the Driver owns: cancelled on close, its failure reported."""
        task = self.loop.create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._report("task_failed", error, task.get_name())

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """The tasks that run."""
        return frozenset(self._tasks)

    def close(self) -> None:
        """Stop the timer, cancel the tasks, take no more input. Idempotent."""
        self.closed = True
        self._inputs.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until every task has ended."""
        while tasks := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(tasks)

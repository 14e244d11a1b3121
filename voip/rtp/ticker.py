"""The shared wheel: one timer for all calls of a loop, on absolute deadlines."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable

from voip.machine import Counters, Deadline

__all__ = ["Ticker"]


class Ticker:
    """Calls `tick(now)` on a grid of 5 ms, without drift, while somebody wants it.

    Ticks that a stall swallowed are made up for, each with the moment it was due at, so that every
    call's frames keep their order and their times. What is older than `catch_up` seconds is
    skipped: a long stall ends in a gap, not in a burst.

    Args:
        tick: called with the moment the tick was due at, on the loop's clock.
        loop: the event loop.
        deadline: tells what the next tick is for: those before it are left out, since a process
            with a call or two would wake up for nothing three times out of four. None of them is
            left out when it is None or gives None.
        interval: seconds between ticks.
        catch_up: seconds of missed ticks that are made up for.
    """

    def __init__(
        self,
        tick: Callable[[float], None],
        loop: asyncio.AbstractEventLoop,
        *,
        deadline: Callable[[], Deadline | None] | None = None,
        interval: float = 0.005,
        catch_up: float = 0.06,
    ) -> None:
        self.counters: Counters = Counter()
        self._tick = tick
        self._loop = loop
        self._deadline = deadline
        self._interval = interval
        self._catch_up = catch_up
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._users = 0
        self._ticking = False

    @property
    def running(self) -> bool:
        """Whether somebody wants ticks."""
        return self._users > 0

    def start(self) -> None:
        """Count one more user; the first starts the ticks."""
        self._users += 1
        if self._timer is None:
            self._next = self._loop.time() + self._interval
            self._timer = self._loop.call_at(self._next, self._due)

    def stop(self) -> None:
        """Count one user less.

        After the last one the timer lapses at its next tick: where calls come and go by the
        hundreds a second, setting and cancelling it for each costs more than the tick.
        """
        self._users = max(0, self._users - 1)

    def close(self) -> None:
        """End the ticks now, whoever wants them."""
        self._users = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def upcoming(self) -> float:
        """Return the next moment of the grid, whether or not it would be left out."""
        now = self._loop.time()
        if self._timer is None:
            return now + self._interval
        left_out = math.ceil((self._next - now) / self._interval) - 1
        return self._next - left_out * self._interval if left_out > 0 else self._next

    def hasten(self) -> None:
        """Look at the deadline again, which may be earlier than it was."""
        if self._timer is None or self._ticking:  # what ticks looks at it afterwards
            return
        at = self._leave_out(self.upcoming())
        if at < self._next:
            self._next = at
            self._timer.cancel()
            self._timer = self._loop.call_at(at, self._due)

    def _leave_out(self, at: float) -> float:
        """Return the first moment of the grid from `at` on that there is something to do at."""
        wanted = None if self._deadline is None else self._deadline()
        if wanted is None:
            return at
        # Whose grid is another one's takes the nearest tick.
        steps = math.ceil((wanted.at - at) / self._interval - 0.5)
        return at + steps * self._interval if steps > 0 else at

    def _due(self) -> None:
        fired = self._timer
        self._ticking = True
        try:
            self._make_up(self._loop.time())
        finally:  # whatever a tick raised, a CancelledError too: every call needs the next one
            self._ticking = False
            if self._timer is fired:  # else a tick closed the ticker, and perhaps began anew
                self._timer = self._loop.call_at(self._next, self._due) if self._users else None

    def _make_up(self, now: float) -> None:
        """Give every tick that is due."""
        if now - self._next > self._catch_up:
            skipped = math.ceil((now - self._catch_up - self._next) / self._interval)
            self.counters["ticks_skipped"] += skipped
            self._next += skipped * self._interval
        # A loop may run a timer a clock resolution early; the tick that is due counts all the same.
        due = max(now, self._next)
        while self._users and self._next <= due:
            at, self._next = self._next, self._next + self._interval
            try:
                self._tick(at)
                self._next = self._leave_out(self._next)
            except Exception as error:  # noqa: BLE001 - one bad tick must not stop the wheel
                self.counters["tick_failed"] += 1
                self._loop.call_exception_handler({"message": "a tick failed", "exception": error})

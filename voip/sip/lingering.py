"""Server transactions that have answered and only wait for repeats, kept as plain values.

A request stays known for 64·T1 after its final response (timer J of RFC 3261 §17.2.2, timer L of
RFC 6026 §7.1): a busy endpoint keeps tens of thousands of them beside a few hundred calls. As
objects with a timer each they were most of what the garbage collector walked over, and its walk is
what the slowest calls waited for. It leaves tuples of strings, bytes and numbers alone. And since
all wait equally long, they end in the order in which they came, and one timer does for all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voip.machine import Timer, Timers

__all__ = ["Entry", "Lingering"]

#: until when, in which budget it is counted, what its copies share, the To tag, and the response
Entry = tuple[float, bool, Hashable, str | None, bytes]


class Lingering:
    """What is left of them, by key.

    Args:
        timers: the endpoint's.
        gone: is told the key and the entry of each that has waited long enough.
    """

    __slots__ = ("_entries", "_gone", "_order", "_timer", "_timers")

    def __init__(self, timers: Timers, gone: Callable[[Hashable, Entry], None]) -> None:
        self._timers = timers
        self._gone = gone
        self._entries: dict[Hashable, Entry] = {}
        # A plain dict finds its first key by walking over all that were deleted before it.
        self._order: deque[Hashable] = deque()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._entries)

    def get(self, key: Hashable) -> Entry | None:
        """Return what is kept under a key."""
        return self._entries.get(key)

    def add(self, key: Hashable, entry: Entry) -> None:
        """Keep one until its time; entries come in the order of their ends."""
        assert key not in self._entries
        self._entries[key] = entry
        self._order.append(key)
        if self._timer is None:
            self._wait()

    def expired(self, reason: str, now: float) -> None:
        """Let go of all whose time has come."""
        order, entries = self._order, self._entries
        while order and entries[order[0]][0] <= now:
            key = order.popleft()
            self._gone(key, entries.pop(key))
        self._timer = None
        if order:
            self._wait()

    def _wait(self) -> None:
        at = self._entries[self._order[0]][0]
        self._timer = self._timers.start_at(at, "timers J and L", self)

"""Server transactions that have answered and only wait for repeats, kept as strings and bytes.

A request stays known for 64·T1 after its final response (timer J of RFC 3261 §17.2.2, timer L of
RFC 6026 §7.1): a busy endpoint keeps hundreds of thousands of them beside a few hundred calls. As
objects with a timer each they were most of what the garbage collector walked over, and its walk is
what the slowest calls waited for: 13 ms at 2,500 calls a second. A dictionary that holds nothing
but strings and bytes is no business of the collector's (up to CPython 3.13; later ones look at
every dictionary, yet find nothing to follow in these); one that holds a single tuple is.

All wait equally long, so they end in the order in which they came, and one timer does for all.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from voip.machine import Timers

__all__ = ["Entry", "Lingering"]

_HEAD = struct.Struct("<d?HI")
# A table that grows stops everybody while it is made anew: 9 ms for 170,000 entries.
_SPAN_SECONDS = 4.0
_NEVER = float("-inf")


class Entry(NamedTuple):
    """What is left of one.

    Attributes:
        until: when it ends.
        trusted: in which budget it is counted.
        identity: what its copies share; "" where none can come.
        tag: the To tag of its responses; "" where it does not matter.
        data: the response that a repeat gets; empty where it gets none.
    """

    until: float
    trusted: bool
    identity: str
    tag: str
    data: bytes

    def packed(self) -> bytes:
        """Return it as one piece."""
        tag, identity = _bytes(self.tag), _bytes(self.identity)
        head = _HEAD.pack(self.until, self.trusted, len(tag), len(identity))
        return head + tag + identity + self.data

    @classmethod
    def of(cls, packed: bytes) -> Entry:
        """Return what `packed` made a piece of."""
        until, trusted, tag_size, identity_size = _HEAD.unpack_from(packed)
        middle = _HEAD.size + tag_size
        end = middle + identity_size
        tag, identity = packed[_HEAD.size : middle], packed[middle:end]
        return cls(until, trusted, _text(identity), _text(tag), packed[end:])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class Lingering:
    """What is left of them, by key.

    Args:
        timers: the endpoint's.
        gone: is told the key and the entry of each that has waited long enough.
    """

    __slots__ = (
        "_count",
        "_ends",
        "_gone",
        "_last",
        "_next",
        "_over",
        "_tables",
        "_timers",
        "_to",
    )

    def __init__(self, timers: Timers, gone: Callable[[str, Entry], None]) -> None:
        self._timers = timers
        self._gone = gone
        # Each holds a few seconds of them, and is thrown away as a whole once the last has ended:
        # what has ended before that is still in it.
        self._tables: deque[dict[str, bytes]] = deque()
        self._to = _NEVER  # the newest table takes what ends before this
        self._ends: Iterator[tuple[str, bytes]] | None = None  # through the oldest table
        self._next: tuple[str, Entry] | None = None  # the next to end
        self._last = _NEVER  # when the one that came last ends
        self._over = _NEVER  # what was to end at this moment or before has
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        for table in self._tables:
            for key, packed in table.items():
                if _HEAD.unpack_from(packed)[0] > self._over:
                    yield key

    def get(self, key: str) -> Entry | None:
        """Return what is kept under a key."""
        for table in self._tables:
            packed = table.get(key)
            if packed is not None and _HEAD.unpack_from(packed)[0] > self._over:
                return Entry.of(packed)
        return None

    def add(self, key: str, entry: Entry) -> None:
        """Keep one until its time; each key once.

        None ends before one that came earlier: where the clock was wound back, it waits longer.
        """
        if entry.until < self._last or entry.until <= self._over:
            entry = entry._replace(until=math.nextafter(self._last, math.inf))
        self._last = entry.until
        if entry.until >= self._to:
            self._tables.append({})
            self._to = entry.until + _SPAN_SECONDS
        self._tables[-1][key] = entry.packed()
        self._count += 1
        if self._next is None:
            self._next = key, entry
            self._wait()

    def expired(self, reason: str, now: float) -> None:
        """Let go of all whose time has come."""
        while self._next is not None and self._next[1].until <= now:
            key, entry = self._next
            self._over = entry.until
            self._count -= 1
            self._next = self._following()
            self._gone(key, entry)
        if self._next is not None:
            self._wait()

    def _following(self) -> tuple[str, Entry] | None:
        """Return what comes after the next to end."""
        if self._ends is None:
            if len(self._tables) == 1:
                # Nothing is added to a table while it is gone through; it is still the newest one
                # where entries wait for less than a table's span.
                self._to = _NEVER
            self._ends = iter(self._tables[0].items())
            next(self._ends)
        found = next(self._ends, None)
        if found is None:
            self._tables.popleft()
            self._ends = None
            if not self._tables:
                return None
            found = next(iter(self._tables[0].items()))
        return found[0], Entry.of(found[1])

    def _wait(self) -> None:
        assert self._next is not None
        self._timers.start_at(self._next[1].until, "timers J and L", self)

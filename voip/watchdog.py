"""Names the line that blocks the event loop, while it does.

A hook that blocks delays every call of its process. A thread looks at the loop's innermost frame
every few milliseconds; where it is not the wait for events, the loop is asked for a sign of life,
and when none comes for 40 ms, the file and line that it is in are named and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import selectors
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Self

from voip.machine import Counters

__all__ = ["Block", "Watchdog"]

logger = logging.getLogger("voip.watchdog")

_LIBRARY = tuple(
    {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    | {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
)
# As the code objects spell them: comparing costs nothing, resolving paths a system call each.
_EVENTS = asyncio.Handle._run.__code__.co_filename
_SELECTORS = selectors.SelectSelector.select.__code__.co_filename


@dataclass(slots=True, frozen=True)
class Block:
    """A place that held up the loop.

    Attributes:
        file: the file of the innermost line that belongs to no library.
        line: its number.
        function: the function it is in.
        seconds: for how long it had blocked when it was named.
        stack: from the loop inwards, `file:line function` each.
    """

    file: str
    line: int
    function: str
    seconds: float
    stack: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.function})"


class Watchdog:
    """Watches one event loop; use `start` and `stop`, or `with`.

    Args:
        loop: the loop; the running one when absent.
        threshold: seconds of blocking that are named.
        interval: seconds between two looks.
        report: called from the watching thread with each block; by default it is logged.

    Attributes:
        counters: `loop_blocked` and, once it goes on, `loop_blocked_ms`.
        places: how often each place blocked; at most 256 places.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        threshold: float = 0.04,
        interval: float = 0.01,
        report: Callable[[Block], None] | None = None,
    ) -> None:
        self.counters: Counters = Counter()
        self.places: Counter[str] = Counter()
        self._loop = loop or asyncio.get_running_loop()
        self._threshold = threshold
        self._interval = interval
        self._report = report or _log
        # Released to end the thread. To wait for a lock is one call, for an event two dozen of
        # them, and each look takes the interpreter away from the loop.
        self._leash = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop_thread = 0
        self._free_at = 0.0
        self._busy = False
        self._asked = False
        self._named = False

    def start(self) -> None:
        """Begin to watch; call it from the loop's own thread."""
        if self._thread is not None:
            return
        self._loop_thread = threading.get_ident()
        self._leash = threading.Lock()
        self._leash.acquire()
        self._free_at = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="voip watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End watching. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._leash.release()
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # In the watching thread

    def _watch(self) -> None:
        leash = self._leash
        while not leash.acquire(timeout=self._interval):
            frame = sys._current_frames().get(self._loop_thread)
            if frame is None:
                return
            now = time.monotonic()
            if _waits(frame):
                self._free(now)
            elif not self._busy:
                self._busy = True  # most of what is seen is over by the next look
            elif not self._asked:
                self._ask()
            elif not self._named and now - self._free_at >= self._threshold:
                self._named = True
                self._name(frame, now - self._free_at)
            del frame  # it holds whatever the loop was busy with, a call that is over for one

    def _ask(self) -> None:
        """Ask the loop for a sign of life; only when it seems busy, so that idle loops sleep on."""
        self._asked = True
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._alive)

    def _alive(self) -> None:
        """Run in the loop: it goes on."""
        self._free(time.monotonic())

    def _free(self, now: float) -> None:
        if self._named:
            self.counters["loop_blocked_ms"] += round((now - self._free_at) * 1000)
        self._free_at = now
        self._busy = self._asked = self._named = False

    def _name(self, frame: FrameType, seconds: float) -> None:
        frames = list(_inside(frame))
        # `time.sleep` and sockets are in libraries; who called them is meant.
        own = [one for one in frames if not one.f_code.co_filename.startswith(_LIBRARY)]
        place = (own or frames or [frame])[0]
        stack = tuple(
            f"{one.f_code.co_filename}:{one.f_lineno} {one.f_code.co_name}"
            for one in reversed(frames)
        )
        code = place.f_code
        block = Block(code.co_filename, place.f_lineno or 0, code.co_name, seconds, stack)
        self.counters["loop_blocked"] += 1
        name = f"{block.file}:{block.line}"
        if name in self.places or len(self.places) < 256:
            self.places[name] += 1
        self._report(block)


def _waits(frame: FrameType) -> bool:
    """Tell whether a frame is the loop's wait for events."""
    name = frame.f_code.co_name
    if name == "select":
        return frame.f_code.co_filename == _SELECTORS
    # The Proactor loop of Windows.
    return name == "_poll" and frame.f_code.co_filename.endswith("windows_events.py")


def _inside(frame: FrameType) -> Iterator[FrameType]:
    """Yield the frames of the callback that runs, innermost first, up to the loop's own."""
    at: FrameType | None = frame
    while at is not None:
        code = at.f_code
        if code.co_name == "_run" and code.co_filename == _EVENTS:
            return
        yield at
        at = at.f_back


def _log(block: Block) -> None:
    logger.warning(
        "the event loop has been blocked for %d ms by %s",
        round(block.seconds * 1000),
        block,
        extra={"event": "loop_blocked", "file": block.file, "line": block.line},
    )

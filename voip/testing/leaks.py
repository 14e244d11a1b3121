"""What must be equal before and after: tasks, timers, threads, sockets, and what machines hold."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["LeakError", "Leaks", "no_leaks"]


class LeakError(AssertionError):
    """Something was left behind."""


def _open_sockets() -> set[str]:
    """Return the sockets of this process by inode; empty where there is no /proc."""
    found: set[str] = set()
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return found
    for descriptor in descriptors:
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


class Leaks:
    """A look at what lives, to be compared with a later one.

    Args:
        loop: whose tasks, timers and unhandled errors count; None: threads and sockets only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.errors: list[dict[str, Any]] = []
        self._loop = loop
        self._sizes: dict[str, tuple[Callable[[], int], int]] = {}
        self._before = self._look()

    def watch(self, name: str, size: Callable[[], int]) -> None:
        """Compare `size()` too: transactions, dialogs, ports, whatever a test knows."""
        self._sizes[name] = (size, size())

    def _look(self) -> dict[str, set[Any]]:
        found: dict[str, set[Any]] = {
            "threads": {t for t in threading.enumerate() if not t.daemon and _outlives(t)},
            "sockets": _open_sockets(),
        }
        if self._loop is not None:
            # whoever asks is a task too, and under pytest another one at each end
            found["tasks"] = asyncio.all_tasks(self._loop) - {_current_task()}
            scheduled = getattr(self._loop, "_scheduled", ())
            found["timers"] = {h for h in scheduled if not h.cancelled()}
            ether = getattr(self._loop, "ether", None)
            found["virtual sockets"] = set(range(ether.open_sockets)) if ether else set()
        return found

    def left(self) -> list[str]:
        """Return one line for each thing that was not there at first."""
        gc.collect()
        now = self._look()
        lines = [
            f"{kind}: {thing!r}"
            for kind, things in now.items()
            for thing in sorted(things - self._before[kind], key=repr)
        ]
        lines += [
            f"{name}: {before} before, {size()} after"
            for name, (size, before) in self._sizes.items()
            if size() != before
        ]
        lines += [
            f"unhandled: {context.get('message')}: {context.get('exception')!r}"
            for context in self.errors
        ]
        return lines


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _outlives(thread: threading.Thread) -> bool:
    # the loop's default executor keeps its idle threads on purpose
    return not thread.name.startswith(("asyncio_", "ThreadPoolExecutor-"))


@contextmanager
def no_leaks(loop: asyncio.AbstractEventLoop | None = None) -> Iterator[Leaks]:
    """Fail with LeakError when the block leaves something behind, or an error unhandled.

    Inside a coroutine, give it a turn of the loop after the last `close()` before the block ends:
    a closed transport is gone one turn later.
    """
    leaks = Leaks(loop)
    before = loop.get_exception_handler() if loop is not None else None
    if loop is not None:
        loop.set_exception_handler(lambda _, context: leaks.errors.append(context))
    try:
        yield leaks
    finally:
        if loop is not None:
            loop.set_exception_handler(before)
    left = leaks.left()
    if left:
        raise LeakError("left behind:\n  " + "\n  ".join(left))

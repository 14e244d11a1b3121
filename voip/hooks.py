"""Hooks: how they are declared, checked, called in order, and what happens when one fails.

A *frame hook* runs per packet or frame, on the event loop, as one plain call. An *event hook* runs
per event: it may be `async def`, or `@voip.blocking`, which moves it to a thread of its own call.
"""

from __future__ import annotations

import functools
import inspect
import logging
import weakref
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

__all__ = ["HookRunner", "OwnHooks", "blocking", "check_hooks", "event_hook", "frame_hook"]

logger = logging.getLogger("voip.hooks")

F = TypeVar("F", bound=Callable[..., Any])

_KIND = "__voip_hook__"
_BLOCKING = "__voip_blocking__"


def frame_hook(function: F) -> F:
    """Declare a method that runs per packet or frame; overrides are plain functions."""
    setattr(function, _KIND, "frame")
    return function


def event_hook(function: F) -> F:
    """Declare a method that runs per event; overrides may be `async def` or `@blocking`."""
    setattr(function, _KIND, "event")
    return function


def blocking(function: F) -> F:
    """Run an event hook in the call's own worker thread: in order, bounded, counted.

        class Dictation(VoiceActivityCall):
            @voip.blocking
            def speech_buffer_ready(self, audio): ...

    Calling the method starts the work and returns an awaitable of its result. Sixty-four calls may
    wait; what comes beyond is dropped and counted (`hooks.counters["blocking_dropped"]`). An error
    is handed to `hook_failed`, the awaitable then gives None.

    Raises:
        TypeError: `function` is `async def`: it would run on the event loop after all.
    """
    if _is_async(function):
        raise TypeError(f"@blocking is for plain functions, {function.__qualname__} is async")

    @functools.wraps(function)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = function.__name__
        return self.hooks.in_worker(name, functools.partial(function, self, *args, **kwargs))

    setattr(run, _BLOCKING, True)
    return run  # type: ignore[return-value]


def check_hooks(cls: type) -> None:
    """Check every hook that `cls` brings in, itself or by a mixin.

    Raises:
        TypeError: a frame hook is `async def` or `@blocking`, or a hook does not take what it is
            called with.
    """
    for name, declared in _declared(cls).items():
        found = inspect.getattr_static(cls, name)
        checked = [vars(base) for base in cls.__mro__[1:] if hasattr(base, "hook_failed")]
        if found is declared or any(members.get(name) is found for members in checked):
            continue
        function = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
        if getattr(declared, _KIND) == "frame":
            _check_plain(cls, name, function)
        _check_signature(cls, name, declared, found)


def _declared(cls: type) -> dict[str, Any]:
    """Return the hooks of the parents: name to the function that first declared it."""
    declared: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        for name, member in vars(base).items():
            if getattr(member, _KIND, None) is not None:
                declared.setdefault(name, member)
    return declared


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _check_plain(cls: type, name: str, function: Any) -> None:
    if _is_async(function):
        raise TypeError(
            f"{cls.__qualname__}.{name} runs per frame and cannot be async: "
            "queue the work in it, or use a hook that runs per event"
        )
    if getattr(function, _BLOCKING, False):
        raise TypeError(f"{cls.__qualname__}.{name} runs per frame and cannot be @blocking")


def _check_signature(cls: type, name: str, declared: Any, found: Any) -> None:
    if not callable(found) and not isinstance(found, (staticmethod, classmethod)):
        raise TypeError(f"{cls.__qualname__}.{name} is a hook and must be a method, not {found!r}")
    try:
        takes = inspect.signature(found.__func__ if hasattr(found, "__func__") else found)
    except (TypeError, ValueError):
        return  # a C function or an odd callable: nothing to compare with
    given = [] if isinstance(found, staticmethod) else ["self"]
    named = {}
    for parameter in list(inspect.signature(declared).parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = parameter
        else:
            given.append(parameter.name)
    try:
        takes.bind(*given, **named)
    except TypeError as error:
        wanted = inspect.signature(declared)
        raise TypeError(f"{cls.__qualname__}.{name}{takes} must take {wanted}: {error}") from None


class HookOwner(Protocol):
    """What a runner needs of the leg (or SIP object) whose hooks it runs."""

    def hook_failed(self, exc: BaseException) -> None:
        """Take the error of a hook."""

    def _spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> Any: ...

    def _call_later(self, delay: float, callback: Callable[[], None]) -> Any: ...

    def _run_in_thread(self, function: Callable[[], Any]) -> Any: ...


class HookRunner:
    """Calls the hooks of one object; one per leg.

    Calls of one async hook keep their order and never overlap; different hooks never wait for each
    other. Nothing here reads a clock: tasks, timers and threads are the owner's.

    Attributes:
        counters: `failed`, `dropped`, `blocking`, `blocking_dropped`.
    """

    #: Calls of one async hook that may wait for the one under way.
    WAITING_LIMIT = 256
    #: Calls that may wait for the worker thread.
    BLOCKING_LIMIT = 64
    #: Frames in a row on which a hook may fail.
    FAILURES_LIMIT = 50
    #: Seconds that a hook may go on after its call has ended.
    GRACE = 2.0
    _LOGGED_IN_A_ROW = 5

    __slots__ = ("_counters", "_failing", "_owner", "_tasks", "_waiting", "_working", "in_a_row")

    def __init__(self, owner: HookOwner) -> None:
        # A call that is over must go when the last reference goes, not at a garbage collection.
        self._owner = weakref.ref(owner)
        self._waiting: dict[str, deque[Awaitable[Any]]] = {}
        self._tasks: dict[str, Any] = {}
        self._working = 0
        self._failing = False
        self._counters: Counter[str] | None = None
        self.in_a_row: dict[str, int] = {}

    @property
    def counters(self) -> Counter[str]:
        """What failed, waits and was dropped; made on first use, as few calls have any of it."""
        counters = self._counters
        if counters is None:
            counters = self._counters = Counter()
        return counters

    @property
    def _alive(self) -> HookOwner:
        owner = self._owner()
        assert owner is not None  # whoever calls a hook holds its object
        return owner

    def fire(self, name: str, *args: Any) -> None:
        """Call an event hook through the instance; what it raises is counted and reported."""
        try:
            result = getattr(self._owner(), name)(*args)
        except Exception as error:  # noqa: BLE001 - a hook may raise anything, its call goes on
            self.failed(name, error)
            return
        if result is not None and inspect.isawaitable(result):
            self._enqueue(name, result)

    def _enqueue(self, name: str, work: Awaitable[Any]) -> None:
        waiting = self._waiting.setdefault(name, deque())
        if len(waiting) >= self.WAITING_LIMIT:
            self.counters["dropped"] += 1
            _discard(work)
            return
        waiting.append(work)
        if name not in self._tasks:
            drain = self._drain(name)
            try:
                self._tasks[name] = self._alive._spawn(drain, f"hook {name}")
            except RuntimeError:  # no event loop: a leg made by hand in plain code
                drain.close()
                _discard(waiting.pop())
                raise

    async def _drain(self, name: str) -> None:
        waiting = self._waiting[name]
        try:
            while waiting:
                try:
                    await waiting.popleft()
                except Exception as error:  # noqa: BLE001 - as in fire
                    self.failed(name, error)
        finally:
            self._tasks.pop(name, None)
            while waiting:
                _discard(waiting.popleft())

    def in_worker(self, name: str, function: Callable[[], Any]) -> Any:
        """Run `function` in the owner's worker thread; returns an awaitable of its result."""
        if self._working >= self.BLOCKING_LIMIT:
            self.counters["blocking_dropped"] += 1
            logger.warning("%s: %d calls wait for the worker, one dropped", name, self._working)
            return _nothing()
        self._working += 1
        self.counters["blocking"] += 1
        future = self._alive._run_in_thread(function)
        outcome = _Outcome(future)
        future.add_done_callback(functools.partial(self._worked, name))
        return outcome

    def _worked(self, name: str, future: Any) -> None:
        self._working -= 1
        if not future.cancelled() and (error := future.exception()) is not None:
            self.failed(name, error)

    def failed(self, name: str, error: BaseException) -> None:
        """Count and report one failure of an event hook."""
        self.counters["failed"] += 1
        if self._failing:  # hook_failed called something that failed
            return
        self._failing = True
        try:
            self._alive.hook_failed(error)
        except Exception:
            logger.exception("hook_failed failed, on an error of %s", name)
        finally:
            self._failing = False

    def frame_failed(self, name: str, error: BaseException) -> bool:
        """Count and report one failure of a frame hook; True when it was one too many.

        A frame on which the hook returns ends the row: the caller empties `in_a_row` then.
        """
        row = self.in_a_row[name] = self.in_a_row.get(name, 0) + 1
        self.failed(name, error)
        return row == self.FAILURES_LIMIT

    def close(self, then: Callable[[], None]) -> None:
        """Give what still runs its grace, cancel it, and call `then`; at once when nothing runs."""
        if self._tasks or self._working:
            self._alive._call_later(self.GRACE, functools.partial(self._close, then))
        else:
            then()

    def _close(self, then: Callable[[], None]) -> None:
        self.cancel()
        then()

    def cancel(self) -> None:
        """Cancel every hook that still runs."""
        for task in list(self._tasks.values()):
            task.cancel()


class OwnHooks:
    """Gives an object its runner, when it is first asked for.

    What `functools.cached_property` does, without the lock that it takes up to Python 3.11
    (1.6 µs, in the life of every call).
    """

    def __get__(self, owner: Any, _: type[Any] | None = None) -> HookRunner:
        if owner is None:
            return self  # type: ignore[return-value]
        runner = vars(owner)["hooks"] = HookRunner(owner)
        return runner


class _Outcome:
    """The result of blocking work; an error was reported already, so it gives None then."""

    __slots__ = ("_future", "failed")

    def __init__(self, future: Any) -> None:
        self._future = future
        self.failed = False

    def __await__(self) -> Any:
        try:
            return (yield from self._future.__await__())
        except Exception:  # noqa: BLE001 - handed to hook_failed when it happened
            self.failed = True
            return None


def _nothing() -> Awaitable[None]:
    return _Done()


class _Done:
    """An awaitable that gives None at once: the work was dropped."""

    __slots__ = ()
    failed = True

    def __await__(self) -> Any:
        return None
        yield


def _discard(work: Any) -> None:
    close = getattr(work, "close", None)  # a coroutine that never started would warn
    if close is not None:
        close()

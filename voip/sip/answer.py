"""What `answer()` returns: a result that may be ignored, awaited or given to a task."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Answer"]

T = TypeVar("T")


class Answer(Coroutine[Any, Any, T], Generic[T]):
    """A call being answered; awaiting it yields the leg once its 200 is sent.

    It is a `collections.abc.Coroutine` as well as an awaitable, so that `create_task`, `gather`,
    `wait_for` and a `TaskGroup` take it. Ignoring it is fine: the answer goes on by itself, nothing
    warns that it was never awaited, and an error that nobody reads is not logged a second time.
    Cancelling whoever waits does not cancel the answer.
    """

    __slots__ = ("_coroutine", "_error", "_result", "_settled", "_waiters")

    def __init__(self) -> None:
        self._settled = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._coroutine: Coroutine[Any, Any, T] | None = None

    def __repr__(self) -> str:
        state = "pending" if not self._settled else repr(self._error or self._result)
        return f"<Answer {state}>"

    @property
    def done(self) -> bool:
        """Whether the leg, or the reason why there is none, is known."""
        return self._settled

    def set_result(self, leg: T) -> None:
        """Settle with the leg; a second settling changes nothing."""
        self._settle(leg, None)

    def set_exception(self, error: BaseException) -> None:
        """Settle with the reason why there is no leg; a second settling changes nothing."""
        self._settle(None, error)

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        if self._settled:
            return
        self._settled, self._result, self._error = True, result, error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def _wait(self) -> T:
        if not self._settled:
            # Each awaiter has a future of its own: cancelling one leaves the others, and the
            # answer, alone. The error is kept here, never in a future that could complain.
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for the leg.

        Raises:
            NegotiationError: no common codec; 488 was sent.
            CallEnded: the caller gave up first.
            TransportError: no port was left; 503 was sent.
        """
        return self._wait().__await__()

    def send(self, value: Any) -> Any:
        """Drive the wait as a coroutine (`create_task` does)."""
        if self._coroutine is None:
            self._coroutine = self._wait()
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        """Raise inside the wait (a cancelled task does)."""
        if self._coroutine is None:
            self._coroutine = self._wait()
        return self._coroutine.throw(*args)

    def close(self) -> None:
        """End the wait; the answer itself goes on."""
        if self._coroutine is not None:
            self._coroutine.close()

"""Fixtures for pytest: `pytest_plugins = ["voip.testing.plugin"]`.

`leaks` fails a test that leaves tasks, timers, threads or sockets behind, or an error that nobody
handled; `virtual` runs a coroutine on a `VirtualLoop`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from voip.testing.leaks import Leaks, no_leaks
from voip.testing.loop import run_virtual

__all__ = ["leaks", "virtual"]


@pytest_asyncio.fixture
async def leaks() -> AsyncIterator[Leaks]:
    """Check that an async test leaves nothing behind; `leaks.watch(name, size)` adds to it."""
    with no_leaks(asyncio.get_running_loop()) as watched:
        yield watched
        for _ in range(3):  # a closed transport says connection_lost a turn or two later
            await asyncio.sleep(0)


@pytest.fixture
def virtual() -> Callable[..., Any]:
    """Return `run_virtual`, which also checks that nothing is left behind."""

    def run(main: Any, **options: Any) -> Any:
        async def checked() -> Any:
            with no_leaks(asyncio.get_running_loop()):
                result = await main
                for _ in range(3):
                    await asyncio.sleep(0)
            return result

        return run_virtual(checked(), **options)

    return run

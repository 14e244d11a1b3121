from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from voip.testing import LeakError, no_leaks, run_virtual


def test_a_clean_block_passes():
    with no_leaks(), socket.socket():
        pass


def test_an_open_socket_is_named():
    left = socket.socket()
    left.close()
    with pytest.raises(LeakError, match="sockets: 'socket:"), no_leaks():
        left = socket.socket()
    left.close()


def test_a_thread_is_named():
    release = threading.Event()
    with pytest.raises(LeakError, match="thread"), no_leaks():
        threading.Thread(target=release.wait, name="left").start()
    release.set()


def test_what_a_test_watches_must_be_as_large_as_before():
    calls = {1}

    def leave_one():
        with no_leaks() as leaks:
            leaks.watch("calls", lambda: len(calls))
            calls.add(2)

    with pytest.raises(LeakError, match="calls: 1 before, 2 after"):
        leave_one()


def failing_block(body):
    async def main():
        loop = asyncio.get_running_loop()
        with no_leaks(loop):
            await body(loop)

    return main()


def test_tasks_timers_and_virtual_sockets_are_named():
    async def task(loop):
        loop.kept = loop.create_task(asyncio.sleep(99))

    async def timer(loop):
        loop.call_later(99, print)

    async def udp(loop):
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("192.0.2.1", 1))

    for body, words in ((task, "tasks: <Task"), (timer, "timers: <TimerHandle"), (udp, "virtual")):
        with pytest.raises(LeakError, match=words):
            run_virtual(failing_block(body))


def test_an_error_that_nobody_handled_is_named():
    async def body(loop):
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    with pytest.raises(LeakError, match="division by zero"):
        run_virtual(failing_block(body))

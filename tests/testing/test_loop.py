from __future__ import annotations

import asyncio
import time

import pytest

from voip.testing import StalledError, VirtualLoop, run_virtual
from voip.testing import loop as loop_module


def test_sleeping_an_hour_takes_no_time():
    async def main():
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(3600)
        return loop.time() - start

    began = time.perf_counter()
    assert run_virtual(main()) == pytest.approx(3600)
    assert time.perf_counter() - began < 1


def test_timers_run_in_order_at_their_times():
    async def main():
        loop, seen = asyncio.get_running_loop(), []
        start = loop.time()
        for delay in (3.0, 1.0, 2.0):
            loop.call_later(delay, lambda: seen.append(round(loop.time() - start, 6)))
        await asyncio.sleep(5)
        return seen

    assert run_virtual(main()) == [1.0, 2.0, 3.0]


def test_waiting_for_nothing_is_an_error_and_not_a_hang():
    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StalledError, match="every task waits"):
        run_virtual(main())


def test_time_stands_still_while_a_thread_works():
    async def main():
        loop = asyncio.get_running_loop()
        start = loop.time()
        asyncio.get_running_loop().call_later(5, lambda: None)
        result = await asyncio.to_thread(lambda: time.sleep(0.05) or "done")
        return result, loop.time() - start

    assert run_virtual(main()) == ("done", 0.0)


def test_a_thread_that_never_ends_is_an_error(monkeypatch):
    monkeypatch.setattr(loop_module, "THREAD_PATIENCE_SECS", 0.01)
    import threading

    release = threading.Event()

    async def main():
        try:
            await asyncio.to_thread(release.wait)
        finally:
            release.set()

    with pytest.raises(StalledError, match="a thread has run"):
        run_virtual(main())


def test_another_thread_can_wake_the_loop():
    import threading

    async def main():
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set))
        thread.start()
        thread.join()
        await woken.wait()

    run_virtual(main())


def test_names_come_from_a_table_and_nothing_else_resolves():
    async def main():
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("sip.example.com", 5060)
        assert found[0][4] == ("192.0.2.7", 5060)
        assert (await loop.getaddrinfo("::1", 1))[0][4][:2] == ("::1", 1)
        with pytest.raises(OSError):
            await loop.getaddrinfo("nowhere.example.com", 1)

    run_virtual(main(), hosts={"sip.example.com": "192.0.2.7"})


def test_what_needs_real_sockets_is_refused():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(NotImplementedError):
            loop.add_reader(0, print)
        with pytest.raises(NotImplementedError):
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=object())
        with pytest.raises(NotImplementedError):
            await loop.create_connection(asyncio.Protocol, "192.0.2.1", 1, ssl=True)
        with pytest.raises(NotImplementedError):
            await loop.create_server(asyncio.Protocol, "192.0.2.1", 1, ssl=True)

    run_virtual(main())


def test_starts_at_the_time_it_is_given():
    loop = VirtualLoop(start=5.0)
    try:
        assert loop.time() == 5.0
    finally:
        loop.close()

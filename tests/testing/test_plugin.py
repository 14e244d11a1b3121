from __future__ import annotations

import asyncio

import pytest

from voip.testing import LeakError


async def test_the_leak_fixture_watches_the_running_loop(leaks):
    leaks.watch("nothing", lambda: 0)
    await asyncio.sleep(0)
    assert leaks.left() == []


def test_the_virtual_fixture_runs_in_virtual_time_and_checks_for_leaks(virtual):
    async def main():
        await asyncio.sleep(3600)
        return 7

    assert virtual(main()) == 7

    async def careless():
        asyncio.get_running_loop().call_later(9, print)

    with pytest.raises(LeakError):
        virtual(careless())

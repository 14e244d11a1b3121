"""Pairs of ports that are used again: when, by whom, and that none stays open."""

from __future__ import annotations

import asyncio

import pytest

from tests.rtp.test_protocol import HOST, A, virtual
from voip.errors import PortsExhaustedError
from voip.rtp import pairs
from voip.rtp.pairs import KEEP_SECONDS, REST_SECONDS


@virtual
async def test_a_pair_is_used_again_once_it_has_rested(house):
    await house.open()
    first = house.rtp.reserve(HOST)
    first.close()
    second = house.rtp.reserve(HOST)
    assert second.local != first.local
    await asyncio.sleep(REST_SECONDS)
    third = house.rtp.reserve(HOST)
    assert (third.local, third.rtcp_local) == (first.local, first.rtcp_local)
    assert house.rtp.ports.held == 3  # ours, and two calls'
    second.close()
    third.close()


@virtual
async def test_what_comes_for_an_ended_call_meets_no_other(house):
    await house.open()
    far = await house.dial_in(A)
    first = house.rtp.reserve(HOST)
    first.close()
    far.sendto(b"\x80\x00" + bytes(170), first.local)
    far.sendto(b"\x80\xc8" + bytes(26), first.rtcp_local)
    await asyncio.sleep(REST_SECONDS)
    again = house.rtp.reserve(HOST)
    heard = []
    again._received = heard.append
    assert again.local == first.local
    assert house.rtp.counters["media_late"] == 2
    first.send(b"late", A)
    first.send_rtcp(b"late", A)
    assert house.rtp.counters["send_after_close"] == 2
    await asyncio.sleep(0.1)
    assert (heard, house.heard) == ([], [])
    again.close()
    far.close()


@virtual
async def test_a_pair_that_nobody_wants_is_closed(house):
    await house.open()
    ether = asyncio.get_running_loop().ether
    before = ether.open_sockets
    calls = [house.rtp.reserve(HOST) for _ in range(3)]
    for call in calls:
        call.close()
        await asyncio.sleep(0.5)
    assert ether.open_sockets == before + 6
    await asyncio.sleep(KEEP_SECONDS - 1.5 + 0.01)
    assert ether.open_sockets == before + 4
    await asyncio.sleep(1)
    assert ether.open_sockets == before
    assert house.rtp._pairs._timer is None


@virtual
async def test_no_call_is_refused_while_a_pair_rests(house):
    await house.open()
    ports = house.rtp.ports
    calls = [house.rtp.reserve(HOST) for _ in range(ports.capacity - 1)]
    with pytest.raises(PortsExhaustedError):
        house.rtp.reserve(HOST)
    calls[0].close()
    calls[0] = house.rtp.reserve(HOST)
    assert ports.held == ports.capacity
    for call in calls:
        call.close()


@virtual
async def test_how_many_rest_is_bounded(house):
    await house.open()
    house.rtp._pairs._most_idle = 1
    calls = [house.rtp.reserve(HOST) for _ in range(3)]
    before = asyncio.get_running_loop().ether.open_sockets
    for call in calls:
        call.close()
    assert asyncio.get_running_loop().ether.open_sockets == before - 4


def test_a_process_that_may_open_few_files_keeps_few(monkeypatch):
    monkeypatch.setattr(pairs, "most_open_files", lambda: 1024)
    assert pairs.PortPairs(None, {}, None)._most_idle == 128

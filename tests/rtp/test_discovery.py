"""What others see of a socket: a STUN query over it in virtual time, and what is known without."""

from __future__ import annotations

import asyncio

import pytest

from voip.errors import TransportError
from voip.rtp import discovery
from voip.rtp.discovery import PublicAddress, StunQuery, dialable
from voip.stun import BINDING, SUCCESS, StunMessage
from voip.testing.loop import run_virtual
from voip.types import HostPort

SERVER = HostPort("192.0.2.3", 3478)
MAPPED = HostPort("203.0.113.9", 45678)


def answer(request, mapped=MAPPED):
    asked = StunMessage.parse(request)
    response = StunMessage(BINDING, SUCCESS, asked.transaction_id)
    response.add_mapped(mapped)
    return bytes(response)


class Query:
    def __init__(self):
        self.sent = []
        self.found = []
        self.query = StunQuery(
            SERVER,
            lambda data, address: self.sent.append((data, address)),
            asyncio.get_running_loop(),
            lambda count: bytes(range(count)),
            self.found.append,
        )
        self.query.start()


def virtual(test):
    return lambda: run_virtual(test())


@virtual
async def test_the_servers_answer_is_the_address():
    query = Query()
    ((request, address),) = query.sent
    assert address == SERVER
    query.query.receive(answer(request), SERVER)
    assert query.found == [MAPPED]
    await asyncio.sleep(60)
    assert len(query.sent) == 1


@virtual
async def test_an_answer_of_somebody_else_is_nothing():
    query = Query()
    query.query.receive(answer(query.sent[0][0]), ("192.0.2.66", 3478))
    query.query.receive(b"\x01\x01", SERVER)
    assert not query.found
    query.query.receive(answer(query.sent[0][0]), SERVER)
    assert query.found == [MAPPED]


@virtual
async def test_a_silent_server_is_asked_again_then_given_up():
    query = Query()
    await asyncio.sleep(4)
    assert len(query.sent) == 4
    assert not query.found
    await asyncio.sleep(10)
    assert query.found == [None]


@virtual
async def test_a_closed_query_asks_and_tells_no_more():
    query = Query()
    query.query.close()
    query.query.close()
    query.query.receive(answer(query.sent[0][0]), SERVER)
    await asyncio.sleep(60)
    assert len(query.sent) == 1
    assert not query.found


@virtual
async def test_an_address_is_awaited_by_many_and_again():
    address = PublicAddress()
    waiting = [asyncio.ensure_future(address) for _ in range(2)]
    given_up = asyncio.ensure_future(address)
    await asyncio.sleep(1)
    given_up.cancel()
    address.settle(MAPPED)
    assert await asyncio.gather(*waiting) == [MAPPED, MAPPED]
    assert await asyncio.wait_for(address, 1) == MAPPED
    assert given_up.cancelled()


@pytest.mark.parametrize(
    ("bound", "found"),
    [
        (HostPort("192.0.2.9", 5004), ("192.0.2.9", 5004)),
        (HostPort("0.0.0.0", 5004), ("192.0.2.77", 5004)),
        (HostPort("::", 5004), ("2001:db8::77", 5004)),
        (None, ("127.0.0.1", 0)),
    ],
)
def test_an_address_that_can_be_dialled(bound, found, monkeypatch):
    ours = {"192.0.2.1": "192.0.2.77", "2001:db8::1": "2001:db8::77"}
    monkeypatch.setattr(discovery, "local_address_towards", ours.__getitem__)
    assert dialable(bound) == found


@pytest.mark.parametrize(("host", "found"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_a_machine_that_has_no_way_out_is_dialled_by_itself(host, found, monkeypatch):
    def refuse(remote_host):
        raise TransportError("no route")

    monkeypatch.setattr(discovery, "local_address_towards", refuse)
    assert dialable(HostPort(host, 5004)) == (found, 5004)

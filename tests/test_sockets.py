"""UDP sockets without one: in memory, adopted, closed (real ones: interop)."""

from __future__ import annotations

import asyncio

import pytest

from voip.errors import TransportError
from voip.sockets import UdpSocket, is_in_use
from voip.testing.loop import run_virtual
from voip.types import HostPort

HOST = "192.0.2.1"


class Ends:
    def __init__(self):
        self.received = []
        self.lost = []
        self.udp = UdpSocket(
            lambda data, address: self.received.append((data, address)),
            lambda remote, reason: self.lost.append((remote, reason)),
            max_bytes=100,
        )


def test_a_virtual_socket_is_bound_at_once():
    async def main():
        loop = asyncio.get_running_loop()
        one, two = Ends(), Ends()
        assert one.udp.bind(HOST, 5000, loop) == (HOST, 5000)
        assert two.udp.bind(HOST, 5002, loop) == (HOST, 5002)
        with pytest.raises(TransportError, match="the port is in use") as caught:
            Ends().udp.bind(HOST, 5000, loop)
        assert is_in_use(caught.value)
        one.udp.enlarge()
        one.udp.send(b"hello", (HOST, 5002))
        one.udp.send(bytes(101), (HOST, 5002))
        await asyncio.sleep(1)
        assert two.received == [(b"hello", (HOST, 5000))]
        assert two.udp.counters == {"datagram_too_long": 1}
        one.udp.close()
        two.udp.close()
        one.udp.close()
        assert one.udp.address is None
        one.udp.send(b"late", (HOST, 5002))
        assert one.udp.counters == {"send_after_close": 1}
        await asyncio.sleep(0)
        assert loop.ether.open_sockets == 0

    run_virtual(main())


def test_a_socket_may_be_bound_again_before_its_first_transport_is_gone():
    async def main():
        loop = asyncio.get_running_loop()
        ends = Ends()
        ends.udp.bind(HOST, 5000, loop)
        ends.udp.close()
        ends.udp.bind(HOST, 5002, loop)
        await asyncio.sleep(1)
        assert ends.udp.address == (HOST, 5002)
        assert not ends.udp.closed
        ends.udp.close()
        await asyncio.sleep(1)
        assert ends.udp.closed

    run_virtual(main())


class Transport:
    def __init__(self):
        self.closed = False
        self.max_size = 256 * 1024

    def get_extra_info(self, name, default=None):
        return default

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True


def test_an_adopted_transport_reads_no_more_than_is_taken():
    ends, transport = Ends(), Transport()
    ends.udp.connection_made(transport)
    assert transport.max_size == 101
    assert ends.udp.address is None
    ends.udp.enlarge()
    second = Transport()
    ends.udp.connection_made(second)
    assert second.closed
    ends.udp.connection_lost(None)  # the second's
    assert not ends.udp.closed


def test_a_transport_that_comes_after_close_is_closed():
    ends, transport = Ends(), Transport()
    ends.udp.close()
    ends.udp.connection_made(transport)
    assert transport.closed


def test_a_receiver_that_fails_is_reported_to_the_loop():
    async def main():
        errors = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
        udp = UdpSocket(lambda data, address: 1 / 0, lambda *_: None)
        udp.bind(HOST, 5000, loop)
        udp.datagram_received(b"x", (HOST, 1))
        udp.close()
        assert udp.counters == {"receiver_failed": 1}
        assert isinstance(errors[0], ZeroDivisionError)

    run_virtual(main())


def test_a_closed_socket_reads_nothing():
    ends = Ends()
    ends.udp._readable()
    assert ends.udp._read_errors() == 0
    assert HostPort(HOST, 1) == (HOST, 1)

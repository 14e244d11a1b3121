from __future__ import annotations

import asyncio

import pytest

from voip.testing import Link, Network, run_virtual

SERVER = ("192.0.2.2", 7)


class Udp(asyncio.DatagramProtocol):
    def __init__(self):
        self.got, self.errors, self.lost = [], [], None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.got.append((data, addr))

    def error_received(self, exc):
        self.errors.append(exc)

    def connection_lost(self, exc):
        self.lost = (exc,)


class Tcp(asyncio.Protocol):
    def __init__(self, keep_open=False):
        self.data, self.lost, self.eof, self.keep_open = [], None, False, keep_open

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data.append(data)

    def eof_received(self):
        self.eof = True
        return self.keep_open

    def connection_lost(self, exc):
        self.lost = (exc,)


async def udp(**options):
    return await asyncio.get_running_loop().create_datagram_endpoint(Udp, **options)


def test_datagrams_arrive_after_the_delay_of_the_network():
    async def main():
        _, server = await udp(local_addr=SERVER)
        transport, client = await udp(local_addr=("192.0.2.1", 0))
        transport.sendto(b"hello", SERVER)
        await asyncio.sleep(0.05)
        assert server.got == []
        await asyncio.sleep(0.1)
        name = transport.get_extra_info("sockname")
        assert server.got == [(b"hello", name)]
        server.transport.sendto(b"back", name)
        await asyncio.sleep(0.2)
        assert client.got == [(b"back", SERVER)]
        assert transport.get_write_buffer_size() == 0

    run_virtual(main(), network=Network(Link(delay=0.1)))


def test_a_connected_socket_hears_its_peer_only_and_learns_that_nobody_listens():
    async def main():
        transport, client = await udp(remote_addr=SERVER)
        transport.sendto(b"anyone")
        await asyncio.sleep(1)
        assert isinstance(client.errors[0], ConnectionRefusedError)
        stranger, _ = await udp(local_addr=("127.0.0.1", 9))
        stranger.sendto(b"psst", transport.get_extra_info("sockname"))
        await asyncio.sleep(1)
        assert client.got == []
        with pytest.raises(ValueError, match="no address"):
            stranger.sendto(b"where")
        stranger.sendto(b"nobody there", SERVER)
        await asyncio.sleep(1)

    run_virtual(main())


def test_a_socket_bound_everywhere_is_reached_by_any_address():
    async def main():
        _, server = await udp(local_addr=("0.0.0.0", 53))
        transport, _ = await udp(local_addr=("192.0.2.1", 1))
        transport.sendto(b"q", ("192.0.2.99", 53))
        await asyncio.sleep(1)
        assert server.got

    run_virtual(main())


def test_an_address_is_bound_once_and_is_free_again_after_close():
    async def main():
        transport, protocol = await udp(local_addr=SERVER)
        with pytest.raises(OSError, match="in use"):
            await udp(local_addr=SERVER)
        transport.close()
        transport.abort()
        transport.sendto(b"too late", SERVER)
        await asyncio.sleep(0)
        assert protocol.lost == (None,)
        assert transport.is_closing()
        await udp(local_addr=SERVER)

    run_virtual(main())


async def connected(**options):
    loop = asyncio.get_running_loop()
    accepted = []

    def accept():
        accepted.append(Tcp(**options))
        return accepted[-1]

    server = await loop.create_server(accept, *SERVER)
    _, client = await loop.create_connection(Tcp, *SERVER)
    await asyncio.sleep(0.1)
    return server, accepted[0], client


def test_a_stream_keeps_order_and_says_where_it_ends():
    async def main():
        _, far, near = await connected()
        for number in range(50):
            near.transport.write(b"%d " % number)
        near.transport.write(b"")
        near.transport.close()
        near.transport.close()
        near.transport.write(b"too late")
        await asyncio.sleep(1)
        assert b"".join(far.data).split() == [b"%d" % n for n in range(50)]
        assert far.eof
        assert far.lost == near.lost == (None,)

    run_virtual(main(), network=Network(Link(delay=0.01, jitter=0.5, reorder=0.5)))


def test_half_a_stream_may_stay_open():
    async def main():
        _, far, near = await connected(keep_open=True)
        assert near.transport.can_write_eof()
        near.transport.write_eof()
        await asyncio.sleep(1)
        far.transport.write(b"still here")
        await asyncio.sleep(1)
        assert near.data == [b"still here"]
        assert far.lost is None

    run_virtual(main())


def test_an_abort_resets_the_peer():
    async def main():
        _, far, near = await connected()
        near.transport.abort()
        await asyncio.sleep(1)
        assert isinstance(far.lost[0], ConnectionResetError)
        far.transport.write_eof()

    run_virtual(main())


def test_what_arrives_while_reading_is_paused_comes_later():
    async def main():
        _, far, near = await connected()
        far.transport.pause_reading()
        near.transport.write(b"x")
        await asyncio.sleep(1)
        assert far.data == []
        assert not far.transport.is_reading()
        far.transport.resume_reading()
        await asyncio.sleep(1)
        assert far.data == [b"x"]
        assert far.transport.get_protocol() is far
        far.transport.set_protocol(near)
        far.transport.set_write_buffer_limits()
        assert far.transport.get_write_buffer_size() == 0

    run_virtual(main())


def test_connecting_to_nobody_is_refused_and_to_a_host_cut_off_unreachable():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Tcp, *SERVER, local_addr=("192.0.2.1", 0))
        loop.network.cut(SERVER[0])
        with pytest.raises(OSError, match="oute"):
            await loop.create_connection(Tcp, *SERVER)

    run_virtual(main())


def test_a_cut_network_swallows_what_is_written():
    async def main():
        _, far, near = await connected()
        asyncio.get_running_loop().network.cut(SERVER[0])
        near.transport.write(b"lost")
        await asyncio.sleep(1)
        assert far.data == []

    run_virtual(main())


def test_a_server_serves_until_it_is_closed():
    async def main():
        server, _, _ = await connected()
        assert server.is_serving()
        assert server.sockets[0].getsockname() == SERVER
        assert server.get_loop() is asyncio.get_running_loop()
        await server.start_serving()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.serve_forever(), 1)
        server.close()
        await server.wait_closed()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await connected_client()

    async def connected_client():
        await asyncio.get_running_loop().create_connection(Tcp, *SERVER)

    run_virtual(main())

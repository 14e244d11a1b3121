"""RTP over real sockets: ports, sharing, floods and stalls; no peer program is needed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import pytest

from voip.errors import PortsExhaustedError, TransportError
from voip.poller import Poller
from voip.rtp import RTP, RTPPacket
from voip.sockets import bind_udp
from voip.types import HostPort

LOOPBACK = "127.0.0.1"


RTCP = b"\x80\xc9\x00\x01" + bytes(4)


def packet(sequence_number=1):
    return bytes(RTPPacket(0, sequence_number & 0xFFFF, 160, 7, b"x" * 160))


class Media:
    def __init__(self):
        self.rtp = []
        self.rtcp = []
        self.lost = []
        self.news = asyncio.Event()

    def receive(self, data, addr, now):
        self.rtp.append((data, addr))
        self.news.set()

    def unreachable(self, addr, now):
        self.lost.append(addr)

    def receive_rtcp(self, data, addr, now):
        self.rtcp.append((data, addr))
        self.news.set()

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self.news.clear()
                await self.news.wait()


def closed_port():
    """Return an address where nobody listens."""
    with bind_udp(LOOPBACK, 0) as closed:
        return HostPort(*closed.getsockname())


def free_range(pairs):
    """Return a range of ports in which nobody listens now."""
    for start in range(20000, 60000, 2 * pairs):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(start, start + 2 * pairs):
                    stack.enter_context(bind_udp(LOOPBACK, port))
            except TransportError:
                continue
            return range(start, start + 2 * pairs)
    raise AssertionError("no free ports")


@pytest.fixture(params=["epoll", "readers"])
async def rtp(request, leaks, monkeypatch):
    """Make multiplexers; each test runs with and without a poller for the calls' own ports."""
    if request.param == "readers":
        monkeypatch.setattr(Poller, "AVAILABLE", False)
    elif not Poller.AVAILABLE:
        pytest.skip("epoll is Linux's")
    made = []
    readers = asyncio.get_running_loop()._selector.get_map()
    before = set(readers)

    async def make(host=LOOPBACK, pairs=10, **options):
        rtp = RTP(ports=free_range(pairs), **options)
        made.append(rtp)
        await rtp.listen(host)
        return rtp

    yield make
    for one in made:
        one.close()
        assert one.ports.held == 0
        assert not one.poller
    assert set(readers) == before


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
async def test_two_multiplexers_talk_to_each_other(rtp, host):
    caller, callee = await rtp(host), await rtp(host)
    ours, heard = Media(), Media()
    own = caller.reserve(host)
    shared = callee.reserve(host, remote=own.local, signalling_ip=host)
    assert shared.shared
    shared.bind(heard)
    own.bind(ours, remote=shared.local)
    own.send(packet(1), own.remote)
    own.send_rtcp(b"\x80\xc8\x00\x06" + bytes(24), own.remote_rtcp)
    shared.send(packet(2), shared.remote)
    shared.send_rtcp(RTCP, shared.remote_rtcp)
    await heard.until(lambda: heard.rtp and heard.rtcp)
    await ours.until(lambda: ours.rtp and ours.rtcp)
    assert heard.rtp == [(packet(1), own.local)]
    assert ours.rtp == [(packet(2), shared.local)]
    assert not caller.counters
    assert not callee.counters


async def test_a_port_of_another_program_is_skipped(rtp):
    one = await rtp()
    start = one.address.port
    with bind_udp(LOOPBACK, start + 3):
        assert one.reserve(LOOPBACK).local.port == start + 4


async def test_ten_thousand_failed_calls_on_twenty_ports_leave_none_behind(rtp):
    one = await rtp()
    held = one.ports.held
    for _ in range(10_000):
        one.reserve(LOOPBACK).close()
    assert one.ports.held == held


async def test_an_exhausted_range_is_an_error_and_recovers(rtp):
    one = await rtp(pairs=3)
    first, _ = one.reserve(LOOPBACK), one.reserve(LOOPBACK)
    with pytest.raises(PortsExhaustedError):
        one.reserve(LOOPBACK)
    first.close()
    one.reserve(LOOPBACK)


async def test_an_address_that_is_not_ours_is_refused(rtp):
    one = await rtp()
    one._host = "192.0.2.1"
    with pytest.raises(TransportError, match="cannot assign"):
        one.reserve("192.0.2.1")


async def test_a_stall_loses_no_packet_of_the_shared_socket(rtp):
    one = await rtp()
    media = Media()
    with bind_udp(LOOPBACK, 0) as peer:
        remote = HostPort(*peer.getsockname())
        one.reserve(LOOPBACK, remote=remote, signalling_ip=LOOPBACK).bind(media)
        # Fifty calls' packets of 50 ms: half a socket buffer of the kernel's default.
        for number in range(1000):
            peer.sendto(packet(number), one.address)
        await media.until(lambda: len(media.rtp) == 1000)
    assert [data for data, _ in media.rtp] == [packet(number) for number in range(1000)]


async def test_a_flood_at_one_call_leaves_the_others_their_packets(rtp):
    one = await rtp()
    flooded, quiet = one.reserve(LOOPBACK), one.reserve(LOOPBACK)
    bad, good = Media(), Media()
    flooded.bind(bad)
    quiet.bind(good)
    with bind_udp(LOOPBACK, 0) as peer:
        for number in range(500):
            for _ in range(5):
                with contextlib.suppress(BlockingIOError):
                    peer.sendto(packet(number), flooded.local)
            if not number % 10:
                peer.sendto(packet(number), quiet.local)
            await asyncio.sleep(0)
        await good.until(lambda: len(good.rtp) == 50)


@pytest.mark.skipif(sys.platform != "linux", reason="the error queue is Linux's")
async def test_an_unreachable_peer_is_counted_and_the_call_goes_on(rtp):
    one = await rtp()
    own = one.reserve(LOOPBACK)
    media = Media()
    own.bind(media)
    nowhere = closed_port()
    with bind_udp(LOOPBACK, 0) as peer:
        for number in range(20):
            own.send(packet(number), nowhere)
            own.send(packet(number), peer.getsockname())
        peer.setblocking(True)
        peer.settimeout(5)
        assert [peer.recv(500) for _ in range(20)] == [packet(number) for number in range(20)]
        peer.sendto(packet(7), own.local)
        await media.until(lambda: media.rtp)
    assert one.counters["media_unreachable"] >= 1
    assert set(media.lost) == {nowhere}


@pytest.mark.skipif(sys.platform != "linux", reason="the error queue is Linux's")
async def test_what_a_call_loses_in_its_first_tenth_of_a_second_is_not_asked_for(rtp):
    one = await rtp()
    own = one.reserve(LOOPBACK)
    media = Media()
    own.bind(media)
    nowhere = closed_port()
    with bind_udp(LOOPBACK, 0) as peer:
        for sent, lost in ((4, False), (5, True)):
            for number in range(sent):
                own.send(packet(number), nowhere)
            media.rtp.clear()
            peer.sendto(packet(7), own.local)
            await media.until(lambda: media.rtp)
            assert bool(one.counters["media_unreachable"]) is lost


@pytest.mark.skipif(sys.platform != "linux", reason="the error queue is Linux's")
async def test_an_unreachable_rtcp_port_is_counted(rtp):
    one = await rtp()
    own = one.reserve(LOOPBACK)
    nowhere = closed_port()
    own.send_rtcp(RTCP, nowhere)
    async with asyncio.timeout(10):
        while not one.counters["media_unreachable"]:
            await asyncio.sleep(0)


async def test_both_ports_of_a_call_are_nobody_elses(rtp):
    one = await rtp()
    own = one.reserve(LOOPBACK)
    for address in (own.local, own.rtcp_local):
        with pytest.raises(TransportError, match="in use"):
            bind_udp(*address)
    own.close()  # they rest
    one.close()
    for address in (own.local, own.rtcp_local):
        bind_udp(*address).close()


async def test_a_call_may_end_others_while_their_packets_wait(rtp):
    one = await rtp(pairs=4)
    first, second = one.reserve(LOOPBACK), one.reserve(LOOPBACK)
    media, other, late = Media(), Media(), Media()
    first.bind(media)
    second.bind(other)

    def end(data, addr, now):
        Media.receive(media, data, addr, now)
        second.close()
        media.heir = one.reserve(LOOPBACK)  # gets the descriptors that have just been closed
        media.heir.bind(late)

    media.receive = end
    with bind_udp(LOOPBACK, 0) as peer:
        peer.sendto(packet(1), first.local)
        peer.sendto(packet(2), second.local)
        peer.sendto(RTCP, second.rtcp_local)
        await media.until(lambda: media.rtp)
        peer.sendto(packet(3), media.heir.local)
        await late.until(lambda: late.rtp)
    assert not other.rtp
    assert [data for data, _ in late.rtp] == [packet(3)]
    assert not late.rtcp


async def test_a_packet_may_close_the_multiplexer(rtp):
    one = await rtp()
    owns = [one.reserve(LOOPBACK) for _ in range(3)]
    media = Media()
    media.receive = lambda data, addr, now: (media.rtp.append(data), one.close())
    with bind_udp(LOOPBACK, 0) as peer:
        for own in owns:
            own.bind(media)
            peer.sendto(packet(), own.local)
        while not media.rtp:
            await asyncio.sleep(0)
    assert media.rtp == [packet()]


async def test_an_asyncio_endpoint_serves_calls_by_hand(leaks):
    class Leg:
        srtp = None

        def __init__(self):
            self.packets = []
            self.news = asyncio.Event()

        def packet_received(self, packet, addr):
            self.packets.append((packet, addr))
            self.news.set()

    loop = asyncio.get_running_loop()
    transport, rtp = await loop.create_datagram_endpoint(RTP, local_addr=(LOOPBACK, 0))
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 212_992
    assert await rtp.public_address == transport.get_extra_info("sockname")
    leg = Leg()
    with bind_udp(LOOPBACK, 0) as peer:
        rtp.register_call(peer.getsockname(), leg)
        peer.sendto(packet(3), rtp.address)
        async with asyncio.timeout(10):
            await leg.news.wait()
        assert leg.packets[0][0].sequence_number == 3
        rtp.send(b"back", peer.getsockname())
        peer.setblocking(True)
        peer.settimeout(5)
        assert peer.recv(100) == b"back"
    transport.close()


async def test_the_ticker_keeps_time(rtp):
    class Plane:
        def __init__(self):
            self.ticks = []
            self.news = asyncio.Event()

        def tick(self, now):
            self.ticks.append(now)
            if len(self.ticks) == 40:
                self.news.set()

        def deadline(self):
            return None  # every tick is wanted

    plane = Plane()
    one = await rtp(plane=plane)
    own = one.reserve(LOOPBACK)
    own.bind(Media())
    async with asyncio.timeout(10):
        await plane.news.wait()
    own.close()
    steps = {round((b - a) * 1000) for a, b in zip(plane.ticks, plane.ticks[1:], strict=False)}
    assert steps == {5}

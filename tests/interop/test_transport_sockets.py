"""SIP over real sockets: drained, bounded, told apart; no peer program is needed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import itertools
import logging
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from voip import sockets
from voip.errors import TransportError
from voip.machine import CloseFlow, Datagram, Flow, FlowLost, FlowOpened, StreamBytes, Target
from voip.sip.streams import StreamLimits
from voip.sip.tls import client_context, server_context
from voip.sip.transport import SipTransports
from voip.sockets import UdpSocket, bind_udp, enlarge_receive_buffer, local_address_towards
from voip.types import HostPort

_spec = importlib.util.spec_from_file_location(
    "certificates", Path(__file__).parents[1] / "certificates.py"
)
certificates = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(certificates)

HOSTS = ["127.0.0.1", "::1"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="the error queue is Linux's")


class Node:
    def __init__(self, **options):
        self.told = []
        self.news = asyncio.Event()
        self.transports = SipTransports(self.feed, **options)

    def feed(self, event):
        self.told.append(event)
        self.news.set()

    async def until(self, kind, count=1):
        """Wait until so many events of a kind came, and return them."""
        async with asyncio.timeout(10):
            while True:
                found = [event for event in self.told if type(event) is kind]
                if len(found) >= count:
                    return found
                self.news.clear()
                await self.news.wait()

    async def open(self, name, local, domain=""):
        self.transports.open_flow("t", Target(name, *local, domain))
        async with asyncio.timeout(10):
            while True:
                for event in self.told:
                    if isinstance(event, FlowOpened) and event.token == "t":
                        return event.flow
                    if isinstance(event, FlowLost) and event.token == "t":
                        raise TransportError(event.reason)
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def nodes(leaks):
    made = []

    def make(**options):
        made.append(Node(**options))
        return made[-1]

    yield make
    for node in made:
        node.transports.close()
        await node.transports.wait_closed()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificates.Authority(tmp_path_factory.mktemp("ca"))


@pytest.mark.parametrize("host", HOSTS)
async def test_datagrams_and_flows(nodes, host):
    alice, bob = nodes(), nodes()
    local = await bob.transports.listen("udp", host, 0)
    await alice.transports.listen("udp", host, 0)
    flow = await alice.open("UDP", local)
    for number in range(200):  # more than one wake-up reads
        alice.transports.send(flow, b"%d" % number)
    got = await bob.until(Datagram, 200)
    assert [event.data for event in got] == [b"%d" % number for number in range(200)]
    assert got[0].flow == Flow("UDP", local, flow.local)
    bob.transports.send(got[0].flow, b"answer")
    assert (await alice.until(Datagram))[0].data == b"answer"


async def test_both_families_on_one_port(nodes):
    node = nodes()
    local = await node.transports.listen("udp", "0.0.0.0", 0)
    assert (await node.transports.listen("udp", "::", local.port)).port == local.port
    flow = await node.open("UDP", HostPort("::1", 9))
    assert flow.local == ("::1", local.port)


@linux
@pytest.mark.parametrize("host", HOSTS)
async def test_a_closed_port_loses_exactly_its_flow(nodes, host):
    alice, bob = nodes(), nodes()
    await alice.transports.listen("udp", host, 0)
    there = await bob.transports.listen("udp", host, 0)
    with bind_udp(host, 0) as closed:
        nowhere = HostPort(*closed.getsockname()[:2])
    flow = await alice.open("UDP", there)
    lost = alice.transports._udp[0].flow_to(nowhere)
    alice.transports.send(lost, b"nobody")
    (event,) = await alice.until(FlowLost)
    assert event.flow == lost
    assert event.reason == "connection refused"
    alice.transports.send(flow, b"somebody")
    assert (await bob.until(Datagram))[0].data == b"somebody"


@linux
async def test_an_error_of_one_target_does_not_swallow_what_goes_to_another(nodes):
    alice, bob = nodes(), nodes()
    await alice.transports.listen("udp", "127.0.0.1", 0)
    there = await bob.transports.listen("udp", "127.0.0.1", 0)
    with bind_udp("127.0.0.1", 0) as closed:
        nowhere = HostPort(*closed.getsockname()[:2])
    listener = alice.transports._udp[0]
    for number in range(50):  # the kernel reports the error of the first on the second
        listener.send(b"nobody", nowhere)
        listener.send(b"%d" % number, there)
    got = await bob.until(Datagram, 50)
    assert len(got) == 50
    lost = await alice.until(FlowLost)
    assert {event.flow.remote for event in lost} == {nowhere}


async def test_no_route_loses_the_flow_at_once(nodes):
    alice = nodes()
    await alice.transports.listen("udp", "127.0.0.1", 0)
    flow = Flow("UDP", alice.transports.listeners["UDP"], HostPort("192.0.2.1", 5060))
    alice.transports.send(flow, b"x")  # from loopback to the world: EINVAL
    (event,) = await alice.until(FlowLost)
    assert event.flow.remote == ("192.0.2.1", 5060)


class Failing:
    """A socket whose operations fail as told."""

    def __init__(self, sock, *, send=(), receive=()):
        self.sock = sock
        self.send = list(send)
        self.receive = list(receive)
        self.reads = 0

    def sendto(self, data, address):
        if self.send:
            raise OSError(self.send.pop(0), "injected")
        return self.sock.sendto(data, address)

    def recvfrom(self, size):
        self.reads += 1
        if self.receive:
            raise OSError(self.receive.pop(0), "injected")
        return self.sock.recvfrom(size)

    def __getattr__(self, name):
        return getattr(self.sock, name)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS, errno.EPERM, errno.EMSGSIZE])
async def test_a_send_that_fails_for_now_is_counted(nodes, number):
    alice = nodes()
    local = await alice.transports.listen("udp", "127.0.0.1", 0)
    listener = alice.transports._udp[0]
    listener._sock = Failing(listener._sock, send=[number])
    listener.send(b"lost", local)
    listener.send(b"kept", local)
    assert (await alice.until(Datagram))[0].data == b"kept"
    assert alice.transports.counters[f"send_error_{errno.errorcode[number].lower()}"] == 1
    assert not [event for event in alice.told if isinstance(event, FlowLost)]


async def test_a_datagram_that_is_too_long_is_counted(nodes):
    alice = nodes()
    local = await alice.transports.listen("udp", "127.0.0.1", 0)
    alice.transports._udp[0].send(bytes(70_000), local)
    assert alice.transports.counters["send_error_emsgsize"] == 1


async def test_a_receive_that_fails_is_counted_and_the_next_comes(nodes):
    alice = nodes()
    local = await alice.transports.listen("udp", "127.0.0.1", 0)
    listener = alice.transports._udp[0]
    listener._sock = Failing(listener._sock, receive=[errno.ENOMEM])
    listener.send(b"kept", local)
    assert (await alice.until(Datagram))[0].data == b"kept"
    assert alice.transports.counters["receive_error"] == 1


async def test_a_receiver_may_close_its_socket():
    loop = asyncio.get_running_loop()
    got = []
    udp = UdpSocket(lambda data, _: (got.append(data), udp.close()), lambda *_: None)
    local = udp.bind("127.0.0.1", 0, loop)
    with bind_udp("127.0.0.1", 0) as other:
        for _ in range(3):
            other.sendto(b"x", local)
        while not got:
            await asyncio.sleep(0)
    assert got == [b"x"]


async def test_answers_to_what_a_wake_up_reads_leave_at_its_end():
    waiting = []  # what the peer could read at each datagram that was answered

    def received(data, address):
        udp.send(data, address)
        waiting.append(len(unread(other)))

    udp = UdpSocket(received, lambda *_: None, gathers=False)
    local = udp.bind("127.0.0.1", 0, asyncio.get_running_loop())
    with bind_udp("127.0.0.1", 0) as other:
        for number in range(10):
            other.sendto(b"%d" % number, local)
        udp._readable()
        # the eighth made room; it and those before it left then
        assert waiting == [0] * 7 + [8, 0, 0]
        assert unread(other) == [b"8", b"9"]
        udp.send(b"now", other.getsockname())
        assert unread(other) == [b"now"]
    udp.close()


async def test_what_gathers_holds_no_answer():
    waiting = []

    def received(data, address):
        udp.send(data, address)
        waiting.append(unread(other))

    udp = UdpSocket(received, lambda *_: None)
    local = udp.bind("127.0.0.1", 0, asyncio.get_running_loop())
    with bind_udp("127.0.0.1", 0) as other:
        other.sendto(b"0", local)
        other.sendto(b"1", local)
        udp._readable()
        assert waiting == [[b"0"], [b"1"]]
    udp.close()


def unread(sock):
    got = []
    with contextlib.suppress(BlockingIOError):
        while True:
            got.append(sock.recv(100))
    return got


@pytest.mark.parametrize("end", ["close", "cancel", "fail"])
async def test_held_answers_leave_however_the_wake_up_ends(end):
    def received(data, address):
        udp.send(data, address)
        if end == "close":
            udp.close()
        elif end == "cancel":
            raise asyncio.CancelledError
        else:
            raise RuntimeError("a receiver")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    udp = UdpSocket(received, lambda *_: None, gathers=False)
    local = udp.bind("127.0.0.1", 0, loop)
    with bind_udp("127.0.0.1", 0) as other:
        other.sendto(b"x", local)
        if end == "cancel":
            with pytest.raises(asyncio.CancelledError):
                udp._readable()
        else:
            udp._readable()
        assert unread(other) == [b"x"]
        udp.send(b"y", other.getsockname())
        assert unread(other) == ([] if end == "close" else [b"y"])
    udp.close()


async def test_what_a_held_answer_brings_about_is_sent_too():
    udp = UdpSocket(
        lambda data, address: udp.send(data, address),
        lambda remote, reason: udp.send(b"instead", other.getsockname()),
        gathers=False,
    )
    local = udp.bind("127.0.0.1", 0, asyncio.get_running_loop())
    udp._sock = Failing(udp._sock, send=[errno.EHOSTUNREACH])
    with bind_udp("127.0.0.1", 0) as other:
        other.sendto(b"one", local)
        other.sendto(b"two", local)
        udp._readable()
        assert sorted(unread(other)) == [b"instead", b"two"]
    udp.close()


async def test_held_answers_wait_a_millisecond_at_most(monkeypatch):
    clock = iter(itertools.count(0.0, 0.0004))  # of the loop: each datagram takes its time
    waiting = []

    def received(data, address):
        udp.send(data, address)
        waiting.append(len(unread(other)))

    loop = asyncio.get_running_loop()
    udp = UdpSocket(received, lambda *_: None, gathers=False)
    local = udp.bind("127.0.0.1", 0, loop)
    udp._loop = SimpleNamespace(time=lambda: next(clock), is_closed=lambda: False)
    with bind_udp("127.0.0.1", 0) as other:
        for number in range(7):
            other.sendto(b"%d" % number, local)
        udp._readable()
        assert waiting == [0, 0, 0, 3, 0, 0, 3]
        assert unread(other) == [b"6"]
    udp.close()


async def test_an_address_that_is_none_costs_no_other_answer():
    def received(data, address):
        udp.send(data, (address[0], 70_000))
        udp.send(data, address)

    udp = UdpSocket(received, lambda *_: None, gathers=False)
    local = udp.bind("127.0.0.1", 0, asyncio.get_running_loop())
    with bind_udp("127.0.0.1", 0) as other:
        other.sendto(b"x", local)
        udp._readable()
        assert unread(other) == [b"x"]
    assert udp.counters["send_error"] == 1
    udp.close()


async def test_a_flood_leaves_others_their_turn():
    loop = asyncio.get_running_loop()
    got = []
    udp = UdpSocket(lambda data, _: got.append(data), lambda *_: None)
    local = udp.bind("127.0.0.1", 0, loop)
    udp.enlarge()
    with bind_udp("127.0.0.1", 0) as other:
        for _ in range(150):
            other.sendto(b"x", local)
        udp._readable()
        assert len(got) == sockets.READS_PER_WAKE_UP
        udp._readable()
        udp._readable()
        assert len(got) == 150
    udp.close()


@pytest.mark.parametrize("can_ask", [True, False])
async def test_a_wake_up_reads_all_that_waits_however_many_there_were_before(can_ask, monkeypatch):
    if not can_ask:
        monkeypatch.setattr(sockets, "_HAS_POLL", False)
    elif not sockets._HAS_POLL:
        pytest.skip("there is no poll(2)")
    got = []
    udp = UdpSocket(lambda data, _: got.append(data), lambda *_: None)
    local = udp.bind("127.0.0.1", 0, asyncio.get_running_loop())
    with bind_udp("127.0.0.1", 0) as other:
        for count in (1, 2, 3, 1, 4, 5, 2, 10, 1, 1, 3):
            for number in range(count):
                other.sendto(b"%d" % number, local)
            udp._readable()
            assert got == [b"%d" % number for number in range(count)]
            got.clear()
            udp._readable()  # nothing, and no harm
            assert not got
    udp.close()


@pytest.mark.skipif(not sockets._HAS_POLL, reason="there is no poll(2)")
async def test_a_socket_that_has_one_datagram_is_read_once():
    got = []
    udp = UdpSocket(lambda data, _: got.append(data), lambda *_: None)
    local = udp.bind("127.0.0.1", 0, asyncio.get_running_loop())
    # A second read would fail; that there is nothing to read is known without.
    udp._sock = Failing(udp._sock)
    with bind_udp("127.0.0.1", 0) as other:
        for _ in range(5):
            other.sendto(b"x", local)
            udp._readable()
            assert udp._sock.reads == len(got)
    udp.close()


class Readerless(asyncio.SelectorEventLoop):
    """A loop as Windows has it: no readers for users."""

    def add_reader(self, fd, callback, *args):
        raise NotImplementedError


def test_a_loop_without_readers_uses_a_transport():
    async def main():
        alice, bob = Node(), Node()
        local = await bob.transports.listen("udp", "127.0.0.1", 0)
        await alice.transports.listen("udp", "127.0.0.1", 0)
        flow = await alice.open("UDP", local)
        alice.transports.send(flow, b"hello")
        assert (await bob.until(Datagram))[0].data == b"hello"
        # Closed before its transport is there: nothing is left, nothing is raised.
        early = UdpSocket(lambda *_: None, lambda *_: None)
        early.bind("127.0.0.1", 0, asyncio.get_running_loop())
        early.close()
        await early.opened()
        broken = UdpSocket(lambda *_: None, lambda *_: None)
        broken.bind("127.0.0.1", 0, asyncio.get_running_loop())
        broken._sock.close()
        await broken.opened()
        await asyncio.sleep(0)
        assert broken.counters["open_failed"] == 1
        for node in (alice, bob):
            node.transports.close()
            await node.transports.wait_closed()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=Readerless) as runner:
        runner.run(main())


async def test_a_port_in_use_has_clear_words(nodes):
    first, second = nodes(), nodes()
    for name in ("udp", "tcp"):
        local = await first.transports.listen(name, "127.0.0.1", 0)
        with pytest.raises(TransportError, match=f"{name.upper()} {local}: the port is in use"):
            await second.transports.listen(name, *local)
    with pytest.raises(TransportError, match="cannot assign"):
        await second.transports.listen("udp", "192.0.2.1", 0)


def test_the_receive_buffer_is_large_and_what_was_granted_is_logged(caplog):
    with bind_udp("127.0.0.1", 0) as sock, caplog.at_level(logging.DEBUG, "voip.sockets"):
        granted = enlarge_receive_buffer(sock)
        assert granted >= 100_000
        assert str(granted) in caplog.text

        class Refusing:
            def setsockopt(self, *args):
                raise OSError(errno.EPERM, "no")

            def getsockopt(self, *args):
                return 200_000

        assert enlarge_receive_buffer(Refusing(), 400_000) in (100_000, 200_000)


def test_the_local_address_towards_a_peer():
    assert local_address_towards("127.0.0.5") == "127.0.0.1"
    assert local_address_towards("::1") == "::1"


@pytest.mark.parametrize("host", HOSTS)
async def test_a_connection_carries_bytes_and_ends(nodes, host):
    alice, bob = nodes(), nodes()
    local = await bob.transports.listen("tcp", host, 0)
    flow = await alice.open("TCP", local)
    (opened,) = await bob.until(FlowOpened)
    assert opened.flow.remote == flow.local
    alice.transports.send(flow, b"x" * 200_000)
    alice.transports.transmit(CloseFlow(flow, "done"))
    await bob.until(FlowLost)
    got = b"".join(event.data for event in bob.told if isinstance(event, StreamBytes))
    assert len(got) == 200_000
    assert (await alice.until(FlowLost))[0] == FlowLost(flow, "done")


async def test_a_refused_connection_has_clear_words(nodes):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        closed = HostPort(*sock.getsockname())
    with pytest.raises(TransportError, match="connection refused"):
        await nodes().open("TCP", closed)


async def test_a_peer_that_never_reads_is_given_up(nodes):
    bob = nodes()
    local = await bob.transports.listen("tcp", "127.0.0.1", 0)
    with socket.socket() as peer:
        peer.connect(local)
        (opened,) = await bob.until(FlowOpened)
        for _ in range(1000):
            bob.transports.send(opened.flow, bytes(32 * 1024))
            if bob.transports.counters["write_backlog"]:
                break
        (lost,) = await bob.until(FlowLost)
    assert lost.reason == "the peer does not read"


async def test_a_reset_is_told(nodes):
    bob = nodes()
    local = await bob.transports.listen("tcp", "127.0.0.1", 0)
    with socket.socket() as peer:
        peer.connect(local)
        await bob.until(FlowOpened)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    (lost,) = await bob.until(FlowLost)
    assert lost.reason == "connection reset by peer"


async def test_connects_and_closes_at_once_leave_nothing(nodes):
    bob = nodes()
    local = await bob.transports.listen("tcp", "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    for number in range(300):
        peer = socket.socket()
        peer.setblocking(False)
        peer.connect_ex(local)
        if number % 3:
            await asyncio.sleep(0)
        peer.close()
    for _ in range(50):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while bob.transports.connections:
            await asyncio.sleep(0)
    assert not bob.transports.census.connections
    assert loop.is_running()


async def test_connections_per_source_are_bounded(nodes):
    bob = nodes(limits=StreamLimits(per_source=3))
    local = await bob.transports.listen("tcp", "127.0.0.1", 0)
    peers = [socket.create_connection(local) for _ in range(5)]
    await bob.until(FlowOpened, 3)
    async with asyncio.timeout(10):
        while bob.transports.counters["connections_refused_source"] < 2:
            await asyncio.sleep(0)
    for peer in peers:
        peer.close()
    await bob.until(FlowLost, 3)


@pytest.mark.parametrize("host", HOSTS)
async def test_tls_end_to_end(nodes, authority, host):
    alice, bob = nodes(tls=lambda: client_context(ca_file=authority.file)), nodes()
    context = server_context(authority.issue("sip:example.com", host))
    local = await bob.transports.listen("tls", host, 0, tls=context)
    flow = await alice.open("TLS", local, "example.com")
    assert flow.identity == "example.com"
    alice.transports.send(flow, b"y" * 100_000)
    async with asyncio.timeout(10):
        while sum(len(e.data) for e in bob.told if isinstance(e, StreamBytes)) < 100_000:
            bob.news.clear()
            await bob.news.wait()
    bob.transports.transmit(CloseFlow((await bob.until(FlowOpened))[0].flow, "done"))
    assert (await alice.until(FlowLost))[0].flow == flow


async def test_tls_refuses_the_wrong_domain(nodes, authority):
    alice, bob = nodes(tls=lambda: client_context(ca_file=authority.file)), nodes()
    context = server_context(authority.issue("example.com"))
    local = await bob.transports.listen("tls", "127.0.0.1", 0, tls=context)
    with pytest.raises(TransportError, match="not for example"):
        await alice.open("TLS", local, "example.org")
    assert not [event for event in bob.told if isinstance(event, StreamBytes)]


async def test_tls_speaks_with_asyncios_own(nodes, authority):
    bob = nodes()
    context = server_context(authority.issue("localhost"))
    local = await bob.transports.listen("tls", "127.0.0.1", 0, tls=context)
    theirs = client_context(ca_file=authority.file)
    reader, writer = await asyncio.open_connection(*local, ssl=theirs, server_hostname="localhost")
    writer.write(b"hello")
    (got,) = await bob.until(StreamBytes)
    assert got.data == b"hello"
    bob.transports.send(got.flow, b"answer")
    assert await reader.readexactly(6) == b"answer"
    writer.close()
    await writer.wait_closed()
    await bob.until(FlowLost)

"""One epoll for many sockets: read in turn, told apart, and gone with the last of them."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from voip import poller as module
from voip.errors import TransportError
from voip.poller import READS_PER_WAKE_UP, Poller
from voip.sockets import UdpSocket, bind_udp

LOOPBACK = "127.0.0.1"

pytestmark = pytest.mark.skipif(not Poller.AVAILABLE, reason="epoll is Linux's")


def epolls():
    """Return how many epolls this process has open."""
    names = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sum(os.path.islink(name) and "eventpoll" in os.readlink(name) for name in names)


def readers():
    """Return which descriptors the loop waits for."""
    return set(asyncio.get_running_loop()._selector.get_map())


class Ends:
    """Sockets on one poller, each with what it got, and a peer that sends to them."""

    def __init__(self):
        self.poller = Poller()
        self.peer = bind_udp(LOOPBACK, 0)
        self.got = []
        self.sockets = {}
        self.then = {}

    def open(self, name, port=0):
        def received(data, address):
            self.got.append((name, data))
            self.then.get(name, lambda: None)()

        udp = UdpSocket(received, lambda *_: None, poller=self.poller)
        udp.bind(LOOPBACK, port, asyncio.get_running_loop())
        self.sockets[name] = udp
        return udp

    def send(self, name, data=b"x"):
        self.peer.sendto(data, self.sockets[name].address)

    def close(self):
        self.peer.close()
        for udp in self.sockets.values():
            udp.close()


@pytest.fixture
async def ends(leaks):
    before = epolls(), readers()
    ends = Ends()
    yield ends
    ends.close()
    assert not len(ends.poller)
    assert (epolls(), readers()) == before


async def test_sockets_are_read_in_turn(ends):
    for name in "ab":
        ends.open(name)
        for number in range(3):
            ends.send(name, b"%d" % number)
    ends.poller._ready()
    assert ends.got == [(name, b"%d" % number) for number in range(3) for name in "ab"]


async def test_the_loop_wakes_it_and_has_one_reader_for_all(ends):
    before = readers()
    for name in "abc":
        ends.open(name)
    assert len(readers() - before) == 1
    ends.send("c")
    async with asyncio.timeout(10):
        while not ends.got:
            await asyncio.sleep(0)
    assert ends.got == [("c", b"x")]


async def test_a_flood_leaves_the_loop_and_the_others_their_turn(ends):
    ends.open("flooded").enlarge()
    ends.open("quiet")
    for _ in range(200):
        ends.send("flooded")
    ends.send("quiet")
    ends.poller._ready()
    assert ("quiet", b"x") in ends.got[:2]
    assert len(ends.got) == READS_PER_WAKE_UP
    for _ in range(3):
        ends.poller._ready()
    assert len(ends.got) == 201


async def test_many_sockets_are_read_in_more_than_one_wake_up(ends):
    names = range(150)
    for name in names:
        ends.open(name)
        ends.send(name)
    ends.poller._ready()
    assert READS_PER_WAKE_UP <= len(ends.got) < 2 * READS_PER_WAKE_UP
    ends.poller._ready()
    ends.poller._ready()
    assert sorted(ends.got) == [(name, b"x") for name in names]


async def test_a_socket_that_was_closed_in_the_round_is_not_read(ends):
    for name in "ab":
        ends.open(name)
        ends.then[name] = lambda: [udp.close() for udp in ends.sockets.values()]
        ends.send(name)
    ends.poller._ready()
    assert ends.got == [("a", b"x")]
    ends.poller._ready()
    assert len(ends.got) == 1


async def test_an_event_is_not_taken_for_that_of_a_later_socket_of_the_same_number(ends):
    reads = []

    def replace():
        number = ends.sockets["b"]._sock.fileno()
        ends.sockets.pop("b").close()
        late = ends.open("c")
        assert late._sock.fileno() == number
        read = late._read_one
        ends.poller._reads[number] = lambda: (reads.append("c"), read())

    for name in "ab":
        ends.open(name)
        ends.send(name)
    ends.then["a"] = replace
    ends.poller._ready()
    assert ends.got == [("a", b"x")]
    assert not reads
    ends.send("c")
    ends.poller._ready()
    assert ends.got == [("a", b"x"), ("c", b"x")]


async def test_a_read_that_fails_is_reported_and_the_others_are_read(ends):
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    udp = ends.open("a")
    ends.open("b")
    ends.poller._reads[udp._sock.fileno()] = lambda: udp._sock.recv(9) and 1 / 0
    for name in "ab":
        ends.send(name)
    ends.poller._ready()
    assert ends.got == [("b", b"x")]
    assert [type(context["exception"]) for context in errors] == [ZeroDivisionError]


async def test_what_waits_at_the_last_close_is_not_read(ends):
    ends.open("a")
    ends.send("a")
    ends.sockets["a"].close()
    ends.poller._ready()
    ends.open("a")
    ends.poller._ready()
    assert not ends.got


async def test_a_socket_that_somebody_else_closed_is_forgotten(ends):
    sock = bind_udp(LOOPBACK, 0)
    ends.poller.add(sock.fileno(), lambda: None, asyncio.get_running_loop())
    number = sock.detach()
    os.close(number)
    ends.poller.remove(number)
    ends.poller.remove(number)
    assert not len(ends.poller)


async def test_no_room_for_a_socket_leaves_nothing(ends):
    with pytest.raises(OSError):
        ends.poller.add(2**20, lambda: None, asyncio.get_running_loop())
    assert not len(ends.poller)
    ends.open("a")
    with pytest.raises(OSError):
        ends.poller.add(2**20, lambda: None, asyncio.get_running_loop())
    ends.send("a")
    ends.poller._ready()
    assert ends.got == [("a", b"x")]


async def test_no_room_for_an_epoll_is_a_socket_that_cannot_be_bound(ends, monkeypatch):
    class Full:
        @staticmethod
        def epoll():
            raise OSError(24, "Too many open files")

    monkeypatch.setattr(module, "select", Full)
    with pytest.raises(TransportError, match="too many open files"):
        ends.open("a")
    assert ends.sockets == {}


def test_a_loop_that_was_closed_first_is_left_alone():
    poller, got = Poller(), []
    udp = UdpSocket(lambda data, _: got.append(data), lambda *_: None, poller=poller)
    loop = asyncio.new_event_loop()
    udp.bind(LOOPBACK, 0, loop)
    loop.close()
    udp.close()
    assert not len(poller)


def test_a_loop_without_readers_reads_another_way():
    class Readerless(asyncio.SelectorEventLoop):
        def add_reader(self, fd, callback, *args):
            raise NotImplementedError

    async def main():
        before = epolls()
        poller, got = Poller(), asyncio.Event()
        udp = UdpSocket(lambda *_: got.set(), lambda *_: None, poller=poller)
        address = udp.bind(LOOPBACK, 0, asyncio.get_running_loop())
        await udp.opened()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"x", address)
            async with asyncio.timeout(10):
                await got.wait()
        udp.close()
        await asyncio.sleep(0)
        assert not len(poller)
        assert epolls() == before

    with asyncio.Runner(loop_factory=Readerless) as runner:
        runner.run(main())

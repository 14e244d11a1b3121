"""UDP and TCP sockets in memory: what `VirtualLoop` gives to those who ask it for an endpoint."""

from __future__ import annotations

import asyncio
import errno
import heapq
import itertools
import os
from collections.abc import Callable, Iterable
from typing import Any

from voip.testing.network import Network
from voip.types import HostPort, is_unspecified

__all__ = ["Ether", "MemoryDatagramTransport", "MemoryServer", "MemoryStreamTransport"]

FIRST_EPHEMERAL_PORT = 49152
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _concrete(host: str) -> str:
    """Return the address from which a socket bound to every address sends."""
    return LOOPBACK[6 if ":" in host else 4] if is_unspecified(host) else host


class Ether:
    """Every socket of one loop, by its address."""

    def __init__(self, loop: asyncio.AbstractEventLoop, network: Network) -> None:
        self.loop = loop
        self.network = network
        self._datagrams: dict[HostPort, MemoryDatagramTransport] = {}
        self._servers: dict[HostPort, MemoryServer] = {}
        self._streams: set[MemoryStreamTransport] = set()
        self._next_port = FIRST_EPHEMERAL_PORT
        self._queue: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = itertools.count()

    def later(self, at: float, callback: Callable[..., Any], *args: Any) -> None:
        """Call at a moment; what is due at the same moment keeps its order.

        The loop's own heap does not promise that, and a network that reorders what it was not told
        to would make every test of order a lie.
        """
        heapq.heappush(self._queue, (at, next(self._count), callback, args))
        self.loop.call_at(at, self._run_first)

    def _run_first(self) -> None:
        _, _, callback, args = heapq.heappop(self._queue)
        callback(*args)

    @property
    def open_sockets(self) -> int:
        """How many sockets are open, listeners included."""
        return len(self._datagrams) + len(self._servers) + len(self._streams)

    def _free(self, wanted: HostPort, taken: Iterable[HostPort]) -> HostPort:
        used = set(taken)
        if wanted.port:
            if wanted in used:
                raise _error(errno.EADDRINUSE)
            return wanted
        while True:
            self._next_port += 1
            address = HostPort(wanted.host, self._next_port)
            if address not in used:
                return address

    def open_datagram(
        self, protocol: Any, local: HostPort, remote: HostPort | None
    ) -> MemoryDatagramTransport:
        """Bind a UDP socket; raises OSError when the address is taken."""
        address = self._free(local, self._datagrams)
        transport = MemoryDatagramTransport(self, protocol, address, remote)
        self._datagrams[address] = transport
        self.loop.call_soon(protocol.connection_made, transport)
        return transport

    def send(self, source: MemoryDatagramTransport, data: bytes, target: HostPort) -> None:
        """Send a datagram through the network."""
        sender = HostPort(_concrete(source.local.host), source.local.port)
        for delivery in self.network.route(sender, target, self.loop.time()):
            self.later(delivery.at, self._arrive, sender, delivery, data)

    def _arrive(self, sender: HostPort, delivery: Any, data: bytes) -> None:
        transport = _listening(self._datagrams, delivery.target)
        if transport is not None:
            transport.arrived(data, delivery.source)
            return
        # nobody there: a connected sender learns it by ICMP, as on a real network
        origin = _listening(self._datagrams, sender)
        if origin is not None and origin.remote is not None:
            origin.refused()

    def listen(self, factory: Callable[[], Any], local: HostPort) -> MemoryServer:
        """Listen for connections; raises OSError when the address is taken."""
        address = self._free(local, self._servers)
        server = self._servers[address] = MemoryServer(self, factory, address)
        return server

    def connect(
        self, protocol: Any, local: HostPort | None, target: HostPort
    ) -> MemoryStreamTransport:
        """Connect; raises OSError when nobody listens or a host is cut off."""
        source = local or HostPort(LOOPBACK[6 if ":" in target.host else 4], 0)
        source = self._free(source, [stream.local for stream in self._streams])
        server = _listening(self._servers, target)
        if not self.network.reachable(source.host, target.host):
            raise _error(errno.EHOSTUNREACH)
        if server is None:
            raise _error(errno.ECONNREFUSED)
        ours = MemoryStreamTransport(self, protocol, source, target)
        theirs = MemoryStreamTransport(self, server.factory(), target, source)
        ours.peer, theirs.peer = theirs, ours
        self._streams |= {ours, theirs}
        for end in (ours, theirs):
            self.loop.call_soon(end.protocol.connection_made, end)
        return ours

    def forget(self, socket: Any) -> None:
        """Take a closed socket out."""
        if isinstance(socket, MemoryDatagramTransport):
            self._datagrams.pop(socket.local, None)
        elif isinstance(socket, MemoryServer):
            self._servers.pop(socket.address, None)
        else:
            self._streams.discard(socket)


def _listening(sockets: dict[HostPort, Any], target: HostPort) -> Any:
    anywhere = HostPort("::" if ":" in target.host else "0.0.0.0", target.port)  # noqa: S104
    return sockets.get(target) or sockets.get(anywhere)


class MemoryDatagramTransport(asyncio.DatagramTransport):
    """A UDP socket in memory."""

    def __init__(
        self, ether: Ether, protocol: Any, local: HostPort, remote: HostPort | None
    ) -> None:
        super().__init__({"sockname": tuple(local), "peername": remote and tuple(remote)})
        self.local = local
        self.remote = remote
        self._ether = ether
        self._protocol = protocol
        self._closing = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a datagram; after `close` it goes nowhere."""
        target = self.remote if addr is None else HostPort(*addr[:2])
        if target is None:
            raise ValueError("no address to send to")
        if not self._closing:
            self._ether.send(self, bytes(data), target)

    def arrived(self, data: bytes, source: HostPort) -> None:
        """Hand a datagram to the protocol."""
        if not self._closing and (self.remote is None or self.remote == source):
            self._protocol.datagram_received(data, tuple(source))

    def refused(self) -> None:
        """Tell the protocol that nobody listens at its peer."""
        if not self._closing:
            self._protocol.error_received(_error(errno.ECONNREFUSED))

    def is_closing(self) -> bool:
        """Tell whether `close` was called."""
        return self._closing

    def close(self) -> None:
        """Close the socket; idempotent."""
        if not self._closing:
            self._closing = True
            self._ether.forget(self)
            self._ether.loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """Close the socket."""
        self.close()

    def get_write_buffer_size(self) -> int:
        """Return 0: what is sent has left."""
        return 0


class MemoryServer(asyncio.AbstractServer):
    """A TCP listener in memory."""

    def __init__(self, ether: Ether, factory: Callable[[], Any], address: HostPort) -> None:
        self.factory = factory
        self.address = address
        self.sockets: list[Any] = [_SocketName(address)]
        self._ether = ether

    def close(self) -> None:
        """Stop listening; connections stay."""
        self._ether.forget(self)
        self.sockets = []

    def is_serving(self) -> bool:
        """Tell whether it still listens."""
        return bool(self.sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        return self._ether.loop

    async def start_serving(self) -> None:
        """Do nothing: it has listened since it was made."""

    async def serve_forever(self) -> None:
        """Wait until it is cancelled."""
        await self._ether.loop.create_future()

    async def wait_closed(self) -> None:
        """Return at once."""


class _SocketName:
    def __init__(self, address: HostPort) -> None:
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        return (self._address.host, self._address.port)


class MemoryStreamTransport(asyncio.Transport):
    """One end of a TCP connection in memory."""

    def __init__(self, ether: Ether, protocol: Any, local: HostPort, remote: HostPort) -> None:
        super().__init__({"sockname": tuple(local), "peername": tuple(remote)})
        self.protocol = protocol
        self.local = local
        self.remote = remote
        self.peer: MemoryStreamTransport | None = None
        self._ether = ether
        self._closing = False
        self._paused = False
        self._held: list[bytes] = []
        self._clear_at = 0.0

    def _later(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call after the way's delay, and never before what was sent earlier."""
        loop = self._ether.loop
        delay = self._ether.network.delay(self.local.host, self.remote.host)
        self._clear_at = max(self._clear_at, loop.time() + delay)
        self._ether.later(self._clear_at, callback, *args)

    def write(self, data: Any) -> None:
        """Send bytes; a cut network swallows them, as TCP does until it gives up."""
        if self._closing or self.peer is None or not data:
            return
        if self._ether.network.reachable(self.local.host, self.remote.host):
            self._later(self.peer.arrived, bytes(data))

    def arrived(self, data: bytes) -> None:
        """Hand bytes to the protocol; `b""` is the end of the stream."""
        if self._closing:
            return
        if self._paused:
            self._held.append(data)
        elif data:
            self.protocol.data_received(data)
        elif not self.protocol.eof_received():
            self.close()

    def pause_reading(self) -> None:
        """Keep what arrives."""
        self._paused = True

    def resume_reading(self) -> None:
        """Deliver what was kept."""
        self._paused = False
        held, self._held = self._held, []
        for data in held:
            self._ether.loop.call_soon(self.arrived, data)

    def is_reading(self) -> bool:
        """Tell whether what arrives is delivered."""
        return not self._paused and not self._closing

    def set_protocol(self, protocol: Any) -> None:
        """Exchange the protocol."""
        self.protocol = protocol

    def get_protocol(self) -> Any:
        """Return the protocol."""
        return self.protocol

    def can_write_eof(self) -> bool:
        """Return True."""
        return True

    def write_eof(self) -> None:
        """Close our direction."""
        if not self._closing and self.peer is not None:
            self._later(self.peer.arrived, b"")

    def get_write_buffer_size(self) -> int:
        """Return 0: what is written has left."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing."""

    def is_closing(self) -> bool:
        """Tell whether `close` was called."""
        return self._closing

    def close(self) -> None:
        """Close both directions; the peer reads the end of the stream. Idempotent."""
        self.write_eof()
        self._end(None)

    def abort(self) -> None:
        """Reset the connection: the peer's ends with an error."""
        if not self._closing and self.peer is not None:
            self._later(self.peer.reset)
        self._end(None)

    def reset(self) -> None:
        """End as a connection does that the other side has reset."""
        self._end(_error(errno.ECONNRESET))

    def _end(self, exc: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._ether.forget(self)
            self._ether.loop.call_soon(self.protocol.connection_lost, exc)

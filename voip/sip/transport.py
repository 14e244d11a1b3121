"""Where SIP meets sockets: listeners and connections behind one door that speaks flows.

A machine asks with `Transmit`, `OpenFlow`, `CloseFlow`; it is told with `Datagram`, `StreamBytes`,
`FlowOpened`, `FlowLost`. No protocol decision is taken here.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from voip.errors import TransportError
from voip.machine import (
    CloseFlow,
    Counters,
    Flow,
    FlowLost,
    FlowOpened,
    OpenFlow,
    StreamBytes,
    Target,
    Transmit,
)
from voip.sip.streams import Census, StreamConnection, StreamLimits, connect_stream
from voip.sip.tls import client_context, server_context
from voip.sip.udp import UdpListener
from voip.sockets import words
from voip.types import HostPort

__all__ = [
    "SipTransports",
    "StreamConnection",
    "StreamLimits",
    "StreamListener",
    "UdpListener",
    "client_context",
    "connect_stream",
    "server_context",
]

_PORT_TRIES = 16


class StreamListener:
    """One listening TCP socket, with TLS on what it accepts or not.

    Args:
        owner: who owns the accepted connections.
        context: the TLS context; None for plain TCP.
    """

    def __init__(self, owner: SipTransports, context: ssl.SSLContext | None = None) -> None:
        self.local = HostPort("", 0)
        self._owner = owner
        self._context = context
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> HostPort:
        """Bind and accept.

        Returns:
            The address that the socket is bound to.

        Raises:
            TransportError: the port is in use, or the address is not ours.
        """
        loop = self._owner.loop
        try:
            self._server = await loop.create_server(self._accept, host, port, backlog=256)
        except OSError as error:
            name = "TCP" if self._context is None else "TLS"
            raise TransportError(f"{name} {HostPort(host, port)}: {words(error)}") from error
        self.local = HostPort(*self._server.sockets[0].getsockname()[:2])
        return self.local

    def _accept(self) -> StreamConnection:
        connection = StreamConnection(self._owner, self._context)
        self._owner.connections.add(connection)
        return connection

    def close(self) -> None:
        """Stop accepting. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None


class SipTransports:
    """Every socket of one SIP endpoint.

    Args:
        feed: takes the inputs for the machine (`Driver.feed`).
        loop: the event loop; the running one when absent.
        limits: what connections may cost.
        tls: the context for connections that we open; by default the system's authorities.
    """

    def __init__(
        self,
        feed: Callable[[Any], None],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        limits: StreamLimits | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.loop = loop or asyncio.get_running_loop()
        self.counters: Counters = Counter()
        self.census = Census(limits or StreamLimits())
        self.connections: set[StreamConnection] = set()
        self.listeners: dict[str, HostPort] = {}
        self.closed = False
        self._feed = feed
        self._make_tls = tls or client_context
        self._tls: ssl.SSLContext | None = None
        self._udp: list[UdpListener] = []
        self._reading: StreamConnection | None = None
        self._udp_by_local: dict[HostPort, UdpListener] = {}
        self._streams: list[StreamListener] = []
        self._by_number: dict[int, StreamConnection] = {}
        self._by_target: dict[tuple[str, str, int, str], StreamConnection] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    # Listening

    async def listen(
        self, transport: str, host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> HostPort:
        """Listen on one address.

        Args:
            transport: "UDP", "TCP" or "TLS", in any case.
            host: an IP literal of this machine, `0.0.0.0` or `::`.
            port: the port, 0 for any.
            tls: the context for TLS, from `server_context`.

        Returns:
            The address that the socket is bound to; `listeners` holds the first of each transport.

        Raises:
            TransportError: the port is in use, the address is not ours, or TLS has no context.
        """
        name = transport.upper()
        if name == "UDP":
            udp = UdpListener(self._feed, loop=self.loop, counters=self.counters)
            local = await udp.listen(host, port)
            self._udp.append(udp)
        elif name in ("TCP", "TLS"):
            if name == "TLS" and tls is None:
                raise TransportError("TLS needs a certificate and a key")
            stream = StreamListener(self, tls if name == "TLS" else None)
            local = await stream.listen(host, port)
            self._streams.append(stream)
        else:
            raise TransportError(f"no such transport: {transport}")
        self.listeners.setdefault(name, local)
        return local

    async def listen_together(
        self, transports: Sequence[str], host: str, port: int
    ) -> dict[str, HostPort]:
        """Listen by several transports, none of them TLS, on one port.

        Args:
            transports: the first one chooses when `port` is 0.
            host: as for `listen`.
            port: the port; 0 finds one that is free for all of them.

        Returns:
            Upper-case name of each transport to its address.

        Raises:
            TransportError: as for `listen`.
        """
        udp, streams, listeners = len(self._udp), len(self._streams), dict(self.listeners)
        tries = 1 if port else _PORT_TRIES
        while True:
            found: dict[str, HostPort] = {}
            number = port
            try:
                for name in transports:
                    found[name.upper()] = local = await self.listen(name, host, number)
                    number = local.port
                return found
            except TransportError:
                # What the kernel gave for UDP may be in use for TCP: another number then.
                for datagrams in self._udp[udp:]:
                    datagrams.close()
                for stream in self._streams[streams:]:
                    stream.close()
                del self._udp[udp:], self._streams[streams:]
                self.listeners = dict(listeners)
                tries -= 1
                if not tries:
                    raise

    def adopt(self, transport: asyncio.BaseTransport) -> UdpListener | StreamConnection:
        """Take over an asyncio transport; what is returned takes its protocol's callbacks."""
        adopted: UdpListener | StreamConnection
        # Every datagram transport has `sendto`, made by asyncio or by somebody else.
        if hasattr(transport, "sendto"):
            adopted = UdpListener(self._feed, loop=self.loop, counters=self.counters)
            adopted.connection_made(transport)
            self._udp.append(adopted)
            self.listeners.setdefault("UDP", adopted.local)
        else:
            adopted = StreamConnection(self)
            self.connections.add(adopted)
            adopted.connection_made(transport)
        return adopted

    # What the machine wants

    def transmit(self, output: Transmit | OpenFlow | CloseFlow) -> None:
        """Carry out one output of the machine."""
        if isinstance(output, Transmit):
            self.send(output.flow, output.data)
        elif isinstance(output, OpenFlow):
            self.open_flow(output.token, output.target)
        else:
            connection = self._by_number.get(output.flow.number)
            if connection is not None:
                connection.close(output.reason)

    def send(self, flow: Flow, data: bytes) -> None:
        """Send bytes on a flow; a flow that is gone is reported as lost."""
        if flow.transport == "UDP":
            listener = self._udp_by_local.get(flow.local) or self._udp_listener(flow)
            if listener is not None:
                listener.send(data, flow.remote)
                return
        else:
            connection = self._by_number.get(flow.number)
            if connection is not None:
                connection.write(data)
                return
        self.counters["transmit_without_flow"] += 1
        self._feed(FlowLost(flow, "the connection is closed"))

    def let_go(self) -> None:
        """Send what sockets hold until the end of a wake-up: before what may take long."""
        for udp in self._udp:
            udp.let_go()
        if self._reading is not None:
            self._reading.let_go()

    def _udp_listener(self, flow: Flow) -> UdpListener | None:
        """Find the listener of a flow by its port, else by its family, and remember it."""
        fitting = [udp for udp in self._udp if udp.serves(flow.remote.host) and not udp.closed]
        exact = [udp for udp in fitting if udp.local.port == flow.local.port]
        listener = next(iter(exact or fitting), None)
        if listener is not None and len(self._udp_by_local) < 256:
            self._udp_by_local[flow.local] = listener
        return listener

    def open_flow(self, token: Hashable, target: Target) -> None:
        """Answer a wish for a flow by `FlowOpened` or `FlowLost`, now or later."""
        if self.closed:
            self._feed(FlowLost(None, "closed", token))
        elif target.transport == "UDP":
            self._open_udp(token, target)
        else:
            self._open_stream(token, target)

    def _open_udp(self, token: Hashable, target: Target) -> None:
        fitting = (udp for udp in self._udp if udp.serves(target.host) and not udp.closed)
        listener = next(fitting, None)
        if listener is None:
            self._feed(FlowLost(None, f"no UDP listener reaches {target.host}", token))
            return
        try:
            flow = listener.flow_to(HostPort(target.host, target.port))
        except TransportError as error:
            self._feed(FlowLost(None, str(error), token))
            return
        self._feed(FlowOpened(flow, token))

    def _open_stream(self, token: Hashable, target: Target) -> None:
        # RELIABILITY I1: a connection verified for one SIP domain never serves another.
        name = target.server_name if target.transport == "TLS" else ""
        key = (target.transport, target.host, target.port, name)
        connection = self._by_target.get(key)
        if connection is not None and not connection.closing:
            if connection.flow is not None:
                self._feed(FlowOpened(connection.flow, token))
            else:
                connection.tokens.append(token)
            return
        try:
            context = self._client_tls() if target.transport == "TLS" else None
        except TransportError as error:
            self._feed(FlowLost(None, str(error), token))
            return
        connection = StreamConnection(self, context, target, [token])
        self.connections.add(connection)
        self._by_target[key] = connection
        seconds = self.census.limits.connect_timeout
        task = self.loop.create_task(
            connect_stream(connection, target, seconds=seconds),
            name=f"connect {target.transport} {HostPort(target.host, target.port)}",
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _client_tls(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls

    # What connections tell

    def connection_number(self) -> int:
        """Return a number that no other connection has."""
        return next(self._numbers)

    def connection_opened(self, connection: StreamConnection) -> None:
        """Tell the machine, and all who waited."""
        assert connection.flow is not None
        self._by_number[connection.flow.number] = connection
        tokens, connection.tokens = connection.tokens or [None], []
        for token in tokens:
            self._feed(FlowOpened(connection.flow, token))

    def connection_received(self, connection: StreamConnection, data: bytes) -> None:
        """Tell the machine."""
        assert connection.flow is not None
        self._reading = connection
        try:
            self._feed(StreamBytes(connection.flow, data))
        finally:
            self._reading = None

    def connection_ended(self, connection: StreamConnection, reason: str) -> None:
        """Forget the connection and tell the machine what it knew of it."""
        self.connections.discard(connection)
        self._ended.set()
        for key, pooled in list(self._by_target.items()):
            if pooled is connection:
                del self._by_target[key]
        if connection.flow is not None:
            self._by_number.pop(connection.flow.number, None)
            self._feed(FlowLost(connection.flow, reason))
        for token in connection.tokens:
            self._feed(FlowLost(None, reason, token))

    # The end

    def stop_accepting(self) -> None:
        """Accept no more connections; those that stand go on."""
        for stream in self._streams:
            stream.close()

    def close(self) -> None:
        """Close every socket; connections end once what is queued has left. Idempotent."""
        self.closed = True
        self.stop_accepting()
        for task in self._tasks:
            task.cancel()
        for udp in self._udp:
            udp.close()
        for connection in list(self.connections):
            connection.close("closed")

    async def wait_closed(self) -> None:
        """Wait until the last connection has ended (bounded by the close timeout)."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        while self.connections:
            self._ended.clear()
            await self._ended.wait()
        await asyncio.sleep(0)  # asyncio closes an aborted socket in its next round

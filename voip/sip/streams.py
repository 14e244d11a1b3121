"""SIP over TCP and TLS: one asyncio protocol per connection, no task.

What an unknown peer may cost is bounded here: connections in all and per source, handshakes in
flight, the time a handshake takes, and bytes that the peer does not read (RELIABILITY §1, I3).
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol, cast

from voip.errors import TransportError
from voip.gathering import Gathering
from voip.machine import Counters, Flow, Target
from voip.sip.tls import TlsLayer
from voip.sockets import words
from voip.types import HostPort, canonical_ip

__all__ = ["Census", "StreamConnection", "StreamLimits", "connect_stream"]

# Answers that leave together, in one system call and, over TLS, in one record.
_HELD_WRITES = 8


@dataclass(slots=True, frozen=True, kw_only=True)
class StreamLimits:
    """What connections may cost.

    Attributes:
        connections: accepted connections in all.
        per_source: accepted connections per IPv4 address or IPv6 /64.
        handshakes: TLS handshakes in flight in all.
        handshakes_per_source: TLS handshakes in flight per source.
        trusted: sources (IP addresses) that the limits per source do not bind.
        connect_timeout: seconds until a connection that we open must stand.
        handshake_timeout: seconds that a TLS handshake may take.
        close_timeout: seconds that queued bytes may take to leave after a close.
        backlog_bytes: unsent bytes after which a connection is given up.
        stall_timeout: seconds that a peer may read nothing while bytes wait for it.
    """

    connections: int = 1024
    per_source: int = 32
    handshakes: int = 64
    handshakes_per_source: int = 8
    trusted: frozenset[str] = frozenset()
    connect_timeout: float = 5.0
    handshake_timeout: float = 10.0
    close_timeout: float = 5.0
    backlog_bytes: int = 256 * 1024
    stall_timeout: float = 30.0


def source_of(host: str) -> str:
    """Return what counts as one source: an IPv4 address or an IPv6 /64."""
    plain = canonical_ip(host)
    if ":" not in plain:
        return plain
    return str(ipaddress.IPv6Network((plain, 64), strict=False))


class Census:
    """Counts accepted connections and handshakes, in all and per source."""

    def __init__(self, limits: StreamLimits) -> None:
        self.limits = limits
        self.connections: Counter[str] = Counter()
        self.handshakes: Counter[str] = Counter()
        self._trusted = frozenset(source_of(host) for host in limits.trusted)

    def refusal(self, source: str, *, tls: bool) -> str:
        """Return why one more connection of a source is refused, "" when it is not."""
        limits, stranger = self.limits, source not in self._trusted
        if self.connections.total() >= limits.connections:
            return "connections_refused_total"
        if stranger and self.connections[source] >= limits.per_source:
            return "connections_refused_source"
        if tls and self.handshakes.total() >= limits.handshakes:
            return "handshakes_refused_total"
        if tls and stranger and self.handshakes[source] >= limits.handshakes_per_source:
            return "handshakes_refused_source"
        return ""

    @staticmethod
    def leave(table: Counter[str], source: str) -> None:
        """Count one less; a source without any is forgotten."""
        table[source] -= 1
        if table[source] <= 0:
            del table[source]


class ConnectionOwner(Protocol):
    """Who is told what a connection does; `SipTransports` is one."""

    census: Census
    counters: Counters

    def connection_number(self) -> int:
        """Return a number that no other connection has."""

    def connection_opened(self, connection: StreamConnection) -> None:
        """Take a connection whose `flow` is set now."""

    def connection_received(self, connection: StreamConnection, data: bytes) -> None:
        """Take bytes of an open connection, `b""` for the end of the peer's stream."""

    def connection_ended(self, connection: StreamConnection, reason: str) -> None:
        """Take leave of a connection, open or not; called once."""


@dataclass(eq=False)
class StreamConnection(asyncio.Protocol):
    """One TCP connection, with TLS on it or not, accepted or opened by us.

    Attributes:
        owner: who is told.
        context: the TLS context; None for plain TCP.
        target: what we connect to; None when the peer connected.
        tokens: those who wait for the connection to stand.
        flow: the path, None until it stands.
    """

    owner: ConnectionOwner
    context: ssl.SSLContext | None = None
    target: Target | None = None
    tokens: list[Hashable] = field(default_factory=list)
    flow: Flow | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._tls: TlsLayer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._source = ""
        self._counted = False
        self._shaking = False
        self._ended = False
        self._reason = ""
        self._stalled = False
        self._gathering = Gathering()
        self._held: list[bytes] | None = None
        self._reading_on: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: count the connection, then the handshake or the flow."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if self._ended or not peer:  # given up meanwhile, or gone before it was looked at
            self.abort("the peer went away")
            return
        self._source = source_of(peer[0])
        if self.target is None and not self._admitted():
            return
        # Half of what is given up on: below it, `pause_writing` has stopped reading long before.
        self._transport.set_write_buffer_limits(high=self.owner.census.limits.backlog_bytes // 4)
        if self.context is None:
            self._open()
        else:
            self._shake_hands(self.context)

    def _admitted(self) -> bool:
        census = self.owner.census
        refusal = census.refusal(self._source, tls=self.context is not None)
        if refusal:
            self.owner.counters[refusal] += 1
            self.abort("too many connections")
            return False
        census.connections[self._source] += 1
        self._counted = True
        return True

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        census = self.owner.census
        if self.target is None:
            census.handshakes[self._source] += 1
            self._shaking = True
        self._expire(census.limits.handshake_timeout, "TLS handshake: no end in time")
        try:
            if self.target is None:
                self._tls = TlsLayer(context)
            else:
                # Whoever names no domain means the address itself.
                name = self.target.server_name or self.target.host
                self._tls = TlsLayer(context, server_name=name)
                self._tls.start()
        except TransportError as error:
            self._broken(error)
            return
        self._flush_tls()

    def data_received(self, data: bytes) -> None:
        """Decrypt where there is TLS, pass on, and write the answers together."""
        if self._ended:
            return
        self._gather()
        self._held = []
        try:
            self._received(data)
        finally:
            held, self._held = self._held, None
            if held:
                self._write(b"".join(held))

    def _received(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            self.owner.connection_received(self, data)
            return
        try:
            plain = tls.receive(data)
        except TransportError as error:
            self._broken(error)
            return
        self._flush_tls()
        if tls.established and self.flow is None:
            self._open()
        if plain:
            self.owner.connection_received(self, plain)
        if tls.ended and not self._ended:
            self.owner.connection_received(self, b"")
            self.close("the peer closed the connection")

    def _gather(self) -> None:
        """Let what comes in quick succession gather for a moment before it is read."""
        loop = asyncio.get_running_loop()
        if self._gathering.woken(loop.time()) and self._transport is not None:
            self._transport.pause_reading()
            self._reading_on = loop.call_later(Gathering.WAIT, self._read_on)

    def _read_on(self) -> None:
        self._reading_on = None
        if self._transport is not None and not self._stalled and not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> None:
        """Pass on the end of the peer's stream; asyncio closes once what is queued has left."""
        self._reason = self._reason or "the peer closed the connection"
        if self.flow is not None and not self._ended:
            self.owner.connection_received(self, b"")

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read: each message costs it an answer."""
        self._stalled = True
        self._expire(self.owner.census.limits.stall_timeout, "the peer does not read")
        if self._transport is not None:
            self._transport.pause_reading()
            self.owner.counters["reading_paused"] += 1

    def resume_writing(self) -> None:
        """Read again."""
        self._cancel_timer()
        self._stalled = False
        if self._reading_on is None:
            self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, whoever ended it."""
        if isinstance(exc, OSError) and not self._reason:
            self._reason = words(exc)
        self._transport = None
        if self._reading_on is not None:
            self._reading_on.cancel()
            self._reading_on = None
        self._end(self._reason or "the connection was closed")

    # Steps

    def _open(self) -> None:
        self._handshake_over()
        self._cancel_timer()
        assert self._transport is not None
        info = self._transport.get_extra_info
        self.flow = Flow(
            "TCP" if self._tls is None and info("ssl_object") is None else "TLS",
            HostPort(*info("sockname")[:2]),
            HostPort(*info("peername")[:2]),
            self.owner.connection_number(),
            "" if self._tls is None else self._tls.identity,
        )
        self.owner.connection_opened(self)

    def _flush_tls(self) -> None:
        if self._tls is not None and self._transport is not None:
            data = self._tls.outgoing()
            if data:
                self._transport.write(data)

    def _broken(self, error: TransportError) -> None:
        self.owner.counters["tls_failed"] += 1
        self._flush_tls()  # the alert
        self.close(str(error))

    def _expire(self, seconds: float, reason: str) -> None:
        self._cancel_timer()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._expired, reason)

    def _expired(self, reason: str) -> None:
        self.owner.counters["connections_expired"] += 1
        self.abort(reason)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _handshake_over(self) -> None:
        if self._shaking:
            self._shaking = False
            Census.leave(self.owner.census.handshakes, self._source)

    def _end(self, reason: str) -> None:
        """Tell the owner, once, when nothing holds resources any more."""
        self._cancel_timer()
        self._handshake_over()
        if self._counted:
            self._counted = False
            Census.leave(self.owner.census.connections, self._source)
        if not self._ended:
            self._ended = True
            self.owner.connection_ended(self, reason)

    # Commands

    @property
    def closing(self) -> bool:
        """Whether the connection is on its way out: nothing new may be sent on it."""
        return bool(self._reason)

    def write(self, data: bytes) -> None:
        """Queue bytes; a peer that leaves too many unread loses its connection."""
        held = self._held
        if held is None:
            self._write(data)
            return
        held.append(data)
        if len(held) >= _HELD_WRITES:
            self.let_go()

    def let_go(self) -> None:
        """Write what is held until the end of the wake-up."""
        if self._held:
            held, self._held = self._held, []
            self._write(b"".join(held))

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            self.owner.counters["write_after_close"] += 1
            return
        if self._tls is None:
            transport.write(data)
        else:
            try:
                self._tls.send(data)
            except TransportError as error:
                self._broken(error)
                return
            self._flush_tls()
        if transport.get_write_buffer_size() > self.owner.census.limits.backlog_bytes:
            self.owner.counters["write_backlog"] += 1
            self.abort("the peer does not read")

    def close(self, reason: str) -> None:
        """End the connection once what is queued has left, or after the close timeout."""
        self._reason = self._reason or reason
        transport = self._transport
        if transport is None:
            self._end(reason)
            return
        if transport.is_closing():
            return
        self.let_go()
        if self._ended:
            return
        if self._tls is not None:
            self._tls.close()
            self._flush_tls()
        transport.close()
        self._expire(self.owner.census.limits.close_timeout, reason)

    def abort(self, reason: str) -> None:
        """End the connection now; what is queued is lost."""
        self._reason = self._reason or reason
        transport = self._transport
        if transport is not None:
            transport.abort()
        self._end(self._reason)


async def connect_stream(connection: StreamConnection, target: Target, *, seconds: float) -> None:
    """Connect to a target; the connection then tells its owner how it went.

    Args:
        connection: a fresh one, whose `target` is this one.
        target: where to; an IP address, since names were resolved before.
        seconds: how long it may take.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            await loop.create_connection(lambda: connection, target.host, target.port)
    except TimeoutError:
        connection.abort("no connection in time")
    except OSError as error:
        connection.abort(words(error))

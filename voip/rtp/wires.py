"""One call's share of the network: a port of its own, or a place on the shared socket."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from voip.machine import Counters
from voip.rtp.discovery import PublicAddress, StunQuery
from voip.rtp.packet import classify
from voip.rtp.pairs import PortPairs
from voip.sockets import Address
from voip.types import HostPort

__all__ = ["MediaReceiver", "MediaSocket", "OwnSocket", "SharedSocket"]

#: Packets before ICMP errors are asked for: a tenth of a second's. A caller who hangs up at once
#: has closed its port by then, and each error costs five times as much as the packet it is about.
UNTOLD_PACKETS = 4


class MediaReceiver(Protocol):
    """Who takes a call's packets: the media state that a plane made for the leg."""

    def receive(self, data: bytes, addr: Any, now: float) -> Any:
        """Take one RTP packet."""

    def receive_rtcp(self, data: bytes, addr: Any, now: float) -> Any:
        """Take one RTCP packet."""

    def unreachable(self, addr: HostPort, now: float) -> None:
        """Learn that the network found nobody at an address (ICMP)."""


class SocketOwner(Protocol):
    """What a media socket asks of the multiplexer."""

    counters: Counters

    def send(self, data: bytes, addr: Any) -> None:
        """Send from the shared socket."""

    def send_rtcp(self, data: bytes, addr: Any) -> None:
        """Send from the shared RTCP socket."""

    def bound(self, media_socket: MediaSocket) -> None:
        """Note that a call has media now."""

    def moved(self, media_socket: MediaSocket) -> None:
        """Note that a call's remote address changed."""

    def released(self, media_socket: MediaSocket) -> None:
        """Forget a call."""

    def discover(
        self, media_socket: OwnSocket, loop: asyncio.AbstractEventLoop
    ) -> StunQuery | None:
        """Start asking for a socket's public address; None when STUN is off."""

    def shared_public_address(self, local: HostPort) -> PublicAddress:
        """Return the public address of the shared socket, `local` when STUN is off."""


class MediaSocket:
    """What a call has of the network. It is the link of the call's wire as well.

    Attributes:
        local: where the peer sends RTP, for the SDP.
        rtcp_local: where the peer sends RTCP; equals `local` when there is one port only.
        shared: whether other calls are on the same socket.
        remote: the peer's RTP address as its SDP names it.
        remote_rtcp: the peer's RTCP address.
        signalling_ip: where the peer's signalling comes from.
        media: who takes the packets, None before `bind`.
    """

    shared = False

    def __init__(
        self,
        owner: SocketOwner,
        local: HostPort,
        rtcp_local: HostPort,
    ) -> None:
        self.local = local
        self.rtcp_local = rtcp_local
        self.remote: HostPort | None = None
        self.remote_rtcp: HostPort | None = None
        self.signalling_ip: str | None = None
        self.media: MediaReceiver | None = None
        self.closed = False
        self.counters: Counters = owner.counters
        self._owner = owner

    @property
    def link(self) -> MediaSocket:
        """What the plane sends through: `send`, `send_rtcp`, `close`."""
        return self

    def bind(
        self,
        media: MediaReceiver,
        *,
        remote: HostPort | None = None,
        remote_rtcp: HostPort | None = None,
    ) -> None:
        """Give the call's packets to `media` from now on, and let the ticks come.

        Args:
            media: what the plane made for the leg.
            remote: the peer's RTP address, when it became known after the reservation.
            remote_rtcp: its RTCP address; the next port when absent (RFC 3550 §11).
        """
        if self.closed:
            return
        first = self.media is None
        self.media = media
        if first:
            self._owner.bound(self)
        self.move(remote or self.remote, remote_rtcp)

    def move(self, remote: HostPort | None, remote_rtcp: HostPort | None = None) -> None:
        """Take the addresses of a new offer or answer."""
        self.remote = remote
        self.remote_rtcp = remote_rtcp or _rtcp_of(remote)
        if not self.closed:
            self._owner.moved(self)

    def send(self, data: bytes, addr: Any) -> None:
        """Send RTP."""
        raise NotImplementedError

    def send_rtcp(self, data: bytes, addr: Any) -> None:
        """Send RTCP."""
        raise NotImplementedError

    async def public_address(self) -> HostPort:
        """Return the RTP address as others see it: by STUN when it is on, else `local`."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave the network: ports and tables are free again. Idempotent."""
        if not self.closed:
            self.closed = True
            self._owner.released(self)
            self.media = None


def _rtcp_of(remote: HostPort | None) -> HostPort | None:
    if remote is None or remote.port >= 65535:
        return None
    return HostPort(remote.host, remote.port + 1)


class SharedSocket(MediaSocket):
    """A place on the shared socket."""

    shared = True

    def send(self, data: bytes, addr: Any) -> None:
        """Send RTP from the shared socket."""
        if not self.closed:
            self._owner.send(data, addr)

    def send_rtcp(self, data: bytes, addr: Any) -> None:
        """Send RTCP from the shared RTCP socket, or the only one."""
        if not self.closed:
            self._owner.send_rtcp(data, addr)

    async def public_address(self) -> HostPort:
        """Return the shared socket's address as others see it."""
        return await self._owner.shared_public_address(self.local)


class OwnSocket(MediaSocket):
    """A pair of ports for one call.

    Args:
        owner: the multiplexer.
        pairs: where the pair is taken from, and given back to.
        bind_host: the address to bind.
        local_host: our address as the peer reaches it.
        loop: the event loop.

    Raises:
        PortsExhaustedError: no pair is free.
        TransportError: the address is not ours, or the process has no sockets left.
    """

    def __init__(
        self,
        owner: SocketOwner,
        pairs: PortPairs,
        bind_host: str,
        local_host: str,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._pair = pair = pairs.take(bind_host, loop)
        self._rtp, self._rtcp = pair.rtp, pair.rtcp
        self._rtp.pass_to(self._received, self._lost, UNTOLD_PACKETS)
        self._rtcp.pass_to(self._received_rtcp, self._lost)
        port = pair.port
        super().__init__(owner, HostPort(local_host, port), HostPort(local_host, port + 1))
        self._pairs = pairs
        self._loop = loop
        self._query: StunQuery | None = None
        self._public: PublicAddress | None = None

    def _received(self, data: bytes, addr: Address) -> None:
        media = self.media
        kind = classify(data)
        address = addr if len(addr) == 2 else addr[:2]
        if kind == "rtp" and media is not None:
            media.receive(data, address, self._loop.time())
        elif kind == "rtcp" and media is not None:
            media.receive_rtcp(data, address, self._loop.time())
        elif kind == "stun" and self._query is not None:
            self._query.receive(data, (address[0], address[1]))
        else:
            self.counters["rtp_early" if kind in ("rtp", "rtcp") else f"media_{kind}"] += 1

    def _received_rtcp(self, data: bytes, addr: Address) -> None:
        media = self.media
        if media is not None and classify(data) == "rtcp":
            media.receive_rtcp(data, addr if len(addr) == 2 else addr[:2], self._loop.time())
        else:
            self.counters["rtcp_unexpected"] += 1

    def _lost(self, remote: HostPort, reason: str) -> None:
        self.counters["media_unreachable"] += 1
        if self.media is not None:
            self.media.unreachable(remote, self._loop.time())

    def send(self, data: bytes, addr: Any) -> None:
        """Send RTP from the call's own port."""
        if self.closed:  # the port may be another call's by now
            self.counters["send_after_close"] += 1
        else:
            self._rtp.send(data, addr)

    def send_rtcp(self, data: bytes, addr: Any) -> None:
        """Send RTCP from the call's own RTCP port."""
        if self.closed:
            self.counters["send_after_close"] += 1
        else:
            self._rtcp.send(data, addr)

    async def public_address(self) -> HostPort:
        """Ask the STUN server from this very port, once; `local` when STUN is off or fails."""
        if self._public is None:
            self._public = PublicAddress()
            self._query = self._owner.discover(self, self._loop)
            if self._query is None:
                self._public.settle(self.local)
            else:
                self._query.start()
        return await self._public

    def discovered(self, address: HostPort | None) -> None:
        """Take what the STUN server said."""
        if self._public is not None:
            self._public.settle(address or self.local)

    def close(self) -> None:
        """Give the ports back. Idempotent."""
        if self.closed:
            return
        super().close()
        if self._query is not None:
            self._query.close()
        self.discovered(None)  # whoever waits for the address is let go
        self._pairs.give_back(self._pair)

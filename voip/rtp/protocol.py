"""RTP over UDP: one socket that serves many calls, and ports of their own for those that need one.

Calls share the socket only while they can be told apart: by the exact address of their SDP, whose
IP is the one that signals. Every other call has a pair of ports to itself. What reaches the shared
socket from elsewhere is nobody's, unless exactly one call could have sent it from behind its NAT;
then that call's own rules decide. Nothing is guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import Any, Protocol

from voip.errors import LocalProtocolError, TransportError
from voip.machine import Deadline, Entropy
from voip.poller import Poller
from voip.rtp.discovery import PublicAddress, StunQuery, dialable
from voip.rtp.packet import classify
from voip.rtp.pairs import MAX_PACKET_BYTES, PortPairs, bind_pair
from voip.rtp.ports import MediaPorts
from voip.rtp.sharing import SharedCalls, deliver_by_hand, is_live
from voip.rtp.ticker import Ticker
from voip.rtp.wires import MediaSocket, OwnSocket, SharedSocket
from voip.sockets import Address, UdpSocket, socket_family
from voip.types import HostPort, canonical_ip, is_unspecified

__all__ = ["RTP", "MediaPorts", "MediaSocket", "Plane", "RealtimeTransportProtocol"]

logger = logging.getLogger("voip.rtp")

DEFAULT_PORTS = range(10000, 20000)


class Plane(Protocol):
    """Who wants the ticks.

    Attributes:
        pace: who gives them, as the plane has to know it.
    """

    pace: Any

    def tick(self, now: float) -> Any:
        """Do what is due."""

    def deadline(self) -> Deadline | None:
        """Return when something is due next; ticks before it are left out."""


class RealtimeTransportProtocol(UdpSocket):
    """The RTP side of an endpoint.

    Use `await rtp.listen(host)`, or make one the protocol of `loop.create_datagram_endpoint`, or
    feed `datagram_received` by hand; calls can be registered in all three.

    Attributes:
        calls: the legs that were registered by hand, by remote address; None is the catch-all.
        counters: what was dropped, by reason.
        ticker: gives the plane its ticks while calls have media; None before the first such call.
        poller: reads the ports that calls have to themselves; None where the system has no epoll.

    Args:
        stun_server_address: whom to ask for public addresses; nobody when None.
        ports: the range for calls with ports of their own; None: everything on one port.
        plane: gets `tick(now)` on a grid of 5 ms, whenever it is due, while calls have media.
        entropy: where STUN transaction ids come from.
    """

    def __init__(
        self,
        *,
        stun_server_address: tuple[str, int] | None = None,
        ports: range | None = DEFAULT_PORTS,
        plane: Plane | None = None,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        super().__init__(self._demultiplex, self._lost_remote, max_bytes=MAX_PACKET_BYTES)
        self.calls: dict[Any, Any] = {}
        self.plane = plane
        self.ports = None if ports is None else MediaPorts(ports)
        self.stun_server: HostPort | None = None
        self.ticker: Ticker | None = None
        self.poller = Poller() if Poller.AVAILABLE else None
        self._pairs: PortPairs | None = None
        if self.ports is not None:
            self._pairs = PortPairs(self.ports, self.counters, self.poller)
        self._stun_name = stun_server_address
        self._entropy = entropy
        self._public = PublicAddress()
        self._query: StunQuery | None = None
        self._host = "0.0.0.0"  # noqa: S104 - until `listen` says otherwise
        self._rtcp: UdpSocket | None = None
        self._pair: int | None = None
        self._listening = False
        self._sockets: set[MediaSocket] = set()
        self._shared = SharedCalls(self.counters)

    # Opening and closing

    async def listen(self, host: str = "0.0.0.0", port: int | None = None) -> HostPort:  # noqa: S104
        """Open the shared socket, and the RTCP one on the next port when that is free.

        Args:
            host: an IP literal of this machine, `0.0.0.0` or `::`; own ports are bound to it too.
            port: the RTP port; None takes the first free pair of the range.

        Returns:
            The address that the socket is bound to.

        Raises:
            TransportError: the port is in use, the address is not ours, or the STUN server's name
                is not found.
            PortsExhaustedError: the range has no free pair.
        """
        loop = asyncio.get_running_loop()
        self._host, self._listening = host, True
        await self._find_stun_server(loop)
        rtcp = UdpSocket(
            self._demultiplex_rtcp,
            self._lost_remote,
            max_bytes=MAX_PACKET_BYTES,
            counters=self.counters,
            poller=self.poller,
        )
        if port is None and self.ports is not None:
            self._pair = self.ports.take(lambda even: bind_pair(self, rtcp, host, even, loop))
            self._rtcp = rtcp
        else:
            bound = self.bind(host, port or 0, loop)
            if bound.port % 2 == 0:
                with contextlib.suppress(TransportError):  # one port then, and a=rtcp says so
                    rtcp.bind(host, bound.port + 1, loop)
                    self._rtcp = rtcp
        self.enlarge()
        await self.opened()
        self._discover_shared()
        address = self.address
        assert address is not None
        return address

    async def _find_stun_server(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._stun_name is None:
            return
        host, port = self._stun_name
        family = socket_family(self._host)
        try:
            found = await loop.getaddrinfo(host, port, family=family)
        except OSError as error:
            raise TransportError(f"STUN server {host}: {error.strerror or error}") from error
        self.stun_server = HostPort(str(found[0][4][0]), port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Adopt an asyncio datagram transport."""
        super().connection_made(transport)
        if self._listening:
            return
        self.enlarge()
        name = self.address
        if name is not None:
            self._host = name.host
        if self._stun_name is not None:
            # No await here: a name is looked up by `listen`; a literal needs no look-up.
            self.stun_server = HostPort(canonical_ip(self._stun_name[0]), self._stun_name[1])
        self._discover_shared()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything when asyncio closes the transport."""
        super().connection_lost(exc)
        if self.closed:
            self.close()

    def close(self) -> None:
        """Close every socket, that of each call included. Idempotent."""
        for media_socket in list(self._sockets):
            media_socket.close()
        if self._pairs is not None:
            self._pairs.close()
        if self.ticker is not None:
            self.ticker.close()
        if self._query is not None:
            self._query.close()
            self._query = None
        if self._rtcp is not None:
            self._rtcp.close()
            self._rtcp = None
        super().close()
        pair, self._pair = self._pair, None
        if pair is not None and self.ports is not None:
            self.ports.give_back(pair)
        self.calls.clear()

    # The public address

    @property
    def public_address(self) -> PublicAddress:
        """Awaitable `(host, port)`: found by STUN, or the local address when STUN is off."""
        return self._public

    def _discover_shared(self) -> None:
        loop, server = self._loop, self.stun_server
        if server is None or loop is None:
            self._public.settle(dialable(self.address))
            return
        self._query = StunQuery(server, self.send, loop, self._entropy, self._discovered)
        self._query.start()

    def _discovered(self, address: HostPort | None) -> None:
        self._query = None
        if address is None:
            logger.warning("the STUN server does not answer; the local address is used")
            self.counters["stun_failed"] += 1
        self._public.settle(address or dialable(self.address))

    def shared_public_address(self, local: HostPort) -> PublicAddress:
        """Return the public address of the shared socket, `local` when STUN is off."""
        if self.stun_server is not None:
            return self._public
        known = PublicAddress()
        known.settle(local)
        return known

    def discover(
        self, media_socket: OwnSocket, loop: asyncio.AbstractEventLoop
    ) -> StunQuery | None:
        """Return a query over a call's own port, None when STUN is off."""
        if self.stun_server is None:
            return None
        send, found = media_socket.send, media_socket.discovered
        return StunQuery(self.stun_server, send, loop, self._entropy, found)

    # Calls that were registered by hand

    def register_call(self, addr: tuple[str, int] | None, handler: Any) -> None:
        """Give a leg what comes from a remote address.

        Args:
            addr: the address; None makes the leg the catch-all, which is the user's own opt-in.
            handler: the leg; its `packet_received(packet, addr)` is called at once.

        Raises:
            LocalProtocolError: another live call holds the address.
        """
        key = None if addr is None else HostPort(*addr[:2])
        holder = self.calls.get(key)
        held = holder is not None and holder is not handler and is_live(holder)
        if held or (key is not None and self._shared.holds(key)):
            raise LocalProtocolError(f"another call holds {key or 'the catch-all'}")
        self.calls[key] = handler

    def unregister_call(self, addr: tuple[str, int] | None) -> None:
        """Forget a remote address; silent when it is unknown."""
        self.calls.pop(None if addr is None else HostPort(*addr[:2]), None)

    # Calls of the SIP layer

    def reserve(
        self,
        local_host: str,
        *,
        remote: HostPort | None = None,
        signalling_ip: str | None = None,
    ) -> MediaSocket:
        """Return a call's share of the network: of the shared socket, or a port of its own.

        Args:
            local_host: our address as the peer reaches it.
            remote: the peer's RTP address by its SDP; None when its SDP is not known yet.
            signalling_ip: where its signalling comes from.

        Raises:
            PortsExhaustedError: the call needs a port of its own and none is free.
            TransportError: no socket can be had.
        """
        if self._pairs is None or self._can_share(local_host, remote, signalling_ip):
            return self._reserve_shared(local_host, remote, signalling_ip)
        loop = self._running_loop()
        host = self._host
        if (":" in host) != (":" in local_host):  # a second family beside the one listened on
            host = "::" if ":" in local_host else "0.0.0.0"  # noqa: S104
        own = OwnSocket(self, self._pairs, host, local_host, loop)
        own.remote, own.signalling_ip = remote, signalling_ip
        self._sockets.add(own)
        return own

    def _reserve_shared(
        self, local_host: str, remote: HostPort | None, signalling_ip: str | None
    ) -> SharedSocket:
        address = self.address
        if address is None:
            raise TransportError("RTP is not listening")
        local = HostPort(local_host, address.port)
        rtcp = self._rtcp.address if self._rtcp is not None else None
        rtcp_local = local if rtcp is None else HostPort(local_host, rtcp.port)
        shared = SharedSocket(self, local, rtcp_local)
        shared.remote, shared.signalling_ip = remote, signalling_ip
        self._sockets.add(shared)
        # From now on the address is taken, though its packets are only counted until `bind`.
        self._shared.file(shared)
        return shared

    def _can_share(
        self, local_host: str, remote: HostPort | None, signalling_ip: str | None
    ) -> bool:
        """Tell whether a call can be told apart from all others on the shared socket."""
        address = self.address
        if address is None or remote is None or signalling_ip is None:
            return False
        if (":" in address.host) != (":" in local_host) or is_unspecified(remote.host):
            return False
        if canonical_ip(remote.host) != canonical_ip(signalling_ip):  # behind a NAT
            return False
        return not (self._shared.holds(remote) or remote in self.calls)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop or asyncio.get_running_loop()

    def bound(self, media_socket: MediaSocket) -> None:
        """Let the ticks come while a call has media."""
        if self.plane is not None:
            if self.ticker is None:
                plane, loop = self.plane, self._running_loop()
                plane.pace = self.ticker = Ticker(plane.tick, loop, deadline=plane.deadline)
            self.ticker.start()

    def moved(self, media_socket: MediaSocket) -> None:
        """Give a shared call the packets of its new address."""
        if isinstance(media_socket, SharedSocket):
            self._shared.file(media_socket)

    def released(self, media_socket: MediaSocket) -> None:
        """Forget a call."""
        self._sockets.discard(media_socket)
        if media_socket.media is not None and self.ticker is not None:
            self.ticker.stop()
        if isinstance(media_socket, SharedSocket):
            self._shared.remove(media_socket)

    # In

    def _demultiplex(self, data: bytes, addr: Address) -> None:
        address: Any = addr if len(addr) == 2 else addr[:2]
        kind = classify(data)
        if kind == "rtp":
            media = self._shared.media.get(address)
            if media is not None:
                media.receive(data, address, self._now())
            else:
                self._unclaimed(data, address)
        elif kind == "rtcp":
            self._demultiplex_rtcp(data, address)
        elif kind == "stun" and self._query is not None:
            self._query.receive(data, address)
        else:
            self.counters[f"media_{kind}"] += 1

    def _demultiplex_rtcp(self, data: bytes, addr: Address) -> None:
        address: Any = addr if len(addr) == 2 else addr[:2]
        if classify(data) != "rtcp":
            self.counters["rtcp_unexpected"] += 1
            return
        shared = self._shared
        media = shared.media_rtcp.get(address) or shared.media.get(address)
        if media is None:
            media = shared.only_call_at(address)
        if media is not None:
            media.receive_rtcp(data, address, self._now())
        else:
            self.counters["rtcp_unknown_source"] += 1

    def _unclaimed(self, data: bytes, address: Any) -> None:
        """RTP from an address that no SDP names."""
        leg = self.calls.get(address)
        if leg is not None:
            deliver_by_hand(leg, data, address, self.counters)
            return
        media = self._shared.only_call_at(address)
        if media is not None:
            media.receive(data, address, self._now())
            return
        leg = self.calls.get(None)
        if leg is not None:
            deliver_by_hand(leg, data, address, self.counters)
            return
        self.counters["rtp_unknown_source"] += 1

    def _now(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    # Out

    def send_rtcp(self, data: bytes, addr: Any) -> None:
        """Send RTCP from the shared RTCP socket, or the only one."""
        (self._rtcp or self).send(data, addr)

    def _lost_remote(self, remote: HostPort, reason: str) -> None:
        self.counters["media_unreachable"] += 1
        media = self._shared.media.get(remote)
        if media is not None:
            media.unreachable(remote, self._now())


RTP = RealtimeTransportProtocol

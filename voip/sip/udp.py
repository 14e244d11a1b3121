"""SIP over UDP: one listening socket, translated to flows and datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from voip.errors import TransportError
from voip.machine import Counters, Datagram, Flow, FlowLost
from voip.sockets import Address, UdpSocket, local_address_towards
from voip.types import HostPort, canonical_ip, is_unspecified

__all__ = ["UdpListener"]

_FLOWS = 10_000
_FLOW_SECONDS = 60.0


class UdpListener(UdpSocket):
    """Turns datagrams into `Datagram` and ICMP errors into `FlowLost`.

    It is an asyncio datagram protocol too: where a loop has no readers, or the user made the
    endpoint, `connection_made` and `datagram_received` are all it needs.

    Args:
        feed: takes the inputs for the machine.
        loop: the event loop; the running one when absent.
        counters: where drops are counted; own ones when absent.
    """

    def __init__(
        self,
        feed: Callable[[Any], None],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        counters: Counters | None = None,
    ) -> None:
        super().__init__(self._datagram, self._unreachable, counters=counters, gathers=False)
        self.local = HostPort("", 0)
        self._feed = feed
        self._event_loop = loop or asyncio.get_running_loop()
        # A frozen flow costs more to make than to find; the local address costs a system call.
        self._flows: dict[Address, Flow] = {}
        self._stale_at = 0.0

    async def listen(self, host: str, port: int) -> HostPort:
        """Bind and read.

        Returns:
            The address that the socket is bound to.

        Raises:
            TransportError: the port is in use, or the address is not ours.
        """
        self.local = self.bind(host, port, self._event_loop)
        self.enlarge()
        await self.opened()
        return self.local

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Adopt an asyncio datagram transport."""
        super().connection_made(transport)
        self.enlarge()
        self.local = self.address or self.local

    def serves(self, host: str) -> bool:
        """Tell whether the socket is of an address's family."""
        return (":" in host) == (":" in self.local.host)

    def flow_to(self, address: Address) -> Flow:
        """Return the flow to a remote address; its local address is the one the peer sees.

        Raises:
            TransportError: no route leads there.
        """
        now = self._event_loop.time()
        if now >= self._stale_at or len(self._flows) >= _FLOWS:
            # Interfaces come and go, so what was found out is forgotten after a while; a flood of
            # forged sources is forgotten at once.
            self._flows.clear()
            self._stale_at = now + _FLOW_SECONDS
        flow = self._flows.get(address)
        if flow is None:
            host = self.local.host
            if is_unspecified(host):
                host = local_address_towards(address[0])
            flow = self._flows[address] = Flow(
                "UDP", HostPort(host, self.local.port), HostPort(*address[:2])
            )
        return flow

    def _datagram(self, data: bytes, address: Address) -> None:
        flow = self._flows.get(address) if self._event_loop.time() < self._stale_at else None
        if flow is None:
            try:
                flow = self.flow_to(address)
            except TransportError:
                self.counters["unroutable_source"] += 1
                return
        self._feed(Datagram(flow, data))

    def _unreachable(self, remote: HostPort, reason: str) -> None:
        # RFC 3261 §18.4: an ICMP error is a transport error of that destination alone.
        flow = next((flow for flow in self._flows.values() if flow.remote == remote), None)
        if flow is None:
            try:
                flow = self.flow_to(remote)
            except TransportError:
                host = canonical_ip(self.local.host)
                flow = Flow("UDP", HostPort(host, self.local.port), remote)
        self._feed(FlowLost(flow, reason))

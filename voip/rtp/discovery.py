"""What others see of one of our sockets: a STUN query over it, and the address to be awaited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import Any

from voip.errors import TransportError
from voip.machine import Entropy
from voip.stun import StunClient, StunMapped
from voip.system import local_address_towards
from voip.types import HostPort, is_unspecified

__all__ = ["PublicAddress", "StunQuery", "dialable"]

logger = logging.getLogger(__name__)

# TEST-NET-1 and its kin for documentation (RFC 5737, RFC 3849): routed by default, sent nothing.
_ELSEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}


def dialable(bound: HostPort | None) -> HostPort:
    """Return the address under which others in the same network reach a socket.

    Args:
        bound: what the socket is bound to, None when it is closed.
    """
    address = bound or HostPort("127.0.0.1", 0)
    if not is_unspecified(address.host):
        return address
    version = 6 if ":" in address.host else 4
    try:
        return HostPort(local_address_towards(_ELSEWHERE[version]), address.port)
    except TransportError:  # a machine that has no way out
        return HostPort("::1" if version == 6 else "127.0.0.1", address.port)


class PublicAddress:
    """An address that is known now or later; may be awaited by many, and again."""

    def __init__(self) -> None:
        self.value: HostPort | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def __await__(self) -> Generator[Any, None, HostPort]:
        while self.value is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            yield from waiter
        return self.value

    def settle(self, value: HostPort) -> None:
        """Make the address known."""
        self.value = value
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class StunQuery:
    """Asks one STUN server over one socket.

    Args:
        server: an IP address and a port.
        send: sends a datagram from the socket.
        loop: the event loop.
        entropy: where the transaction id comes from.
        found: called once, with the address, or with None when nobody answered.
    """

    def __init__(
        self,
        server: HostPort,
        send: Callable[[bytes, HostPort], None],
        loop: asyncio.AbstractEventLoop,
        entropy: Entropy,
        found: Callable[[HostPort | None], None],
    ) -> None:
        # Four requests take 3.5 s and 8 s of patience: a call cannot wait 39.5 s for its address.
        self._client = StunClient(server, entropy, requests=4)
        self._send = send
        self._loop = loop
        self._found: Callable[[HostPort | None], None] | None = found
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send the first request."""
        self._client.start(self._loop.time())
        self._drain()

    def receive(self, data: bytes, address: tuple[str, int]) -> None:
        """Take a datagram that looks like STUN."""
        self._client.receive(data, address, self._loop.time())
        self._drain()

    def close(self) -> None:
        """Ask no more; `found` is not called any more. Idempotent."""
        self._found = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _advance(self) -> None:
        self._timer = None
        deadline = self._client.deadline()
        if deadline is not None:
            self._client.advance(max(self._loop.time(), deadline.at))
        self._drain()

    def _drain(self) -> None:
        for data in self._client.outgoing():
            self._send(data, self._client.server)
        for event in self._client.events():
            found = self._found
            self.close()
            if found is not None:
                found(event.address if isinstance(event, StunMapped) else None)
        deadline = self._client.deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None and self._found is not None:
            self._timer = self._loop.call_at(deadline.at, self._advance)

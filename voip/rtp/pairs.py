"""Pairs of ports for calls that need one to themselves, used again while calls come and go.

To open and to close two sockets is a sixth of all that a call costs; a pair that a call gave back
therefore stays open for a moment. What still comes for the ended call is counted and dropped
meanwhile, so that it meets no other call: a pair is used again oldest first and only after a rest,
in which all arrives that was on its way when the call ended. (What comes later meets the source
rules of the next call.) It is closed when nobody has wanted it for three seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from voip.errors import PortsExhaustedError, TransportError
from voip.machine import Counters
from voip.poller import Poller
from voip.rtp.ports import MediaPorts
from voip.sockets import Address, UdpSocket, is_in_use
from voip.system import most_open_files

if TYPE_CHECKING:
    from voip.types import HostPort

__all__ = ["MAX_PACKET_BYTES", "PortPair", "PortPairs", "bind_pair"]

#: A peer's 20 ms of L16 at 44100 Hz is 1 776 B (RELIABILITY §1).
MAX_PACKET_BYTES = 8192
#: Seconds before a pair is used again: few, as each pair that rests is memory that is not in any
#: cache when its turn comes; and before it is closed.
REST_SECONDS, KEEP_SECONDS = 0.2, 3.0


class PortPair:
    """Two open sockets: `rtp` on an even port, `rtcp` on the next one.

    Attributes:
        rtp, rtcp: the sockets.
        host: what they are bound to.
        port: the even one.
        free_since: when a call gave them back, seconds of the loop's clock.
    """

    __slots__ = ("free_since", "host", "port", "rtcp", "rtp")

    def __init__(self, rtp: UdpSocket, rtcp: UdpSocket, host: str, port: int) -> None:
        self.rtp = rtp
        self.rtcp = rtcp
        self.host = host
        self.port = port
        self.free_since = 0.0

    def close(self) -> None:
        """Close both sockets."""
        self.rtp.close()
        self.rtcp.close()


class PortPairs:
    """Opens pairs of ports, and keeps those that were given back for the next calls.

    Args:
        ports: the range they are from.
        counters: `media_late` is what came for calls that are over.
        poller: reads the sockets.
    """

    def __init__(self, ports: MediaPorts, counters: Counters, poller: Poller | None) -> None:
        self.ports = ports
        self._counters = counters
        self._poller = poller
        self._idle: deque[PortPair] = deque()  # in the order in which they were given back
        self._most_idle = most_open_files() // 8
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many wait to be used again."""
        return len(self._idle)

    def take(self, host: str, loop: asyncio.AbstractEventLoop) -> PortPair:
        """Return an open pair that nobody else has; `pass_to` of its sockets makes it a call's.

        Raises:
            PortsExhaustedError: no pair is free.
            TransportError: the address is not ours, or the process has no sockets left.
        """
        idle = self._idle
        if idle and idle[0].free_since + REST_SECONDS <= loop.time() and idle[0].host == host:
            pair = idle.popleft()
            self.ports.claim(pair.port)
            return pair
        try:
            return self._open(host, loop)
        except PortsExhaustedError:
            if not idle:
                raise
        self.close()  # better one that did not rest than none
        return self._open(host, loop)

    def _open(self, host: str, loop: asyncio.AbstractEventLoop) -> PortPair:
        rtp, rtcp = self._socket(), self._socket()
        port = self.ports.take(lambda port: bind_pair(rtp, rtcp, host, port, loop))
        self._loop = loop
        return PortPair(rtp, rtcp, host, port)

    def _socket(self) -> UdpSocket:
        return UdpSocket(
            self._late,
            _unasked,
            max_bytes=MAX_PACKET_BYTES,
            counters=self._counters,
            poller=self._poller,
        )

    def give_back(self, pair: PortPair) -> None:
        """Take a pair whose call is over."""
        loop = self._loop
        assert loop is not None
        self.ports.give_back(pair.port)
        pair.rtp.pass_to(self._late, _unasked)
        pair.rtcp.pass_to(self._late, _unasked)
        lost = pair.rtp.closed or pair.rtcp.closed or loop.is_closed()
        if lost or len(self._idle) >= self._most_idle:
            pair.close()
            return
        pair.free_since = loop.time()
        self._idle.append(pair)
        if self._timer is None:
            self._timer = loop.call_later(KEEP_SECONDS, self._thin_out)

    def _late(self, data: bytes, addr: Address) -> None:
        self._counters["media_late"] += 1

    def _thin_out(self) -> None:
        """Close what nobody has wanted."""
        self._timer, loop, idle = None, self._loop, self._idle
        assert loop is not None
        now = loop.time()
        while idle and idle[0].free_since + KEEP_SECONDS <= now + 0.001:
            idle.popleft().close()
        if idle:
            self._timer = loop.call_at(idle[0].free_since + KEEP_SECONDS, self._thin_out)

    def close(self) -> None:
        """Close what waits. Idempotent."""
        while self._idle:
            self._idle.popleft().close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bind_pair(
    rtp: UdpSocket, rtcp: UdpSocket, host: str, port: int, loop: asyncio.AbstractEventLoop
) -> bool:
    """Bind an even port and the next odd one; False when one of them is in use.

    Raises:
        TransportError: the address is not ours, or the process has no sockets left.
    """
    try:
        rtp.open(host, port, loop)
        rtcp.open(host, port + 1, loop)
    except TransportError as error:
        rtp.close()
        if is_in_use(error):
            return False
        raise
    return True


def _unasked(remote: HostPort, reason: str) -> None:
    """Learn that a far end is gone whom nobody calls."""

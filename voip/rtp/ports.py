"""The port range for media: an even port for RTP and the next odd one for RTCP (RFC 3550 §11)."""

from __future__ import annotations

import errno
import socket

from voip.errors import PortsExhaustedError, TransportError
from voip.sockets import bind_udp

__all__ = ["MediaPorts", "PortPair"]


class PortPair:
    """Two bound sockets; closing them gives their ports back, once.

    Attributes:
        port: the even port.
        rtp: the socket on it.
        rtcp: the socket on the next port.
    """

    __slots__ = ("_owner", "port", "rtcp", "rtp")

    def __init__(
        self, owner: MediaPorts, port: int, rtp: socket.socket, rtcp: socket.socket
    ) -> None:
        self.port = port
        self.rtp = rtp
        self.rtcp = rtcp
        self._owner: MediaPorts | None = owner

    def release(self) -> None:
        """Close what is still open and give the ports back. Idempotent."""
        owner, self._owner = self._owner, None
        if owner is not None:
            self.rtp.close()
            self.rtcp.close()
            owner.give_back(self.port)


class MediaPorts:
    """Hands out pairs in order, wrapping round at the end and skipping those in use.

    A port that was given back is taken again only after the others, so that late packets of an
    ended call meet nobody.

    Args:
        ports: the range; pairs whose odd port is outside are not used.

    Raises:
        ValueError: the range holds no pair, or leaves 1024–65535.
    """

    def __init__(self, ports: range) -> None:
        first = ports.start + ports.start % 2
        self._first = first
        self._count = max(0, (ports.stop - first) // 2)
        if ports.step != 1 or not self._count or first < 1024 or ports.stop > 65536:
            raise ValueError(f"no even and odd ports for media in {ports}")
        self._next = 0
        self._held: set[int] = set()

    @property
    def held(self) -> int:
        """How many pairs are handed out."""
        return len(self._held)

    @property
    def capacity(self) -> int:
        """How many pairs the range holds."""
        return self._count

    def take(self, host: str) -> PortPair:
        """Bind the next free pair.

        Args:
            host: the address to bind, an IP literal.

        Raises:
            PortsExhaustedError: every pair is in use, by us or by others.
            TransportError: the address is not ours, or the process has no sockets left.
        """
        for _ in range(self._count):
            port = self._first + 2 * self._next
            self._next = (self._next + 1) % self._count
            if port in self._held:
                continue
            pair = self._bind(host, port)
            if pair is not None:
                self._held.add(port)
                return pair
        last = self._first + 2 * self._count - 1
        raise PortsExhaustedError(f"no RTP port is free in {self._first}–{last}")

    def _bind(self, host: str, port: int) -> PortPair | None:
        rtp = _bind_free(host, port)
        if rtp is None:
            return None
        try:
            rtcp = _bind_free(host, port + 1)
        except TransportError:
            rtp.close()
            raise
        if rtcp is None:
            rtp.close()
            return None
        return PortPair(self, port, rtp, rtcp)

    def give_back(self, port: int) -> None:
        """Note that a pair is free again; `PortPair.release` calls this."""
        self._held.remove(port)


def _bind_free(host: str, port: int) -> socket.socket | None:
    """Bind, or return None when somebody else holds the port."""
    try:
        return bind_udp(host, port)
    except TransportError as error:
        cause = error.__cause__
        # EACCES is what Windows says of a port that is held exclusively.
        if isinstance(cause, OSError) and cause.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise

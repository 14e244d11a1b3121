"""The port range for media: an even port for RTP and the next odd one for RTCP (RFC 3550 §11)."""

from __future__ import annotations

from collections.abc import Callable

from voip.errors import PortsExhaustedError

__all__ = ["MediaPorts"]


class MediaPorts:
    """Hands out pairs in order, wrapping round at the end and skipping those in use.

    A port that was given back is taken again only after the others, so that late packets of an
    ended call meet nobody.

    Args:
        ports: the range; a pair whose odd port is outside is not used.

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

    def take(self, bind: Callable[[int], bool]) -> int:
        """Return the even port of the next pair that `bind` gets.

        Args:
            bind: binds an even port and the next odd one; False when one of them is in use.

        Raises:
            PortsExhaustedError: every pair is in use, by us or by others.
        """
        for _ in range(self._count if self.held < self._count else 0):
            port = self._first + 2 * self._next
            self._next = (self._next + 1) % self._count
            if port not in self._held and bind(port):
                self._held.add(port)
                return port
        last = self._first + 2 * self._count - 1
        raise PortsExhaustedError(f"no RTP port is free in {self._first}–{last}")

    def claim(self, port: int) -> None:
        """Note that a pair which was given back is handed out again."""
        self._held.add(port)

    def give_back(self, port: int) -> None:
        """Note that a pair is free again; exactly once for each `take`."""
        self._held.remove(port)

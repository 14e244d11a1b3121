"""What every sans-IO machine has in common: five verbs, a few inputs, a few outputs.

The contract on the door: *after any receive, advance or command, drain `outgoing()` and `events()`
before the next one.* The Driver does it, tests do it, nobody else touches a machine. It never
calls back, peer input raises nothing, and everything it drops increments a named counter. Time is
`now`, monotonic seconds; randomness is `entropy(n) -> bytes`, given when the machine is made.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from voip.types import HostPort

__all__ = [
    "CloseFlow",
    "Counters",
    "Datagram",
    "Deadline",
    "Entropy",
    "Flow",
    "FlowLost",
    "FlowOpened",
    "Machine",
    "OpenFlow",
    "Resolve",
    "Resolved",
    "StreamBytes",
    "Target",
    "Timer",
    "Timers",
    "Transmit",
]

Entropy = Callable[[int], bytes]
Counters = Counter[str]


class Deadline(NamedTuple):
    """When a machine wants `advance`, and why."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Flow:
    """One path over which messages come and go.

    Attributes:
        transport: "UDP", "TCP", "TLS", as a Via spells it.
        local: our address as the peer can reach it; never unspecified.
        remote: the peer's address.
        number: tells two connections apart; 0 for UDP.
        identity: the certificate name that was verified (RFC 5922), "" when none was.
    """

    transport: str
    local: HostPort
    remote: HostPort
    number: int = 0
    identity: str = ""

    def __hash__(self) -> int:
        # Looked up several times per message; the rest tells no two flows apart that these do not.
        return hash((self.remote, self.number))

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits by itself (RFC 3261 §17)."""
        return self.transport != "UDP"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request may be sent: one element of what RFC 3263 yields.

    Attributes:
        transport: "UDP", "TCP" or "TLS".
        host: an IP address.
        port: the port.
        server_name: the SIP domain that a certificate is checked against (RFC 5922 §7).
    """

    transport: str
    host: str
    port: int
    server_name: str = ""


# Inputs


@dataclass(slots=True)
class Datagram:
    """One UDP datagram."""

    flow: Flow
    data: bytes


@dataclass(slots=True)
class StreamBytes:
    """Bytes of a connection, split anywhere; `b""` is the peer's end of stream."""

    flow: Flow
    data: bytes


@dataclass(slots=True)
class FlowOpened:
    """A connection stands: one that the peer opened (no token), or the answer to `OpenFlow`."""

    flow: Flow
    token: Hashable = None


@dataclass(slots=True)
class FlowLost:
    """A connection ended, a datagram was refused (ICMP), or an `OpenFlow` failed (by its token)."""

    flow: Flow | None
    reason: str
    token: Hashable = None


@dataclass(slots=True)
class Resolved:
    """The answer to `Resolve`: targets in the order to try; none, and the reason, on failure."""

    token: Hashable
    targets: tuple[Target, ...]
    reason: str = ""


# Outputs


@dataclass(slots=True)
class Transmit:
    """Bytes to send on a flow."""

    flow: Flow
    data: bytes


@dataclass(slots=True)
class OpenFlow:
    """A wish for a flow to a target; answered by `FlowOpened` or `FlowLost` with the same token.

    For UDP the shell picks the listener and works out the local address; for TCP and TLS it reuses
    a connection with the same remote address and verified name, or connects.
    """

    token: Hashable
    target: Target


@dataclass(slots=True)
class CloseFlow:
    """A connection that must end once what is queued on it has left."""

    flow: Flow
    reason: str


@dataclass(slots=True)
class Resolve:
    """A wish for the targets of a host; answered by `Resolved` with the same token.

    Attributes:
        host: a name or an address literal.
        port: the port, None when the URI had none.
        transport: "UDP", "TCP" or "TLS", None when the URI did not say.
        secure: whether only TLS will do (a `sips:` URI, RFC 5630).
    """

    token: Hashable
    host: str
    port: int | None
    transport: str | None
    secure: bool = False


class Machine(Protocol):
    """The five verbs."""

    counters: Counters

    def receive(self, event: Any, now: float) -> None:
        """Take one input."""

    def advance(self, now: float) -> None:
        """Do what is due at `now`."""

    def deadline(self) -> Deadline | None:
        """Return when `advance` is wanted next, or None."""

    def outgoing(self) -> list[Any]:
        """Return and forget what is to be sent."""

    def events(self) -> list[Any]:
        """Return and forget what happened."""


@dataclass(slots=True, eq=False)
class Timer:
    """One running timer; `cancel` costs nothing, the queue forgets it when it comes up."""

    at: float
    reason: str
    owner: Any = None
    cancelled: bool = field(default=False)

    def cancel(self) -> None:
        """Make the timer void."""
        self.cancelled = True
        self.owner = None


class Timers:
    """Ten thousand timers: a FIFO per equal length beside one small heap with lazy deletion.

    A FIFO costs 0.1 µs a timer, a heap 0.5, a loop timer 2.5 (measured on CPython 3.11). Lengths
    that come up again and again (64·T1, T4, T1 …) keep a FIFO each; since `now` never goes back,
    each FIFO is sorted by itself and only its head matters. The earliest timer is remembered while
    it counts: a shell asks for the deadline after every packet.
    """

    def __init__(self) -> None:
        self._fifos: dict[float, deque[Timer]] = {}
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._first: Timer | None = None
        self._deadline: Deadline | None = None

    def start(self, now: float, length: float, reason: str, owner: Any) -> Timer:
        """Start a timer of a length that many others share."""
        timer = Timer(now + length, reason, owner)
        fifo = self._fifos.get(length)
        if fifo is None:
            fifo = self._fifos[length] = deque()
        while fifo and fifo[0].cancelled:
            fifo.popleft()
        if fifo and fifo[-1].at > timer.at:  # a clock that was wound back: keep the order anyway
            heapq.heappush(self._heap, (timer.at, next(self._count), timer))
        else:
            fifo.append(timer)
        if self._first is not None and timer.at < self._first.at:
            self._first, self._deadline = timer, None
        return timer

    def start_at(self, at: float, reason: str, owner: Any) -> Timer:
        """Start a timer for a moment of its own."""
        timer, heap = Timer(at, reason, owner), self._heap
        while heap and heap[0][2].cancelled:
            heapq.heappop(heap)
        heapq.heappush(heap, (at, next(self._count), timer))
        if self._first is not None and at < self._first.at:
            self._first, self._deadline = timer, None
        return timer

    def deadline(self) -> Deadline | None:
        """Return the earliest timer that still counts, or None."""
        first = self._first
        if first is None or first.cancelled:
            first = self._first = self._earliest()
            self._deadline = None
            if first is None:
                return None
        if self._deadline is None:
            self._deadline = Deadline(first.at, first.reason)
        return self._deadline

    def _earliest(self) -> Timer | None:
        best: Timer | None = None
        for fifo in self._fifos.values():
            while fifo and fifo[0].cancelled:
                fifo.popleft()
            if fifo and (best is None or fifo[0].at < best.at):
                best = fifo[0]
        heap = self._heap
        while heap and heap[0][2].cancelled:
            heapq.heappop(heap)
        return heap[0][2] if heap and (best is None or heap[0][0] < best.at) else best

    def due(self, now: float) -> list[Timer]:
        """Remove and return every timer that is due, earliest first."""
        first = self._first
        if first is not None and not first.cancelled and first.at > now:
            return []
        ready: list[Timer] = []
        best: Timer | None = None
        for fifo in self._fifos.values():
            while fifo:
                timer = fifo[0]
                if not timer.cancelled:
                    if timer.at > now:
                        if best is None or timer.at < best.at:
                            best = timer
                        break
                    ready.append(timer)
                fifo.popleft()
        heap = self._heap
        while heap and (heap[0][2].cancelled or heap[0][0] <= now):
            timer = heapq.heappop(heap)[2]
            if not timer.cancelled:
                ready.append(timer)
        if heap and (best is None or heap[0][0] < best.at):
            best = heap[0][2]
        self._first, self._deadline = best, None
        ready.sort(key=_when)
        return ready

    def restore(self, due: Iterable[Timer]) -> None:
        """Take back timers that `due` returned and nobody was told of; they are due still."""
        for timer in due:
            heapq.heappush(self._heap, (timer.at, next(self._count), timer))
        self._first = self._deadline = None

    def __len__(self) -> int:
        """Return how many timers still count."""
        fifos = sum(not timer.cancelled for fifo in self._fifos.values() for timer in fifo)
        return fifos + sum(not entry[2].cancelled for entry in self._heap)


def _when(timer: Timer) -> float:
    return timer.at

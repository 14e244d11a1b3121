"""Machines that talk to each other over a `Network`, in virtual time and without asyncio.

    world = World(Network(Link(loss=0.1), seed=7))
    alice = world.add(endpoint, HostPort("192.0.2.1", 5060), handler)
    alice.command(lambda machine, now: machine.call("sip:bob@192.0.2.2", now=now))
    world.run(60.0)

The World keeps the door of `voip.machine` as the Driver does: it drains after every receive,
advance and command, answers `Resolve` and `OpenFlow`, carries datagrams and streams, and moves the
clock to whatever is due next. Tens of thousands of calls run in seconds.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from voip.machine import (
    CloseFlow,
    Datagram,
    Flow,
    FlowLost,
    FlowOpened,
    Machine,
    OpenFlow,
    Resolve,
    Resolved,
    StreamBytes,
    Target,
    Transmit,
)
from voip.testing.network import Network
from voip.types import HostPort

__all__ = ["Node", "World"]

ResultT = TypeVar("ResultT")
Handler = Callable[["Node", Any], None]


class Node:
    """One machine in a world.

    Attributes:
        machine: the machine.
        address: where datagrams and connections reach it.
        seen: every event that it had, when no handler was given.
    """

    def __init__(
        self, world: World, machine: Machine, address: HostPort, handler: Handler | None
    ) -> None:
        self.world = world
        self.machine = machine
        self.address = address
        self.seen: list[Any] = []
        self._handler = handler
        self._wake_at: float | None = None
        self._inputs: list[Any] = []
        self._draining = False

    def command(self, action: Callable[[Any, float], ResultT]) -> ResultT:
        """Run `action(machine, now)`, drain, and return its result."""
        try:
            return action(self.machine, self.world.now)
        finally:
            self.drain()

    def feed(self, event: Any) -> None:
        """Give the machine an input and drain; while it drains, the input waits its turn."""
        if self._draining:
            self._inputs.append(event)
            return
        self.machine.receive(event, self.world.now)
        self.drain()

    def drain(self) -> None:
        """Carry out what the machine wants and hand out what happened, until nothing is left."""
        if self._draining:
            return
        self._draining = True
        machine, world = self.machine, self.world
        try:
            while True:
                outgoing = machine.outgoing()
                for output in outgoing:
                    world.carry(self, output)
                events = machine.events()
                for event in events:
                    self._handle(event)
                if outgoing or events:
                    continue
                if not self._inputs:
                    break
                machine.receive(self._inputs.pop(0), world.now)
        finally:
            self._draining = False
        deadline = machine.deadline()
        if deadline is not None and (self._wake_at is None or deadline.at < self._wake_at):
            self._wake_at = deadline.at
            world.schedule(deadline.at, self._wake, deadline.at)

    def _handle(self, event: Any) -> None:
        if self._handler is None:
            self.seen.append(event)
        else:
            self._handler(self, event)

    def _wake(self, at: float) -> None:
        if at != self._wake_at:
            return  # an earlier deadline has taken its place
        self._wake_at = None
        deadline = self.machine.deadline()
        if deadline is not None and deadline.at <= self.world.now:
            self.machine.advance(self.world.now)
        self.drain()


class World:
    """A clock, a network and the nodes on it.

    Args:
        network: what lies between the nodes; a perfect one by default.
        start: the time at which the clock starts.
        names: host names with the targets that `Resolve` yields for them.
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        start: float = 1000.0,
        names: dict[str, Iterable[Target]] | None = None,
    ) -> None:
        self.network = network or Network()
        self.now = start
        self.names = dict(names or {})
        self.nodes: dict[HostPort, Node] = {}
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = itertools.count()
        self._streams: dict[Flow, tuple[Node, Flow]] = {}
        self._numbers = itertools.count(1)
        self._clear_at: dict[Flow, float] = {}

    def add(self, machine: Machine, address: HostPort, handler: Handler | None = None) -> Node:
        """Put a machine on the network; `handler(node, event)` takes its events."""
        node = self.nodes[address] = Node(self, machine, address, handler)
        return node

    def remove(self, node: Node) -> None:
        """Take a machine off, as a process that was killed: it says no good-bye."""
        self.nodes.pop(node.address, None)
        for flow, (peer, theirs) in list(self._streams.items()):
            if flow.local == node.address or theirs.remote == node.address:
                self._lose(peer, theirs, "connection reset by peer")

    def schedule(self, at: float, action: Callable[..., None], *args: Any) -> None:
        """Call `action(*args)` at a moment."""
        heapq.heappush(self._queue, (at, next(self._count), action, args))

    def run(self, seconds: float) -> None:
        """Let `seconds` pass."""
        end = self.now + seconds
        queue = self._queue
        while queue and queue[0][0] <= end:
            at, _, action, args = heapq.heappop(queue)
            if at > self.now:
                self.now = at
            action(*args)
        self.now = end

    def run_until(self, condition: Callable[[], bool], *, timeout: float = 600.0) -> None:
        """Let time pass until `condition()` holds.

        Raises:
            TimeoutError: it did not hold within `timeout` virtual seconds; the seed is named.
        """
        end = self.now + timeout
        while not condition():
            if not self._queue or self._queue[0][0] > end:
                raise TimeoutError(
                    f"not within {timeout:g} virtual seconds (seed {self.network.seed})"
                )
            at, _, action, args = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            action(*args)

    def carry(self, node: Node, output: Any) -> None:
        """Carry out one output of a machine."""
        if isinstance(output, Transmit):
            if output.flow.transport == "UDP":
                self._send_datagram(output)
            else:
                self._send_bytes(output.flow, output.data)
        elif isinstance(output, OpenFlow):
            self._open(node, output)
        elif isinstance(output, Resolve):
            node.feed(self._resolve(output))
        elif isinstance(output, CloseFlow):
            self._close(node, output.flow)
        else:
            raise TypeError(f"no machine may send {output!r}")

    def _send_datagram(self, output: Transmit) -> None:
        flow = output.flow
        for delivery in self.network.route(flow.local, flow.remote, self.now):
            self.schedule(delivery.at, self._arrive, delivery.source, delivery.target, output.data)

    def _arrive(self, source: HostPort, target: HostPort, data: bytes) -> None:
        node = self.nodes.get(target)
        if node is not None:
            node.feed(Datagram(Flow("UDP", target, source), data))

    def _resolve(self, wish: Resolve) -> Resolved:
        known = self.names.get(wish.host.lower())
        if known is not None:
            return Resolved(wish.token, tuple(known))
        if not wish.host[:1].isdigit() and ":" not in wish.host:
            return Resolved(wish.token, (), f"no such host: {wish.host}")
        transport = "TLS" if wish.secure else wish.transport or "UDP"
        port = wish.port or (5061 if transport == "TLS" else 5060)
        return Resolved(wish.token, (Target(transport, wish.host, port, wish.host),))

    def _open(self, node: Node, wish: OpenFlow) -> None:
        target = wish.target
        remote = HostPort(target.host, target.port)
        if target.transport == "UDP":
            node.feed(FlowOpened(Flow("UDP", node.address, remote), wish.token))
            return
        peer = self.nodes.get(remote)
        delay = 2 * self.network.delay(node.address.host, remote.host)
        if peer is None or not self.network.reachable(node.address.host, remote.host):
            refused = FlowLost(None, "connection refused", wish.token)
            self.schedule(self.now + delay, node.feed, refused)
            return
        number = next(self._numbers)
        ours_local = HostPort(node.address.host, 20000 + number % 40000)
        ours = Flow(target.transport, ours_local, remote, number, target.server_name)
        theirs = Flow(target.transport, remote, ours_local, number)
        self._streams[ours] = (peer, theirs)
        self._streams[theirs] = (node, ours)
        self.schedule(self.now + delay, peer.feed, FlowOpened(theirs))
        self.schedule(self.now + delay, node.feed, FlowOpened(ours, wish.token))

    def _send_bytes(self, flow: Flow, data: bytes) -> None:
        other = self._streams.get(flow)
        if other is None or not self.network.reachable(flow.local.host, flow.remote.host):
            return
        node, theirs = other
        at = self.now + self.network.delay(flow.local.host, flow.remote.host)
        at = self._clear_at[flow] = max(at, self._clear_at.get(flow, 0.0))
        self.schedule(at, node.feed, StreamBytes(theirs, data))

    def _close(self, node: Node, flow: Flow) -> None:
        other = self._streams.pop(flow, None)
        if other is None:
            return
        self._clear_at.pop(flow, None)
        peer, theirs = other
        self.schedule(self.now, node.feed, FlowLost(flow, "closed"))
        at = self.now + self.network.delay(flow.local.host, flow.remote.host)
        self.schedule(at, self._lose, peer, theirs, "closed by peer")

    def _lose(self, node: Node, flow: Flow, reason: str) -> None:
        if self._streams.pop(flow, None) is not None:
            self._clear_at.pop(flow, None)
            node.feed(FlowLost(flow, reason))

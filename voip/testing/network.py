"""A network made of a seed: loss, duplication, reordering, delay, bursts, address translation.

The network knows no clock and no socket: asked what becomes of a datagram sent at `now`, it
answers with the copies that arrive, when, and from which address. `voip.testing.World` asks it for
machines, `voip.testing.VirtualLoop` for sockets. The same seed and the same traffic give the same
answers.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from voip.types import HostPort

__all__ = ["NAT", "Delivery", "Link", "Network"]


@dataclass(frozen=True, slots=True)
class Link:
    """How one direction between two hosts behaves; probabilities are 0..1, times are seconds.

    Attributes:
        loss: share of datagrams that vanish.
        duplication: share that arrive twice.
        reorder: share that are held back by `reorder_delay`, so that later ones pass them.
        reorder_delay: how long.
        delay: one-way delay.
        jitter: up to this much is added to each delay, evenly spread.
        burst_enter: chance, per datagram, that a burst of loss begins (Gilbert's model).
        burst_leave: chance, per datagram, that it ends; inside it everything is lost.
    """

    loss: float = 0.0
    duplication: float = 0.0
    reorder: float = 0.0
    reorder_delay: float = 0.05
    delay: float = 0.0005
    jitter: float = 0.0
    burst_enter: float = 0.0
    burst_leave: float = 1.0


class Delivery(NamedTuple):
    """One copy of a datagram that arrives."""

    at: float
    source: HostPort
    target: HostPort


@dataclass(slots=True)
class _Binding:
    outside: HostPort
    seen: float


class NAT:
    """A translator of addresses between inside hosts and one public host.

    Args:
        public_host: the address that the outside sees.
        inside: hosts behind it.
        symmetric: a port for each (inside, outside) pair, and only that peer may answer through it.
            Otherwise one port for each inside address, open to any peer that it has sent to.
        lifetime: seconds of outbound silence after which a binding closes.
    """

    def __init__(
        self,
        public_host: str,
        inside: set[str],
        *,
        symmetric: bool = False,
        lifetime: float = 30.0,
    ) -> None:
        self.public_host = public_host
        self.inside = set(inside)
        self.symmetric = symmetric
        self.lifetime = lifetime
        self._bindings: dict[tuple[HostPort, HostPort | None], _Binding] = {}
        self._owners: dict[HostPort, HostPort] = {}
        self._allowed: dict[tuple[HostPort, HostPort], float] = {}
        self._next_port = 61000

    def outbound(self, source: HostPort, target: HostPort, now: float) -> HostPort:
        """Return the public address under which a datagram leaves; it opens or renews a binding."""
        key = (source, target if self.symmetric else None)
        binding = self._bindings.get(key)
        if binding is None or now - binding.seen > self.lifetime:
            binding = self._bindings[key] = _Binding(self._new_address(), now)
            self._owners[binding.outside] = source
        binding.seen = now
        self._allowed[binding.outside, target] = now
        return binding.outside

    def inbound(self, source: HostPort, target: HostPort, now: float) -> HostPort | None:
        """Return the inside address that a datagram reaches, None when the way is closed."""
        opened = self._allowed.get((target, source))
        if opened is None or now - opened > self.lifetime:
            return None
        return self._owners[target]

    def rebind(self) -> None:
        """Forget every binding, as after a restart: the next packets leave from other ports."""
        self._bindings.clear()
        self._owners.clear()
        self._allowed.clear()

    def _new_address(self) -> HostPort:
        self._next_port += 1
        return HostPort(self.public_host, self._next_port)


class Network:
    """Hosts joined by links.

    Args:
        link: how every direction behaves that has no link of its own.
        seed: of every dice that is thrown. Name it in the message of a test that fails.
    """

    def __init__(self, link: Link | None = None, *, seed: int = 0) -> None:
        self.seed = seed
        self.counters: Counter[str] = Counter()
        self._default = link or Link()
        self._links: dict[tuple[str, str], Link] = {}
        self._bursting: set[tuple[str, str]] = set()
        self._nats: list[NAT] = []
        self._down: set[str] = set()
        self._random = random.Random(seed)  # noqa: S311 - dice for tests, no secret

    def set_link(self, source: str, target: str, link: Link, *, both: bool = True) -> None:
        """Give one pair of hosts a link of its own; with `both`, either direction."""
        self._links[source, target] = link
        if both:
            self._links[target, source] = link

    def set_default(self, link: Link) -> None:
        """Change how every direction behaves that has no link of its own."""
        self._default = link

    def add_nat(self, nat: NAT) -> NAT:
        """Put hosts behind a translator; returns it."""
        self._nats.append(nat)
        return nat

    def cut(self, host: str) -> None:
        """Take a host off the network: nothing reaches it, nothing leaves it."""
        self._down.add(host)

    def mend(self, host: str) -> None:
        """Put it back."""
        self._down.discard(host)

    def delay(self, source: str, target: str) -> float:
        """Return the plain one-way delay, which streams use: they lose and reorder nothing."""
        return self._links.get((source, target), self._default).delay

    def reachable(self, source: str, target: str) -> bool:
        """Tell whether both hosts are on the network."""
        return source not in self._down and target not in self._down

    def route(self, source: HostPort, target: HostPort, now: float) -> list[Delivery]:
        """Return the copies of a datagram that arrive: none, one or two."""
        self.counters["sent"] += 1
        way = (source.host, target.host)
        if not self.reachable(*way):
            self.counters["unreachable"] += 1
            return []
        link = self._links.get(way, self._default)
        if self._lost(way, link):
            self.counters["lost"] += 1
            return []
        seen_from, reached = self._translate(source, target, now)
        if reached is None:
            self.counters["closed_by_nat"] += 1
            return []
        copies = 1
        if link.duplication and self._random.random() < link.duplication:
            self.counters["duplicated"] += 1
            copies = 2
        return [Delivery(now + self._delay(link), seen_from, reached) for _ in range(copies)]

    def _lost(self, way: tuple[str, str], link: Link) -> bool:
        if link.burst_enter:
            if way in self._bursting:
                if self._random.random() < link.burst_leave:
                    self._bursting.discard(way)
            elif self._random.random() < link.burst_enter:
                self._bursting.add(way)
            if way in self._bursting:
                return True
        return bool(link.loss) and self._random.random() < link.loss

    def _delay(self, link: Link) -> float:
        delay = link.delay
        if link.jitter:
            delay += self._random.random() * link.jitter
        if link.reorder and self._random.random() < link.reorder:
            self.counters["reordered"] += 1
            delay += link.reorder_delay
        return delay

    def _translate(
        self, source: HostPort, target: HostPort, now: float
    ) -> tuple[HostPort, HostPort | None]:
        reached: HostPort | None = target
        for nat in self._nats:
            if source.host in nat.inside and target.host not in nat.inside:
                source = nat.outbound(source, target, now)
        for nat in self._nats:
            if reached is not None and reached.host == nat.public_host:
                reached = nat.inbound(source, reached, now)
        return source, reached

from __future__ import annotations

from collections import Counter

import pytest

from voip.machine import (
    CloseFlow,
    Datagram,
    Deadline,
    FlowLost,
    FlowOpened,
    OpenFlow,
    Resolve,
    Resolved,
    StreamBytes,
    Target,
    Transmit,
)
from voip.testing import Link, Network, World
from voip.types import HostPort

A, B = HostPort("192.0.2.1", 5060), HostPort("192.0.2.2", 5060)


class Echo:
    """A machine that answers what it hears, with a timer that repeats until it is answered."""

    def __init__(self):
        self.counters = Counter()
        self.inputs, self._out, self._events, self.at = [], [], [], None

    def receive(self, event, now):
        self.inputs.append((now, event))
        if isinstance(event, (Datagram, StreamBytes)):
            self._events.append(event.data)
            if event.data.startswith(b"ask"):
                self._out.append(Transmit(event.flow, b"reply"))
        elif isinstance(event, FlowOpened) and event.token:
            self._out.append(Transmit(event.flow, b"ask"))
            self.flow = event.flow
        elif isinstance(event, Resolved) and event.targets:
            self._out.append(OpenFlow("open", event.targets[0]))

    def advance(self, now):
        self._events.append("due")
        self.at = None

    def deadline(self):
        return None if self.at is None else Deadline(self.at, "test")

    def outgoing(self):
        out, self._out = self._out, []
        return out

    def events(self):
        events, self._events = self._events, []
        return events

    def ask(self, host, transport="UDP"):
        self._out.append(Resolve("resolve", host, None, transport))

    def close(self):
        self._out.append(CloseFlow(self.flow, "done"))

    def wake(self, at):
        self.at = at


def pair(network=None, **options):
    world = World(network or Network(Link(delay=0.1)), **options)
    return world, world.add(Echo(), A), world.add(Echo(), B)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_resolves_opens_and_carries_both_ways(transport):
    world, alice, bob = pair()
    alice.command(lambda machine, now: machine.ask("192.0.2.2", transport))
    world.run_until(lambda: alice.seen)
    assert alice.seen == [b"reply"]
    assert bob.seen == [b"ask"]
    assert world.now == pytest.approx(1000.2 + (0.2 if transport == "TCP" else 0))


def test_names_come_from_a_table():
    world, alice, bob = pair(names={"bob.example.com": [Target("UDP", *B)]})
    alice.command(lambda machine, now: machine.ask("Bob.example.com"))
    alice.command(lambda machine, now: machine.ask("nobody.example.com"))
    world.run(1)
    assert bob.seen == [b"ask"]
    assert any(
        isinstance(e, Resolved) and "no such host" in e.reason for _, e in alice.machine.inputs
    )


def test_a_refused_connection_and_a_closed_one_are_flows_lost():
    world, alice, bob = pair()
    alice.command(lambda machine, now: machine.ask("192.0.2.9", "TCP"))
    alice.command(lambda machine, now: machine.ask("192.0.2.2", "TCP"))
    world.run(1)
    lost = [e for _, e in alice.machine.inputs if isinstance(e, FlowLost)]
    assert [(e.reason, e.token) for e in lost] == [("connection refused", "open")]
    alice.command(lambda machine, now: machine.close())
    alice.command(lambda machine, now: machine.close())
    world.run(1)
    assert alice.machine.inputs[-1][1].reason == "closed"
    assert bob.machine.inputs[-1][1].reason == "closed by peer"


def test_a_machine_that_is_removed_resets_its_connections():
    world, alice, bob = pair()
    alice.command(lambda machine, now: machine.ask("192.0.2.2", "TCP"))
    world.run(1)
    world.remove(bob)
    assert alice.machine.inputs[-1][1].reason == "connection reset by peer"
    alice.command(lambda machine, now: machine.ask("192.0.2.2", "UDP"))
    world.run(1)
    alice.command(
        lambda machine, now: machine._out.append(Transmit(machine.flow, b"into the void"))
    )


def test_a_cut_network_swallows_stream_bytes():
    world, alice, _ = pair()
    alice.command(lambda machine, now: machine.ask("192.0.2.2", "TCP"))
    world.run(0.25)
    world.network.cut(B.host)
    world.run(1)
    assert alice.seen == []


def test_advances_at_the_deadline_and_at_the_earlier_one_when_it_moves():
    world, alice, _ = pair()
    alice.command(lambda machine, now: machine.wake(now + 10))
    alice.command(lambda machine, now: machine.wake(now + 5))
    world.run(4.9)
    assert alice.seen == []
    world.run(0.2)
    assert alice.seen == ["due"]
    world.run(20)
    assert alice.seen == ["due"]


def test_a_timer_that_was_pushed_back_fires_at_its_new_time():
    world, alice, _ = pair()
    alice.command(lambda machine, now: machine.wake(now + 5))
    alice.command(lambda machine, now: machine.wake(now + 10))
    world.run(9)
    assert alice.seen == []
    world.run(2)
    assert alice.seen == ["due"]


def test_a_handler_takes_the_events_and_may_command_and_feed():
    world = World()
    seen = []

    def handler(node, event):
        seen.append(event)
        if event == b"ask":
            node.feed(StreamBytes(None, b"more"))
            node.command(lambda machine, now: machine.wake(now))

    world.add(Echo(), A, handler)
    other = world.add(Echo(), B)
    other.command(lambda machine, now: machine.ask(A.host))
    world.run(1)
    assert seen == [b"ask", b"more", "due"]


def test_waiting_for_what_never_comes_names_the_seed():
    world = World(Network(seed=77))
    with pytest.raises(TimeoutError, match="seed 77"):
        world.run_until(lambda: False, timeout=3)


def test_a_machine_may_only_send_what_machines_send():
    _, alice, _ = pair()
    with pytest.raises(TypeError):
        alice.command(lambda machine, now: machine._out.append("text"))

"""Two endpoints, a network that loses one packet in ten each way: do all calls complete?

    python -m benchmarks.lossy_calls [--calls 10000] [--loss 0.1] [--rate 50] [--seed 1]

Everything runs in virtual time, from a seed. Exit status 1 when a call did not complete or when
anything is left at the end.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from voip.sip import events
from voip.sip.endpoint import Endpoint, EndpointSettings
from voip.testing import Link, Network, World
from voip.types import HostPort

ALICE, BOB = HostPort("127.0.0.1", 5060), HostPort("127.0.0.2", 5060)
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"


class Calls:
    """Calls between two endpoints, and what became of them."""

    def __init__(self, link: Link, seed: int, hold: float) -> None:
        self.world = World(Network(link, seed=seed))
        self.hold = hold
        self.outcomes: Counter[str] = Counter()
        self.times: list[float] = []
        self._began: dict[object, float] = {}
        self.alice = self._add(ALICE, seed + 1, self._at_alice)
        self.bob = self._add(BOB, seed + 2, self._at_bob)

    def _add(self, address, seed, handler):
        machine = Endpoint(
            EndpointSettings(listeners={"UDP": address}), random.Random(seed).randbytes
        )
        return self.world.add(machine, address, handler)

    def dial(self) -> None:
        call = self.alice.command(
            lambda machine, now: machine.call("sip:bob@127.0.0.2", now=now, body=SDP)
        )
        self._began[call] = self.world.now

    def _at_alice(self, node, event) -> None:
        if isinstance(event, events.CallAnswered):
            self.times.append(self.world.now - self._began.pop(event.call))
            self.world.schedule(self.world.now + self.hold, self._bye, event.call)
        elif isinstance(event, events.CallFinished):
            self.outcomes["alice: " + event.cause.value] += 1

    def _at_bob(self, node, event) -> None:
        if isinstance(event, events.CallOffered):
            node.command(lambda _, now: event.call.ring(now))
            self.world.schedule(self.world.now + 0.1, self._accept, event.call)
        elif isinstance(event, events.CallFinished):
            self.outcomes["bob: " + event.cause.value] += 1

    def _accept(self, call) -> None:
        if not call.finished:
            self.bob.command(lambda _, now: call.accept(now, SDP))

    def _bye(self, call) -> None:
        self.alice.command(lambda _, now: call.hang_up(now))

    def left(self) -> dict[str, int]:
        sizes: Counter[str] = Counter()
        for node in (self.alice, self.bob):
            sizes.update(node.machine.sizes())
        return {name: size for name, size in sizes.items() if size}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--loss", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=50.0, help="calls per virtual second")
    parser.add_argument("--hold", type=float, default=10.0, help="seconds per call")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)

    calls = Calls(Link(loss=options.loss, delay=0.02), options.seed, options.hold)
    started = time.process_time()
    for number in range(options.calls):
        calls.world.schedule(calls.world.now + number / options.rate, calls.dial)
    calls.world.run(options.calls / options.rate + options.hold + 200)
    cpu = time.process_time() - started

    completed, left = len(calls.times), calls.left()
    print(f"calls completed   {completed} of {options.calls} (seed {options.seed})")
    print(f"outcomes          {dict(sorted(calls.outcomes.items()))}")
    if calls.times:
        calls.times.sort()
        p50, p99 = (calls.times[int(len(calls.times) * part)] for part in (0.5, 0.99))
        print(f"INVITE to 200     p50 {p50:.2f} s, p99 {p99:.2f} s, max {calls.times[-1]:.2f} s")
    print(f"left at the end   {left or 'nothing'}")
    print(f"network           {dict(calls.world.network.counters)}")
    print(f"CPU               {cpu:.1f} s, {cpu / options.calls * 1e6:.0f} µs per call, both ends")
    return 0 if completed == options.calls and not left else 1


if __name__ == "__main__":
    sys.exit(main())

"""A bench for one endpoint: its far end is written by hand, its clock is turned by hand."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import pytest

from voip.machine import (
    CloseFlow,
    Datagram,
    Flow,
    FlowLost,
    FlowOpened,
    OpenFlow,
    Resolve,
    Resolved,
    StreamBytes,
    Target,
    Transmit,
)
from voip.sip.endpoint import Endpoint, EndpointSettings
from voip.sip.messages import Message, Request, Response
from voip.testing import Link, Network, World
from voip.types import HostPort

OURS, THEIRS = HostPort("127.0.0.9", 5060), HostPort("127.0.0.1", 5070)
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


class Bench:
    """One endpoint, everything it sends with its time, everything it tells, and a scripted peer."""

    def __init__(self, transport="UDP", seed=1, start=100.0, **settings):
        self.now = start
        self.start = start
        listeners = {"UDP": OURS, "TCP": OURS, "TLS": HostPort(OURS.host, 5061)}
        self.settings = EndpointSettings(listeners=listeners, **settings)
        self.machine = Endpoint(self.settings, random.Random(seed).randbytes)
        self.flow = Flow(transport, OURS, THEIRS, 0 if transport == "UDP" else 7)
        self.sent = []
        self.times = []
        self.flows = []
        self.events = []
        self.asked = []
        self.raw = []
        self.closed = []
        self.answers_resolve = True
        self.answers_open = True
        self._branch = 0
        self._numbers = itertools.count(8)
        if transport != "UDP":
            self.feed(FlowOpened(self.flow))

    # The door

    def drain(self):
        while True:
            out, events = self.machine.outgoing(), self.machine.events()
            self.events += events
            if not out and not events:
                return
            for output in out:
                self._carry(output)

    def _carry(self, output):
        if isinstance(output, Transmit):
            self.raw.append(output.data)
            if output.data.strip(b"\r\n"):
                self.sent.append(Message.parse(output.data))
                self.times.append(round(self.now - self.start, 6))
                self.flows.append(output.flow)
        elif isinstance(output, Resolve):
            self.asked.append(output)
            if self.answers_resolve:
                target = Target(output.transport or "UDP", "127.0.0.1", output.port or 5060)
                self.machine.receive(Resolved(output.token, (target,)), self.now)
        elif isinstance(output, OpenFlow):
            self.asked.append(output)
            if self.answers_open:
                self.open(output)
        elif isinstance(output, CloseFlow):
            self.closed.append(output)

    def open(self, wish):
        target = wish.target
        remote = HostPort(target.host, target.port)
        number = 0 if target.transport == "UDP" else next(self._numbers)
        flow = Flow(target.transport, OURS, remote, number, target.server_name)
        self.machine.receive(FlowOpened(flow, wish.token), self.now)

    def feed(self, event):
        self.machine.receive(event, self.now)
        self.drain()

    def do(self, action):
        """Run `action(machine, now)` and drain."""
        try:
            return action(self.machine, self.now)
        finally:
            self.drain()

    def run(self, seconds):
        """Let time pass, deadline by deadline."""
        end = self.now + seconds
        while True:
            deadline = self.machine.deadline()
            if deadline is None or deadline.at > end + 1e-9:
                break
            self.now = max(self.now, deadline.at)
            self.machine.advance(self.now)
            self.drain()
        self.now = end

    @property
    def served(self):
        """Keys of all server transactions, those too that only wait for repeats."""
        transactions = self.machine.core.transactions
        return {*transactions.servers, *transactions.lingering}

    # The far end

    def hear(self, message, flow=None):
        flow = flow or self.flow
        data = message if isinstance(message, bytes) else bytes(message)
        kind = Datagram if flow.transport == "UDP" else StreamBytes
        self.feed(kind(flow, data))

    def lose(self, flow=None, reason="reset"):
        self.feed(FlowLost(flow or self.flow, reason))

    def branch(self):
        self._branch += 1
        return f"z9hG4bKpeer{self._branch}"

    def request(
        self,
        method,
        *,
        cseq=1,
        branch=None,
        call_id="call-1@peer",
        from_tag="them",
        to_tag=None,
        body=b"",
        headers=(),
        contact="<sip:peer@127.0.0.1:5070>",
        sent_by=None,
    ):
        branch = branch or self.branch()
        sent_by = sent_by or THEIRS
        to = f";tag={to_tag}" if to_tag else ""
        lines = [
            ("Via", f"SIP/2.0/{self.flow.transport} {sent_by};branch={branch}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:peer@127.0.0.1>;tag={from_tag}"),
            ("To", f"<sip:us@127.0.0.9>{to}"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        if contact and method == "INVITE":
            lines.append(("Contact", contact))
        lines += headers
        if body:
            lines.append(("Content-Type", "application/sdp"))
        lines.append(("Content-Length", str(len(body))))
        return Request(method, "sip:us@127.0.0.9", lines, body)

    def invite(self, **options):
        """Let the peer call; returns (its INVITE, our call)."""
        options.setdefault("body", SDP)
        request = self.request("INVITE", **options)
        self.hear(request)
        return request, self.events[-1].call

    def ack(self, request, response, *, body=b"", branch=None, cseq=None):
        """Return the ACK for a response of ours: same branch for a refusal, a new one for a 2xx."""
        if branch is None and response.status_code >= 300:
            branch = request.branch
        return self.request(
            "ACK",
            cseq=cseq or request.cseq.number,
            branch=branch,
            call_id=request.call_id,
            from_tag=request.from_.tag,
            to_tag=response.to.tag,
            body=body,
        )

    def answered(self, **options):
        """Let the peer call, answer, and let it acknowledge; returns our call."""
        request, call = self.invite(**options)
        self.do(lambda _, now: call.accept(now, SDP))
        self.hear(self.ack(request, self.sent[-1]))
        return call

    def inside(self, call, method, *, cseq=2, **options):
        """Return a request of the peer inside a call's dialog."""
        return self.request(
            method,
            cseq=cseq,
            call_id=call.id,
            from_tag=call.dialog.remote_tag,
            to_tag=call.local_tag,
            **options,
        )

    def dial(self, uri="sip:peer@127.0.0.1:5070", body=SDP, **options):
        """Place a call; returns it. Its INVITE is in `sent`."""
        return self.do(lambda machine, now: machine.call(uri, now=now, body=body, **options))

    def reply(self, status, request=None, *, tag="them", body=b"", headers=(), contact=True):
        """Let the peer answer a request of ours, the last one by default."""
        request = request or self.sent[-1]
        fields = list(headers)
        if contact and status < 300 and request.method == "INVITE":
            fields.append(("Contact", "<sip:peer@127.0.0.1:5070>"))
        response = request.respond(
            status,
            to_tag=tag if status > 100 else None,
            headers=fields,
            body=body,
            content_type="application/sdp" if body else None,
        )
        flow = self.flow if self.flow.transport == "UDP" else self.flows[-1]
        self.hear(response, flow)
        return response

    def connected(self, body=SDP):
        """Place a call and let the peer answer it; returns it."""
        call = self.dial(body=body)
        self.reply(200, body=SDP)
        return call

    # Looking

    def names(self):
        """Return what was sent, as "INVITE" or "200 INVITE"."""
        return [
            f"{m.status_code} {m.cseq.method}" if isinstance(m, Response) else m.method
            for m in self.sent
        ]

    def told(self):
        """Return the names of the events."""
        return [type(event).__name__ for event in self.events]

    def finished(self):
        """Return (cause, status) of each CallFinished."""
        return [
            (event.cause.value, event.status)
            for event in self.events
            if type(event).__name__ == "CallFinished"
        ]

    def forget(self):
        """Begin a new page."""
        for pages in (self.sent, self.times, self.flows, self.events, self.asked, self.raw):
            pages.clear()
        self.start = self.now

    def settle(self):
        """Let everything run out, and hold that nothing is left."""
        self.run(400.0)
        left = {name: size for name, size in self.machine.sizes().items() if size}
        if self.flow.transport != "UDP":
            left.pop("timers", None)
        assert left == {}, left


class Pair:
    """Two endpoints on a network: alice calls, bob answers."""

    def __init__(self, link=None, seed=1, hold=1.0, answer_after=0.0, **settings):
        self.world = World(Network(link or Link(), seed=seed))
        self.finished = {"alice": [], "bob": []}
        self.confirmed = 0
        self.hold = hold
        self.answer_after = answer_after
        self.alice = self._add("alice", HostPort("127.0.0.1", 5060), seed + 1, settings)
        self.bob = self._add("bob", HostPort("127.0.0.2", 5060), seed + 2, settings)

    def _add(self, name, address, seed, settings):
        machine = Endpoint(
            EndpointSettings(listeners={"UDP": address, "TCP": address}, **settings),
            random.Random(seed).randbytes,
        )
        return self.world.add(machine, address, lambda node, event: self._handle(name, node, event))

    def _handle(self, name, node, event):
        kind = type(event).__name__
        if kind == "CallOffered":
            node.command(lambda _, now: event.call.ring(now))
            if self.answer_after:
                at = self.world.now + self.answer_after
                self.world.schedule(at, self._accept, node, event.call)
            else:
                self._accept(node, event.call)
        elif kind == "CallAnswered":
            self.world.schedule(self.world.now + self.hold, self._hang_up, node, event.call)
        elif kind == "CallConfirmed":
            self.confirmed += 1
        elif kind == "CallFinished":
            self.finished[name].append((event.cause.value, event.status))

    def _accept(self, node, call):
        if not call.finished:
            node.command(lambda _, now: call.accept(now, SDP))

    def _hang_up(self, node, call):
        node.command(lambda _, now: call.hang_up(now))

    def call(self, transport="udp"):
        uri = f"sip:bob@127.0.0.2;transport={transport}"
        return self.alice.command(lambda machine, now: machine.call(uri, now=now, body=SDP))

    def left(self):
        """Return what either side still holds."""
        sizes = {}
        for node in (self.alice, self.bob):
            for name, size in node.machine.sizes().items():
                sizes[name] = sizes.get(name, 0) + size
        return {name: size for name, size in sizes.items() if size}


@pytest.fixture
def kit():
    """The classes of this file."""
    return SimpleNamespace(Bench=Bench, Pair=Pair, SDP=SDP, OURS=OURS, THEIRS=THEIRS)


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def tcp():
    return Bench("TCP")

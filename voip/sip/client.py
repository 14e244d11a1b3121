"""One request of ours: where it goes, over what, how often, and with which credentials.

    resolving ──▶ opening ──▶ sent ──▶ done
        ▲            ▲          │
        │            └──────────┤ 503, transport error, silence: the next target (RFC 3263 §4.3)
        └ no target given       └ 401, 407: the same target, next CSeq (RFC 3261 §22.2)

Inputs: `Resolved`, `FlowOpened` and `FlowLost` by token, responses from the transaction, its timer.
An ACK has no transaction: it is sent, remembered, and repeated on demand (RFC 3261 §13.2.2.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from voip.errors import AuthenticationError, LocalProtocolError
from voip.machine import OpenFlow, Resolve, Target
from voip.sip.dialog import Dialog, NextHop
from voip.sip.headers import Headers
from voip.sip.messages import Request
from voip.types import HostPort, canonical_ip

if TYPE_CHECKING:
    from voip.machine import Flow, Timer
    from voip.sip.core import Core
    from voip.sip.messages import Response
    from voip.sip.transactions import ClientTransaction, Transaction

__all__ = ["ClientRequest", "in_dialog", "rebuilt"]


class ClientOwner(Protocol):
    """Who wants to know what becomes of a request."""

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """Take a provisional response."""

    def concluded(self, client: ClientRequest, response: Response, now: float) -> None:
        """Take the final response; for an INVITE, every further 2xx too."""

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """Learn that no final response comes: `timeout`, or what the transport said."""


class ClientRequest:
    """A request on its way.

    Attributes:
        request: as it was asked for, without Via; a challenge replaces it.
        sent: as it left last, None before that.
        flow: over which it left, None before that.
        account: whose credentials may answer a challenge, None for nobody's.
        owner: who is told; None when nobody is.
        tag: our From tag where the From waits for the flow's address.
        own_hop: whether the next hop is the account's own: its proxy or its domain.
        forms: in which it left, each under a branch of its own, and over what.
        inbound: whether it belongs to a dialog that the peer began.
        dialog: whose CSeq it takes, None outside a dialog.
        contact: parameters behind our Contact; None sends no Contact.
        response: the final response, once there is one.
    """

    __slots__ = (
        "account",
        "contact",
        "core",
        "dialog",
        "done",
        "flow",
        "forms",
        "inbound",
        "own_hop",
        "owner",
        "request",
        "response",
        "retries",
        "sent",
        "stopped",
        "tag",
        "targets",
        "timer",
        "token",
        "transaction",
    )

    def __init__(self, core: Core, request: Request, owner: ClientOwner | None) -> None:
        self.core = core
        self.request = request
        self.owner: Any = owner
        self.account: Any = None
        self.contact: str | None = "" if request.method in _WITH_CONTACT else None
        self.dialog: Dialog | None = None
        self.done = False
        self.flow: Flow | None = None
        self.forms: tuple[tuple[Request, Flow], ...] = ()
        self.inbound = False
        self.own_hop = False
        self.response: Response | None = None
        self.retries = 0
        self.sent: Request | None = None
        self.stopped = False
        self.tag = ""
        self.targets: list[Target] = []
        self.timer: Timer | None = None
        self.token = 0
        self.transaction: ClientTransaction | None = None

    # Commands

    def start(
        self,
        now: float,
        *,
        flow: Flow | None = None,
        targets: Iterable[Target] = (),
        hop: NextHop | None = None,
    ) -> None:
        """Send over a flow, or to the first of some targets, or wherever a hop resolves to."""
        self.core.clients.add(self)
        self.targets = list(targets)
        if flow is not None:
            self._send(flow, now)
        elif self.targets:
            self._sort_by_size()
            self._try_next(now)
        elif hop is not None:
            self._wait(self.core.settings.timing.resolve, "resolve", now)
            self.core.out.append(Resolve(self.token, *hop))
        else:
            raise LocalProtocolError("a request needs a flow, targets or a next hop")

    def stop(self) -> bool:
        """Try nothing further; True when nothing is under way, and it is over.

        What left already is waited for: its answer, or the transaction's own end.
        """
        self.stopped = True
        self.targets = []
        waits = self.token in self.core.waiting  # for an address or a flow: nothing may leave now
        self._still()
        if waits or self.transaction is None:
            self._finish()
        return self.done

    def abandon(self) -> None:
        """Forget it, answered or not, without a word to its owner."""
        if self.transaction is not None:
            self.core.transactions.drop(self.transaction)
        self._finish()

    def repeat(self) -> None:
        """Send an ACK once more (it is never repeated by itself)."""
        if self.sent is not None and self.flow is not None:
            self.core.send(self.flow, bytes(self.sent))

    def under(self, branch: str | None) -> tuple[Request, Flow] | None:
        """Return what left under a branch, and over what; None when nothing did."""
        return next((form for form in self.forms if form[0].branch == branch), None)

    # Answers of the shell

    def resolved(self, targets: Iterable[Target], reason: str, now: float) -> None:
        """Take the targets of the next hop."""
        self.targets = list(targets)
        if self.own_hop and self.account is not None:
            self.account.resolved(self.targets)
        self._sort_by_size()
        if self.targets:
            self._try_next(now)
        else:
            self._fail(reason or "no address", now)

    def flow_opened(self, flow: Flow, now: float) -> None:
        """Take the flow to the target that is tried."""
        self._send(flow, now)

    def flow_failed(self, reason: str, now: float) -> None:
        """Try the next target, since this one cannot be reached."""
        self._next_or_fail(reason, now)

    def expired(self, reason: str, now: float) -> None:
        """Give up on what takes too long."""
        self.timer = None
        self.core.waiting.pop(self.token, None)
        self.core.counters[f"client.{reason}_timeout"] += 1
        if reason == "silence":
            assert self.transaction is not None
            if self.request.method not in _PROMPT:
                self._elsewhere()
            self.core.transactions.drop(self.transaction)
        self._next_or_fail("timeout", now)

    # Answers of the transaction

    def response_received(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """Take a response: pass it on, or try again better."""
        status = response.status_code
        if transaction is not self.transaction:
            # A 2xx to an INVITE that was refused before (a proxy that broke §16.7): what took its
            # place is still under way.
            if self.owner is not None:
                self.owner.concluded(self, response, now)
            return
        if self.timer is not None:
            self._still()
        if status < 200:
            if self.owner is not None and not self.done:
                self.owner.progressed(self, response, now)
            return
        if not self.done and not self.stopped:
            if status in (401, 407) and self._authorize(response, now):
                return
            if status == 503 and self._elsewhere():
                self._try_next(now)
                return
        self._finish()
        self.response = response
        if self.owner is not None:
            self.owner.concluded(self, response, now)

    def transaction_failed(self, transaction: Transaction, reason: str, now: float) -> None:
        """Try the next target when the transaction ended without a final response."""
        if not self.done:
            self._next_or_fail(reason, now)

    # Steps

    def _wait(self, length: float, reason: str, now: float) -> None:
        self.token = self.core.token(self)
        self.timer = self.core.timers.start(now, length, reason, self)

    def _still(self) -> None:
        self.core.waiting.pop(self.token, None)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _sort_by_size(self) -> None:
        """Put datagrams last for a large request: RFC 3261 §18.1.1 wants congestion control."""
        if len(bytes(self.request)) + 200 > self.core.settings.max_datagram_request:
            self.targets.sort(key=lambda target: target.transport == "UDP")

    def _try_next(self, now: float) -> None:
        target = self.targets.pop(0)
        self._still()
        self._wait(self.core.settings.timing.open, "open", now)
        self.core.out.append(OpenFlow(self.token, target))

    def _next_or_fail(self, reason: str, now: float) -> None:
        if self.targets and not self.stopped:
            self.core.counters["client.next_target"] += 1
            self._try_next(now)
        else:
            self._fail(reason, now)

    def _elsewhere(self) -> bool:
        """Leave only targets on other hosts; False when none is left.

        RFC 3263 §4.3 goes to the next server after 503. The same server over another transport
        would see a merged request (482), or refuse it as it just did.
        """
        host = self.flow.remote.host if self.flow is not None else ""
        self.targets = [one for one in self.targets if canonical_ip(one.host) != host]
        return bool(self.targets)

    def _hurries(self) -> bool:
        """Tell whether silence means that the server is away, and there is another to go to.

        Nothing tells a server that thinks about a MESSAGE from one that is gone; over another
        transport it would meet a copy of what it has (482), so that is tried when all time is up.
        """
        if self.request.method in _PROMPT:
            return bool(self.targets)
        host = self.flow.remote.host if self.flow is not None else ""
        return any(canonical_ip(one.host) != host for one in self.targets)

    def _fail(self, reason: str, now: float) -> None:
        self._finish()
        if self.owner is not None:
            self.owner.failed(self, reason, now)

    def _finish(self) -> None:
        self._still()
        self.done = True
        self.core.clients.discard(self)

    def _send(self, flow: Flow, now: float) -> None:
        core = self.core
        self._still()
        self.flow = flow
        if "From" not in self.request.headers:
            host = HostPort(flow.local.host, 5060)
            user = core.settings.contact_user
            self.request.headers.add("From", f"<sip:{user}@{_bracketed(host)}>;tag={self.tag}")
        request = self.sent = self._stamped(flow)
        self.forms += ((request, flow),)
        if request.method == "ACK":
            core.send(flow, bytes(request))
            self._finish()
            return
        self.transaction = core.transactions.request(request, flow, self, now)
        if not flow.reliable and self._hurries():
            self.timer = core.timers.start(now, core.settings.timing.open, "silence", self)

    def _stamped(self, flow: Flow) -> Request:
        """Return a copy with what only the flow tells: Via (RFC 3261 §18.1.1) and Contact."""
        core, request = self.core, self.request
        headers = request.headers.copy()
        headers.insert(0, "Via", core.via(flow))
        if self.contact is not None and "Contact" not in headers:
            headers.add("Contact", core.contact(flow, request) + self.contact)
        if core.settings.user_agent and "User-Agent" not in headers:
            headers.add("User-Agent", core.settings.user_agent)
        headers.set("Content-Length", str(len(request.raw_body)))
        return rebuilt(request, headers)

    def _authorize(self, response: Response, now: float) -> bool:
        """Answer a challenge; False when nobody's credentials may (RELIABILITY 2.D)."""
        core = self.core
        if self.account is None or self.retries >= core.settings.auth_retries:
            return False
        assert self.sent is not None
        assert self.flow is not None
        try:
            name, value = self.account.authorize(
                self.sent,
                response,
                next_hop=self.flow,
                entropy=core.entropy,
                inbound=self.inbound,
            )
        except AuthenticationError:
            core.counters["client.challenge_refused"] += 1
            return False
        self.retries += 1
        request = self.request
        if self.dialog is not None:
            self.dialog.local_cseq += 1
            number = self.dialog.local_cseq
        else:
            number = request.cseq.number + 1
        headers = request.headers.copy()
        headers.set("CSeq", f"{number} {request.method}")
        headers.set(name, value)
        self.request = rebuilt(request, headers)
        self._send(self.flow, now)
        return True

    def __repr__(self) -> str:
        return f"<client request {self.request.method}{', done' if self.done else ''}>"


def rebuilt(request: Request, headers: Headers, body: bytes | None = None) -> Request:
    """Return a request like another one, with other headers and perhaps another body."""
    data = request.raw_body if body is None else body
    return Request(request.method, request.raw_uri.decode("ascii"), headers, data)


# Answered at once by whoever is there: by 100, by a registrar, by the stack itself.
_PROMPT = ("INVITE", "REGISTER", "OPTIONS")
_WITH_CONTACT = ("INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE", "UPDATE", "REFER")


def in_dialog(
    client: ClientRequest, dialog: Dialog, flow: Flow | None, now: float, *, sticky: bool
) -> None:
    """Start a request of a dialog: over its flow where that leads to the next hop, else resolved.

    Args:
        client: the request.
        dialog: whose route set decides.
        flow: over which the dialog came.
        now: the time.
        sticky: the peer sits behind a NAT, so only the flow reaches it.
    """
    hop = dialog.next_hop()
    client.start(now, flow=_reusable(client.core, hop, flow, sticky), hop=hop)


def _reusable(core: Core, hop: NextHop, flow: Flow | None, sticky: bool) -> Flow | None:
    if flow is None or (flow.number and flow not in core.streams):
        return None
    if sticky or flow.number:
        same = sticky or canonical_ip(hop.host) == canonical_ip(flow.remote.host)
        return flow if same else None
    transport = hop.transport or ("TLS" if hop.secure else "UDP")
    if transport != flow.transport or hop.host.strip("[]") != flow.remote.host:
        return None
    port = hop.port or 5060
    if port == flow.remote.port:
        return flow
    return type(flow)(flow.transport, flow.local, HostPort(flow.remote.host, port))


def _bracketed(address: HostPort) -> str:
    return f"[{address.host}]" if ":" in address.host else address.host

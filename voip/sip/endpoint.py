"""One SIP user agent, without a clock or a socket: bytes in, bytes and events out.

    bytes → admission → framing → parser → validator → transaction → dialog → call → event

What a step refuses never reaches the next one: a stranger's rubbish is dropped and counted, what is
wrong is answered statelessly, a retransmission ends at its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from voip.errors import EndCause, LocalProtocolError, ParseError
from voip.machine import (
    CloseFlow,
    Counters,
    Datagram,
    Deadline,
    Entropy,
    Flow,
    FlowLost,
    FlowOpened,
    Resolved,
    StreamBytes,
    Target,
)
from voip.sip import framing
from voip.sip.admission import Admission, AdmissionSettings, Verdict
from voip.sip.attempt import Attempt
from voip.sip.client import ClientRequest
from voip.sip.core import METHODS, Core
from voip.sip.dialog import NextHop
from voip.sip.events import MessageSeen, RequestArrived, RequestFinished
from voip.sip.headers import Headers
from voip.sip.invite import Call
from voip.sip.messages import Message, Request, Response
from voip.sip.registration import Registration
from voip.sip.settings import EndpointSettings
from voip.sip.transactions import Input, ServerTransaction, server_key
from voip.sip.types import NameAddress, SipURI, parse_uri
from voip.sip.validation import Rejection, validate, validate_response
from voip.types import canonical_ip

__all__ = ["Endpoint", "EndpointSettings"]


class Endpoint:
    """A user agent: calls in and out, requests, registrations.

    Drain `outgoing()` and `events()` after every receive, advance and command.

    Args:
        settings: limits, timers, addresses.
        entropy: `entropy(n)` gives n random bytes.
        admission: what strangers may cost; off for loopback and `settings.peers`.

    Attributes:
        counters: everything that was dropped, refused or absorbed, by name.
        stopping: whether `shutdown` was called.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        entropy: Entropy,
        admission: AdmissionSettings | None = None,
    ) -> None:
        self.core = Core(settings, entropy)
        self.settings = settings
        self.counters: Counters = self.core.counters
        self.stopping = False
        self._methods = frozenset((*METHODS, *settings.methods))
        self._admission = Admission(
            admission or AdmissionSettings(peers=tuple(settings.peers)), self.counters
        )
        self._registrations: dict[Registration, _Binding] = {}

    # Five verbs

    def receive(self, event: Any, now: float) -> None:
        """Take a `Datagram`, `StreamBytes`, `FlowOpened`, `FlowLost` or `Resolved`."""
        kind = type(event)
        if kind is Datagram:
            self._datagram(event.flow, event.data, now)
        elif kind is StreamBytes:
            self._stream(event.flow, event.data, now)
        elif kind is FlowOpened:
            self._flow_opened(event, now)
        elif kind is FlowLost:
            self._flow_lost(event, now)
        elif kind is Resolved:
            client = self.core.waiting.pop(event.token, None)
            if client is not None:
                client.resolved(event.targets, event.reason, now)
        self._collect(now)

    def advance(self, now: float) -> None:
        """Do what is due."""
        for timer in self.core.timers.due(now):
            if not timer.cancelled:
                timer.owner.expired(timer.reason, now)
        for flow, framer in list(self.core.streams.items()):
            due = framer.deadline()
            if due is not None and due.at <= now:
                self.counters[f"stream.{due.reason}"] += 1
                self._close(flow, due.reason, now)
        for registration in self._registrations:
            due = registration.deadline()
            if due is not None and due.at <= now:
                registration.advance(now)
        self._collect(now)

    def deadline(self) -> Deadline | None:
        """Return when `advance` is wanted next, and why; None when nothing waits."""
        best = self.core.timers.deadline()
        for machine in (*self.core.streams.values(), *self._registrations):
            due = machine.deadline()
            if due is not None and (best is None or due.at < best.at):
                best = due
        return best

    def outgoing(self) -> list[Any]:
        """Return and forget what is to be sent, opened, closed or resolved."""
        out = self.core.out
        if out:
            self.core.out = []
        return out

    def events(self) -> list[Any]:
        """Return and forget what happened."""
        happened = self.core.happened
        if happened:
            self.core.happened = []
        return happened

    # Commands

    def call(
        self,
        uri: str,
        *,
        now: float,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
        account: Any = None,
        from_: str | None = None,
        targets: Iterable[Target] | None = None,
    ) -> Call:
        """Send an INVITE.

        Args:
            uri: whom to call.
            now: the time.
            body: the offer; empty asks the peer for one.
            headers: further headers.
            account: whose address and credentials it bears.
            from_: the From address when there is no account.
            targets: where to send it; found by the URI or the account's proxy when None.

        Raises:
            ParseError: the URI is none.
            LocalProtocolError: the endpoint is stopping.
        """
        if self.stopping:
            raise LocalProtocolError("the endpoint is stopping")
        tag = self.core.new_tag()
        request = self._request("INVITE", uri, tag, account=account, from_=from_)
        for name, value in headers:
            request.headers.add(name, value)
        if body:
            request.headers.add("Content-Type", "application/sdp")
            request = Request("INVITE", uri, request.headers, bytes(body))
        request.headers.set("Allow", self.core.allow)
        call = Call(self.core, request, tag, False)
        call.account = account
        client = ClientRequest(self.core, request, None)
        client.account, client.tag = account, tag
        attempt = call.attempt = Attempt(self.core, call, client)
        client.owner = attempt
        attempt.begin(now)
        client.start(now, targets=targets or (), hop=self._hop(uri, account))
        return call

    def request(
        self,
        method: str,
        uri: str,
        *,
        now: float,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        account: Any = None,
        targets: Iterable[Target] | None = None,
    ) -> ClientRequest:
        """Send a request outside of any dialog; `RequestFinished` tells the outcome.

        Raises:
            ParseError: the URI is none.
            LocalProtocolError: INVITE, ACK and CANCEL have their own ways.
        """
        if method in ("INVITE", "ACK", "CANCEL"):
            raise LocalProtocolError(f"{method} is sent by a call")
        tag = self.core.new_tag()
        request = self._request(method, uri, tag, account=account)
        for name, value in headers:
            request.headers.add(name, value)
        request = Request(method, uri, request.headers, bytes(body))
        client = ClientRequest(self.core, request, _Reporter(self.core))
        client.account, client.tag = account, tag
        client.start(now, targets=targets or (), hop=self._hop(uri, account))
        return client

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Answer a `RequestArrived`.

        Raises:
            LocalProtocolError: it was answered before.
        """
        self.core.transactions.respond(transaction, response, now)

    def register(self, registration: Registration, now: float) -> None:
        """Register, and keep registered until `unregister`."""
        self._registrations[registration] = _Binding(self.core, registration)
        registration.start(now)
        self._collect(now)

    def unregister(self, registration: Registration, now: float) -> None:
        """Take the binding away; `Unregistered` tells when that is done."""
        registration.stop(now)
        self._collect(now)

    def shutdown(self, now: float) -> None:
        """End every call and take no new one (503); drain until `idle`."""
        self.stopping = True
        for call in list(self.core.calls):
            call.hang_up(now, EndCause.SHUTDOWN)

    @property
    def idle(self) -> bool:
        """Whether no call and no request of ours is under way."""
        return not self.core.calls and not self.core.clients

    @property
    def allow(self) -> str:
        """The value of Allow."""
        return self.core.allow

    def sizes(self) -> dict[str, int]:
        """Return how much of everything is held, for leak tests and gauges."""
        core = self.core
        return {
            "server_transactions": len(core.transactions.servers),
            "client_transactions": len(core.transactions.clients),
            "dialogs": len(core.dialogs),
            "calls": len(core.calls),
            "attempts": len(core.attempts),
            "clients": len(core.clients),
            "streams": len(core.streams),
            "timers": len(core.timers),
        }

    # Bytes

    def _datagram(self, flow: Flow, data: bytes, now: float) -> None:
        verdict = self._admission.admit(flow, data, now)
        if verdict is Verdict.ADMIT:
            self._message(flow, data, now)
        elif verdict is Verdict.SHED:
            self._shed(flow, data)

    def _stream(self, flow: Flow, data: bytes, now: float) -> None:
        framer = self.core.streams.get(flow)
        if framer is None:
            self.counters["stream.unknown"] += 1
            return
        for frame in framer.receive(data, now):
            if type(frame) is framing.Message:
                verdict = self._admission.admit(flow, frame.data, now)
                if verdict is Verdict.ADMIT:
                    self._message(flow, frame.data, now, stream=True)
                elif verdict is Verdict.SHED:
                    self._shed(flow, frame.data)
            elif type(frame) is framing.Ping:
                self.core.send(flow, b"\r\n")  # RFC 5626 §4.4.1: a pong
            elif type(frame) is framing.Broken:
                self._broken(flow, frame, now)
                return

    def _broken(self, flow: Flow, frame: framing.Broken, now: float) -> None:
        """Answer what broke the framing where that can be, and close (RFC 3261 §18.3)."""
        self.counters[f"stream.{frame.reason}"] += 1
        if frame.status is not None and frame.head:
            try:
                message = Message.parse(frame.head, stream=True)
            except ParseError:
                message = None
            if isinstance(message, Request) and message.method != "ACK":
                self._answer(flow, message, Rejection(frame.status, _phrase(frame.reason)))
        self._close(flow, frame.reason, now)

    def _close(self, flow: Flow, reason: str, now: float) -> None:
        if self.core.streams.pop(flow, None) is not None:
            self.core.out.append(CloseFlow(flow, reason))
            self._path_lost(flow, now)

    def _shed(self, flow: Flow, data: bytes) -> None:
        """Send one stateless 503, nothing twice (RFC 3261 §8.2.7)."""
        try:
            message = Message.parse(data)
        except ParseError:
            return
        if isinstance(message, Request) and message.method != "ACK":
            retry = (("Retry-After", str(self.settings.retry_after)),)
            self._answer(flow, message, Rejection(503, "Service Unavailable", retry))

    # Flows

    def _flow_opened(self, event: FlowOpened, now: float) -> None:
        flow = event.flow
        if flow.number and flow not in self.core.streams:
            self.core.streams[flow] = framing.StreamFramer(now)
        client = self.core.waiting.pop(event.token, None) if event.token is not None else None
        if client is not None:
            client.flow_opened(flow, now)

    def _flow_lost(self, event: FlowLost, now: float) -> None:
        if event.token is not None:
            client = self.core.waiting.pop(event.token, None)
            if client is not None:
                client.flow_failed(event.reason, now)
        if event.flow is not None:
            self.core.streams.pop(event.flow, None)
            self._path_lost(event.flow, now)

    def _path_lost(self, flow: Flow, now: float) -> None:
        self.core.transactions.path_lost(flow, now)
        for registration, binding in self._registrations.items():
            if binding.flow == flow and flow.reliable:
                registration.flow_lost(now)

    # Messages

    def _message(self, flow: Flow, data: bytes, now: float, *, stream: bool = False) -> None:
        try:
            message = Message.parse(data, stream=stream)
        except ParseError:
            self.counters["parse.dropped"] += 1
            return
        if self.settings.trace:
            self.core.happened.append(MessageSeen(message, flow, False))
        if isinstance(message, Request):
            self._request_received(flow, message, now)
        else:
            self._response_received(message, now)

    def _response_received(self, response: Response, now: float) -> None:
        wrong = validate_response(response)
        if wrong is not None:
            self.counters["response.invalid"] += 1
            return
        if self.core.transactions.response_received(response, now):
            return
        if response.cseq.method == "INVITE" and 200 <= response.status_code < 300:
            attempt = self.core.attempts.get((response.call_id, response.from_.tag or ""))
            if attempt is not None:
                attempt.concluded(attempt.client, response, now)
                return
        self.counters["response.unmatched"] += 1

    def _request_received(self, flow: Flow, request: Request, now: float) -> None:
        wrong = validate(
            request,
            transport=flow.transport,
            allow=self._methods,
            supported=self.settings.supported,
            accept=self.settings.accept,
        )
        if wrong is not None:
            self.counters[f"request.{wrong.status}"] += 1
            if request.method != "ACK":
                self._answer(flow, request, self._allowing(wrong))
            return
        _stamp(request, flow)
        key = server_key(request, flow)
        transaction = self.core.transactions.servers.get(key)
        if transaction is not None:
            given = Input.ACK if request.method == "ACK" else Input.REQUEST
            self.core.transactions.step(transaction, given, now, request)
        elif request.method == "ACK":
            self._ack(request, flow, now)
        elif request.method == "CANCEL":
            self._cancel(request, key, flow, now)
        elif request.to.tag:
            self._in_dialog(request, key, flow, now)
        else:
            self._out_of_dialog(request, key, flow, now)

    def _allowing(self, wrong: Rejection) -> Rejection:
        """Give Allow in the usual order; the validator was given a set."""
        if wrong.status != 405:
            return wrong
        return Rejection(405, wrong.reason, (("Allow", self.core.allow),))

    def _answer(self, flow: Flow, request: Request, refusal: Rejection) -> None:
        """Answer without any state: once, to the packet's source (RFC 3261 §8.2.7)."""
        try:
            _stamp(request, flow)
        except ParseError:
            self.counters["request.without_via"] += 1
        headers = refusal.headers
        if self.settings.user_agent:
            headers = (*headers, ("Server", self.settings.user_agent))
        tag = self.core.stateless_tag(request)
        response = request.respond(
            refusal.status, reason=refusal.reason, to_tag=tag, headers=headers
        )
        self.core.send(flow, bytes(response))

    def _reply(self, transaction: ServerTransaction, status: int, now: float, **more: Any) -> None:
        request = transaction.request
        assert request is not None
        tag = None if request.to.tag else self.core.stateless_tag(request)
        response = request.respond(status, to_tag=tag, **more)
        self.core.transactions.respond(transaction, response, now)

    def _serve(
        self, request: Request, key: Any, flow: Flow, now: float
    ) -> ServerTransaction | None:
        """Make the server transaction, unless strangers hold too many (RELIABILITY §1)."""
        transactions, settings = self.core.transactions, self.settings
        limit = settings.max_transactions
        held = len(transactions.servers)
        if held >= limit and (
            held >= settings.max_trusted_transactions or not self.core.trusted(flow.remote.host)
        ):
            self.counters["transaction.limit"] += 1
            if request.method != "ACK":
                retry = (("Retry-After", str(settings.retry_after)),)
                self._answer(flow, request, Rejection(503, "Service Unavailable", retry))
            return None
        trying = 0.0 if settings.trying_at_once else settings.timing.trying
        return transactions.serve(request, key, flow, now, trying=trying)

    # Requests, by what they belong to

    def _ack(self, request: Request, flow: Flow, now: float) -> None:
        call = self._call_of(request)
        if call is None or not call.known_path(flow):
            self.counters["ack.stray"] += 1  # never answered (RFC 3261 §17.1.1.3)
            return
        call.acknowledged_by_peer(request, now)

    def _call_of(self, request: Request) -> Call | None:
        key = (request.call_id, request.to.tag or "", request.from_.tag or "")
        return self.core.dialogs.get(key)

    def _cancel(self, request: Request, key: Any, flow: Flow, now: float) -> None:
        """Answer a CANCEL by itself, then end what it cancels (RFC 3261 §9.2)."""
        invite = self.core.transactions.servers.get(server_key(request, flow, "INVITE"))
        transaction = self._serve(request, key, flow, now)
        if transaction is None:
            return
        if invite is None or not _same_invite(request, invite.request):
            self._reply(transaction, 481, now)
            return
        self._reply(transaction, 200, now)
        if isinstance(invite.user, Call):
            if invite.user.transaction is invite:
                invite.user.cancelled(now)
            elif invite.user.remote_offer is not None and not invite.answered:
                invite.user.remote_offer.refuse(now, 487)

    def _in_dialog(self, request: Request, key: Any, flow: Flow, now: float) -> None:
        call = self._call_of(request)
        if call is None or not call.known_path(flow) or call.dialog is None:
            self.counters["request.481"] += 1
            self._answer(flow, request, Rejection(481, "Call/Transaction Does Not Exist"))
            return
        dialog, number = call.dialog, request.cseq.number
        if number <= dialog.remote_cseq:
            # RFC 3261 §12.2.2: out of order; a retransmission was met by its transaction.
            self.counters["request.out_of_order"] += 1
            self._answer(flow, request, Rejection(500, "CSeq Out of Order"))
            return
        transaction = self._serve(request, key, flow, now)
        if transaction is None:
            return
        dialog.remote_cseq = number
        if request.method == "INVITE":
            call.invited(request, transaction, now)
        elif request.method == "BYE":
            self._reply(transaction, 200, now)
            call.ended_by_peer(request, now)
        elif request.method == "OPTIONS":
            self._options(transaction, now)
        else:
            self._hand_up(request, transaction, now)

    def _out_of_dialog(self, request: Request, key: Any, flow: Flow, now: float) -> None:
        if request.method == "BYE":
            self._answer(flow, request, Rejection(481, "Call/Transaction Does Not Exist"))
            return
        merge = (request.call_id, request.from_.tag, request.cseq.number, request.method)
        if merge in self.core.transactions.merged:
            # RFC 3261 §8.2.2.2: the same request over another path.
            self.counters["request.merged"] += 1
            self._answer(flow, request, Rejection(482, "Loop Detected"))
            return
        if request.method == "INVITE" and self._full(request, flow):
            return
        transaction = self._serve(request, key, flow, now)
        if transaction is None:
            return
        self.core.transactions.merged[merge] = transaction
        transaction.merge_key = merge
        if request.method == "INVITE":
            Call.offered(self.core, request, flow, transaction, now)
        elif request.method == "OPTIONS":
            self._options(transaction, now)
        else:
            self._hand_up(request, transaction, now)

    def _full(self, request: Request, flow: Flow) -> bool:
        if not self.stopping and len(self.core.calls) < self.settings.max_calls:
            return False
        self.counters["call.limit"] += 1
        retry = (("Retry-After", str(self.settings.retry_after)),)
        self._answer(flow, request, Rejection(503, "Service Unavailable", retry))
        return True

    def _options(self, transaction: ServerTransaction, now: float) -> None:
        """Say what we can (RFC 3261 §11.2)."""
        headers = [
            ("Allow", self.core.allow),
            ("Accept", ", ".join(self.settings.accept)),
            ("Supported", ", ".join(self.settings.supported)),
        ]
        status = 503 if self.stopping else 200
        self._reply(transaction, status, now, headers=headers)

    def _hand_up(self, request: Request, transaction: ServerTransaction, now: float) -> None:
        self.core.transactions.bound(transaction, now)
        self.core.happened.append(RequestArrived(transaction, request))

    # Requests of ours

    def _request(
        self, method: str, uri: str, tag: str, *, account: Any = None, from_: str | None = None
    ) -> Request:
        target = parse_uri(uri)
        headers = Headers([("Max-Forwards", "70")])
        address = from_ or (f"<{account.aor}>" if account is not None else None)
        if address is not None:
            sender = NameAddress.parse(address)
            sender.parameters["tag"] = tag
            headers.add("From", str(sender))
        headers.add("To", f"<{target}>")
        headers.add("Call-ID", self.core.entropy(16).hex())
        headers.add("CSeq", f"{1 + int.from_bytes(self.core.entropy(2))} {method}")
        return Request(method, uri, headers)

    def _hop(self, uri: str, account: Any) -> NextHop:
        """Return where a request goes first: the account's proxy, else its own URI."""
        target = parse_uri(uri)
        proxy = account.outbound_proxy if account is not None else None
        if proxy is not None:
            transport = account.aor.parameters.get("transport")
            secure = account.aor.scheme == "sips"
            return NextHop(proxy.host, proxy.port, transport and transport.upper(), secure)
        if isinstance(target, SipURI):
            return NextHop.of(target)
        raise LocalProtocolError("only a proxy knows the way to this address")

    def _collect(self, now: float) -> None:
        """Send what registrations want sent, and take what they tell."""
        for registration, binding in self._registrations.items():
            for request in registration.outgoing():
                binding.send(
                    request, self._hop(request.raw_uri.decode(), registration.account), now
                )
            self.core.happened += registration.events()


class _Reporter:
    """Tells the outcome of `Endpoint.request`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """A provisional response tells nothing."""

    def concluded(self, client: ClientRequest, response: Response, now: float) -> None:
        """Tell the final response."""
        self._core.happened.append(RequestFinished(client, response, ""))

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """Tell why there is none."""
        self._core.happened.append(RequestFinished(client, None, reason))


class _Binding:
    """Carries the requests of one registration.

    Attributes:
        flow: over which the last REGISTER left; its loss is the binding's.
    """

    def __init__(self, core: Core, registration: Registration) -> None:
        self._core = core
        self._registration = registration
        self.flow: Flow | None = None

    def send(self, request: Request, hop: NextHop, now: float) -> None:
        """Send a REGISTER: over the flow of the binding while that stands."""
        client = ClientRequest(self._core, request, self)
        client.account = self._registration.account
        flow = self.flow if self.flow is not None and self.flow in self._core.streams else None
        client.start(now, flow=flow, hop=hop)

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """A provisional response changes nothing."""

    def concluded(self, client: ClientRequest, response: Response, now: float) -> None:
        """Pass the final response on."""
        self.flow = client.flow
        self._registration.response_received(response, now)

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """Pass the failure on."""
        self._registration.request_failed(reason, now)


def _stamp(request: Request, flow: Flow) -> None:
    """Note in the top Via where the request really came from (RFC 3261 §18.2.1, RFC 3581 §4).

    Raises:
        ParseError: there is no usable Via.
    """
    via = request.via
    remote = flow.remote
    if not via.wants_rport and via.host == remote.host:
        return
    if via.wants_rport:
        via.parameters["rport"] = str(remote.port)
    if via.wants_rport or canonical_ip(via.host) != remote.host:
        via.parameters["received"] = remote.host
    values = request.headers.values("Via")
    request.headers.remove("Via")
    for position, value in enumerate((str(via).encode("ascii"), *values[1:])):
        request.headers.insert(position, "Via", value)


def _same_invite(cancel: Request, invite: Request | None) -> bool:
    """Tell whether a CANCEL means an INVITE (RELIABILITY E2: a guessed branch is not enough)."""
    return (
        invite is not None
        and cancel.call_id == invite.call_id
        and cancel.from_.tag == invite.from_.tag
        and cancel.cseq.number == invite.cseq.number
    )


def _phrase(reason: str) -> str:
    return reason.replace("_", " ").capitalize()

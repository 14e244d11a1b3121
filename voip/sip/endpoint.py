"""The SIP endpoint: five verbs and a few commands over the machines of this package.

    Datagram, StreamBytes ─▶ admission ─▶ parse ─▶ response: client transaction ─▶ whoever asked
                                               └─▶ request:  `Reception`
    Resolved, FlowOpened, FlowLost ─▶ the client request that waits, the transactions on the path

The endpoint routes, merges the output of its machines and keeps their deadlines; it decides nothing
that one of them owns. Drain `outgoing` and `events` after every verb and every command.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from voip.errors import EndCause, LocalProtocolError, ParseError
from voip.machine import (
    CloseFlow,
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
from voip.sip.admission import Verdict
from voip.sip.attempt import Attempt
from voip.sip.binding import Binding
from voip.sip.connection import Connection
from voip.sip.core import Core
from voip.sip.departure import Address, Asked, Departure, next_hop
from voip.sip.events import MessageSeen
from voip.sip.invite import Call
from voip.sip.messages import Message, Request, Response
from voip.sip.reception import Reception
from voip.sip.settings import EndpointSettings
from voip.sip.validation import validate_response

if TYPE_CHECKING:
    from voip.machine import Counters
    from voip.sip.account import Account
    from voip.sip.client import ClientRequest
    from voip.sip.registration import Registration
    from voip.sip.transactions import ServerTransaction
    from voip.sip.types import SipURI, TelURI

__all__ = ["Endpoint", "EndpointSettings"]

_DROP, _SHED = Verdict.DROP, Verdict.SHED

Headered = Iterable[tuple[str, str]]


class Endpoint:
    """A SIP user agent without clock and sockets.

    Attributes:
        settings: what it was told; `listeners` may be filled in until the first flow is used.
        counters: of everything that was dropped, refused or absorbed.
        core: what its machines share.
    """

    def __init__(self, settings: EndpointSettings, entropy: Entropy) -> None:
        self.settings = settings
        self.core = Core(settings, entropy)
        self.core.close_flow = self._close
        self.counters: Counters = self.core.counters
        self._reception = Reception(self.core)
        self._asked = Asked(self.core)
        self._bindings: dict[Registration, Binding] = {}

    # Verbs

    def receive(self, event: Any, now: float) -> None:
        """Take one input; drain afterwards."""
        kind = type(event)
        if kind is Datagram:
            self._admit(event.flow, event.data, False, now)
        elif kind is StreamBytes:
            self._stream(event.flow, event.data, now)
        elif kind is FlowOpened:
            self._opened(event, now)
        elif kind is FlowLost:
            self._lost(event, now)
        elif kind is Resolved:
            client = self.core.waiting.pop(event.token, None)
            if client is not None:
                client.resolved(event.targets, event.reason, now)
        else:
            raise LocalProtocolError(f"not an input: {kind.__name__}")

    def advance(self, now: float) -> None:
        """Do what is due; drain afterwards."""
        timers = self.core.timers
        due = deque(timers.due(now))
        try:
            while due:
                timer = due.popleft()
                if not timer.cancelled:
                    timer.owner.expired(timer.reason, now)
        finally:
            if due:  # an owner failed: its bug must not cost the others their timers
                timers.restore(due)

    def deadline(self) -> Deadline | None:
        """Return when `advance` is wanted next."""
        return self.core.timers.deadline()

    def outgoing(self) -> list[Any]:
        """Return and forget what is to be sent, opened, closed or resolved."""
        core = self.core
        if not core.out:
            return []
        out, core.out = core.out, []
        return out

    def events(self) -> list[Any]:
        """Return and forget what happened."""
        core = self.core
        if not core.happened:
            return []
        happened, core.happened = core.happened, []
        return happened

    # Commands

    def call(
        self,
        uri: SipURI | TelURI | str,
        *,
        now: float,
        body: bytes = b"",
        headers: Headered = (),
        account: Account | None = None,
        from_: Address | None = None,
        targets: Iterable[Target] | None = None,
    ) -> Call:
        """Place a call; drain afterwards.

        Args:
            uri: whom to call.
            now: the time.
            body: the offer; empty asks the callee for one (then `Call.acknowledge` is wanted).
            headers: further header fields.
            account: who calls: its address, its proxy, its credentials.
            from_: the From address, when not the account's.
            targets: where to send it, instead of what RFC 3263 says.

        Raises:
            ParseError: (a ValueError) `uri` or `from_` is no address.
            ValueError: a header value holds a control character.
            LocalProtocolError: the endpoint goes down, or nothing tells where the call should go.
        """
        if self._reception.closed:
            raise LocalProtocolError("the endpoint goes down")
        core = self.core
        departure = Departure(core, "INVITE", uri, account, from_)
        departure.request.headers.add("Allow", core.allow)
        if self.settings.supported:
            departure.request.headers.add("Supported", ", ".join(self.settings.supported))
        departure.fill(headers, bytes(body))
        call = Call(core, departure.request, departure.tag, False)
        call.account = account
        client = departure.client(core, None)
        client.owner = call.attempt = Attempt(core, call, client)
        call.attempt.begin(now)
        client.start(now, targets=targets or (), hop=departure.hop)
        return call

    def request(
        self,
        method: str,
        uri: SipURI | TelURI | str,
        *,
        now: float,
        body: bytes = b"",
        headers: Headered = (),
        account: Account | None = None,
        from_: Address | None = None,
        targets: Iterable[Target] | None = None,
        flow: Flow | None = None,
    ) -> ClientRequest:
        """Send a request outside any dialog; `RequestFinished` tells the outcome. Drain afterwards.

        Args:
            method: any but INVITE, ACK and CANCEL.
            uri: whom to ask.
            now: the time.
            body: the body; a Content-Type other than application/sdp goes into `headers`.
            headers: further header fields.
            account: as for `call`.
            from_: as for `call`.
            targets: as for `call`.
            flow: over which it goes, when that is decided.

        Raises:
            ParseError: (a ValueError) `uri` or `from_` is no address.
            ValueError: a header value holds a control character.
            LocalProtocolError: the method has its own command, or nothing tells where it should go.
        """
        if method in ("INVITE", "ACK", "CANCEL"):
            raise LocalProtocolError(f"{method} belongs to a call")
        departure = Departure(self.core, method, uri, account, from_)
        departure.fill(headers, bytes(body))
        client = departure.client(self.core, self._asked)
        client.start(now, flow=flow, targets=targets or (), hop=departure.hop)
        return client

    def register(self, registration: Registration, now: float) -> None:
        """Begin to register, and stay registered; drain afterwards."""
        binding = self._bindings.get(registration)
        if binding is None:
            hop = next_hop(registration.account.registrar, registration.account)
            binding = self._bindings[registration] = Binding(self.core, registration, hop)
        registration.start(now)
        binding.drain(now)

    def unregister(self, registration: Registration, now: float) -> None:
        """Take a binding away; `Unregistered` follows. Drain afterwards."""
        binding = self._bindings.get(registration)
        if binding is not None:
            registration.stop(now)
            binding.drain(now)

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Answer a `RequestArrived`; drain afterwards.

        Raises:
            LocalProtocolError: it was answered, or took so long that nobody waits.
        """
        self.core.transactions.respond(transaction, response, now)

    def shutdown(self, now: float) -> None:
        """Take nothing new and end every call; drain afterwards, until `idle`."""
        self._reception.closed = True
        for call in list(self.core.calls):
            call.hang_up(now, EndCause.SHUTDOWN)

    # What it says of itself

    @property
    def allow(self) -> str:
        """The value of our Allow header."""
        return self.core.allow

    @property
    def idle(self) -> bool:
        """Whether no call and no request of ours is under way; absorbed repeats do not count."""
        return not self.core.calls and not self.core.clients

    def sizes(self) -> dict[str, int]:
        """Return how many there are of everything that must be gone in the end."""
        core, transactions = self.core, self.core.transactions
        servers = len(transactions.servers) + len(transactions.lingering)
        return {
            "transactions": len(transactions.clients) + servers,
            "merged": len(transactions.merged),
            "dialogs": len(core.dialogs),
            "calls": len(core.calls),
            "requests": len(core.clients),
            "attempts": len(core.attempts),
            "waiting": len(core.waiting),
            "timers": len(core.timers),
        }

    # Messages

    def _admit(self, flow: Flow, data: bytes, stream: bool, now: float) -> None:
        core = self.core
        verdict = core.admission.admit(flow, data, now)
        if verdict is _DROP:
            return
        try:
            message = Message.parse(data, stream=stream)
        except ParseError:
            core.counters["message.unparsable"] += 1
            return
        core.arrived_bytes = len(data)
        if core.send_traced:
            core.happened.append(MessageSeen(message, flow, False))
        if type(message) is Response:
            self._response(message, flow, now)
        elif verdict is _SHED:
            retry = (("Retry-After", str(self.settings.retry_after)),)
            self._reception.answer(message, flow, 503, retry)  # type: ignore[arg-type]
        else:
            self._reception.take(message, flow, now)  # type: ignore[arg-type]

    def _response(self, response: Response, flow: Flow, now: float) -> None:
        core = self.core
        wrong = validate_response(response)
        if wrong is not None:
            core.counters["response.invalid"] += 1
            return
        if core.transactions.response_received(response, flow, now):
            return
        if response.status_code // 100 == 2 and response.cseq.method == "INVITE":
            # RFC 3261 §13.2.2.4: a 2xx that outlived its transaction is still owed ACK and BYE.
            attempt = core.attempts.get((response.call_id, response.from_.tag or ""))
            if attempt is not None and attempt.client.under(response.via.branch) is not None:
                attempt.concluded(attempt.client, response, now)
                return
        core.counters["response.stray"] += 1

    def _stream(self, flow: Flow, data: bytes, now: float) -> None:
        connection = self.core.streams.get(flow)
        if connection is None:
            self.core.counters["stream.unknown"] += 1
            return
        if not data:
            self._close(flow, "end of stream", now)
            return
        served = False
        for frame in connection.receive(data, now):
            if isinstance(frame, framing.Message):
                served = True
                self._admit(flow, frame.data, True, now)
            elif isinstance(frame, framing.Broken):
                self._broken(flow, frame, now)
                if served:
                    connection.end(now)  # once what came before is answered
                else:
                    self._close(flow, frame.reason, now)

    def _broken(self, flow: Flow, frame: framing.Broken, now: float) -> None:
        """Answer a stream that lost its boundaries, where an answer is owed."""
        self.counters[f"stream.{frame.reason}"] += 1
        if frame.status is not None:
            try:
                message = Message.parse(frame.head, stream=True)
            except ParseError:
                self.counters["message.unparsable"] += 1
            else:
                if isinstance(message, Request):
                    self._reception.answer(message, flow, frame.status, (), frame.phrase)

    # Flows

    def _opened(self, event: FlowOpened, now: float) -> None:
        core, flow = self.core, event.flow
        if flow.number and flow not in core.streams:
            accepted = event.token is None
            core.streams[flow] = Connection(core, flow, now, accepted=accepted)
        client = core.waiting.pop(event.token, None)
        if client is not None:
            client.flow_opened(flow, now)

    def _lost(self, event: FlowLost, now: float) -> None:
        core = self.core
        if event.token is not None:
            client = core.waiting.pop(event.token, None)
            if client is not None:
                client.flow_failed(event.reason, now)
        if event.flow is not None:
            self._gone(event.flow, now)

    def _close(self, flow: Flow, reason: str, now: float) -> None:
        """End a connection from our side."""
        if flow in self.core.streams:
            self.core.out.append(CloseFlow(flow, reason))
            self._gone(flow, now)

    def _gone(self, flow: Flow, now: float) -> None:
        core = self.core
        connection = core.streams.pop(flow, None)
        if connection is not None:
            connection.close()
        elif flow.number:
            return  # told already
        core.counters["flow.lost"] += 1
        core.transactions.path_lost(flow, now)
        for binding in list(self._bindings.values()):
            binding.flow_lost(flow, now)

"""What the machines of one endpoint share: settings, timers, tables, and what leaves."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from voip.errors import ParseError
from voip.machine import Counters, Entropy, Flow, Timers, Transmit
from voip.sip.admission import Admission, AdmissionSettings
from voip.sip.events import MessageSeen
from voip.sip.headers import response_line
from voip.sip.messages import Message
from voip.sip.transactions import Transactions
from voip.types import HostPort

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from voip.sip.client import ClientRequest
    from voip.sip.dialog import DialogKey
    from voip.sip.invite import Call
    from voip.sip.messages import Request
    from voip.sip.settings import EndpointSettings

__all__ = ["Core"]

METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")


class Core:
    """The one place where calls, client requests and the endpoint meet.

    Attributes:
        settings: the endpoint's.
        counters: of everything that was dropped, refused or absorbed.
        timers: owners have `expired(reason, now)`.
        transactions: the transaction layer.
        dialogs: (Call-ID, local tag, remote tag) to the call that owns the dialog.
        attempts: (Call-ID, local tag) of outgoing INVITEs, until no 2xx can come any more.
        calls: calls that are not ended.
        clients: client requests under way.
        waiting: token to the client request that waits for `Resolved` or `FlowOpened`.
        streams: connections that stand.
        out: what `outgoing()` hands over.
        happened: what `events()` hands over.
    """

    def __init__(self, settings: EndpointSettings, entropy: Entropy) -> None:
        self.settings = settings
        self.entropy = entropy
        self.counters = Counters()
        self.timers = Timers()
        self.out: list[Any] = []
        self.happened: list[Any] = []
        self.transactions = Transactions(settings.timing, self.timers, self.counters, self.send)
        self.dialogs: dict[DialogKey, Call] = {}
        self.attempts: dict[tuple[str, str], Any] = {}
        self.calls: dict[Call, None] = {}
        self.clients: set[ClientRequest] = set()
        self.waiting: dict[Hashable, ClientRequest] = {}
        self.streams: dict[Flow, Any] = {}
        self.methods = (*METHODS, *settings.methods)
        self.admission = Admission(
            settings.admission or AdmissionSettings(peers=settings.peers), self.counters
        )
        self.transactions.on_server_gone = self.admission.give_transaction
        self.close_flow: Callable[[Flow, str, float], None] = _no_flow
        self.allow = ", ".join(self.methods)
        self._contacts: dict[tuple[str, HostPort, bool], str] = {}
        self._said: dict[str, tuple[str, str]] = {}
        self._tokens = 0
        self._secret: bytes | None = None
        self.send_traced = settings.trace
        self.arrived_bytes = 0

    def send(self, flow: Flow, data: bytes) -> None:
        """Queue bytes; a stream that is gone takes none."""
        if flow.number and flow not in self.streams:
            self.counters["sent.flow_lost"] += 1
            return
        self.out.append(Transmit(flow, data))
        if self.send_traced:
            try:
                message = Message.parse(data)
            except ParseError:
                return
            self.happened.append(MessageSeen(message, flow, True))

    def send_raw(self, flow: Flow, data: bytes) -> None:
        """Queue bytes that are no message: a keep-alive."""
        if not flow.number or flow in self.streams:
            self.out.append(Transmit(flow, data))

    def uses(self, flow: Flow) -> bool:
        """Tell whether a call lives on a connection; asked only when it has been idle for long."""
        return any(call.flow == flow for call in self.calls)

    def token(self, client: ClientRequest) -> int:
        """Return a fresh number under which a client request is answered."""
        self._tokens += 1
        self.waiting[self._tokens] = client
        return self._tokens

    def new_tag(self) -> str:
        """Return 64 bits as a tag."""
        return self.entropy(8).hex()

    def new_branch(self) -> str:
        """Return a branch that nobody guesses (RFC 3261 §8.1.1.7)."""
        return "z9hG4bK" + self.entropy(12).hex()

    def stateless_tag(self, request: Request) -> str:
        """Return a To tag that every copy of a request gets again (RFC 3261 §8.2.7)."""
        if self._secret is None:
            self._secret = self.entropy(16)
        digest = hashlib.blake2b(digest_size=8, key=self._secret)
        for name in ("Call-ID", "From", "CSeq"):
            digest.update(request.headers.raw(name) or b"")
        return digest.hexdigest()

    def listener(self, flow: Flow) -> HostPort:
        """Return the address under which requests reach us beside this flow."""
        settings = self.settings
        known = settings.listeners.get(flow.transport)
        port = known.port if known is not None else flow.local.port
        if settings.public_address is not None:
            public = settings.public_address
            return HostPort(public.host, public.port or port)
        return HostPort(flow.local.host, port)

    def contact(self, flow: Flow, request: Request) -> str:
        """Return our Contact for a flow (RFC 3261 §8.1.1.8).

        Args:
            flow: over which peers know us.
            request: what it goes into, or what it answers: where that asks for `sips:`, so do we.
        """
        secure = flow.transport == "TLS" and _asks_for_sips(request)
        key = (flow.transport, flow.local, secure)
        contact = self._contacts.get(key)
        if contact is None:
            suffix = "" if flow.transport == "UDP" else f";transport={flow.transport.lower()}"
            # RFC 5630 §3.1.4: sips says TLS by itself; transport=tls beside it is no longer used.
            scheme, suffix = ("sips", "") if secure else ("sip", suffix)
            contact = f"<{scheme}:{self.settings.contact_user}@{self.listener(flow)}{suffix}>"
            if len(self._contacts) > 1000:
                self._contacts.clear()
            self._contacts[key] = contact
        return contact

    def says(self, flow: Flow, request: Request) -> tuple[str, str]:
        """Return the lines of our responses to an INVITE: those of a 1xx, and those of a 2xx.

        They hold Contact, and Allow in a 2xx, as `Request.answer` takes them.
        """
        contact = self.contact(flow, request)
        said = self._said.get(contact)
        if said is None:
            line = response_line("Contact", contact)
            said = (line, line + response_line("Allow", self.allow))
            if len(self._said) > 1000:
                self._said.clear()
            self._said[contact] = said
        return said

    def via(self, flow: Flow) -> str:
        """Return a top Via with a fresh branch, and rport (RFC 3581 §3)."""
        address = self.listener(flow)
        return f"SIP/2.0/{flow.transport} {address};branch={self.new_branch()};rport"


def _asks_for_sips(request: Request) -> bool:
    """Tell whether a request goes to `sips:` or over such a hop (RFC 3261 §8.1.1.8, §12.1.1)."""
    headers = request.headers
    hop = headers.raw("Route") or headers.raw("Record-Route") or b""
    return _is_sips(request.raw_uri) or _is_sips(hop[hop.find(b"<") + 1 :])


def _is_sips(uri: bytes) -> bool:
    return uri[:5].lower() == b"sips:"


def _no_flow(flow: Flow, reason: str, now: float) -> None:
    """Close nothing: the endpoint has not taken over yet."""

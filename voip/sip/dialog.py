"""Dialogs (RFC 3261 §12): tags, CSeq, route set, remote target; what goes into the next request."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from voip.errors import LocalProtocolError, ParseError
from voip.sip.fields import recorded_routes
from voip.sip.headers import Headers
from voip.sip.messages import Request
from voip.sip.syntax import text_of
from voip.sip.types import NameAddress, SipURI
from voip.types import canonical_ip

if TYPE_CHECKING:
    from collections.abc import Collection

    from voip.machine import Flow
    from voip.sip.messages import Message, Response

__all__ = ["Dialog", "DialogKey", "NextHop", "behind_nat", "speaks_for"]

DialogKey = tuple[str, str, str]


class NextHop(NamedTuple):
    """Where a request goes next (RFC 3261 §8.1.2), before RFC 3263 is asked."""

    host: str
    port: int | None
    transport: str | None
    secure: bool

    @classmethod
    def of(cls, uri: SipURI) -> NextHop:
        """Read it off a URI; `maddr` and `transport` count (RFC 3263 §4)."""
        transport = uri.parameters.get("transport")
        return cls(
            uri.host,
            uri.port,
            transport.upper() if transport else None,
            uri.scheme == "sips",
        )


class Dialog:
    """One dialog, early or confirmed.

    Attributes:
        call_id: the Call-ID.
        local_tag: our tag.
        remote_tag: the peer's tag, "" for one that sends none (RFC 2543).
        local: the From value of our requests, tag included.
        remote: the To value of our requests, tag included.
        local_cseq: number of our last request; 0 before the first one.
        remote_cseq: number of the peer's last request; -1 before the first one.
        routes: the route set, nearest first, as header values.
    """

    __slots__ = (
        "_contact",
        "call_id",
        "local",
        "local_cseq",
        "local_tag",
        "remote",
        "remote_cseq",
        "remote_tag",
        "routes",
    )

    def __init__(self, call_id: str, local_tag: str, remote_tag: str) -> None:
        self.call_id = call_id
        self.local_tag = local_tag
        self.remote_tag = remote_tag
        self.local = ""
        self.remote = ""
        self.local_cseq = 0
        self.remote_cseq = -1
        self._contact: NameAddress | str | None = None
        self.routes: list[str] = []

    @classmethod
    def answering(cls, request: Request, local_tag: str) -> Dialog:
        """Make the UAS's side from the request that asks for it (RFC 3261 §12.1.1)."""
        headers = request.headers
        shape = headers.shape
        if shape is not None:
            dialog = cls(shape.call_id, local_tag, shape.from_tag)
            dialog.local = f"{_said(shape.to)};tag={local_tag}"
            dialog.remote = _said(shape.from_)
            dialog.remote_cseq = int(shape.number)
            dialog._contact = shape.contact
            if shape.routes is not None:
                dialog.routes = [_text(value) for value in recorded_routes(shape)]
            return dialog
        dialog = cls(request.call_id, local_tag, request.from_.tag or "")
        dialog.local = f"{headers['To']};tag={local_tag}"
        dialog.remote = headers["From"]
        dialog.remote_cseq = request.cseq.number
        dialog.contact = request.contact
        if "Record-Route" in headers:
            dialog.routes = [_text(value) for value in headers.values("Record-Route")]
        return dialog

    @classmethod
    def asking(cls, request: Request, response: Response) -> Dialog:
        """Make the UAC's side from a response that has a To tag (RFC 3261 §12.1.2)."""
        dialog = cls(request.call_id, request.from_.tag or "", response.to.tag or "")
        dialog.local = request.headers["From"]
        dialog.remote = response.headers["To"]
        dialog.local_cseq = request.cseq.number
        dialog.refresh(response)
        if "Record-Route" in response.headers:
            routes = [_text(value) for value in response.headers.values("Record-Route")]
            dialog.routes = routes[::-1]
        return dialog

    @property
    def contact(self) -> NameAddress | None:
        """The peer's Contact: the remote target."""
        contact = self._contact
        if type(contact) is str:  # most calls never ask for it
            contact = self._contact = NameAddress.parse(contact.encode("latin-1"))
        return contact  # type: ignore[return-value]

    @contact.setter
    def contact(self, contact: NameAddress | None) -> None:
        self._contact = contact

    @property
    def key(self) -> DialogKey:
        """Under which the endpoint holds it."""
        return (self.call_id, self.local_tag, self.remote_tag)

    def hosts(self) -> list[str]:
        """Return the hosts that may speak for the peer: its target and the route set."""
        uris = []
        if self.contact is not None:
            uris.append(self.contact.uri)
        uris += [NameAddress.parse(route).uri for route in self.routes]
        return [uri.host for uri in uris if isinstance(uri, SipURI)]

    def refresh(self, message: Message) -> None:
        """Take the Contact of a target refresh request or its 2xx (RFC 3261 §12.2)."""
        try:
            contact = message.contact
        except ParseError:
            return
        if contact is not None:
            self.contact = contact

    def next_hop(self) -> NextHop:
        """Return where our next request goes: the first route, else the remote target.

        Raises:
            LocalProtocolError: the peer told no usable address.
        """
        uri = NameAddress.parse(self.routes[0]).uri if self.routes else self._target()
        if not isinstance(uri, SipURI):
            raise LocalProtocolError(f"no way to a {type(uri).__name__} target")
        return NextHop.of(uri)

    def request(self, method: str, *, cseq: int | None = None) -> Request:
        """Build a request inside the dialog, without Via and Contact (RFC 3261 §12.2.1.1).

        Args:
            method: its method.
            cseq: the number of the INVITE for an ACK; None takes the next one.

        Raises:
            LocalProtocolError: the peer told no usable address.
        """
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = str(self._target()), self.routes
        if routes:
            first = NameAddress.parse(routes[0]).uri
            if isinstance(first, SipURI) and "lr" not in first.parameters:
                # A strict router: it becomes the Request-URI and the target the last route.
                uri, routes = str(first), [*routes[1:], f"<{uri}>"]
        headers = Headers()
        for route in routes:
            headers.add("Route", route)
        headers.add("Max-Forwards", "70")
        headers.add("From", self.local)
        headers.add("To", self.remote)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{cseq} {method}")
        return Request(method, uri, headers)

    def _target(self) -> SipURI:
        contact = self.contact
        if contact is not None and isinstance(contact.uri, SipURI):
            return contact.uri
        remote = NameAddress.parse(self.remote).uri
        if contact is None and isinstance(remote, SipURI):  # RFC 2543 peers sent no Contact
            return remote
        raise LocalProtocolError("the peer's Contact is not a SIP URI")


def speaks_for(dialog: Dialog | None, mine: Flow, flow: Flow, peers: Collection[str]) -> bool:
    """Tell whether a flow from another address may speak for a peer: guessed tags are not enough.

    Args:
        dialog: whose target and routes may speak, None while there is none.
        mine: the flow that the dialog came by.
        flow: the one in question.
        peers: addresses that speak for each other.
    """
    if flow.identity and flow.identity == mine.identity:
        return True
    if flow.remote.host in peers and mine.remote.host in peers:
        return True
    if dialog is None:
        return False
    return canonical_ip(flow.remote.host) in [canonical_ip(host) for host in dialog.hosts()]


def behind_nat(dialog: Dialog, flow: Flow, via_host: str | None = None) -> bool:
    """Tell whether the peer's Contact leads nowhere, so that only its flow reaches it.

    Deviation from RFC 3261 §12.2.1.1, and what every phone behind a NAT depends on: without a proxy
    that stays on the path, a peer whose packets come from another address than it believes to have
    is answered where its packets come from.
    """
    contact = dialog.contact
    if dialog.routes or contact is None or not isinstance(contact.uri, SipURI):
        return False
    source = flow.remote.host
    if contact.uri.host == source:
        return False
    if via_host is not None and _address(via_host) not in (None, _address(source)):
        return True
    told, seen = _address(contact.uri.host), _address(source)
    return told is not None and seen is not None and told.is_private and not seen.is_private


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(canonical_ip(host))
    except ValueError:
        return None


def _said(value: str) -> str:
    """Return what a shape says in Latin-1 as text."""
    return value if value.isascii() else text_of(value.encode("latin-1"))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")

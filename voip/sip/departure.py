"""Requests of ours that begin something: what is in them, where they go first, who is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from voip.errors import LocalProtocolError
from voip.sip.client import ClientRequest
from voip.sip.dialog import NextHop
from voip.sip.events import RequestFinished
from voip.sip.headers import Headers, canonical_name
from voip.sip.messages import Request, Response
from voip.sip.types import NameAddress, SipURI, TelURI, parse_uri

if TYPE_CHECKING:
    from voip.sip.account import Account
    from voip.sip.core import Core

__all__ = ["Address", "Asked", "Departure", "callable_uri", "next_hop"]

Address = NameAddress | SipURI | str

# What makes a request ours: a second one of these, or another, would break its transaction.
_OURS = ("via", "from", "to", "call-id", "cseq", "max-forwards", "content-length", "record-route")


class Departure:
    """One request outside a dialog (RFC 3261 §8.1.1), before it has a flow.

    Attributes:
        request: the request, without what only the flow tells (Via, Contact, perhaps From).
        tag: our From tag.
        hop: where it goes first.
        account: whose it is.
    """

    __slots__ = ("account", "hop", "request", "tag")

    def __init__(
        self,
        core: Core,
        method: str,
        uri: SipURI | TelURI | str,
        account: Account | None,
        from_: Address | None,
    ) -> None:
        """Build it.

        Raises:
            ParseError: (a ValueError) `uri` or `from_` is no address.
            LocalProtocolError: nothing tells where it should go.
        """
        target = callable_uri(uri)
        self.account = account
        self.hop = next_hop(target, account)
        self.tag = core.new_tag()
        headers = Headers()
        headers.add("Max-Forwards", "70")
        if from_ is None and account is not None:
            from_ = account.address
        if from_ is not None:
            headers.add("From", str(_named(from_).with_tag(self.tag)))
        headers.add("To", f"<{target}>")
        headers.add("Call-ID", core.entropy(16).hex())
        headers.add("CSeq", f"1 {method}")
        self.request = Request(method, target, headers)

    def fill(self, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Add header fields, and a body that is a session description unless they say otherwise.

        Raises:
            ValueError: a header value holds a control character, or a header is the endpoint's own.
        """
        request = self.request
        for name, value in headers:
            if canonical_name(name) in _OURS:
                raise ValueError(f"{name} is not the application's to set")
            request.headers.add(name, value)
        if body and "Content-Type" not in request.headers:
            request.headers.add("Content-Type", "application/sdp")
        request.raw_body = body

    def client(self, core: Core, owner: Any) -> ClientRequest:
        """Return what will carry it."""
        client = ClientRequest(core, self.request, owner)
        client.tag = self.tag
        account = client.account = self.account
        if account is not None:
            proxy = account.outbound_proxy
            client.own_hop = self.hop.host == (proxy.host if proxy else account.aor.host)
        return client


class Asked:
    """The owner of requests that the application sent."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """A provisional response is not told."""

    def concluded(self, client: ClientRequest, response: Response, now: float) -> None:
        """Tell the final response."""
        self._core.happened.append(RequestFinished(client, response, ""))

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """Tell that there is none."""
        self._core.happened.append(RequestFinished(client, None, reason))


def callable_uri(uri: SipURI | TelURI | str) -> SipURI | TelURI:
    """Return an address that a request can go to.

    Raises:
        ParseError: (a ValueError) it is no URI.
        LocalProtocolError: it is neither SIP nor a telephone number.
    """
    parsed = parse_uri(uri) if isinstance(uri, str) else uri
    if not isinstance(parsed, SipURI | TelURI):
        raise LocalProtocolError(f"cannot call a {parsed.scheme}: address")
    return parsed


def next_hop(uri: SipURI | TelURI, account: Account | None) -> NextHop:
    """Return where a request goes first: the account's proxy, else the URI's host (§8.1.2).

    Raises:
        LocalProtocolError: a telephone number without an account that knows the way.
    """
    own = None if account is None else NextHop.of(account.aor)
    if isinstance(uri, SipURI):
        hop = NextHop.of(uri)
        if own is not None and uri.host == own.host and hop.port is None and not hop.transport:
            hop = NextHop(hop.host, own.port, own.transport, hop.secure)
    elif own is not None:
        hop = own
    else:
        raise LocalProtocolError("a tel: number needs an account that knows the way")
    proxy = None if account is None else account.outbound_proxy
    if proxy is None or own is None:
        return hop
    transport = hop.transport or own.transport
    return NextHop(proxy.host, proxy.port, transport, hop.secure or own.secure)


def _named(address: Address) -> NameAddress:
    if isinstance(address, str):
        return NameAddress.parse(address)
    return address if isinstance(address, NameAddress) else NameAddress(address)

"""One transaction: its state, its timers, the bytes that it repeats, and the key it is found by."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Protocol

from voip.sip.tables import Kind, State

if TYPE_CHECKING:
    from voip.machine import Flow, Timer
    from voip.sip.messages import Request, Response

__all__ = [
    "ClientTransaction",
    "ServerTransaction",
    "Transaction",
    "TransactionUser",
    "acknowledgement",
    "server_key",
]

_COOKIE = "z9hG4bK"
_CALLING = State.CALLING
_UNANSWERED = (State.TRYING, State.PROCEEDING)


class Steps(Protocol):
    """Who moves a transaction on: the layer that holds it."""

    def step(self, transaction: Any, given: str, now: float, message: Any = None) -> bool:
        """Feed one input."""


class TransactionUser(Protocol):
    """What a transaction reports to: a client request, a call, or whoever answers a request."""

    def response_received(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """Take a response that is not a repeat."""

    def transaction_failed(self, transaction: Transaction, reason: str, now: float) -> None:
        """Learn that it ended without a final response: `timeout` or `transport`."""


class Transaction:
    """One transaction: its state, its two timers, and the bytes that it repeats.

    Attributes:
        kind: which table.
        state: where in it.
        key: under which it is found; of a server transaction, what `server_key` says.
        flow: where its messages go.
        user: whom it reports to; None when nobody cares.
        data: the bytes that are repeated: a request, a response, or the ACK of a refusal.
    """

    __slots__ = (
        "data",
        "flow",
        "interval",
        "key",
        "kind",
        "layer",
        "limit",
        "repeat",
        "request",
        "state",
        "user",
    )

    def __init__(self, layer: Steps, kind: Kind, key: Hashable, flow: Flow) -> None:
        self.layer = layer
        self.kind = kind
        self.key = key
        self.flow = flow
        self.state = _CALLING
        self.user: Any = None
        self.data = b""
        self.request: Request | None = None
        self.repeat: Timer | None = None
        self.limit: Timer | None = None
        self.interval = 0.0

    def expired(self, reason: str, now: float) -> None:
        """Take the expiry of one of its timers, named by its input."""
        self.layer.step(self, reason, now)

    def __repr__(self) -> str:
        return f"<{self.kind} transaction, {self.state}>"


class ClientTransaction(Transaction):
    """A request of ours and what comes back."""

    __slots__ = ()


class ServerTransaction(Transaction):
    """A request of a peer and what we say to it.

    Attributes:
        identity: Call-ID, From tag, CSeq: what a CANCEL or another copy of the request shares
            with it (§9.2, §8.2.2.2); "" where neither can come.
        tag: the To tag of our responses, where they make or meet a dialog.
        trusted: in which budget it is counted.
    """

    __slots__ = ("identity", "tag", "trusted")

    key: str
    identity: str
    tag: str | None
    trusted: bool

    @property
    def answered(self) -> bool:
        """Whether a final response has left."""
        return self.state not in _UNANSWERED


def server_key(request: Request, flow: Flow, method: str | None = None) -> str:
    """Return the key of the server transaction that a request belongs to (RFC 3261 §17.2.3).

    The source address is part of it, so that two clients that use one branch do not meet. A branch
    without the cookie, or with nothing behind it, falls back to the rules of RFC 2543.

    No part can hold the line end between them: it ends a header, or was replaced when the message
    was read. The two forms differ in how many parts they have.
    """
    name = method or request.method
    if name == "ACK":
        name = "INVITE"
    shape = request.headers.shape
    if shape is not None and len(shape.branch) > 7 and shape.branch.startswith(_COOKIE):
        port = int(shape.port[1:]) if shape.port else None
        remote = flow.remote
        return f"{shape.branch}\n{shape.host.lower()}\n{port}\n{remote.host}\n{name}"
    via = request.via
    branch = via.parameters.get("branch")
    if branch is not None and len(branch) > 7 and branch.startswith(_COOKIE):
        return f"{branch}\n{via.host.lower()}\n{via.port}\n{flow.remote.host}\n{name}"
    uri, number = request.raw_uri.decode("latin-1"), request.cseq.number
    tag = request.from_.tag or ""  # an empty tag or branch cannot be read: "" is none
    old = f"{uri}\n{tag}\n{request.call_id}\n{number}\n{branch or ''}\n{via.sent_by}"
    return f"{old}\n{flow.remote.host}\n{name}"


def acknowledgement(request: Request, response: Response) -> bytes:
    """Return the ACK for a refusal: as the INVITE, but the response's To (RFC 3261 §17.1.1.3)."""
    headers, to = request.headers, response.headers.raw("To") or b""
    lines = [b"ACK ", request.raw_uri, b" SIP/2.0\r\nVia: ", headers.raw("Via") or b""]
    lines += [b"\r\nMax-Forwards: 70\r\nTo: ", to, b"\r\nFrom: ", headers.raw("From") or b""]
    lines += [b"\r\nCall-ID: ", headers.raw("Call-ID") or b""]
    lines.append(b"\r\nCSeq: %d ACK" % request.cseq.number)
    for route in headers.values("Route"):
        lines += [b"\r\nRoute: ", route]
    lines.append(b"\r\nContent-Length: 0\r\n\r\n")
    return b"".join(lines)

"""The four transaction tables of RFC 3261 §17 with the corrections of RFC 6026, as data.

Machines in this module and what feeds them:

- *INVITE client* and *non-INVITE client*: `Transactions.request` starts one, responses reach it by the
  branch and the method of their top Via and CSeq (§17.1.3).
- *INVITE server* and *non-INVITE server*: `Transactions.serve` starts one, repeats and ACKs reach it by
  `server_key` (§17.2.3), the user's responses by `Transactions.respond`.

Each is one table: (state, input) -> (state, action). An action is a method of `Transactions` of that
name. What is not in a table is ignored and counted when it came from a peer or a clock, and is a
`LocalProtocolError` when it came from our own side. The documentation draws its diagrams from
`TABLES`, and the tests throw every input at every state.

Joint rules: retransmission of everything except the 2xx to an INVITE lives here (the 2xx is the INVITE
usage's, §13.3.1.4); timers of zero length (reliable transports) fire within the same step; a terminated
transaction has left the tables before its user hears of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Protocol

from voip.errors import LocalProtocolError

if TYPE_CHECKING:
    from voip.machine import Counters, Flow, Timer, Timers
    from voip.sip.messages import Request, Response
    from voip.sip.settings import Timing

__all__ = [
    "TABLES",
    "ClientTransaction",
    "Input",
    "Kind",
    "ServerTransaction",
    "State",
    "Transaction",
    "Transactions",
    "server_key",
]

_COOKIE = "z9hG4bK"


class Kind(enum.StrEnum):
    """Which of the four tables."""

    INVITE_CLIENT = "INVITE client"
    CLIENT = "non-INVITE client"
    INVITE_SERVER = "INVITE server"
    SERVER = "non-INVITE server"


class State(enum.StrEnum):
    """States of RFC 3261 §17; Accepted is RFC 6026 §7."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Input(enum.StrEnum):
    """Everything that can happen to a transaction."""

    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    REQUEST = "request again"
    ACK = "ACK"
    SEND_PROVISIONAL = "send 1xx"
    SEND_SUCCESS = "send 2xx"
    SEND_FAILURE = "send 300-699"
    TIMER_100 = "timer 100"
    TIMER_A = "timer A"
    TIMER_B = "timer B"
    TIMER_D = "timer D"
    TIMER_E = "timer E"
    TIMER_F = "timer F"
    TIMER_G = "timer G"
    TIMER_H = "timer H"
    TIMER_I = "timer I"
    TIMER_J = "timer J"
    TIMER_K = "timer K"
    TIMER_L = "timer L"
    TIMER_M = "timer M"
    TRANSPORT_ERROR = "transport error"


S, I = State, Input  # noqa: E741 - the tables are read as tables
Table = dict[tuple[State, Input], tuple[State, str]]

#: RFC 3261 §17.1.1.2 as replaced by RFC 6026 §8.4.
INVITE_CLIENT: Table = {
    (S.CALLING, I.TIMER_A): (S.CALLING, "resend"),
    (S.CALLING, I.TIMER_B): (S.TERMINATED, "time_out"),
    (S.CALLING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.CALLING, I.PROVISIONAL): (S.PROCEEDING, "proceed"),
    (S.CALLING, I.SUCCESS): (S.ACCEPTED, "accept"),
    (S.CALLING, I.FAILURE): (S.COMPLETED, "refuse"),
    (S.PROCEEDING, I.PROVISIONAL): (S.PROCEEDING, "pass_response"),
    (S.PROCEEDING, I.SUCCESS): (S.ACCEPTED, "accept"),
    (S.PROCEEDING, I.FAILURE): (S.COMPLETED, "refuse"),
    # Deviation: a lost connection ends a proceeding INVITE at once instead of at the ringing deadline.
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.COMPLETED, I.FAILURE): (S.COMPLETED, "acknowledge_again"),
    # Deviation: a 2xx after a non-2xx final (a proxy that broke §16.7) is still owed ACK and BYE.
    (S.COMPLETED, I.SUCCESS): (S.COMPLETED, "pass_response"),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, "forget"),
    (S.COMPLETED, I.TIMER_D): (S.TERMINATED, "forget"),
    (S.ACCEPTED, I.SUCCESS): (S.ACCEPTED, "pass_response"),
    (S.ACCEPTED, I.TIMER_M): (S.TERMINATED, "forget"),
}

#: RFC 3261 §17.1.2.2.
CLIENT: Table = {
    (S.TRYING, I.TIMER_E): (S.TRYING, "resend_slower"),
    (S.TRYING, I.TIMER_F): (S.TERMINATED, "time_out"),
    (S.TRYING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.TRYING, I.PROVISIONAL): (S.PROCEEDING, "pass_response"),
    (S.TRYING, I.SUCCESS): (S.COMPLETED, "conclude"),
    (S.TRYING, I.FAILURE): (S.COMPLETED, "conclude"),
    (S.PROCEEDING, I.TIMER_E): (S.PROCEEDING, "resend_slowest"),
    (S.PROCEEDING, I.TIMER_F): (S.TERMINATED, "time_out"),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.PROCEEDING, I.PROVISIONAL): (S.PROCEEDING, "pass_response"),
    (S.PROCEEDING, I.SUCCESS): (S.COMPLETED, "conclude"),
    (S.PROCEEDING, I.FAILURE): (S.COMPLETED, "conclude"),
    (S.COMPLETED, I.PROVISIONAL): (S.COMPLETED, "absorb"),
    (S.COMPLETED, I.SUCCESS): (S.COMPLETED, "absorb"),
    (S.COMPLETED, I.FAILURE): (S.COMPLETED, "absorb"),
    (S.COMPLETED, I.TIMER_K): (S.TERMINATED, "forget"),
}

#: RFC 3261 §17.2.1 as replaced by RFC 6026 §8.5.
INVITE_SERVER: Table = {
    (S.PROCEEDING, I.REQUEST): (S.PROCEEDING, "repeat"),
    (S.PROCEEDING, I.TIMER_100): (S.PROCEEDING, "send_trying"),
    (S.PROCEEDING, I.SEND_PROVISIONAL): (S.PROCEEDING, "send_provisional"),
    (S.PROCEEDING, I.SEND_SUCCESS): (S.ACCEPTED, "send_success"),
    (S.PROCEEDING, I.SEND_FAILURE): (S.COMPLETED, "send_failure"),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.COMPLETED, I.REQUEST): (S.COMPLETED, "repeat"),
    (S.COMPLETED, I.ACK): (S.CONFIRMED, "confirm"),
    (S.COMPLETED, I.TIMER_G): (S.COMPLETED, "resend_slower"),
    (S.COMPLETED, I.TIMER_H): (S.TERMINATED, "forget"),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, "forget"),
    (S.CONFIRMED, I.REQUEST): (S.CONFIRMED, "absorb"),
    (S.CONFIRMED, I.ACK): (S.CONFIRMED, "absorb"),
    (S.CONFIRMED, I.TIMER_I): (S.TERMINATED, "forget"),
    (S.ACCEPTED, I.REQUEST): (S.ACCEPTED, "absorb"),
    (S.ACCEPTED, I.ACK): (S.ACCEPTED, "pass_ack"),
    (S.ACCEPTED, I.TIMER_L): (S.TERMINATED, "forget"),
}

#: RFC 3261 §17.2.2. Timer J also bounds a transaction whose user never answers (no 408: RFC 4320 §4.2).
SERVER: Table = {
    (S.TRYING, I.REQUEST): (S.TRYING, "absorb"),
    (S.TRYING, I.SEND_PROVISIONAL): (S.PROCEEDING, "send_provisional"),
    (S.TRYING, I.SEND_SUCCESS): (S.COMPLETED, "send_final"),
    (S.TRYING, I.SEND_FAILURE): (S.COMPLETED, "send_final"),
    (S.TRYING, I.TIMER_J): (S.TERMINATED, "forget"),
    (S.PROCEEDING, I.REQUEST): (S.PROCEEDING, "repeat"),
    (S.PROCEEDING, I.SEND_PROVISIONAL): (S.PROCEEDING, "send_provisional"),
    (S.PROCEEDING, I.SEND_SUCCESS): (S.COMPLETED, "send_final"),
    (S.PROCEEDING, I.SEND_FAILURE): (S.COMPLETED, "send_final"),
    (S.PROCEEDING, I.TIMER_J): (S.TERMINATED, "forget"),
    (S.COMPLETED, I.REQUEST): (S.COMPLETED, "repeat"),
    (S.COMPLETED, I.TIMER_J): (S.TERMINATED, "forget"),
}

TABLES: dict[Kind, Table] = {
    Kind.INVITE_CLIENT: INVITE_CLIENT,
    Kind.CLIENT: CLIENT,
    Kind.INVITE_SERVER: INVITE_SERVER,
    Kind.SERVER: SERVER,
}

_Action = Callable[["Transactions", Any, float, Any], None]
_Rules = dict[State, dict[Input, tuple[State, _Action]]]


class TransactionUser(Protocol):
    """What a transaction reports to: a client request, a call, or whoever answers a request."""

    def response_received(
        self, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """Take a response that is not a repeat."""

    def transaction_failed(self, transaction: Transaction, reason: str, now: float) -> None:
        """Learn that it ended without a final response: `timeout` or `transport`."""

    def ack_received(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Take an ACK that came under the branch of an accepted INVITE."""


class Transaction:
    """One transaction: its state, its two timers, and the bytes that it repeats.

    Attributes:
        kind: which table.
        state: where in it.
        key: under which it is found.
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
        "rules",
        "state",
        "user",
    )

    def __init__(self, layer: Transactions, kind: Kind, key: Hashable, flow: Flow) -> None:
        self.layer = layer
        self.kind = kind
        self.rules = _COMPILED[kind]
        self.key = key
        self.flow = flow
        self.state = State.CALLING
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
        identity: Call-ID, From tag, CSeq: what a CANCEL or another copy of the request shares with it
            (§9.2, §8.2.2.2).
        trusted: in which budget it is counted.
    """

    __slots__ = ("identity", "trusted")

    def __init__(self, layer: Transactions, kind: Kind, key: Hashable, flow: Flow) -> None:
        super().__init__(layer, kind, key, flow)
        self.identity: Hashable = None
        self.trusted = False

    @property
    def answered(self) -> bool:
        """Whether a final response has left."""
        return self.state not in (State.TRYING, State.PROCEEDING)


def server_key(request: Request, flow: Flow, method: str | None = None) -> Hashable:
    """Return the key of the server transaction that a request belongs to (RFC 3261 §17.2.3).

    The source address is part of it, so that two clients that use one branch do not meet. A branch
    without the cookie, or with nothing behind it, falls back to the rules of RFC 2543.
    """
    via = request.via
    name = method or request.method
    if name == "ACK":
        name = "INVITE"
    branch = via.branch
    if branch is not None and len(branch) > 7 and branch.startswith(_COOKIE):
        return (branch, via.sent_by, flow.remote.host, name)
    return (
        request.raw_uri,
        request.from_.tag,
        request.call_id,
        request.cseq.number,
        branch,
        via.sent_by,
        flow.remote.host,
        name,
    )


class Transactions:
    """All transactions of an endpoint.

    Args:
        timing: the timers' lengths.
        timers: the endpoint's timers; `Transaction.expired` is called when one comes up.
        counters: what was dropped or absorbed.
        send: takes a flow and bytes.
    """

    def __init__(
        self,
        timing: Timing,
        timers: Timers,
        counters: Counters,
        send: Callable[[Flow, bytes], None],
    ) -> None:
        self.timing = timing
        self.timers = timers
        self.counters = counters
        self.send = send
        self.clients: dict[Hashable, ClientTransaction] = {}
        self.servers: dict[Hashable, ServerTransaction] = {}
        self.merged: dict[Hashable, ServerTransaction] = {}
        self._by_path: dict[Hashable, dict[Transaction, None]] = {}
        self.on_server_gone: Callable[[ServerTransaction], None] | None = None

    # Starting one

    def request(
        self, request: Request, flow: Flow, user: TransactionUser | None, now: float
    ) -> ClientTransaction:
        """Send a request whose top Via is ours already, and follow it."""
        method = request.method
        invite = method == "INVITE"
        key = (request.branch, method)
        transaction = ClientTransaction(
            self, Kind.INVITE_CLIENT if invite else Kind.CLIENT, key, flow
        )
        transaction.state = State.CALLING if invite else State.TRYING
        transaction.user = user
        transaction.request = request
        transaction.data = bytes(request)
        self.clients[key] = transaction
        self._by_path.setdefault(_path(flow), {})[transaction] = None
        timing, start = self.timing, self.timers.start
        if not flow.reliable:
            transaction.interval = timing.t1
            transaction.repeat = start(
                now, timing.t1, Input.TIMER_A if invite else Input.TIMER_E, transaction
            )
        transaction.limit = start(
            now, timing.give_up, Input.TIMER_B if invite else Input.TIMER_F, transaction
        )
        self.send(flow, transaction.data)
        return transaction

    def serve(
        self, request: Request, key: Hashable, flow: Flow, now: float, *, trying: float = 0.2
    ) -> ServerTransaction:
        """Follow a request of a peer; `trying` is the silence after which an INVITE gets its 100."""
        invite = request.method == "INVITE"
        transaction = ServerTransaction(
            self, Kind.INVITE_SERVER if invite else Kind.SERVER, key, flow
        )
        transaction.request = request
        self.servers[key] = transaction
        if invite:
            transaction.state = State.PROCEEDING
            if flow.reliable:
                self._by_path.setdefault(_path(flow), {})[transaction] = None
            if trying:
                transaction.repeat = self.timers.start(now, trying, Input.TIMER_100, transaction)
            else:
                self.step(transaction, Input.TIMER_100, now)
        else:
            transaction.state = State.TRYING
        return transaction

    def bound(self, transaction: ServerTransaction, now: float) -> None:
        """Give a non-INVITE server transaction a deadline while its user thinks."""
        transaction.limit = self.timers.start(now, self.timing.give_up, Input.TIMER_J, transaction)

    # Feeding one

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Send a response of ours.

        Raises:
            LocalProtocolError: a final response has left already.
        """
        status = response.status_code
        if status < 200:
            given = Input.SEND_PROVISIONAL
        elif status < 300:
            given = Input.SEND_SUCCESS
        else:
            given = Input.SEND_FAILURE
        if not self.step(transaction, given, now, bytes(response)):
            raise LocalProtocolError(f"cannot {given} in {transaction!r}")

    def response_received(self, response: Response, now: float) -> bool:
        """Give a response to the transaction it answers; False when there is none."""
        transaction = self.clients.get((response.via.branch, response.cseq.method))
        if transaction is None:
            return False
        status = response.status_code
        if status < 200:
            given = Input.PROVISIONAL
        elif status < 300:
            given = Input.SUCCESS
        else:
            given = Input.FAILURE
        self.step(transaction, given, now, response)
        return True

    def path_lost(self, flow: Flow, now: float) -> int:
        """Tell every transaction that needs a flow that it is gone (RFC 3261 §17.1.4)."""
        lost = self._by_path.get(_path(flow), ())
        for transaction in list(lost):
            self.step(transaction, Input.TRANSPORT_ERROR, now)
        return len(lost)

    def step(self, transaction: Transaction, given: str, now: float, message: Any = None) -> bool:
        """Feed one input; False (and counted) when the state has no use for it."""
        rule = transaction.rules[transaction.state].get(given)  # type: ignore[call-overload]
        if rule is None:
            self.counters["transaction.ignored"] += 1
            return False
        state = transaction.state = rule[0]
        if state is State.TERMINATED:
            self._remove(transaction)
        rule[1](self, transaction, now, message)
        return True

    def drop(self, transaction: Transaction) -> None:
        """Forget a transaction at once, without a word to anybody."""
        transaction.state = State.TERMINATED
        self._remove(transaction)

    def _remove(self, transaction: Transaction) -> None:
        self._stop(transaction)
        if isinstance(transaction, ServerTransaction):
            self.servers.pop(transaction.key, None)
            if self.merged.get(transaction.identity) is transaction:
                del self.merged[transaction.identity]
            if self.on_server_gone is not None:
                self.on_server_gone(transaction)
            if not transaction.flow.reliable:
                return
        else:
            self.clients.pop(transaction.key, None)
        path = _path(transaction.flow)
        peers = self._by_path.get(path)
        if peers is not None:
            peers.pop(transaction, None)
            if not peers:
                del self._by_path[path]

    def _stop(self, transaction: Transaction) -> None:
        if transaction.repeat is not None:
            transaction.repeat.cancel()
            transaction.repeat = None
        if transaction.limit is not None:
            transaction.limit.cancel()
            transaction.limit = None

    def _linger(self, transaction: Transaction, length: float, reason: Input, now: float) -> None:
        """Wait for repeats; a wait of zero (reliable transports) is over at once."""
        self._stop(transaction)
        if length > 0:
            transaction.limit = self.timers.start(now, length, reason, transaction)
        else:
            self.step(transaction, reason, now)

    # Actions of both sides

    def forget(self, transaction: Transaction, now: float, message: Any) -> None:
        """Nothing is left to do."""

    def absorb(self, transaction: Transaction, now: float, message: Any) -> None:
        """Take a repeat that needs no answer."""
        self.counters["transaction.absorbed"] += 1

    def time_out(self, transaction: Transaction, now: float, message: Any) -> None:
        """Tell the user that nobody answered."""
        if transaction.user is not None:
            transaction.user.transaction_failed(transaction, "timeout", now)

    def fail(self, transaction: Transaction, now: float, message: Any) -> None:
        """Tell the user that the transport failed."""
        if transaction.user is not None:
            transaction.user.transaction_failed(transaction, "transport", now)

    def resend(self, transaction: Transaction, now: float, message: Any) -> None:
        """Send again and double the interval (timer A)."""
        transaction.interval *= 2
        self._resend(transaction, now)

    def resend_slower(self, transaction: Transaction, now: float, message: Any) -> None:
        """Send again and double the interval up to T2 (timers E and G)."""
        transaction.interval = min(transaction.interval * 2, self.timing.t2)
        self._resend(transaction, now)

    def resend_slowest(self, transaction: Transaction, now: float, message: Any) -> None:
        """Send again and wait T2 (timer E once a provisional response came)."""
        transaction.interval = self.timing.t2
        self._resend(transaction, now)

    def _resend(self, transaction: Transaction, now: float) -> None:
        assert transaction.repeat is not None
        transaction.repeat = self.timers.start(
            now, transaction.interval, transaction.repeat.reason, transaction
        )
        self.counters["transaction.resent"] += 1
        self.send(transaction.flow, transaction.data)

    # Actions of clients

    def pass_response(self, transaction: ClientTransaction, now: float, message: Any) -> None:
        """Hand a response to the user."""
        if transaction.user is not None:
            transaction.user.response_received(transaction, message, now)

    def proceed(self, transaction: ClientTransaction, now: float, message: Any) -> None:
        """Stop repeating: somebody has the INVITE."""
        self._stop(transaction)
        self.pass_response(transaction, now, message)

    def accept(self, transaction: ClientTransaction, now: float, message: Any) -> None:
        """Wait for further 2xx (timer M, RFC 6026 §8.4)."""
        self._linger(transaction, self.timing.give_up, Input.TIMER_M, now)
        self.pass_response(transaction, now, message)

    def refuse(self, transaction: ClientTransaction, now: float, message: Any) -> None:
        """Acknowledge a refusal and wait for its repeats (timer D)."""
        assert transaction.request is not None
        transaction.data = acknowledgement(transaction.request, message)
        self.send(transaction.flow, transaction.data)
        length = 0.0 if transaction.flow.reliable else self.timing.give_up
        self._linger(transaction, length, Input.TIMER_D, now)
        self.pass_response(transaction, now, message)

    def acknowledge_again(self, transaction: ClientTransaction, now: float, message: Any) -> None:
        """Repeat the ACK for a repeated refusal."""
        self.send(transaction.flow, transaction.data)

    def conclude(self, transaction: ClientTransaction, now: float, message: Any) -> None:
        """Take the final response and absorb its repeats (timer K)."""
        length = 0.0 if transaction.flow.reliable else self.timing.t4
        self._linger(transaction, length, Input.TIMER_K, now)
        self.pass_response(transaction, now, message)

    # Actions of servers

    def repeat(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Answer a repeated request with the last response."""
        if transaction.data:
            self.counters["transaction.resent"] += 1
            self.send(transaction.flow, transaction.data)

    def send_trying(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Say 100, since the user has said nothing for 200 ms (§17.2.1)."""
        assert transaction.request is not None
        transaction.repeat = None
        transaction.data = bytes(transaction.request.respond(100))
        self.send(transaction.flow, transaction.data)

    def send_provisional(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Send a 1xx of the user."""
        if transaction.repeat is not None:
            transaction.repeat.cancel()
            transaction.repeat = None
        transaction.data = message
        self.send(transaction.flow, message)

    def send_success(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Send the 2xx once and absorb repeated INVITEs (timer L); repeating it is the user's."""
        transaction.data = b""
        transaction.request = None
        self._linger(transaction, self.timing.give_up, Input.TIMER_L, now)
        self.send(transaction.flow, message)

    def send_failure(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Send a refusal and repeat it until its ACK (timers G and H)."""
        transaction.data = message
        transaction.request = None
        timing = self.timing
        self._linger(transaction, timing.give_up, Input.TIMER_H, now)
        if not transaction.flow.reliable:
            transaction.interval = timing.t1
            transaction.repeat = self.timers.start(now, timing.t1, Input.TIMER_G, transaction)
        self.send(transaction.flow, message)

    def confirm(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Stop repeating a refusal and absorb further ACKs (timer I)."""
        length = 0.0 if transaction.flow.reliable else self.timing.t4
        self._linger(transaction, length, Input.TIMER_I, now)

    def pass_ack(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Hand an ACK for a 2xx to the user."""
        if transaction.user is not None:
            transaction.user.ack_received(transaction, message, now)

    def send_final(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Send the final response and keep it for repeats (timer J)."""
        transaction.data = message
        transaction.request = None
        length = 0.0 if transaction.flow.reliable else self.timing.give_up
        self._linger(transaction, length, Input.TIMER_J, now)
        self.send(transaction.flow, message)


def _path(flow: Flow) -> Hashable:
    return flow.number or flow.remote


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


def _compile(table: Table) -> _Rules:
    rules: _Rules = {state: {} for state in State}
    for (state, given), (then, action) in table.items():
        rules[state][given] = (then, getattr(Transactions, action))
    return rules


_COMPILED: dict[Kind, _Rules] = {kind: _compile(table) for kind, table in TABLES.items()}

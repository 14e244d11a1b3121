"""Transactions (RFC 3261 §17, RFC 6026): what repeats, what waits, and what belongs together.

Machines in this module and what feeds them:

- *INVITE client* and *non-INVITE client*: `Transactions.request` starts one; responses reach it by
  the branch of their top Via and the method of their CSeq (§17.1.3).
- *INVITE server* and *non-INVITE server*: `Transactions.serve` starts one; `Transactions.server`
  finds it for repeats and ACKs by `server_key` (§17.2.3); the user's responses come by
  `Transactions.respond`. One that has answered and only waits for repeats (timers J and L) is kept
  by `voip.sip.lingering`.

Each follows its table in `voip.sip.tables`. What a table does not hold is ignored and counted when
it came from a peer or a clock, and is a `LocalProtocolError` when it came from our own side.

Joint rules: repeating everything but the 2xx to an INVITE is done here (the 2xx is the INVITE
usage's, §13.3.1.4); timers of zero length (reliable transports) fire within the same step; a
transaction that is over has left the tables before its user hears of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from voip.errors import LocalProtocolError
from voip.sip.lingering import Entry, Lingering
from voip.sip.tables import TABLES, Input, Kind, State, Table
from voip.sip.transaction import (
    ClientTransaction,
    ServerTransaction,
    Transaction,
    TransactionUser,
    acknowledgement,
    server_key,
)

if TYPE_CHECKING:
    from voip.machine import Counters, Flow, Timers
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

# A member of an enumeration costs more to name than a step costs otherwise.
_TERMINATED, _PROCEEDING, _TRYING = State.TERMINATED, State.PROCEEDING, State.TRYING
_INVITE_SERVER, _SERVER = Kind.INVITE_SERVER, Kind.SERVER
_SEND_PROVISIONAL, _SEND_SUCCESS = Input.SEND_PROVISIONAL, Input.SEND_SUCCESS
_SEND_FAILURE, _TIMER_100 = Input.SEND_FAILURE, Input.TIMER_100
_TIMER_J = Input.TIMER_J

_Action = Callable[["Transactions", Any, float, Any], None]
_Rules = dict[State, dict[str, tuple[State, _Action]]]


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
        self.servers: dict[str, ServerTransaction] = {}
        self.lingering = Lingering(timers, self._waited)
        self.merged: dict[str, str] = {}
        self._by_path: dict[Hashable, dict[Transaction, None]] = {}
        self.on_server_gone: Callable[[bool], None] = _nobody
        self.on_ack: Callable[[ServerTransaction, Request, float], None] = _nobody

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
        self, request: Request, key: str, flow: Flow, now: float, *, trying: float = 0.2
    ) -> ServerTransaction:
        """Follow a request of a peer; `trying` is the silence after which an INVITE gets a 100."""
        invite = request.method == "INVITE"
        transaction = ServerTransaction(self, _INVITE_SERVER if invite else _SERVER, key, flow)
        transaction.request = request
        transaction.identity, transaction.tag, transaction.trusted = "", None, False
        self.servers[key] = transaction
        if invite:
            transaction.state = _PROCEEDING
            if flow.reliable:
                self._by_path.setdefault(_path(flow), {})[transaction] = None
            if trying:
                transaction.repeat = self.timers.start(now, trying, _TIMER_100, transaction)
            else:
                self.step(transaction, _TIMER_100, now)
        else:
            transaction.state = _TRYING
        return transaction

    def bound(self, transaction: ServerTransaction, now: float) -> None:
        """Give a non-INVITE server transaction a deadline while its user thinks."""
        transaction.limit = self.timers.start(now, self.timing.give_up, Input.TIMER_J, transaction)

    def server(self, key: str, flow: Flow) -> ServerTransaction | None:
        """Return the server transaction of a key, as `step` takes it.

        Args:
            key: from `server_key`.
            flow: over which the message came; one that lingers answers there (RFC 3581 §4).
        """
        transaction = self.servers.get(key)
        if transaction is not None:
            return transaction
        entry = self.lingering.get(key)
        return None if entry is None else _recall(self, key, entry, flow)

    # Feeding one

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Send a response of ours.

        Raises:
            LocalProtocolError: a final response has left already.
        """
        self.answer(transaction, response.status_code, bytes(response), now)

    def answer(self, transaction: ServerTransaction, status: int, data: bytes, now: float) -> None:
        """Send a response of ours that has this status.

        Raises:
            LocalProtocolError: a final response has left already.
        """
        if status < 200:
            given = _SEND_PROVISIONAL
        else:
            given = _SEND_SUCCESS if status < 300 else _SEND_FAILURE
        if not self.step(transaction, given, now, data):
            raise LocalProtocolError(f"cannot {given} in {transaction!r}")

    def response_received(self, response: Response, flow: Flow, now: float) -> bool:
        """Give a response to the transaction it answers; False when there is none."""
        transaction = self.clients.get((response.via.branch, response.cseq.method))
        # RFC 3261 §18.1.2: responses come the way that the request went, at least by its transport.
        if transaction is None or transaction.flow.transport != flow.transport:
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
        lost = list(self._by_path.get(_path(flow), ()))
        for transaction in lost:
            self.step(transaction, Input.TRANSPORT_ERROR, now)
        return len(lost)

    def step(self, transaction: Transaction, given: str, now: float, message: Any = None) -> bool:
        """Feed one input; False (and counted) when the state has no use for it."""
        rule = _COMPILED[transaction.kind][transaction.state].get(given)
        if rule is None:
            self.counters["transaction.ignored"] += 1
            return False
        state = transaction.state = rule[0]
        if state is _TERMINATED:
            self._remove(transaction)
        rule[1](self, transaction, now, message)
        return True

    def drop(self, transaction: Transaction) -> None:
        """Forget a transaction at once, without a word to anybody."""
        transaction.state = State.TERMINATED
        self._remove(transaction)

    def _remove(self, transaction: Transaction) -> None:
        self._stop(transaction)
        if type(transaction) is ServerTransaction:
            self.servers.pop(transaction.key, None)
            self._unmerge(transaction.key, transaction.identity)
            self.on_server_gone(transaction.trusted)
            if not transaction.flow.reliable:
                return
        else:
            self.clients.pop(transaction.key, None)
        self._leave(transaction)

    def _unmerge(self, key: str, identity: str) -> None:
        if identity and self.merged.get(identity) == key:
            del self.merged[identity]

    def _leave(self, transaction: Transaction) -> None:
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

    def _retire(self, transaction: ServerTransaction, data: bytes, now: float) -> None:
        """Keep of an answered one what its repeats need (timers J and L)."""
        self._stop(transaction)
        if self.servers.pop(transaction.key, None) is None:
            return
        if transaction.flow.reliable:
            self._leave(transaction)
        until, tag = now + self.timing.give_up, transaction.tag or ""
        entry = Entry(until, transaction.trusted, transaction.identity, tag, data)
        self.lingering.add(transaction.key, entry)

    def _waited(self, key: str, entry: Entry) -> None:
        self._unmerge(key, entry.identity)
        self.on_server_gone(entry.trusted)

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
        stamp = transaction.request.headers.get("Timestamp")
        headers = () if stamp is None else (("Timestamp", stamp),)  # RFC 3261 §8.2.6.1
        transaction.data = bytes(transaction.request.respond(100, headers=headers))
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
        self._retire(transaction, b"", now)
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
        """Hand on an ACK for a 2xx that came under the branch of the INVITE (RFC 6026 §7.1)."""
        self.on_ack(transaction, message, now)

    def send_final(self, transaction: ServerTransaction, now: float, message: Any) -> None:
        """Send the final response and keep it for repeats (timer J)."""
        transaction.data = message
        transaction.request = None
        if transaction.flow.reliable:
            self._linger(transaction, 0.0, _TIMER_J, now)
        else:
            self._retire(transaction, message, now)
        self.send(transaction.flow, message)


def _path(flow: Flow) -> Hashable:
    return flow.number or flow.remote


def _recall(layer: Transactions, key: str, entry: Entry, flow: Flow) -> ServerTransaction:
    """Return a transaction that lingers as what it was, for one step."""
    invite = key.endswith("\nINVITE")
    transaction = ServerTransaction(layer, _INVITE_SERVER if invite else _SERVER, key, flow)
    transaction.state = State.ACCEPTED if invite else State.COMPLETED
    transaction.trusted, transaction.data = entry.trusted, entry.data
    transaction.identity, transaction.tag = entry.identity, entry.tag or None
    return transaction


def _nobody(*_: Any) -> None:
    """Be told nothing: the endpoint has not taken over yet."""


def _compile(table: Table) -> _Rules:
    rules: _Rules = {state: {} for state in State}
    for (state, given), (then, action) in table.items():
        rules[state][given] = (then, getattr(Transactions, action))
    return rules


_COMPILED: dict[Kind, _Rules] = {kind: _compile(table) for kind, table in TABLES.items()}

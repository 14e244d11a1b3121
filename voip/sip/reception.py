"""What happens to a request that comes in (RFC 3261 §8.2, §9.2, §12.2.2, §17.2.3).

    validate ─▶ server transaction? (repeat, ACK) ─▶ ACK ─▶ CANCEL ─▶ in a dialog ─▶ out of any

Whatever is refused before it belongs to anything is answered statelessly, once, with a To tag that
every copy gets again (§8.2.7): a stranger leaves nothing behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip.errors import ParseError
from voip.sip.events import RequestArrived
from voip.sip.invite import Call
from voip.sip.syntax import split_list
from voip.sip.transactions import Input, server_key
from voip.sip.validation import validate
from voip.types import canonical_ip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voip.machine import Flow
    from voip.sip.core import Core
    from voip.sip.messages import Request
    from voip.sip.transactions import ServerTransaction

__all__ = ["Reception", "mark_source"]

Routing = tuple[str, str, str, int]


class Reception:
    """Gives every request to whom it belongs, or the answer it is owed.

    Attributes:
        closed: whether new calls are refused, since the endpoint goes down.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.closed = False
        core.transactions.on_ack = self._acknowledged_by_branch

    def take(self, request: Request, flow: Flow, now: float) -> None:
        """Take one request."""
        core = self.core
        settings = core.settings
        wrong = validate(
            request,
            transport=flow.transport,
            allow=core.methods,
            supported=settings.supported,
            accept=settings.accept,
        )
        if wrong is not None:
            core.counters[f"request.{wrong.status}"] += 1
            self.answer(request, flow, wrong.status, wrong.headers, wrong.reason)
            return
        mark_source(request, flow)
        key = server_key(request, flow)
        method = request.method
        transaction = core.transactions.server(key, flow)
        if transaction is not None:
            given = Input.ACK if method == "ACK" else Input.REQUEST
            core.transactions.step(transaction, given, now, request)
            return
        routing = request.routing
        if method == "ACK":
            self._acknowledged(request, routing, flow, now)
        elif method == "CANCEL":
            self._cancelled(request, key, flow, now)
        elif routing[2]:
            self._in_dialog(request, routing, key, flow, now)
        else:
            self._out_of_dialog(request, routing, key, flow, now)

    def answer(
        self,
        request: Request,
        flow: Flow,
        status: int,
        headers: Iterable[tuple[str, str]] = (),
        reason: str | None = None,
    ) -> None:
        """Answer statelessly; an ACK is never answered (RFC 3261 §17)."""
        if request.method == "ACK":
            return
        try:
            mark_source(request, flow)
        except (ParseError, ValueError):
            self.core.counters["request.unusable_via"] += 1
        response = request.respond(
            status, reason=reason, to_tag=self._tag(request), headers=headers
        )
        data = bytes(response)
        if self._amplifies(flow, len(data)):
            self.core.counters["request.answer_too_long"] += 1
            return
        self.core.send(flow, data)

    def _amplifies(self, flow: Flow, size: int) -> bool:
        """Tell whether a datagram, whose source may be forged, cost much less than its answer.

        Deviation from RFC 3261 §8.2: such a request, far shorter than any phone's, gets silence
        (RELIABILITY §0.4, figure 11).
        """
        core = self.core
        if flow.number or 2 * size <= 3 * core.arrived_bytes:
            return False
        return not core.admission.trusted(flow.remote.host)

    def _tag(self, request: Request) -> str | None:
        try:
            return None if request.to.tag else self.core.stateless_tag(request)
        except ParseError:
            return None

    def _refuse(self, request: Request, flow: Flow, status: int, why: str) -> None:
        self.core.counters[f"request.{why}"] += 1
        headers: tuple[tuple[str, str], ...] = ()
        if status == 503:
            headers = (("Retry-After", str(self.core.settings.retry_after)),)
        self.answer(request, flow, status, headers)

    def _serve(
        self, request: Request, key: str, flow: Flow, now: float
    ) -> ServerTransaction | None:
        """Begin a server transaction; None, and 503, when there are too many."""
        core = self.core
        trusted = core.admission.take_transaction(flow)
        if trusted is None:
            self._refuse(request, flow, 503, "too_many_transactions")
            return None
        trying = 0.0 if core.settings.trying_at_once else core.settings.timing.trying
        transaction = core.transactions.serve(request, key, flow, now, trying=trying)
        transaction.trusted = trusted
        return transaction

    def _acknowledged(self, request: Request, routing: Routing, flow: Flow, now: float) -> None:
        call_id, from_tag, to_tag, _ = routing
        call = self.core.dialogs.get((call_id, to_tag, from_tag))
        if call is None or not call.known_path(flow):
            self.core.counters["ack.stray"] += 1
            return
        call.acknowledged_by_peer(request, now)

    def _acknowledged_by_branch(
        self, transaction: ServerTransaction, request: Request, now: float
    ) -> None:
        """Take the ACK of a peer of RFC 2543's days, which may lack our tag too."""
        call_id, from_tag, _, _ = request.routing
        call = self.core.dialogs.get((call_id, transaction.tag or "", from_tag))
        if call is None:
            self.core.counters["ack.stray"] += 1
        else:
            call.acknowledged_by_peer(request, now)

    def _cancelled(self, request: Request, key: str, flow: Flow, now: float) -> None:
        """RFC 3261 §9.2: by branch; the rest must agree, since a branch can be guessed."""
        core = self.core
        target = core.transactions.server(server_key(request, flow, "INVITE"), flow)
        if target is None or target.identity != _identity(request.routing, "INVITE"):
            self._refuse(request, flow, 481, "cancel_unmatched")
            return
        transaction = self._serve(request, key, flow, now)
        if transaction is None:
            return
        call = target.user
        core.transactions.respond(transaction, request.respond(200, to_tag=target.tag), now)
        if isinstance(call, Call):
            call.cancelled(target, now)

    def _in_dialog(
        self, request: Request, routing: Routing, key: str, flow: Flow, now: float
    ) -> None:
        core = self.core
        call_id, tag, to_tag, number = routing
        call = core.dialogs.get((call_id, to_tag, tag))
        if call is None or not call.known_path(flow):
            why = "no_dialog" if call is None else "foreign_source"
            self._refuse(request, flow, 481, why)
            return
        transaction = self._serve(request, key, flow, now)
        if transaction is None:
            return
        method = request.method
        if method == "INVITE":
            transaction.identity = _identity(routing, method)
        if not call.in_order(tag, number):
            # RFC 3261 §12.2.2; an equal number is a copy that came another way.
            core.counters["request.cseq_out_of_order"] += 1
            core.transactions.respond(transaction, request.respond(500), now)
        elif method == "BYE":
            core.transactions.answer(transaction, 200, request.answer(200), now)
            call.ended_by_peer(now)
        elif method == "INVITE":
            call.invited(request, transaction, flow, now)
        elif method == "OPTIONS":
            response = request.respond(200, headers=self._abilities())
            core.transactions.respond(transaction, response, now)
        else:
            transaction.user = call
            core.transactions.bound(transaction, now)
            core.happened.append(RequestArrived(transaction, request))

    def _out_of_dialog(
        self, request: Request, routing: Routing, key: str, flow: Flow, now: float
    ) -> None:
        core, method = self.core, request.method
        identity = _identity(routing, method)
        if core.transactions.clients and (request.branch, method) in core.transactions.clients:
            self._refuse(request, flow, 482, "loop")  # our own request came back (RFC 3261 §16.3)
        elif identity in core.transactions.merged:
            self._refuse(request, flow, 482, "merged")  # RFC 3261 §8.2.2.2
        elif method == "BYE":
            self._refuse(request, flow, 481, "no_dialog")
        elif self.closed:
            self._refuse(request, flow, 503, "shutting_down")
        elif method == "OPTIONS":
            # RFC 3261 §11: as long as we take calls, 200; no state is needed for it.
            self.answer(request, flow, 200, self._abilities())
        elif method == "INVITE":
            self._offered(request, key, identity, flow, now)
        else:
            transaction = self._serve(request, key, flow, now)
            if transaction is not None:
                transaction.identity = identity
                core.transactions.merged[identity] = key
                core.transactions.bound(transaction, now)
                core.happened.append(RequestArrived(transaction, request))

    def _offered(self, request: Request, key: str, identity: str, flow: Flow, now: float) -> None:
        core = self.core
        if len(core.calls) >= core.settings.max_calls:
            self._refuse(request, flow, 503, "too_many_calls")
            return
        if not core.admission.take_invite(flow):
            self._refuse(request, flow, 503, "too_many_pending")
            return
        transaction = self._serve(request, key, flow, now)
        if transaction is None:
            core.admission.give_invite(flow)
            return
        transaction.identity = identity
        core.transactions.merged[identity] = key
        Call.offered(core, request, flow, transaction, now)

    def _abilities(self) -> list[tuple[str, str]]:
        settings = self.core.settings
        headers = [("Allow", self.core.allow), ("Accept", ", ".join(settings.accept))]
        if settings.supported:
            headers.append(("Supported", ", ".join(settings.supported)))
        return headers


def _identity(routing: Routing, method: str) -> str:
    """Return what every copy of a request has in common (RFC 3261 §8.2.2.2).

    Joined like a `server_key`, for the same reasons.
    """
    call_id, tag, _, number = routing
    return f"{call_id}\n{tag}\n{number}\n{method}"


def mark_source(request: Request, flow: Flow) -> None:
    """Write into the top Via where the request came from (RFC 3261 §18.2.1, RFC 3581 §4).

    Raises:
        ParseError: a Via is missing or malformed.
    """
    headers, (host, port) = request.headers, flow.remote
    shape = headers.shape
    if shape is not None and shape.received is None and not shape.rport:
        via = shape.via
        if shape.rport is not None:
            via = via.replace(";rport", f";rport={port}", 1)
        elif shape.host == host or canonical_ip(shape.host) == canonical_ip(host):
            return
        headers.stamp(f"{via};received={host}")
        return
    _mark_any(request, host, port)


def _mark_any(request: Request, host: str, port: int) -> None:
    """Do so for a request without a shape.

    Raises:
        ParseError: a Via is missing or malformed.
    """
    # All of them are read now: a shape, which tells the lower ones when asked, ends here.
    via, headers = request.vias[0], request.headers
    parameters, held = via.parameters, headers.index["via"]
    if isinstance(held, list):
        first = next(line for line in held if line.partition(b":")[2].strip(b" \t"))
    else:
        first = held
    line = None
    if "rport" in parameters:
        line = None if "received" in parameters else _stamped(first, port, host)
        parameters["rport"] = str(port)
    elif via.host == host or canonical_ip(via.host) == canonical_ip(host):
        return
    parameters["received"] = host
    if line is None:
        others = split_list(first.partition(b":")[2].strip(b" \t"))[1:]
        line = b", ".join([b"Via: " + str(via).encode("utf-8"), *others])
    headers.restate("via", first, line)


def _stamped(line: bytes, port: int, host: str) -> bytes | None:
    """Return a Via line with rport and received filled in; None when it is not a usual one."""
    if b'"' in line or b"," in line:
        return None
    if line.endswith(b";rport"):
        return b"%b=%d;received=%b" % (line, port, host.encode("ascii"))
    before, found, after = line.partition(b";rport;")
    if found:
        return b"%b;rport=%d;%b;received=%b" % (before, port, after, host.encode("ascii"))
    return None

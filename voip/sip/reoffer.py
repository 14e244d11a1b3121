"""Offers inside a call: re-INVITE in both directions, and glare (RFC 3261 §14).

- `LocalOffer`: our re-INVITE; 491 is retried after the times of §14.1, five tries at most.
- `RemoteOffer`: the peer's; it waits for `answer` or `refuse`, then its 2xx is repeated until the
  ACK.

A call has at most one of each; which one may begin is decided by the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip.errors import EndCause, LocalProtocolError
from voip.sip.acceptance import Acceptance
from voip.sip.attempt import with_body
from voip.sip.client import ClientRequest, in_dialog
from voip.sip.events import CallReanswered

if TYPE_CHECKING:
    from voip.machine import Timer
    from voip.sip.core import Core
    from voip.sip.invite import Call
    from voip.sip.messages import Request, Response
    from voip.sip.transactions import ServerTransaction

__all__ = ["LocalOffer", "RemoteOffer"]


class LocalOffer:
    """Our re-INVITE.

    Attributes:
        accepted: the CSeq of the re-INVITE whose 2xx is here, None before that.
        body: the offer; empty asks the peer for one.
        client: the request under way, None while a retry is waited for.
        over: whether its call is.
        pending: whether no final response is here yet.
    """

    __slots__ = (
        "accepted",
        "ack",
        "body",
        "call",
        "client",
        "core",
        "over",
        "pending",
        "timer",
        "tries",
    )

    def __init__(self, core: Core, call: Call, body: bytes) -> None:
        self.core = core
        self.call = call
        self.body = body
        self.accepted: int | None = None
        self.ack: ClientRequest | None = None
        self.client: ClientRequest | None = None
        self.over = False
        self.pending = True
        self.timer: Timer | None = None
        self.tries = 0

    def send(self, now: float) -> None:
        """Send it, for the first time or again."""
        call = self.call
        assert call.dialog is not None
        self.tries += 1
        request = call.dialog.request("INVITE")
        request.headers.add("Allow", self.core.allow)
        if self.body:
            request = with_body(request, self.body)
        client = self.client = ClientRequest(self.core, request, self)
        client.account, client.dialog = call.account, call.dialog
        client.inbound = call.incoming
        in_dialog(client, call.dialog, call.flow, now, sticky=call.natted)

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """A provisional response changes nothing."""

    def concluded(self, client: ClientRequest, response: Response, now: float) -> None:
        """Take a final response."""
        call, status = self.call, response.status_code
        if status < 300:
            if not self.pending:  # the ACK was lost
                if self.ack is not None:
                    self.ack.repeat()
                return
            assert call.dialog is not None
            call.dialog.refresh(response)
            self.pending = False
            self.accepted = response.cseq.number  # before a challenge, it may be
            # RFC 5407 §3.2.3: the ACK is owed even when the call is over by now.
            if self.body or call.finished:
                self.acknowledge(now, b"")
        elif status == 491 and self.tries < self.core.settings.glare_retries and not call.finished:
            self._retry_later(now)
            return
        else:
            self.pending = False
        if call.finished:
            return
        self.core.happened.append(CallReanswered(call, response))
        if status in (408, 481):  # RFC 5057 §5.1, RFC 3261 §12.2.1.2: the dialog is gone
            call.lost(EndCause.FAILED, status, response.reason, now)

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """No answer at all ends the dialog (RFC 3261 §14.1)."""
        self.pending = False
        if not self.call.finished:
            self.core.happened.append(CallReanswered(self.call, None))
            self.call.lost(EndCause.FAILED, 408, "Request Timeout", now)

    def acknowledge(self, now: float, body: bytes) -> None:
        """Send the ACK of the 2xx, with the answer when the offer was the peer's."""
        call = self.call
        assert call.dialog is not None
        assert self.accepted is not None
        request = call.dialog.request("ACK", cseq=self.accepted)
        if body:
            request = with_body(request, body)
        self.ack = ClientRequest(self.core, request, None)
        in_dialog(self.ack, call.dialog, call.flow, now, sticky=call.natted)

    @property
    def pending_on_wire(self) -> bool:
        """Whether the re-INVITE is out and unanswered; not while a retry is waited for."""
        return self.pending and self.timer is None

    @property
    def busy(self) -> bool:
        """Whether another one must wait: no final response, or an ACK that is owed."""
        return self.pending or self.owes_ack

    @property
    def owes_ack(self) -> bool:
        """Whether it was accepted, and its ACK, with our answer, has not left."""
        return self.accepted is not None and self.ack is None

    def stop(self, now: float) -> None:
        """Forget a retry, since the call is over; a request that is out has 64·T1 for its end.

        RFC 3261 §15.1.2: the peer answers it with 487, when it is told of the end at all.
        """
        if self.over:
            return
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
            self.pending = False
        elif self.client is not None and not self.client.stop():
            self.core.timers.start(now, self.core.settings.timing.give_up, "over", self)

    def expired(self, reason: str, now: float) -> None:
        """Try again after glare, unless the peer's own offer is being dealt with."""
        if reason == "over":
            if self.client is not None and not self.client.done:
                self.client.abandon()
            return
        self.timer = None
        if self.call.remote_offer is not None and not self.call.remote_offer.settled:
            self._arm(0.2, now)
            return
        self.send(now)

    def _retry_later(self, now: float) -> None:
        """RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s, the other 0 to 2 s."""
        self.core.counters["call.glare"] += 1
        number = int.from_bytes(self.core.entropy(4), "big")
        steps = number % 201 if self.call.incoming else 210 + number % 191
        self._arm(steps / 100, now)

    def _arm(self, length: float, now: float) -> None:
        self.timer = self.core.timers.start_at(now + length, "glare", self)


class RemoteOffer:
    """A re-INVITE of the peer.

    Attributes:
        request: the re-INVITE.
        transaction: where its response goes.
        acceptance: the 2xx that waits for its ACK, None before that.
    """

    __slots__ = ("acceptance", "call", "core", "request", "timer", "transaction")

    def __init__(
        self, core: Core, call: Call, request: Request, transaction: ServerTransaction, now: float
    ) -> None:
        self.core = core
        self.call = call
        self.request = request
        self.transaction = transaction
        transaction.user = call
        transaction.tag = call.local_tag
        self.acceptance: Acceptance | None = None
        self.timer: Timer | None = core.timers.start(
            now, core.settings.timing.give_up, "unanswered offer", self
        )

    @property
    def answered(self) -> bool:
        """Whether a final response has left."""
        return self.transaction.answered

    @property
    def settled(self) -> bool:
        """Whether nothing is outstanding: refused, or accepted and acknowledged."""
        if self.acceptance is not None:
            return self.acceptance.acknowledged
        return self.answered

    def answer(self, now: float, body: bytes) -> None:
        """Accept: a 2xx, repeated until its ACK.

        Raises:
            LocalProtocolError: it was answered or withdrawn.
        """
        call = self.call
        if self.answered or call.dialog is None:
            raise LocalProtocolError("the offer was answered or withdrawn")
        self.stop()
        call.dialog.refresh(self.request)
        flow = self.transaction.flow
        contact = self.core.contact(flow, self.request)
        response = self.request.respond(
            200,
            headers=(("Contact", contact), ("Allow", self.core.allow)),
            body=body,
            content_type="application/sdp" if body else None,
        )
        acceptance = Acceptance(
            self.core, call, self.request.cseq.number, not self.request.raw_body
        )
        self.acceptance = acceptance
        self.core.transactions.respond(self.transaction, response, now)
        acceptance.start(flow, bytes(response), now)

    def refuse(self, now: float, status: int) -> None:
        """Refuse: the session stays as it was (RFC 3261 §14.2).

        Raises:
            LocalProtocolError: it was answered or withdrawn.
        """
        if self.answered:
            raise LocalProtocolError("the offer was answered or withdrawn")
        self.stop()
        self.core.transactions.respond(self.transaction, self.request.respond(status), now)

    def end(self, now: float) -> None:
        """Wind up, since the call is over (RFC 3261 §15.1.2)."""
        self.stop()
        if not self.answered:
            self.core.transactions.respond(self.transaction, self.request.respond(487), now)
        elif self.acceptance is not None:
            self.acceptance.stop()
        self.transaction.user = None

    def stop(self) -> None:
        """End the wait for an answer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def expired(self, reason: str, now: float) -> None:
        """Answer in place of an application that does not."""
        self.timer = None
        self.core.counters["call.offer_unanswered"] += 1
        if not self.answered:
            self.refuse(now, 500)

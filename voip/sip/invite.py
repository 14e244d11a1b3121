"""One call: the INVITE usage of a dialog, from either side (RFC 3261 §13, §14, §15).

    CALLING ──▶ RINGING ──▶ ANSWERED ──▶ CONFIRMED ──▶ ENDING ──▶ ENDED
       └───────────┴─▶ CANCELLING ───────────────────────────────────▲

Machines here and beside it: `Call` (the state above, BYE, what a request inside the dialog gets),
`Attempt` (the caller's INVITE: forks, ACK, CANCEL) or `Invitation` (the callee's: ringing, 2xx),
`Acceptance` (a 2xx repeated until its ACK), `LocalOffer` and `RemoteOffer` (re-INVITE). A call
*has* these; none of them knows another.

Inputs: commands of the application, requests inside the dialog from the endpoint, and what the
parts report. `CallFinished` is told once, when the end is decided; what then lingers (a BYE without
its answer, a CANCEL that may cross a 2xx) is the machines' own business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voip.errors import EndCause, LocalProtocolError
from voip.sip.commands import UNANSWERED, CallState, Commands
from voip.sip.dialog import Dialog, behind_nat, speaks_for
from voip.sip.events import (
    CallConfirmed,
    CallFinished,
    CallOffered,
    CallReconfirmed,
    CallReoffered,
)
from voip.sip.farewell import Farewell
from voip.sip.invitation import Invitation
from voip.sip.reoffer import LocalOffer, RemoteOffer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voip.machine import Flow
    from voip.sip.acceptance import Acceptance
    from voip.sip.core import Core
    from voip.sip.messages import Request
    from voip.sip.transactions import ServerTransaction, Transaction
    from voip.sip.types import NameAddress

__all__ = ["Call", "CallState"]


# The status that says why: to the peer when it called, to the application when we did.
_REFUSALS = {EndCause.SHUTDOWN: 503, EndCause.NO_ANSWER: 480, EndCause.HOOK_FAILED: 500}
_GIVEN_UP = {EndCause.CANCELLED: 487, EndCause.NO_ANSWER: 408}


class Call(Commands):
    """One call.

    Attributes:
        id: the Call-ID.
        incoming: whether the peer called.
        state: where it is.
        request: the INVITE.
        dialog: the dialog, None before a caller's 2xx.
        flow: over which the dialog came about.
        account: whose credentials may answer challenges; None for an incoming call.
        local_tag: our tag.
        finished: whether `CallFinished` was told.
        natted: whether the peer's own address is not where its packets come from.
        welcomed: the address that is exempt from the limits for strangers while the call lasts.
        data: for the owner of the endpoint, untouched here.
    """

    __slots__ = (
        "account",
        "core",
        "data",
        "dialog",
        "flow",
        "id",
        "invitation",
        "local_tag",
        "natted",
        "request",
        "welcomed",
    )

    def __init__(self, core: Core, request: Request, local_tag: str, incoming: bool) -> None:
        self.core = core
        self.id = request.call_id
        self.request = request
        self.incoming = incoming
        self.local_tag = local_tag
        self.state = CallState.CALLING
        self.finished = False
        self.natted = False
        self.welcomed = ""
        self.account: Any = None
        self.data: Any = None
        self.dialog: Dialog | None = None
        self.flow: Flow | None = None
        self.invitation: Invitation | None = None
        self.attempt = self.local_offer = self.remote_offer = None
        core.calls[self] = None

    @classmethod
    def offered(
        cls, core: Core, request: Request, flow: Flow, transaction: ServerTransaction, now: float
    ) -> Call:
        """Begin the callee's side of an INVITE."""
        call = cls(core, request, core.new_tag(), True)
        call.flow = flow
        call.invitation = Invitation(core, call, transaction, now)
        transaction.user = call
        transaction.tag = call.local_tag
        dialog = call.dialog = Dialog.answering(request, call.local_tag)
        shape = request.headers.shape
        if shape is None:
            call.natted = behind_nat(dialog, flow, request.via.host)
        elif shape.contact_host != flow.remote.host:
            call.natted = behind_nat(dialog, flow, shape.host)
        core.dialogs[(dialog.call_id, dialog.local_tag, dialog.remote_tag)] = call
        core.happened.append(CallOffered(call, request))
        return call

    @property
    def remote(self) -> NameAddress:
        """The other party's address, as From or To names it."""
        return self.request.from_ if self.incoming else self.request.to

    # Requests of the peer inside the dialog

    def known_path(self, flow: Flow) -> bool:
        """Tell whether a flow may speak for the peer (RELIABILITY E1)."""
        mine = self.flow
        if mine is None or flow.remote.host == mine.remote.host:
            return True
        return speaks_for(self.dialog, mine, flow, self.core.settings.peers)

    def in_order(self, remote_tag: str, number: int) -> bool:
        """Take the CSeq of a request in a dialog of the call; False when it is not a new one."""
        dialog = self.dialog
        if dialog is None and self.attempt is not None:
            dialog = self.attempt.early.get(remote_tag)
        if dialog is None or number <= dialog.remote_cseq:
            return False
        dialog.remote_cseq = number
        return True

    def invited(
        self, request: Request, transaction: ServerTransaction, flow: Flow, now: float
    ) -> None:
        """Take a re-INVITE, or tell why not now (RFC 3261 §14.2)."""
        status = self._busy_status()
        if status is None:
            self.remote_offer = RemoteOffer(self.core, self, request, transaction, now)
            if flow.number or self.natted:
                self.flow = flow  # the peer's new connection, or its NAT's new mapping
            self.core.happened.append(CallReoffered(self, request))
            return
        headers: tuple[tuple[str, str], ...] = ()
        if status == 500:
            seconds = self.core.entropy(1)[0] % 11
            headers = (("Retry-After", str(seconds)),)
        self.core.counters[f"call.reinvite_{status}"] += 1
        response = request.respond(status, to_tag=self.local_tag, headers=headers)
        self.core.transactions.respond(transaction, response, now)

    def ended_by_peer(self, now: float) -> None:
        """Take a BYE that was answered already."""
        if self.state in UNANSWERED and self.incoming:
            # RFC 3261 §15.1.2: pending requests are answered with 487.
            self._refuse(487, EndCause.REMOTE_HANGUP, now)
            return
        if self.state in UNANSWERED:
            # RFC 3261 §15 forbids a callee to do this; what is left of the INVITE is taken back.
            self.give_up(EndCause.REMOTE_HANGUP, now)
            return
        if self.state is CallState.ENDING:
            if self.acceptance is not None and not self.acceptance.acknowledged:
                self._close(now)
            return
        self._finish(EndCause.REMOTE_HANGUP, None, "")
        self._close(now)

    def cancelled(self, target: ServerTransaction, now: float) -> None:
        """Take a CANCEL that has its 200; when it is too late it changes nothing (§9.2)."""
        offer = self.remote_offer
        if self._invited_by(target) and self.state in UNANSWERED:
            self._refuse(487, EndCause.CANCELLED, now)
        elif offer is not None and target is offer.transaction and not offer.answered:
            offer.refuse(now, 487)

    def acknowledged_by_peer(self, request: Request, now: float) -> None:
        """Take the ACK for a 2xx of ours."""
        number, acceptance = request.routing[3], self.acceptance
        if acceptance is not None and acceptance.cseq == number and not acceptance.acknowledged:
            acceptance.stop()
            if self.state is CallState.ANSWERED:
                self.state = CallState.CONFIRMED
                self.request.slim()
                self.core.happened.append(CallConfirmed(self, request))
            elif self.state is CallState.ENDING:
                self._say_bye(now)
            return
        offer = self.remote_offer
        if offer is not None and offer.acceptance is not None:
            acceptance = offer.acceptance
            if acceptance.cseq == number and not acceptance.acknowledged:
                acceptance.stop()
                if not self.finished:
                    self.core.happened.append(CallReconfirmed(self, request))
                return
        self.core.counters["ack.absorbed"] += 1

    # Reports of the parts

    def rang(self, flow: Flow | None) -> None:
        """Note that somebody rings."""
        self.state = CallState.RINGING
        self.flow = flow

    def answered(self, dialog: Dialog, invite: Request, flow: Flow) -> None:
        """Note the 2xx that makes the call, and to which INVITE over what it came."""
        self.dialog = dialog
        self.request = invite
        self.flow = flow
        self.natted = behind_nat(dialog, flow)
        self.welcomed = flow.remote.host
        self.core.admission.welcome(self.welcomed)
        self.state = CallState.ANSWERED

    def acknowledged(self) -> None:
        """Note that our ACK leaves."""
        self.state = CallState.CONFIRMED

    def refused(self, status: int, phrase: str, now: float) -> None:
        """Note that the peer said no."""
        cause = EndCause.NO_ANSWER if status in (408, 480) else EndCause.REJECTED
        self._finish(cause, status, phrase)
        self._close(now)

    def unreached(self, reason: str, now: float) -> None:
        """Note that no final response comes."""
        if reason == "timeout":
            self._finish(EndCause.NO_ANSWER, 408, "Request Timeout")
        elif reason == "transport":
            self._finish(EndCause.TRANSPORT_LOST, 503, "Service Unavailable")
        else:
            self._finish(EndCause.FAILED, 503, reason)
        self._close(now)

    def settled(self, now: float) -> None:
        """Note that nothing more comes: a cancelled INVITE, or a BYE, is over."""
        self._close(now)

    def give_up(self, cause: EndCause, now: float) -> None:
        """End a call that is not answered, or one whose 2xx has no ACK yet."""
        if self.incoming:
            self._refuse(_REFUSALS.get(cause, 603), cause, now)
        elif self.state in UNANSWERED:
            self.state = CallState.CANCELLING
            if cause is EndCause.LOCAL_HANGUP:
                cause = EndCause.CANCELLED
            self._finish(cause, _GIVEN_UP.get(cause), "")
            assert self.attempt is not None
            self.attempt.cancel(now)
        elif self.state is CallState.ANSWERED:
            self.lost(cause, None, "", now)

    def lost(self, cause: EndCause, status: int | None, phrase: str, now: float) -> None:
        """End an answered call: tell the application now, the peer by BYE."""
        waiting = self.acceptance is not None and not self.acceptance.acknowledged
        owed = self.state is CallState.ANSWERED and not self.incoming
        self.state = CallState.ENDING
        self._finish(cause, status, phrase)
        if owed and self.attempt is not None:
            self.attempt.acknowledge(now, b"")
        self._wind_up_offers(now)
        # RFC 3261 §15: the callee must not BYE before the ACK, or before it gave up on it.
        if not waiting:
            self._say_bye(now, phrase)

    def ack_missing(self, acceptance: Acceptance, now: float) -> None:
        """End a call whose ACK never came (RFC 3261 §13.3.1.4)."""
        self.core.counters["call.ack_timeout"] += 1
        acceptance.acknowledged = True
        if self.state is CallState.ENDING:
            if acceptance is self.acceptance:
                self._say_bye(now)
        elif self.state is not CallState.ENDED:
            self.lost(EndCause.ACK_TIMEOUT, None, "ACK missing", now)

    def transaction_failed(self, transaction: Transaction, reason: str, now: float) -> None:
        """Note that the path of an unanswered INVITE is gone."""
        if self._invited_by(transaction) and not self.finished:
            self._finish(EndCause.TRANSPORT_LOST, None, "")
            self._close(now)

    # Steps

    @property
    def acceptance(self) -> Acceptance | None:
        """Our 2xx to the INVITE; None before it, and for an outgoing call."""
        return None if self.invitation is None else self.invitation.acceptance

    def _invited_by(self, transaction: Transaction) -> bool:
        return self.invitation is not None and self.invitation.transaction is transaction

    def _busy_status(self) -> int | None:
        """Return why a re-INVITE cannot be taken now, None when it can."""
        if self.finished:
            return 481
        if self.state in UNANSWERED:
            # RFC 3261 §14.2: a second INVITE before the final response to the first.
            return 500 if self.incoming else 491
        if self.remote_offer is not None and not self.remote_offer.answered:
            return 500
        if self.local_offer is not None and self.local_offer.pending_on_wire:
            return 491
        if self.state is CallState.ANSWERED and not self.incoming:
            return 491
        # RFC 5407 §3.1.5: our own offer (in a 2xx) still waits for its answer (in the ACK).
        ours = [self.acceptance, self.remote_offer.acceptance if self.remote_offer else None]
        waiting = any(item and item.offering and not item.acknowledged for item in ours)
        return 491 if waiting else None

    def _unanswered(self) -> Invitation:
        if self.invitation is None or self.state not in UNANSWERED:
            raise LocalProtocolError(f"cannot answer a call that is {self.state}")
        return self.invitation

    def _refuse(
        self,
        status: int,
        cause: EndCause,
        now: float,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        response = self._unanswered().refuse(status, now, reason, headers)
        self._finish(cause, status, response.reason)
        self._close(now)

    def _offer(self, body: bytes, now: float) -> None:
        self.local_offer = LocalOffer(self.core, self, body)
        self.local_offer.send(now)

    def _say_bye(self, now: float, reason: str = "") -> None:
        if not Farewell(self.core, self).send(now, reason):
            self._close(now)

    def _wind_up_offers(self, now: float) -> None:
        if self.local_offer is not None:
            self.local_offer.stop(now)
        if self.remote_offer is not None:
            self.remote_offer.end(now)

    def _finish(self, cause: EndCause, status: int | None, phrase: str) -> None:
        if not self.finished:
            self.finished = True
            self.core.happened.append(CallFinished(self, cause, status, phrase))

    def _close(self, now: float) -> None:
        """Leave the tables; nothing of the call is under way any more."""
        self.state = CallState.ENDED
        if self.invitation is not None:
            self.invitation.end()
        if self.local_offer is not None or self.remote_offer is not None:
            self._wind_up_offers(now)
        # What lingers knows its own business; let the rest go now and not at a garbage collection.
        self.invitation = self.attempt = self.local_offer = self.remote_offer = None
        self.core.calls.pop(self, None)
        if self.dialog is not None:
            self.core.dialogs.pop(self.dialog.key, None)
            if self.welcomed:
                self.core.admission.dismiss(self.welcomed)
                self.welcomed = ""

    def __repr__(self) -> str:
        side = "incoming" if self.incoming else "outgoing"
        return f"<{side} call, {self.state}>"

"""The caller's side of an INVITE until it is settled: forks, 2xx and their ACKs, CANCEL.

An attempt outlives its call: as long as a 2xx may still come, it is ACKed and ended with BYE, so
that nobody is left in a call that nobody made (RFC 3261 §13.2.2.4, §9.1; RFC 6026 §7.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from voip.errors import EndCause, LocalProtocolError
from voip.sip.client import ClientRequest, in_dialog, rebuilt
from voip.sip.dialog import Dialog
from voip.sip.events import CallAnswered, CallRinging
from voip.sip.headers import Headers
from voip.sip.messages import Request

if TYPE_CHECKING:
    from voip.machine import Flow, Timer
    from voip.sip.core import Core
    from voip.sip.invite import Call
    from voip.sip.messages import Response

__all__ = ["Attempt"]

_MAX_STRAYS = 64

# One INVITE as it left, and over what.
_Form: TypeAlias = "tuple[Request, Flow | None]"


class Attempt:
    """One outgoing INVITE.

    Attributes:
        client: the request.
        early: remote tag to early dialog, `max_early_dialogs` at most.
        strays: remote tag to the ACK of a 2xx that is not the call.
        ack: the ACK of the call's own 2xx, None until it left.
        cancelling: whether the call is no longer wanted.
    """

    __slots__ = (
        "_given_up",
        "_late",
        "ack",
        "call",
        "cancelling",
        "client",
        "core",
        "early",
        "strays",
        "timer",
    )

    def __init__(self, core: Core, call: Call, client: ClientRequest) -> None:
        self.core = core
        self.call = call
        self.client = client
        self.early: dict[str, Dialog] = {}
        self.strays: dict[str, ClientRequest] = {}
        self.ack: ClientRequest | None = None
        self.cancelling = False
        self.timer: Timer | None = None
        self._given_up: Timer | None = None  # runs from the CANCEL to the INVITE's end
        self._late: Timer | None = None  # runs from the INVITE's end to that of late 2xx

    def begin(self, now: float) -> None:
        """Start the ringing deadline and become findable for late 2xx."""
        self.timer = self.core.timers.start(now, self.core.settings.timing.ringing, "ringing", self)
        self.core.attempts[(self.call.id, self.call.local_tag)] = self

    # From the client request

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """Take a provisional response: it may found an early dialog (RFC 3261 §12.1.2)."""
        if self.cancelling or self.call.dialog is not None:
            self._send_cancel(now)
            return
        if response.status_code == 100:
            return
        call = self.call
        tag = response.to.tag
        assert client.sent is not None
        if tag and tag in self.early:
            self.early[tag].refresh(response)
        elif tag and len(self.early) >= self.core.settings.max_early_dialogs:
            self.core.counters["call.too_many_early_dialogs"] += 1
            return
        elif tag:
            dialog = self.early[tag] = Dialog.asking(client.sent, response)
            self.core.dialogs[dialog.key] = call
        call.rang(client.flow)
        self.core.happened.append(CallRinging(call, response))

    def concluded(self, client: ClientRequest, response: Response, now: float) -> None:
        """Take a final response: every 2xx is owed an ACK."""
        accepted = response.status_code < 300
        if accepted:
            self._answered(response, now)
        self._settle(now)
        if self.call.dialog is not None:
            return  # a target that was left behind had answered
        if not accepted:
            self.call.refused(response.status_code, response.reason, now)
        elif self.client.done:
            self.call.settled(now)

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """Nobody answered, or nobody could be reached."""
        self._settle(now)
        if self.call.dialog is None:
            self.call.unreached(reason, now)

    # From the call

    def cancel(self, now: float) -> None:
        """Take the INVITE back (RFC 3261 §9.1): at once, or once a provisional response is here."""
        self.cancelling = True
        self._take_back(now)
        self._settle(now)
        if self.client.done:
            self.call.settled(now)

    def acknowledge(self, now: float, body: bytes) -> None:
        """Send the ACK of the call's 2xx."""
        self._still()
        dialog = self.call.dialog
        assert dialog is not None
        self.ack = self._acknowledge(dialog, (self.call.request, self.call.flow), now, body)

    def expired(self, reason: str, now: float) -> None:
        """Act on one of its timers."""
        if reason == "late 2xx":
            self.core.attempts.pop((self.call.id, self.call.local_tag), None)
        elif reason == "cancelled":
            # RFC 3261 §9.1: no final response 64·T1 after the CANCEL means that none will come.
            self.client.abandon()
            self._settle(now)
            if self.call.dialog is None:
                self.call.settled(now)
        elif reason == "ringing":
            self.timer = None
            self.core.counters["call.ringing_timeout"] += 1
            self.call.give_up(EndCause.NO_ANSWER, now)
        else:
            self.timer = None
            self.core.counters["call.never_acknowledged"] += 1
            self.call.give_up(EndCause.FAILED, now)

    # Steps

    def _answered(self, response: Response, now: float) -> None:
        call, tag = self.call, response.to.tag or ""
        # An earlier INVITE may be the one that is answered: before a challenge, at another target.
        form = self.client.under(response.via.branch)
        assert form is not None
        invite, flow = form
        if invite is self.client.sent and not self.client.done:
            self.client.abandon()  # its transaction knows nothing: the 2xx came another way
        if call.dialog is not None and tag == call.dialog.remote_tag:
            if self.ack is not None:
                self.ack.repeat()
            return
        if tag in self.strays:
            self.strays[tag].repeat()
            return
        dialog = Dialog.asking(invite, response)
        if call.dialog is not None or self.cancelling or call.finished:
            self._end_stray(dialog, form, now)
            return
        early = self.early.get(tag)
        if early is not None:
            # RFC 3261 §13.2.2.4: the route set comes from the 2xx, the peer's CSeq stays.
            dialog.remote_cseq = early.remote_cseq
        self._take_back(now)  # a target that was left behind may be the one that answers
        self._settle(now)
        self.core.dialogs[dialog.key] = call
        call.answered(dialog, invite, flow)
        if invite.raw_body:
            self.acknowledge(now, b"")
            call.acknowledged()
        else:
            self.timer = self.core.timers.start(
                now, self.core.settings.timing.give_up, "acknowledge", self
            )
        self.core.happened.append(CallAnswered(call, response))

    def _end_stray(self, dialog: Dialog, form: _Form, now: float) -> None:
        """ACK and BYE a 2xx that is not, or no longer, the call."""
        core = self.core
        if len(self.strays) >= _MAX_STRAYS:
            core.counters["call.too_many_forks"] += 1
            return
        core.counters["call.stray_2xx"] += 1
        ack = self._acknowledge(dialog, form, now, b"")
        if ack is None:
            return
        self.strays[dialog.remote_tag] = ack
        bye = ClientRequest(core, dialog.request("BYE"), None)
        bye.account, bye.dialog = self.client.account, dialog
        in_dialog(bye, dialog, form[1], now, sticky=False)

    def _acknowledge(
        self, dialog: Dialog, form: _Form, now: float, body: bytes
    ) -> ClientRequest | None:
        """Send the ACK of the 2xx to an INVITE: with its CSeq and its credentials (§13.2.2.4)."""
        invite, flow = form
        try:
            request = dialog.request("ACK", cseq=invite.cseq.number)
            for name in ("Authorization", "Proxy-Authorization"):  # RFC 3261 §22.1
                for value in invite.headers.get_all(name):
                    request.headers.add(name, value)
            if body:
                request = with_body(request, body)
            ack = ClientRequest(self.core, request, None)
            in_dialog(ack, dialog, flow, now, sticky=False)
        except LocalProtocolError:
            self.core.counters["call.unreachable_contact"] += 1
            return None
        return ack

    def _take_back(self, now: float) -> None:
        """End the INVITE that is under way, if any (RFC 3261 §9.1).

        What has not left stays here; what rings gets its CANCEL; what is silent gets it with the
        first provisional response, or ends by timer B.
        """
        transaction = self.client.transaction
        if not self.client.stop() and transaction is not None and transaction.state == "proceeding":
            self._send_cancel(now)

    def _send_cancel(self, now: float) -> None:
        if self._given_up is not None:
            return
        core, sent, flow = self.core, self.client.sent, self.client.flow
        assert sent is not None
        assert flow is not None
        core.transactions.request(_cancellation(sent), flow, None, now)
        self._given_up = core.timers.start(now, core.settings.timing.give_up, "cancelled", self)

    def _settle(self, now: float) -> None:
        """Wait for nobody: forget the early dialogs, and the attempt 64·T1 after its INVITE."""
        core = self.core
        if self.call.dialog is None:  # else it is the 2xx that is owed an ACK
            self._still()
        self._drop_early()
        if not self.client.done:
            return  # its CANCEL, or the one that waits, sees to its end
        if self._given_up is not None:
            self._given_up.cancel()
        if self.client.sent is None:
            core.attempts.pop((self.call.id, self.call.local_tag), None)
        elif self._late is None:
            self._late = core.timers.start(now, core.settings.timing.give_up, "late 2xx", self)

    def _drop_early(self) -> None:
        for dialog in self.early.values():
            self.core.dialogs.pop(dialog.key, None)
        self.early.clear()

    def _still(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def with_body(request: Request, body: bytes) -> Request:
    """Return a request that carries a session description."""
    request.headers.set("Content-Type", "application/sdp")
    return rebuilt(request, request.headers, body)


def _cancellation(invite: Request) -> Request:
    """Return the CANCEL for an INVITE: same in everything but the method (RFC 3261 §9.1)."""
    headers = Headers()
    for name in ("Via", "Route", "Max-Forwards", "From", "To", "Call-ID"):
        for value in invite.headers.get_all(name):
            headers.add(name, value)
    headers.add("CSeq", f"{invite.cseq.number} CANCEL")
    headers.add("Content-Length", "0")
    return Request("CANCEL", invite.raw_uri.decode("ascii"), headers)

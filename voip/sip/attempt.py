"""The caller's side of an INVITE until it is settled: forks, 2xx and their ACKs, CANCEL.

An attempt outlives its call: as long as a 2xx may still come, it is ACKed and ended with BYE, so
that nobody is left in a call that nobody made (RFC 3261 §13.2.2.4, §9.1; RFC 6026 §7.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip.errors import EndCause, LocalProtocolError
from voip.sip.client import ClientRequest, in_dialog, rebuilt
from voip.sip.dialog import Dialog
from voip.sip.events import CallAnswered, CallRinging
from voip.sip.headers import Headers
from voip.sip.messages import Request

if TYPE_CHECKING:
    from voip.machine import Timer
    from voip.sip.core import Core
    from voip.sip.invite import Call
    from voip.sip.messages import Response

__all__ = ["Attempt"]

_MAX_STRAYS = 64


class Attempt:
    """One outgoing INVITE.

    Attributes:
        client: the request.
        early: remote tag to early dialog, `max_early_dialogs` at most.
        strays: remote tag to the ACK of a 2xx that is not the call.
        ack: the ACK of the call's own 2xx, None until it left.
        cancelling: whether the call is no longer wanted.
    """

    __slots__ = ("ack", "call", "cancelling", "client", "core", "early", "strays", "timer")

    def __init__(self, core: Core, call: Call, client: ClientRequest) -> None:
        self.core = core
        self.call = call
        self.client = client
        self.early: dict[str, Dialog] = {}
        self.strays: dict[str, ClientRequest] = {}
        self.ack: ClientRequest | None = None
        self.cancelling = False
        self.timer: Timer | None = None

    def begin(self, now: float) -> None:
        """Start the ringing deadline and become findable for late 2xx."""
        self.timer = self.core.timers.start(now, self.core.settings.timing.ringing, "ringing", self)
        self.core.attempts[(self.call.id, self.call.local_tag)] = self

    # From the client request

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """Take a provisional response: it may found an early dialog (RFC 3261 §12.1.2)."""
        if self.cancelling:
            self._send_cancel(now)
            return
        if self.call.dialog is not None:
            self._cancel_rest(now)
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
        if response.status_code < 300:
            self._answered(response, now)
            return
        if self.call.dialog is not None:
            return  # a target that was left behind had answered
        self._settle(now)
        self.call.refused(response.status_code, response.reason, now)

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """Nobody answered, or nobody could be reached."""
        if self.call.dialog is not None:
            return
        self._settle(now)
        self.call.unreached(reason, now)

    # From the call

    def cancel(self, now: float) -> None:
        """Take the INVITE back (RFC 3261 §9.1): at once, or once a provisional response is here."""
        self.cancelling = True
        self._drop_early()
        self._still()
        if self.client.stop():
            self._settle(now)
            self.call.settled(now)
            return
        transaction = self.client.transaction
        if transaction is not None and transaction.state == "proceeding":
            self._send_cancel(now)

    def acknowledge(self, now: float, body: bytes) -> None:
        """Send the ACK of the call's 2xx."""
        self._still()
        dialog = self.call.dialog
        assert dialog is not None
        self.ack = self._acknowledge(dialog, now, body)

    def expired(self, reason: str, now: float) -> None:
        """Act on its one timer."""
        self.timer = None
        if reason == "ringing":
            self.core.counters["call.ringing_timeout"] += 1
            self.call.give_up(EndCause.NO_ANSWER, now)
        elif reason == "cancelled":
            # RFC 3261 §9.1: no final response 64·T1 after the CANCEL means that none will come.
            self.client.abandon()
            self._settle(now)
            self.call.settled(now)
        elif reason == "acknowledge":
            self.core.counters["call.never_acknowledged"] += 1
            self.call.give_up(EndCause.FAILED, now)
        else:
            self.core.attempts.pop((self.call.id, self.call.local_tag), None)

    # Steps

    def _answered(self, response: Response, now: float) -> None:
        call, tag = self.call, response.to.tag or ""
        if call.dialog is not None and tag == call.dialog.remote_tag:
            if self.ack is not None:
                self.ack.repeat()
            return
        if tag in self.strays:
            self.strays[tag].repeat()
            return
        assert self.client.sent is not None
        dialog = Dialog.asking(self.client.sent, response)
        if call.dialog is not None or self.cancelling or call.finished:
            self._end_stray(dialog, now)
            if self.cancelling and call.dialog is None:
                self._settle(now)
                call.settled(now)
            return
        early = self.early.get(tag)
        if early is not None:
            # RFC 3261 §13.2.2.4: the route set comes from the 2xx, the peer's CSeq stays.
            dialog.remote_cseq = early.remote_cseq
        self._settle(now)
        self.core.dialogs[dialog.key] = call
        call.answered(dialog, self.client)
        if self.client.sent.raw_body:
            self.acknowledge(now, b"")
            call.acknowledged()
        else:
            self.timer = self.core.timers.start(
                now, self.core.settings.timing.give_up, "acknowledge", self
            )
        self.core.happened.append(CallAnswered(call, response))

    def _end_stray(self, dialog: Dialog, now: float) -> None:
        """ACK and BYE a 2xx that is not, or no longer, the call."""
        core = self.core
        if len(self.strays) >= _MAX_STRAYS:
            core.counters["call.too_many_forks"] += 1
            return
        core.counters["call.stray_2xx"] += 1
        ack = self._acknowledge(dialog, now, b"")
        if ack is None:
            return
        self.strays[dialog.remote_tag] = ack
        bye = ClientRequest(core, dialog.request("BYE"), None)
        bye.account, bye.dialog = self.client.account, dialog
        in_dialog(bye, dialog, self.client.flow, now, sticky=False)

    def _acknowledge(self, dialog: Dialog, now: float, body: bytes) -> ClientRequest | None:
        sent = self.client.sent
        assert sent is not None
        try:
            request = dialog.request("ACK", cseq=sent.cseq.number)
            for name in ("Authorization", "Proxy-Authorization"):  # RFC 3261 §22.1
                for value in sent.headers.get_all(name):
                    request.headers.add(name, value)
            if body:
                request = with_body(request, body)
            ack = ClientRequest(self.core, request, None)
            in_dialog(ack, dialog, self.client.flow, now, sticky=False)
        except LocalProtocolError:
            self.core.counters["call.unreachable_contact"] += 1
            return None
        return ack

    def _send_cancel(self, now: float) -> None:
        if self.timer is not None and self.timer.reason == "cancelled":
            return
        core, sent, flow = self.core, self.client.sent, self.client.flow
        assert sent is not None
        assert flow is not None
        core.transactions.request(_cancellation(sent), flow, None, now)
        self.timer = core.timers.start(now, core.settings.timing.give_up, "cancelled", self)

    def _cancel_rest(self, now: float) -> None:
        """Take the INVITE back from a target that rings although another one has answered."""
        sent, flow = self.client.sent, self.client.flow
        if not self.client.stopped and sent is not None and flow is not None:
            self.client.stop()
            self.core.transactions.request(_cancellation(sent), flow, None, now)

    def _settle(self, now: float) -> None:
        """Nothing but late 2xx can come: forget the early dialogs, and the attempt after 64·T1."""
        self._still()
        self._drop_early()
        core = self.core
        if self.client.sent is None:
            core.attempts.pop((self.call.id, self.call.local_tag), None)
        else:
            core.timers.start(now, core.settings.timing.give_up, "late 2xx", self)

    def _drop_early(self) -> None:
        for dialog in self.early.values():
            self.core.dialogs.pop(dialog.key, None)

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

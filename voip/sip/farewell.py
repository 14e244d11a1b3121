"""Our BYE, from the decision that the call is over until the peer agreed (RFC 3261 §15.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip.errors import LocalProtocolError, ParseError
from voip.sip.client import ClientRequest, in_dialog
from voip.sip.syntax import quote

if TYPE_CHECKING:
    from voip.sip.core import Core
    from voip.sip.invite import Call
    from voip.sip.messages import Response

__all__ = ["Farewell"]


class Farewell:
    """The owner of one BYE: whatever comes back, the call is over then."""

    __slots__ = ("_call", "_core")

    def __init__(self, core: Core, call: Call) -> None:
        self._core = core
        self._call = call

    def send(self, now: float, reason: str) -> bool:
        """Send the BYE; False when the peer left no address that it could go to."""
        call = self._call
        dialog = call.dialog
        assert dialog is not None
        try:
            request = dialog.request("BYE")
            if reason:
                request.headers.add("Reason", f"SIP;text={quote(reason)}")  # RFC 3326
            client = ClientRequest(self._core, request, self)
            client.account, client.dialog, client.inbound = call.account, dialog, call.incoming
            in_dialog(client, dialog, call.flow, now, sticky=call.natted)
        except (LocalProtocolError, ParseError):
            self._core.counters["call.unreachable_contact"] += 1
            return False
        return True

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """A provisional response changes nothing."""

    def concluded(self, client: ClientRequest, response: Response, now: float) -> None:
        """Take the answer, whatever it says."""
        self._call.settled(now)

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """Note that nobody answered."""
        self._core.counters["call.bye_unanswered"] += 1
        self._call.settled(now)

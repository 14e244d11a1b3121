"""What the application may tell a call, and in which states.

A command that does not fit the state is refused with `LocalProtocolError`; all that a command sets
in motion is `voip.sip.invite`'s and that of the parts of a call.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from voip.errors import EndCause, LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voip.sip.attempt import Attempt
    from voip.sip.invitation import Invitation
    from voip.sip.messages import Request
    from voip.sip.reoffer import LocalOffer, RemoteOffer

__all__ = ["UNANSWERED", "CallState", "Commands"]


class CallState(enum.StrEnum):
    """Where a call is."""

    CALLING = "calling"
    RINGING = "ringing"
    CANCELLING = "cancelling"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    ENDING = "ending"
    ENDED = "ended"


UNANSWERED = (CallState.CALLING, CallState.RINGING)


class Commands:
    """The commands of a call, over the steps that `Call` gives them.

    Attributes:
        incoming: whether the peer called.
        state: where it is.
        finished: whether `CallFinished` was told.
        attempt: the caller's INVITE, while something of it is under way.
        local_offer: our last re-INVITE.
        remote_offer: the peer's last re-INVITE.
    """

    __slots__ = ("attempt", "finished", "incoming", "local_offer", "remote_offer", "state")
    incoming: bool
    state: CallState
    finished: bool
    attempt: Attempt | None
    local_offer: LocalOffer | None
    remote_offer: RemoteOffer | None

    def give_up(self, cause: EndCause, now: float) -> None:
        """End a call that is not answered."""
        raise NotImplementedError

    def lost(self, cause: EndCause, status: int | None, phrase: str, now: float) -> None:
        """End an answered call."""
        raise NotImplementedError

    def acknowledged(self) -> None:
        """Note that our ACK leaves."""
        raise NotImplementedError

    def _unanswered(self) -> Invitation:
        """Return the INVITE that waits for our answer."""
        raise NotImplementedError

    def _refuse(
        self,
        status: int,
        cause: EndCause,
        now: float,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Answer it with a refusal."""
        raise NotImplementedError

    def _offer(self, body: bytes, now: float) -> None:
        """Send a re-INVITE."""
        raise NotImplementedError

    # Commands of the callee

    def ring(self, now: float, status: int = 180, body: bytes = b"") -> None:
        """Send a provisional response.

        Raises:
            LocalProtocolError: the call is not ours to answer, or was answered.
        """
        if not 100 < status < 200:
            raise LocalProtocolError(f"{status} is not a provisional response")
        invitation = self._unanswered()
        self.state = CallState.RINGING
        invitation.ring(status, bytes(body), now)

    def accept(self, now: float, body: bytes) -> None:
        """Answer with 200; it is repeated until its ACK.

        Raises:
            LocalProtocolError: the call is not ours to answer, or was answered.
        """
        invitation = self._unanswered()
        self.state = CallState.ANSWERED
        invitation.accept(bytes(body), now)

    def reject(
        self,
        now: float,
        status: int = 486,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Refuse the call.

        Raises:
            LocalProtocolError: the call is not ours to answer, or was answered.
        """
        if not 300 <= status < 700:
            raise LocalProtocolError(f"{status} is not a refusal")
        self._refuse(status, EndCause.REJECTED, now, reason, headers)

    # Commands of the caller

    def cancel(self, now: float) -> None:
        """Take back a call that is not answered.

        Raises:
            LocalProtocolError: it is not our call, or it was answered.
        """
        if self.incoming or self.state not in UNANSWERED:
            raise LocalProtocolError(f"cannot cancel a call that is {self.state}")
        self.give_up(EndCause.CANCELLED, now)

    def acknowledge(self, now: float, body: bytes) -> None:
        """Send the ACK that holds our answer, where the INVITE or re-INVITE had no offer.

        Raises:
            LocalProtocolError: no ACK is owed.
        """
        offer = self.local_offer
        if self.state is CallState.ANSWERED and self.attempt is not None:
            self.acknowledged()
            self.attempt.acknowledge(now, bytes(body))
        elif offer is not None and offer.owes_ack and not self.finished:
            offer.acknowledge(now, bytes(body))
        else:
            raise LocalProtocolError("no ACK is owed")

    # Commands of both

    def bye(self, now: float, reason: str = "") -> None:
        """End an answered call; `reason` goes into a Reason header (RFC 3326).

        Raises:
            LocalProtocolError: the call is not answered, or over.
        """
        if self.state not in (CallState.ANSWERED, CallState.CONFIRMED):
            raise LocalProtocolError(f"cannot BYE a call that is {self.state}")
        self.lost(EndCause.LOCAL_HANGUP, None, reason, now)

    def hang_up(self, now: float, cause: EndCause = EndCause.LOCAL_HANGUP) -> None:
        """End the call in whatever way its state wants; nothing happens when it is over."""
        if self.state in (CallState.ANSWERED, CallState.CONFIRMED):
            self.lost(cause, None, "", now)
        elif self.state in UNANSWERED:
            self.give_up(
                cause
                if not self.incoming or cause is not EndCause.LOCAL_HANGUP
                else EndCause.REJECTED,
                now,
            )

    def reinvite(self, now: float, body: bytes) -> None:
        """Offer anew (RFC 3261 §14.1); an empty body asks the peer for an offer.

        Raises:
            LocalProtocolError: the call is not confirmed, or an offer is outstanding.
        """
        if self.state is not CallState.CONFIRMED:
            raise LocalProtocolError(f"cannot re-INVITE while {self.state}")
        if self.local_offer is not None and self.local_offer.busy:
            raise LocalProtocolError("our own re-INVITE is under way")
        if self.remote_offer is not None and not self.remote_offer.settled:
            raise LocalProtocolError("the peer's re-INVITE is under way")
        self._offer(bytes(body), now)

    def offer_is_open(self, request: Request) -> bool:
        """Tell whether a re-INVITE of the peer still waits for our answer.

        What came with it may have settled it before anybody heard of it: a CANCEL, a BYE.
        """
        offer = self.remote_offer
        return offer is not None and offer.request is request and not offer.answered

    def answer_offer(self, now: float, body: bytes) -> None:
        """Accept the peer's re-INVITE.

        Raises:
            LocalProtocolError: none is open.
        """
        if self.remote_offer is None:
            raise LocalProtocolError("no offer is open")
        self.remote_offer.answer(now, bytes(body))

    def refuse_offer(self, now: float, status: int = 488) -> None:
        """Refuse the peer's re-INVITE; the session stays as it was.

        Raises:
            LocalProtocolError: none is open.
        """
        if self.remote_offer is None:
            raise LocalProtocolError("no offer is open")
        self.remote_offer.refuse(now, status)

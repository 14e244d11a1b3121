"""One call of the SIP object: the SIP call, its leg and its media, tied together.

The SIP call belongs to the endpoint, the packets to the media plane, the leg to the user. A session
holds what lies between: the call's media session (`voip.sip.media`), and who waits for the outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from voip.errors import (
    CallEnded,
    CallFailed,
    EndCause,
    LocalProtocolError,
    NegotiationError,
    ParseError,
    PortsExhaustedError,
    TransportError,
)
from voip.logs import call_event
from voip.sip.answer import Answer
from voip.sip.description import description_of, formats_of, has_description
from voip.sip.media import MediaSession
from voip.sip.types import CallerID, parse_uri

if TYPE_CHECKING:
    from voip.rtp.call import RTPCall
    from voip.sdp.answering import Offer
    from voip.sdp.messages import SessionDescription
    from voip.sdp.negotiation import Agreement
    from voip.sip.account import Account
    from voip.sip.driver import SipDriver
    from voip.sip.invite import Call
    from voip.sip.messages import Request, Response

__all__ = ["CallSession"]

logger = logging.getLogger("voip.sip")


class CallSession:
    """What ties one SIP call to its leg and its media.

    Attributes:
        driver: runs the endpoint of the SIP object.
        call: the SIP call.
        leg: the user's leg, None until the codec is known.
        media: its media session, None before a port is reserved and after it is given back.
        ended: why the call is over, None while it is not.
        answer: who waits for an incoming call to be answered.
        outcome: who waits for an outgoing call to be answered.
    """

    __slots__ = (
        "_call_class",
        "_fields",
        "_updated",
        "answer",
        "call",
        "driver",
        "ended",
        "leg",
        "media",
        "outcome",
    )

    def __init__(self, driver: SipDriver) -> None:
        self.driver = driver
        self.call: Call | None = None
        self.leg: RTPCall | None = None
        self.media: MediaSession | None = None
        self.ended: CallEnded | None = None
        self.answer: Answer[Any] | None = None
        self.outcome: asyncio.Future[Any] | None = None
        self._call_class: type[RTPCall] | None = None
        self._fields: dict[str, Any] = {}
        self._updated: asyncio.Future[None] | None = None

    @property
    def _sip_call(self) -> Call:
        assert self.call is not None
        return self.call

    @property
    def key(self) -> int:
        """Under which the SIP object finds the session of a request."""
        return id(self._sip_call.request)

    def begin(self, call: Call) -> None:
        """Tie the session to its SIP call."""
        self.call = call
        call.data = self

    # Incoming

    def refuse(self, status: int) -> None:
        """Send a final response other than 2xx; nothing when there was one."""
        with contextlib.suppress(LocalProtocolError):
            self.driver.place(lambda now: self._sip_call.reject(now, status))

    def choose(self, call_class: type[RTPCall], fields: dict[str, Any]) -> None:
        """Note of which class the leg will be, and its further fields."""
        self._call_class, self._fields = call_class, fields

    def accept(self) -> None:
        """Answer the INVITE with a leg; the outcome goes to `answer`."""
        assert self.answer is not None
        if self._sip_call.finished:
            return  # a CANCEL came along with it: no leg is made, and `finish` tells why
        try:
            leg = self._accept()
        except NegotiationError as error:
            self._refuse(488, error)
        except ParseError as error:
            self._refuse(error.status or 400, error)
        except PortsExhaustedError as error:
            self._refuse(503, error)
        except LocalProtocolError:
            self._release()
            self.answer.set_exception(self.ended or CallEnded(EndCause.CANCELLED))
        except Exception as error:  # noqa: BLE001 - the user's class may raise anything: 500
            self._refuse(500, error)
            self.driver.session.hooks.failed("answer", error)
        else:
            if leg is not None:
                self.answer.set_result(leg)

    async def accept_in_public(self) -> None:
        """Answer once STUN has told the public address of the media socket."""
        if self.ended is not None:
            return  # nobody would give back what is reserved now
        try:
            self._reserve_for_answer()
            assert self.media is not None
            await self.media.find_public_address()
        except ParseError as error:
            self._refuse(error.status or 400, error)
            return
        except TransportError as error:
            self._refuse(503, error)
            return
        if self.ended is None:
            self.accept()

    def _reserve_for_answer(self) -> Offer | None:
        """Reserve a media socket for what the INVITE offers; None when it offers nothing."""
        call, call_class = self._sip_call, self._call_class
        assert call.flow is not None
        assert call_class is not None
        request = call.request
        offer = remote = None
        if has_description(request):
            offer = self.driver.answer_books.open(call_class, request.raw_body)
            remote = offer.remote
        if self.media is None:
            flow = call.flow
            self.media = MediaSession(
                self.driver, flow.local.host, remote=remote, signalling_ip=flow.remote.host
            )
        return offer

    def _accept(self) -> RTPCall | None:
        call = self._sip_call
        offer = self._reserve_for_answer()
        assert self._call_class is not None
        assert self.media is not None
        described = self.media.description
        if offer is None:
            # RFC 3261 §13.3.1: an INVITE without an offer gets ours in the 2xx; the codec, and with
            # it the leg, is known when the ACK brings the answer.
            body = described.offer(self._call_class)
            self.driver.place(lambda now: call.accept(now, body))
            return None
        body, agreement = described.answer(offer)
        leg = self._make_leg(agreement, CallerID.parse(call.request.headers["From"]))
        self.driver.place(lambda now: call.accept(now, body))
        leg._begin()
        return leg

    def _refuse(self, status: int, error: Exception) -> None:
        """Send a final response other than 2xx, and tell who waits."""
        self._release()
        assert self.answer is not None
        self.answer.set_exception(error)
        headers = [("Retry-After", "5")] if status == 503 else []
        try:
            self.driver.place(lambda now: self._sip_call.reject(now, status, headers=headers))
        except LocalProtocolError:
            return  # it was over before we said no

    def confirmed(self, request: Request) -> None:
        """Take the ACK; it brings the answer when the offer was ours."""
        if self.media is None:
            return
        self.media.acknowledged()
        described = self.media.description
        if described.offered is None or self.leg is not None:
            return
        assert self.answer is not None
        try:
            agreement = described.take(description_of(request), "the ACK of a delayed offer")
            leg = self._make_leg(agreement, CallerID.parse(str(self._sip_call.remote)))
        except Exception as error:  # noqa: BLE001 - the user's class may raise anything
            self.answer.set_exception(error)
            self.hang_up()
            return
        leg._begin()
        self.answer.set_result(leg)

    # Outgoing

    async def dial(self, uri: str, account: Account | None) -> Any:
        """Call somebody and wait until they answer; whoever stops waiting takes the call back.

        Returns:
            The answered leg.

        Raises:
            CallFailed: the call was refused, or nobody replied.
            ParseError: the URI is none.
            TransportError: the host has no address, no route leads there, or no port is left.
            NegotiationError: the class has no codec, or none in common with the peer.
        """
        driver = self.driver
        targets = await driver.targets(parse_uri(uri), account)
        self.outcome = driver.loop.create_future()
        with contextlib.ExitStack() as undo:
            undo.callback(self._give_up)
            body = await self._offer(driver.local_address(targets[0].host))
            call = driver.machine.call
            driver.place(
                lambda now: self.begin(
                    call(uri, body=body, account=account, targets=targets, now=now)
                )
            )
            leg = await self.outcome
            undo.pop_all()
        return leg

    async def _offer(self, local_host: str) -> bytes:
        """Reserve a media socket and return the offer for an INVITE.

        Raises:
            PortsExhaustedError: no port is left.
            NegotiationError: the class has no codec.
        """
        assert self._call_class is not None
        formats_of(self._call_class)  # before anything is reserved
        self.media = media = MediaSession(self.driver, local_host)
        if self.driver.session.rtp_stun_server_address is not None:
            await media.find_public_address()
        return media.description.offer(self._call_class)

    def answered(self, response: Response) -> None:
        """Take the 2xx of our INVITE: make the leg, or end what cannot be spoken in."""
        if self.outcome is None or self.outcome.done():
            self.hang_up()  # nobody waits any more
            return
        assert self.media is not None
        try:
            agreement = self.media.description.take(description_of(response), "the 2xx")
            leg = self._make_leg(agreement, CallerID.parse(str(self._sip_call.remote)))
        except Exception as error:  # noqa: BLE001 - the user's class may raise anything
            self.outcome.set_exception(error)
            self.hang_up()
            return
        leg._begin()
        self.outcome.set_result(leg)

    # Both

    def _make_leg(self, agreement: Agreement, caller: CallerID) -> RTPCall:
        assert self._call_class is not None
        assert self.media is not None
        driver = self.driver
        leg = self._call_class(
            rtp=driver.rtp,
            sip=driver.session,
            media=agreement.media,
            caller=caller,
            **{"call_id": self._sip_call.id, **self._fields},
        )
        self.leg = leg
        driver.legs[leg] = self
        self.media.begin(self._sip_call, leg, agreement)
        return leg

    # Re-INVITE

    def reoffered(self, request: Request) -> None:
        """Answer a re-INVITE: hold, resume, another address, another codec (RFC 3261 §14.2)."""
        call, leg, media = self._sip_call, self.leg, self.media
        if not call.offer_is_open(request):
            return  # a CANCEL or a BYE came along with it: our description stays as it was
        agreement = None
        try:
            if leg is None or media is None:
                raise NegotiationError("the call has no media yet")
            offer = description_of(request)
            if offer is None:
                body = media.description.reoffer(type(leg))
            else:
                body, agreement = media.description.reanswer(offer, type(leg))
        except (NegotiationError, ParseError):
            # RFC 3261 §14.2: refused, the session goes on as it was.
            self.driver.place(lambda now: call.refuse_offer(now, 488))
            return
        self.driver.place(lambda now: call.answer_offer(now, body))
        if agreement is not None:
            media.renegotiated(call, agreement)

    def reconfirmed(self, request: Request) -> None:
        """Take the ACK of a re-INVITE; it brings the answer when the offer was ours."""
        if self.media is None or self.media.description.offered is None or self.leg is None:
            return
        try:
            answered = description_of(request)
            if answered is not None:
                self._take(answered, "the ACK")
        except (NegotiationError, ParseError):
            self.driver.counters["reoffer_answer_unusable"] += 1

    async def update(self, direction: str) -> None:
        """Offer another direction by a re-INVITE and wait for the answer.

        Raises:
            CallFailed: the peer refused; the session goes on as it was.
            CallEnded: the call ended meanwhile.
            LocalProtocolError: another offer is under way.
        """
        if self._updated is not None or self.leg is None or self.media is None:
            raise LocalProtocolError("the call cannot be changed now")
        described = self.media.description
        local = described.local
        before, local.direction = local.direction, direction
        body = described.reoffer(type(self.leg))
        self._updated = asyncio.get_running_loop().create_future()
        try:
            self.driver.place(lambda now: self._sip_call.reinvite(now, body))
            await self._updated
        except (CallFailed, LocalProtocolError):
            local.direction = before
            raise
        finally:
            self._updated = None

    def reanswered(self, response: Response | None) -> None:
        """Take the final response to our re-INVITE."""
        waiting = self._updated
        error: Exception | None = None
        if response is None or response.status_code >= 300:
            status = 408 if response is None else response.status_code
            error = CallFailed(status, "" if response is None else response.reason)
        else:
            try:
                self._take(description_of(response), "the 2xx")
            except (NegotiationError, ParseError) as unusable:
                error = unusable
        if waiting is not None and not waiting.done():
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(error)

    def _take(self, answer: SessionDescription | None, where: str) -> None:
        """Go on with the answer to our re-offer.

        Raises:
            NegotiationError: there is none, or it does not fit the offer.
        """
        assert self.media is not None
        self.media.renegotiated(self._sip_call, self.media.description.take(answer, where))

    # The end

    def hang_up(self, cause: EndCause = EndCause.LOCAL_HANGUP) -> None:
        """BYE, CANCEL or a final response, by the state of the call; nothing when it is over."""
        self.driver.place(lambda now: self._sip_call.hang_up(now, cause))

    def _give_up(self) -> None:
        """Nobody waits for the answer to our call any more: take it back, or end it."""
        if self.outcome is not None:
            self.outcome.cancel()
        if self.call is None:
            self._release()  # the INVITE never left
        elif self.ended is None:
            self.hang_up()

    def finish(self, cause: EndCause, status: int | None, phrase: str) -> None:
        """The SIP call is over: release the media, tell the leg and whoever waits."""
        self.ended = reason = CallEnded(cause, status, phrase)
        if self.media is not None and cause is EndCause.REMOTE_HANGUP:
            self.media.far_end_left()
        self._release()
        if self.answer is not None:
            self.answer.set_exception(reason)
        if self.outcome is not None and not self.outcome.done():
            self.outcome.set_exception(CallFailed(status or 408, phrase))
        if self._updated is not None and not self._updated.done():
            self._updated.set_exception(reason)
        if self.leg is not None:
            self.leg._end(reason)
        else:
            facts = {"cause": cause.value, "status": status, "phrase": phrase}
            call = self._sip_call
            call_event(logger, "call_ended", caller=call.remote, call_id=call.id, **facts)

    def _release(self) -> None:
        """Give the media socket back, in every way that a call can end."""
        media, self.media = self.media, None
        if media is not None:
            media.release()

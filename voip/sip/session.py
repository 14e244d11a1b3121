"""One call of the SIP object: the SIP call, its leg and its media, tied together.

The SIP call belongs to the endpoint, the packets to the media plane, the leg to the user. A session
holds what lies between: which description was sent last, what was agreed on, which socket the media
has, and who waits for the outcome.
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
from voip.rtp.source import RemoteSource, SourceRules
from voip.sdp.messages import SessionDescription
from voip.sdp.negotiation import Agreement, LocalMedia, accept_answer, make_answer, make_offer
from voip.sdp.types import Attribute, MediaDescription
from voip.sip.answer import Answer
from voip.sip.invite import CallState
from voip.sip.types import CallerID
from voip.types import HostPort, canonical_ip

if TYPE_CHECKING:
    from voip.media.plane import InlineMedia
    from voip.rtp.call import RTPCall
    from voip.rtp.protocol import MediaSocket
    from voip.sip.driver import SipDriver
    from voip.sip.invite import Call
    from voip.sip.messages import Message, Request, Response

__all__ = ["CallSession"]

logger = logging.getLogger("voip.sip")

_SDP = "application/sdp"


class CallSession:
    """What ties one SIP call to its leg and its media.

    Attributes:
        driver: runs the endpoint of the SIP object.
        call: the SIP call.
        leg: the user's leg, None until the codec is known.
        agreement: what offer and answer agreed on last.
        ended: why the call is over, None while it is not.
        answer: who waits for an incoming call to be answered.
        outcome: who waits for an outgoing call to be answered.
    """

    __slots__ = (
        "_call_class",
        "_fields",
        "_local",
        "_media",
        "_offer",
        "_sent",
        "_socket",
        "_updated",
        "agreement",
        "answer",
        "call",
        "driver",
        "ended",
        "leg",
        "outcome",
    )

    def __init__(self, driver: SipDriver) -> None:
        self.driver = driver
        self.call: Call | None = None
        self.leg: RTPCall | None = None
        self.agreement: Agreement | None = None
        self.ended: CallEnded | None = None
        self.answer: Answer[Any] | None = None
        self.outcome: asyncio.Future[Any] | None = None
        self._call_class: type[RTPCall] | None = None
        self._fields: dict[str, Any] = {}
        self._socket: MediaSocket | None = None
        self._media: InlineMedia | None = None
        self._local: LocalMedia | None = None
        self._offer: SessionDescription | None = None
        self._sent: bytes = b""
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
        try:
            self._reserve_for_answer()
            await self._find_public_address()
        except (TransportError, ParseError) as error:
            self._refuse(503, error)
            return
        if self.ended is None:
            self.accept()

    def _reserve_for_answer(self) -> SessionDescription | None:
        call = self._sip_call
        assert call.flow is not None
        offer = _description(call.request)
        remote = None if offer is None else _first_address(offer)
        self._reserve(call.flow.local.host, remote, call.flow.remote.host)
        return offer

    def _accept(self) -> RTPCall | None:
        call = self._sip_call
        offer = self._reserve_for_answer()
        assert self._call_class is not None
        assert self._local is not None
        if offer is None:
            # RFC 3261 §13.3.1: an INVITE without an offer gets ours in the 2xx; the codec, and with
            # it the leg, is known when the ACK brings the answer.
            self._offer = make_offer(_formats(self._call_class), local=self._local)
            body = self._body(self._offer)
            self.driver.place(lambda now: call.accept(now, body))
            return None
        choose = self._call_class.negotiate_codec
        description, agreement = make_answer(offer, choose=choose, local=self._local)
        leg = self._make_leg(agreement, CallerID.parse(call.request.headers["From"]))
        body = self._body(description)
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
        if self._media is not None:
            self._media.source.rules.acknowledged = True
        if self._offer is None or self.leg is not None:
            return
        assert self.answer is not None
        try:
            answered = _description(request)
            if answered is None:
                raise NegotiationError("the ACK of a delayed offer has no answer")
            agreement = accept_answer(self._offer, answered)
            leg = self._make_leg(agreement, CallerID.parse(str(self._sip_call.remote)))
        except Exception as error:  # noqa: BLE001 - the user's class may raise anything
            self.answer.set_exception(error)
            self.hang_up()
            return
        leg._begin()
        self.answer.set_result(leg)

    # Outgoing

    async def offer(self, local_host: str) -> bytes:
        """Reserve a media socket and return the offer for an INVITE.

        Raises:
            PortsExhaustedError: no port is left.
            NegotiationError: the class has no codec.
        """
        assert self._call_class is not None
        formats = _formats(self._call_class)
        self._reserve(local_host, None, None)
        if self.driver.session.rtp_stun_server_address is not None:
            await self._find_public_address()
        assert self._local is not None
        self._offer = make_offer(formats, local=self._local)
        return self._body(self._offer)

    def answered(self, response: Response) -> None:
        """Take the 2xx of our INVITE: make the leg, or end what cannot be spoken in."""
        if self.outcome is None or self.outcome.done():
            self.hang_up()  # nobody waits any more
            return
        assert self._offer is not None
        try:
            answered = _description(response)
            if answered is None:
                raise NegotiationError("the 2xx has no answer")
            agreement = accept_answer(self._offer, answered)
            leg = self._make_leg(agreement, CallerID.parse(str(self._sip_call.remote)))
        except Exception as error:  # noqa: BLE001 - the user's class may raise anything
            self.outcome.set_exception(error)
            self.hang_up()
            return
        leg._begin()
        self.outcome.set_result(leg)

    # Both

    def _reserve(self, local_host: str, remote: HostPort | None, signalling_ip: str | None) -> None:
        if self._socket is not None:
            return
        self._socket = self.driver.rtp.reserve(
            local_host, remote=remote, signalling_ip=signalling_ip
        )
        local, rtcp = self._socket.local, self._socket.rtcp_local
        number = int.from_bytes(self.driver.entropy(7))
        self._local = LocalMedia(
            self.driver.session.media_address or local.host,
            local.port,
            rtcp.port,
            session_id=number >> 24,
            version=number & 0xFFFFFF,
            rtcp_mux=True,
        )

    async def _find_public_address(self) -> None:
        """Describe the media socket as others see it (RFC 8489)."""
        assert self._socket is not None
        assert self._local is not None
        public = await self._socket.public_address()
        if public != self._socket.local:
            self._local.address, self._local.port = public
            self._local.rtcp_port = public.port + 1

    def _body(self, description: SessionDescription | None) -> bytes:
        assert description is not None
        self._sent = bytes(description)
        return self._sent

    def _make_leg(self, agreement: Agreement, caller: CallerID) -> RTPCall:
        assert self._call_class is not None
        assert self._socket is not None
        driver = self.driver
        self.agreement = agreement
        leg = self._call_class(
            rtp=driver.rtp,
            sip=driver.session,
            media=agreement.media,
            caller=caller,
            **{"call_id": self._sip_call.id, **self._fields},
        )
        self.leg = leg
        driver.legs[leg] = self
        source = RemoteSource(self._rules(agreement))
        self._media = driver.plane.adopt(
            leg, self._socket.link, source=source, agreement=agreement, now=driver.now
        )
        self._socket.bind(self._media, remote=agreement.remote, remote_rtcp=agreement.remote_rtcp)
        return leg

    def _rules(self, agreement: Agreement) -> SourceRules:
        call = self._sip_call
        assert call.flow is not None
        signalling = call.flow.remote.host
        return SourceRules(
            mode="learn",
            sdp=agreement.remote,
            signalling_ip=signalling,
            payload_types=agreement.payload_types,
            sdp_rtcp=agreement.remote_rtcp,
            trusted=canonical_ip(signalling) in self.driver.settings.peers,
            acknowledged=not call.incoming or call.state is CallState.CONFIRMED,
        )

    # Re-INVITE

    def reoffered(self, request: Request) -> None:
        """Answer a re-INVITE: hold, resume, another address, another codec (RFC 3261 §14.2)."""
        call, leg = self._sip_call, self.leg
        try:
            if leg is None or self._local is None:
                raise NegotiationError("the call has no media yet")
            offer = _description(request)
            if offer is None:
                self._offer = self._reoffer(type(leg))
                sent = self._body(self._offer)
                self.driver.place(lambda now: call.answer_offer(now, sent))
                return
            body, agreement = self._reanswer(offer, leg)
            self.driver.place(lambda now: call.answer_offer(now, body))
            self._renegotiated(agreement)
        except (NegotiationError, ParseError):
            # RFC 3261 §14.2: refused, the session goes on as it was.
            self.driver.place(lambda now: call.refuse_offer(now, 488))

    def _reanswer(self, offer: SessionDescription, leg: RTPCall) -> tuple[bytes, Agreement]:
        """Answer a re-offer; the version grows only when our description changed (RFC 3264 §8)."""
        assert self._local is not None
        choose, previous = type(leg).negotiate_codec, self.agreement
        answer, agreement = make_answer(offer, choose=choose, local=self._local, previous=previous)
        if bytes(answer) != self._sent:
            self._local.version += 1
            answer, agreement = make_answer(
                offer, choose=choose, local=self._local, previous=previous
            )
        return self._body(answer), agreement

    def _reoffer(self, call_class: type[RTPCall]) -> SessionDescription:
        assert self._local is not None
        self._local.version += 1
        previous = SessionDescription.parse(self._sent)
        return make_offer(_formats(call_class), local=self._local, previous=previous)

    def reconfirmed(self, request: Request) -> None:
        """Take the ACK of a re-INVITE; it brings the answer when the offer was ours."""
        if self._offer is None or self.leg is None:
            return
        try:
            answered = _description(request)
            if answered is not None:
                self._renegotiated(accept_answer(self._offer, answered))
        except (NegotiationError, ParseError):
            self.driver.counters["reoffer_answer_unusable"] += 1

    async def update(self, direction: str) -> None:
        """Offer another direction by a re-INVITE and wait for the answer.

        Raises:
            CallFailed: the peer refused; the session goes on as it was.
            CallEnded: the call ended meanwhile.
            LocalProtocolError: another offer is under way.
        """
        if self._updated is not None or self.leg is None or self._local is None:
            raise LocalProtocolError("the call cannot be changed now")
        before, self._local.direction = self._local.direction, direction
        self._offer = self._reoffer(type(self.leg))
        body = self._body(self._offer)
        self._updated = asyncio.get_running_loop().create_future()
        try:
            self.driver.place(lambda now: self._sip_call.reinvite(now, body))
            await self._updated
        except (CallFailed, LocalProtocolError):
            self._local.direction = before
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
                answered = _description(response)
                if answered is None or self._offer is None:
                    raise NegotiationError("the 2xx has no answer")
                self._renegotiated(accept_answer(self._offer, answered))
            except (NegotiationError, ParseError) as unusable:
                error = unusable
        if waiting is not None and not waiting.done():
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(error)

    def _renegotiated(self, agreement: Agreement) -> None:
        self.agreement = agreement
        if self._media is not None and self._socket is not None:
            self._media.update(agreement, self.driver.now)
            self._media.source.renegotiated(self._rules(agreement))
            self._socket.move(agreement.remote, agreement.remote_rtcp)

    # The end

    def hang_up(self, cause: EndCause = EndCause.LOCAL_HANGUP) -> None:
        """BYE, CANCEL or a final response, by the state of the call; nothing when it is over."""
        self.driver.place(lambda now: self._sip_call.hang_up(now, cause))

    def give_up(self) -> None:
        """Nobody waits for the answer to our call any more: take it back, or end it."""
        if self.call is None:
            self._release()  # the INVITE never left
        elif self.ended is None:
            self.hang_up()

    def finish(self, cause: EndCause, status: int | None, phrase: str) -> None:
        """The SIP call is over: release the media, tell the leg and whoever waits."""
        self.ended = reason = CallEnded(cause, status, phrase)
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
        if self._media is not None:
            self.driver.plane.release(self._media)
            self._media = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _description(message: Message) -> SessionDescription | None:
    """Return the session description of a message, None when it has no body.

    Raises:
        ParseError: the body is no description.
    """
    body = message.body
    if body is None or isinstance(body, SessionDescription):
        return body
    if message.content_type not in (None, _SDP):
        return None
    raise ParseError("the body is not a session description", status=400)


def _first_address(offer: SessionDescription) -> HostPort | None:
    """Return where the first audio stream of an offer wants its packets."""
    for section in offer.media:
        if section.media == "audio" and section.port:
            connection = offer.connection_of(section)
            return None if connection is None else HostPort(connection.host, section.port)
    return None


def _formats(call_class: type[RTPCall]) -> list[MediaDescription]:
    """Return what a class would speak, best first, with the packet time of the first.

    Raises:
        NegotiationError: the class has no codec.
    """
    codecs = getattr(call_class, "PREFERRED_CODECS", [])
    if not codecs:
        raise NegotiationError(f"{call_class.__name__} has no codec to offer")
    formats = [codec.to_payload_format() for codec in codecs]
    attributes = []
    milliseconds = round(1000 * codecs[0].timestamp_increment / codecs[0].rtp_clock_rate_hz)
    if milliseconds != 20:
        attributes.append(Attribute("ptime", str(milliseconds)))
    return [MediaDescription("audio", 0, "RTP/AVP", formats, attributes)]

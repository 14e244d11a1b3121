"""The session descriptions of one call: what was offered, what was sent, what is agreed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip.audio.call import AudioCall
from voip.errors import NegotiationError, ParseError
from voip.sdp.answering import AnswerBook, Offer
from voip.sdp.messages import SessionDescription
from voip.sdp.negotiation import Agreement, LocalMedia, accept_answer, make_answer, make_offer
from voip.sdp.types import Attribute, MediaDescription

if TYPE_CHECKING:
    from collections.abc import Hashable

    from voip.rtp.call import RTPCall
    from voip.sip.messages import Message

__all__ = ["AnswerBooks", "CallDescription", "description_of", "formats_of", "has_description"]

_SDP = "application/sdp"
_MOST_BOOKS = 64
_OWN_CHOICE = AudioCall.negotiate_codec.__func__  # type: ignore[attr-defined]


def has_description(message: Message) -> bool:
    """Tell whether the body of a message is a session description.

    Raises:
        ParseError: there is a body, and nothing says what it is.
    """
    if not message.raw_body:
        return False
    kind = message.content_type
    if kind is None:
        raise ParseError("the body is not a session description", status=400)
    return kind == _SDP


def description_of(message: Message) -> SessionDescription | None:
    """Return the session description of a message, None when it has none.

    Raises:
        ParseError: the body is no description.
    """
    if not has_description(message):
        return None
    body = message.body
    assert isinstance(body, SessionDescription)
    return body


class AnswerBooks:
    """What is remembered of offers that were answered, for each class of legs.

    Only for classes that choose as `AudioCall` does, by their codecs: what an override of
    `negotiate_codec` looks at is its own business, so it is asked for each call.
    """

    def __init__(self) -> None:
        self._books: dict[Hashable, AnswerBook] = {}

    def open(self, call_class: type[RTPCall], offer: bytes) -> Offer:
        """Read an offer to a class of legs.

        Raises:
            ParseError: it is no session description.
        """
        choose = call_class.negotiate_codec
        if getattr(choose, "__func__", None) is not _OWN_CHOICE:
            return AnswerBook(choose, size=0).open(offer)
        assert issubclass(call_class, AudioCall)
        codecs, seconds = call_class.PREFERRED_CODECS, call_class.RTP_PACKET_DURATION_SECS
        key = (call_class, seconds, *codecs)
        book = self._books.get(key)
        if book is None:
            if len(self._books) >= _MOST_BOOKS:
                self._books.clear()
            book = self._books[key] = AnswerBook(choose)
        return book.open(offer)


class CallDescription:
    """Our side of a call's descriptions.

    Attributes:
        local: what we say about our side.
        offered: our last offer, None while we only answered.
        sent: our last description, as it went on the wire.
        agreement: what offer and answer agreed on last.
    """

    __slots__ = ("agreement", "local", "offered", "sent")

    def __init__(self, local: LocalMedia) -> None:
        self.local = local
        self.offered: SessionDescription | None = None
        self.sent = b""
        self.agreement: Agreement | None = None

    def offer(self, call_class: type[RTPCall]) -> bytes:
        """Offer what a class speaks, for the first time.

        Raises:
            NegotiationError: the class has no codec.
        """
        self.offered = make_offer(formats_of(call_class), local=self.local)
        self.sent = bytes(self.offered)
        return self.sent

    def answer(self, offer: Offer) -> tuple[bytes, Agreement]:
        """Answer the first offer.

        Raises:
            NegotiationError: no usable audio, or no codec in common.
        """
        self.sent, self.agreement = answered = offer.answer(self.local)
        return answered

    def take(self, answer: SessionDescription | None, where: str) -> Agreement:
        """Take the answer to our offer.

        Args:
            answer: the description, None when there was none.
            where: what should have held it, for the error.

        Raises:
            NegotiationError: there is none, the stream was refused, or it does not fit the offer.
        """
        if answer is None or self.offered is None:
            raise NegotiationError(f"{where} has no answer")
        self.agreement = accept_answer(self.offered, answer)
        return self.agreement

    def reoffer(self, call_class: type[RTPCall]) -> bytes:
        """Offer anew what a class speaks: our stream keeps its place (RFC 3264 §8).

        Raises:
            NegotiationError: the class has no codec.
        """
        self.local.version += 1
        previous = SessionDescription.parse(self.sent)
        self.offered = make_offer(formats_of(call_class), local=self.local, previous=previous)
        self.sent = bytes(self.offered)
        return self.sent

    def reanswer(
        self, offer: SessionDescription, call_class: type[RTPCall]
    ) -> tuple[bytes, Agreement]:
        """Answer a re-offer; the version grows only when our description changed (RFC 3264 §8).

        Raises:
            NegotiationError: no usable audio, or no codec in common.
        """
        choose, previous = call_class.negotiate_codec, self.agreement
        answer, agreement = make_answer(offer, choose=choose, local=self.local, previous=previous)
        if bytes(answer) != self.sent:
            self.local.version += 1
            answer, agreement = make_answer(
                offer, choose=choose, local=self.local, previous=previous
            )
        self.sent = bytes(answer)
        return self.sent, agreement


def formats_of(call_class: type[RTPCall]) -> list[MediaDescription]:
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

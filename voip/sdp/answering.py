"""Answering many offers cheaply: what became of a media part is remembered.

The phones of one make, and all calls of one trunk, send the same offer again and again: only the
o= line, the port of the stream and our own port and session id differ. Such an offer need not be
read and answered anew; a remembered one costs 4 µs instead of 24. The result is always that of
`make_answer(SessionDescription.parse(offer), ...)`, and nothing in it is shared with another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from voip.sdp.messages import SessionDescription
from voip.sdp.negotiation import Agreement, LocalMedia, make_answer
from voip.sdp.types import Attribute, Direction, MediaDescription, RTPPayloadFormat
from voip.types import HostPort

__all__ = ["AnswerBook", "Offer"]

#: A longer offer, with candidates and fingerprints, never comes twice.
MAX_REMEMBERED_BYTES = 2048
#: The addresses of ours under which one offer may be remembered; a host has few.
MAX_ADDRESSES = 4

# A second port, and secrets: they are of one call only, and not ours to keep.
_SINGULAR = re.compile(rb"\n(?:k=|a=(?:rtcp:|crypto:|ice-|key-mgmt:))").search
# The head of an offer that may be remembered: an o= line that makes sense, since it is read anew in
# each offer, whole lines, and a stream with one port. By `find` and `split` this takes 1.7 times as
# long (1.7 µs).
_USUAL = re.compile(
    rb"v=0\r\no=[^ \r\n\0]+(?: [^ \r\n\0]+){5,}"
    rb"(\r\n(?:[^m\r\n\0][^\r\n\0]*\r\n)*m=audio )([1-9][0-9]{0,4}) "
).match
_new = object.__new__
_pair = tuple.__new__


class AnswerBook:
    """Answers offers; what became of a media part is remembered, so that the next costs little.

    Remembered is what does not vary from call to call: the lines of the offer but o=, without the
    port of the stream, and beside them our address and whether we share a port with RTCP. Offers
    with more than one m= line, a=rtcp: or secrets, very long or unusual ones, and answers by which
    we hold are made in full each time; so is whatever fails.
    """

    def __init__(
        self, choose: Callable[[MediaDescription], MediaDescription], *, size: int = 256
    ) -> None:
        """Make an empty book.

        Args:
            choose: the leg's `negotiate_codec`; it has to be pure, and to care about formats and
                attributes only: it is asked once for all offers that are alike.
            size: how many different offers are remembered; 0 where `choose` is not pure.
        """
        self._choose = choose
        self._size = size
        self._known: dict[bytes, _Known] = {}

    def open(self, offer: bytes) -> Offer:
        """Read an offer.

        Raises:
            ParseError: it cannot be represented, or is over a limit.
        """
        key, port = _split(offer)
        known = self._known.get(key) if port else None
        if known is not None:
            return Offer(self, offer, key, port, known, None, _pair(HostPort, (known.host, port)))
        parsed = SessionDescription.parse(offer)
        return Offer(self, offer, key, port, None, parsed, _first_address(parsed))

    def _answer(self, offer: Offer, local: LocalMedia) -> tuple[bytes, Agreement]:
        """Answer in full, and remember what may be."""
        # An answer shares formats with the description that it was made from: one serves once.
        parsed, offer._parsed = offer._parsed or SessionDescription.parse(offer._raw), None
        description, agreement = make_answer(parsed, choose=self._choose, local=local)
        body = bytes(description)
        worth = self._size > 0 and offer._port > 0 and _is_plain(local)
        if worth and _is_usual(offer._key, agreement):
            self._remember(offer, local, body, agreement)
        return body, agreement

    def _remember(self, offer: Offer, local: LocalMedia, body: bytes, agreed: Agreement) -> None:
        known = offer._known or self._known.get(offer._key)
        if known is None:
            assert offer.remote is not None  # without c= there is no answer
            known = _Known(offer.remote.host)
        if len(known.answers) >= MAX_ADDRESSES:
            known.answers.clear()
        if len(self._known) >= self._size:
            self._known.clear()
        known.answers[local.address, local.rtcp_mux] = _Answer(local, body, agreed)
        self._known[offer._key] = known


class Offer:
    """One offer, ready to be answered.

    Attributes:
        remote: where the first audio stream that has a port wants its packets, as the offer spells
            it; None when no stream or no c= line says so.
    """

    __slots__ = ("_book", "_description", "_key", "_known", "_parsed", "_port", "_raw", "remote")

    def __init__(
        self,
        book: AnswerBook,
        raw: bytes,
        key: bytes,
        port: int,
        known: _Known | None,
        parsed: SessionDescription | None,
        remote: HostPort | None,
    ) -> None:
        self._book = book
        self._raw = raw
        self._key = key
        self._port = port
        self._known = known
        self._parsed = parsed
        self._description: SessionDescription | None = None
        self.remote = remote

    @property
    def description(self) -> SessionDescription:
        """The whole offer; changing it changes no answer."""
        if self._description is None:
            self._description = SessionDescription.parse(self._raw)
        return self._description

    def answer(self, local: LocalMedia) -> tuple[bytes, Agreement]:
        """Answer the offer, as `make_answer` does.

        Args:
            local: our side.

        Returns:
            The answer as it goes on the wire, and what is agreed by it.

        Raises:
            NegotiationError: no usable audio; UnsupportedCodecError when no codec is common.
        """
        known = self._known
        if known is not None and _is_plain(local):
            answer = known.answers.get((local.address, local.rtcp_mux))
            if answer is not None:
                return answer.body(local), answer.agreement(local.port, self._port)
        return self._book._answer(self, local)


class _Known:
    """What is remembered of an offer: the host of its c= line, and the answers that it got."""

    __slots__ = ("answers", "host")

    def __init__(self, host: str) -> None:
        self.host = host
        self.answers: dict[tuple[str, bool], _Answer] = {}


class _Answer:
    """An answer and its agreement without what varies; holds nothing that can be changed."""

    __slots__ = (
        "attributes",
        "direction",
        "flags",
        "formats",
        "has_event",
        "payload_types",
        "proto",
        "ptime_ms",
        "remote_host",
        "wire",
    )

    def __init__(self, local: LocalMedia, body: bytes, agreed: Agreement) -> None:
        head = b"v=0\r\no=- %d %d " % (local.session_id, local.version)
        stream = b"\r\nm=audio %d " % local.port
        session, _, section = body.removeprefix(head).replace(b"%", b"%%").partition(stream)
        self.wire = b"v=0\r\no=- %d %d " + session + b"\r\nm=audio %d " + section
        media = agreed.media
        self.proto = media.proto
        self.formats = tuple(
            (one.payload_type, one.encoding_name, one.sample_rate, one.channels, one.fmtp)
            for one in media.fmt
        )
        self.attributes = tuple((one.name, one.value) for one in media.attributes)
        self.remote_host = None if agreed.remote is None else agreed.remote.host
        self.flags = (agreed.rtcp_mux, agreed.send, agreed.receive, agreed.held)
        self.ptime_ms = agreed.ptime_ms
        self.has_event = agreed.telephone_event is not None
        self.payload_types = agreed.payload_types
        self.direction: Direction = agreed.direction

    def body(self, local: LocalMedia) -> bytes:
        """Return the answer as it goes on the wire."""
        return self.wire % (local.session_id, local.version, local.port)

    def agreement(self, local_port: int, remote_port: int) -> Agreement:
        """Return an agreement of its own, down to the last list.

        Made without the constructors: they take 2.5 times as long (7 µs).
        """
        formats: list[RTPPayloadFormat] = []
        for values in self.formats:
            fmt = _new(RTPPayloadFormat)
            fmt.payload_type, fmt.encoding_name, fmt.sample_rate, fmt.channels, fmt.fmtp = values
            formats.append(fmt)
        attributes: list[Attribute] = []
        for name, value in self.attributes:
            attribute = _new(Attribute)
            attribute.name, attribute.value = name, value
            attributes.append(attribute)
        media = _new(MediaDescription)
        media.media, media.port, media.proto = "audio", local_port, self.proto
        media.fmt, media.attributes, media.bandwidths, media._raw = formats, attributes, [], []
        media.connection = media.title = media.key = None
        media.port_count, media.tokens = 1, ()
        made = _new(Agreement)
        made.index, made.media = 0, media
        made.rtcp_mux, made.send, made.receive, made.held = self.flags
        host = self.remote_host
        if host is None:
            made.remote = made.remote_rtcp = None
        else:
            made.remote = remote = _pair(HostPort, (host, remote_port))
            beside = remote if made.rtcp_mux else _pair(HostPort, (host, remote_port + 1))
            made.remote_rtcp = beside
        made.ptime_ms = self.ptime_ms
        made.telephone_event = formats[1] if self.has_event else None
        made.payload_types = self.payload_types
        made.direction = self.direction
        return made


def _split(offer: bytes) -> tuple[bytes, int]:
    """Return what may be remembered of an offer, and the port that is left out; 0: in full."""
    found = _USUAL(offer) if len(offer) <= MAX_REMEMBERED_BYTES else None
    if found is not None:
        port = int(found[2])
        if port < 65535:  # the last port has no RTCP beside it
            return found[1] + offer[found.end() :], port
    return b"", 0


def _is_plain(local: LocalMedia) -> bool:
    """Tell whether our side varies in nothing but ports and numbers."""
    rtcp_port = local.rtcp_port
    return local.direction == "sendrecv" and (rtcp_port is None or rtcp_port == local.port + 1)


def _is_usual(key: bytes, agreed: Agreement) -> bool:
    """Tell whether an offer with this key, and what came of it, may be remembered."""
    # Another type than ours, which `choose` may return, could not be made again.
    ours = all(type(one) is RTPPayloadFormat for one in agreed.media.fmt)
    return ours and key.count(b"\nm=") == 1 and _SINGULAR(key) is None


def _first_address(offer: SessionDescription) -> HostPort | None:
    """Return where the first audio stream of an offer wants its packets."""
    for section in offer.media:
        if section.media == "audio" and section.port:
            connection = offer.connection_of(section)
            return None if connection is None else HostPort(connection.host, section.port)
    return None

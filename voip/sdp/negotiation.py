"""Offer and answer (RFC 3264) as pure functions that end in an agreement.

One audio stream over RTP/AVP is agreed on; every other m= line of an offer is refused with port 0,
in its place. The local leg chooses the codec (`choose`), this module does the rest: addresses,
directions and every form of hold, RTCP, packet time, telephone-event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from voip.errors import NegotiationError, UnsupportedCodecError
from voip.sdp.formats import first_common, numbered, telephone_event, telephone_events
from voip.sdp.messages import SessionDescription, media_host
from voip.sdp.types import (
    Attribute,
    ConnectionData,
    Direction,
    MediaDescription,
    Origin,
    RTPPayloadFormat,
    Timing,
    parse_digits,
)
from voip.types import HostPort

__all__ = ["Agreement", "LocalMedia", "accept_answer", "make_answer", "make_offer"]

#: AVPF only adds feedback that may be left unused (RFC 4585 §4.1); SAVP needs keys.
_PLAIN = ("RTP/AVP", "RTP/AVPF")


@dataclass(slots=True)
class LocalMedia:
    """What a local description says about our side.

    Attributes:
        address: the IP literal under which the peer reaches us.
        port: the RTP port.
        rtcp_port: the RTCP port; None is the next one (RFC 3550 §11).
        session_id: the same in every description of one session (RFC 3264 §8).
        version: one more in every changed description of one session.
        direction: what we would do if the peer let us; "sendonly" or "inactive" is our own hold.
        rtcp_mux: whether RTP and RTCP may share the port (RFC 5761).
    """

    address: str
    port: int
    rtcp_port: int | None = None
    session_id: int = 0
    version: int = 0
    direction: str = "sendrecv"
    rtcp_mux: bool = False


@dataclass(slots=True)
class Agreement:
    """What offer and answer agreed on, seen from our side.

    Attributes:
        index: the place of the stream among the m= lines.
        media: the section as the local leg keeps it: the codec is `fmt[0]`, telephone-event
            follows. Its payload types are those that we send.
        remote: where RTP goes; None when the peer gave no address (hold by `0.0.0.0`).
        remote_rtcp: where RTCP goes.
        rtcp_mux: whether RTCP shares the RTP port.
        send: whether we may send audio.
        receive: whether audio may come.
        held: whether the peer put us on hold: it does not listen, though we would speak.
        ptime_ms: the packet time that the peer asked for, in steps of 10 ms; else ours, else 20.
        telephone_event: the format of key presses (RFC 4733), None when not negotiated.
        payload_types: the numbers under which packets may arrive.
        direction: our own direction, as our description says.
    """

    index: int
    media: MediaDescription
    remote: HostPort | None
    remote_rtcp: HostPort | None
    rtcp_mux: bool
    send: bool
    receive: bool
    ptime_ms: int = 20
    telephone_event: RTPPayloadFormat | None = None
    held: bool = False
    payload_types: frozenset[int] = field(default_factory=frozenset)
    direction: Direction = Direction.SENDRECV

    @property
    def codec(self) -> RTPPayloadFormat:
        """The format of the audio.

        Raises:
            NegotiationError: somebody took it out of the section.
        """
        formats = self.media.fmt
        if not formats:
            raise NegotiationError("the section has no format")
        return formats[0]


# Offers


def make_offer(
    formats: Iterable[MediaDescription | RTPPayloadFormat],
    *,
    local: LocalMedia,
    previous: SessionDescription | None = None,
) -> SessionDescription:
    """Offer one audio stream.

    Args:
        formats: the formats in order of preference, or sections that hold them; telephone-event is
            added once per clock rate (RFC 4733 §7.1.1).
        local: our side.
        previous: our last description of this session: its m= lines keep their number and place
            (RFC 3264 §8), those that are not our stream are refused.

    Returns:
        The offer.
    """
    attributes: list[Attribute] = []
    offered: list[RTPPayloadFormat] = []
    for one in formats:
        if isinstance(one, MediaDescription):
            offered.extend(one.fmt)
            attributes.extend(_packet_times(one))
        else:
            offered.append(one)
    offered = numbered(offered)
    offered += telephone_events(offered)
    if not offered:
        raise NegotiationError("nothing to offer")
    attributes += _transport(local, Direction(local.direction), mux=False)
    if local.rtcp_mux:
        attributes.append(Attribute("rtcp-mux"))
    stream = MediaDescription("audio", local.port, "RTP/AVP", offered, attributes)
    sections = [_refusal(one) for one in previous.media] if previous is not None else []
    place = _own_place(previous)
    sections[place : place + 1] = [stream]
    return _describe(local, sections, [Timing()])


def accept_answer(offer: SessionDescription, answer: SessionDescription) -> Agreement:
    """Take the answer to our offer.

    Raises:
        NegotiationError: the stream was refused, or the answer does not fit the offer.
    """
    if len(answer.media) != len(offer.media):
        raise NegotiationError("an answer has as many m= lines as its offer (RFC 3264 §6)")
    if not offer.media:
        raise NegotiationError("the offer has no audio stream")
    index = _own_place(offer)
    ours, theirs = offer.media[index], answer.media[index]
    if not theirs.port:
        raise NegotiationError("the audio stream was refused")
    if theirs.media != ours.media or theirs.proto != ours.proto:
        raise NegotiationError(f"the answer is {theirs.media} over {theirs.proto}")
    codec = first_common(theirs.fmt, ours.fmt)
    if codec is None:
        names = ", ".join(str(one) for one in theirs.fmt)
        raise NegotiationError(f"the answer has no format of the offer: {names}")
    event = telephone_event(theirs.fmt, codec)
    if event is not None and not any(event.matches(one) for one in ours.fmt):
        event = None
    # RFC 3264 §5.1: packets to us bear our numbers, packets to the peer bear the peer's.
    wanted = [codec] if event is None else [codec, event]
    arriving = {one.payload_type for one in wanted}
    arriving |= {one.payload_type for one in ours.fmt if any(one.matches(two) for two in wanted)}
    mux = ours.attribute("rtcp-mux") is not None and theirs.attribute("rtcp-mux") is not None
    agreement = _agree(answer, index, wanted, mux=mux, local=offer.direction_of(ours))
    agreement.payload_types = frozenset(arriving)
    if theirs.attribute("ptime") is None:
        agreement.ptime_ms = min(agreement.ptime_ms, _ptime_ms(ours))
    return agreement


# Answers


def make_answer(
    offer: SessionDescription,
    *,
    choose: Callable[[MediaDescription], MediaDescription],
    local: LocalMedia,
    previous: Agreement | None = None,
) -> tuple[SessionDescription, Agreement]:
    """Answer an offer.

    Args:
        offer: the peer's description.
        choose: the leg's `negotiate_codec`: takes the section with all that was offered, returns
            one with the chosen format, and its own `ptime` where it needs one.
        local: our side.
        previous: what was agreed before, in a re-offer: its m= line comes first, and its codec
            stays while it is still offered.

    Returns:
        The answer and what is agreed by it.

    Raises:
        NegotiationError: no usable audio; UnsupportedCodecError when `choose` finds no codec.
    """
    index, chosen = _choose(offer, choose, previous)
    theirs = offer.media[index]
    codec = chosen.fmt[0]
    event = telephone_event(theirs.fmt, codec)
    formats = [codec] if event is None else [codec, event]
    mux = local.rtcp_mux and theirs.attribute("rtcp-mux") is not None
    agreement = _agree(offer, index, formats, mux=mux, local=Direction(local.direction))
    own_times = _packet_times(chosen)
    asked = parse_digits(own_times[0].value or "", 200) if own_times else None
    if asked:
        agreement.ptime_ms = asked
    section = agreement.media
    section.port = local.port
    section.attributes.append(Attribute("ptime", f"{agreement.ptime_ms}"))
    section.attributes += _transport(local, agreement.direction, mux=mux)
    sections = [section if one is theirs else _refusal(one) for one in offer.media]
    # RFC 3264 §6: "The "t=" line in the answer MUST be equal to that of the offer."
    return _describe(local, sections, list(offer.timings)), agreement


def _choose(
    offer: SessionDescription,
    choose: Callable[[MediaDescription], MediaDescription],
    previous: Agreement | None,
) -> tuple[int, MediaDescription]:
    """Pick the m= line and the format; the first failure is raised when none will do."""
    order = list(enumerate(offer.media))
    if previous is not None and previous.index < len(order):
        order.insert(0, order.pop(previous.index))
    failure: NegotiationError | None = None
    for index, section in order:
        if section.media != "audio" or not section.port:
            continue
        if section.proto not in _PLAIN:
            # RELIABILITY: never plain RTP in an SAVP answer.
            words = "needs SRTP" if "SAVP" in section.proto else "is not RTP"
            failure = failure or NegotiationError(f"the offer {words}: {section.proto}")
            continue
        try:
            return index, _choose_format(section, choose, previous)
        except NegotiationError as refused:
            failure = failure or refused
    raise failure or NegotiationError("the offer has no audio stream")


def _choose_format(
    section: MediaDescription,
    choose: Callable[[MediaDescription], MediaDescription],
    previous: Agreement | None,
) -> MediaDescription:
    """Ask the leg, for the codec in use first: a hold must not change the codec."""
    if not section.fmt:  # a leg may look at the first without a question
        raise UnsupportedCodecError("the m= line has no format")
    views = [section]
    if previous is not None:
        kept = previous.media.fmt[:1]
        same = [fmt for fmt in section.fmt if any(fmt.matches(one) for one in kept)]
        if same:
            views.insert(0, replace(section, fmt=same))
    for view in views:
        try:
            chosen = choose(view)
        except NotImplementedError as refused:  # the contract lets a leg's own override raise it
            failure = refused
            continue
        if not chosen.fmt:
            raise NegotiationError("negotiate_codec returned no format")
        return chosen
    if isinstance(failure, NegotiationError):
        raise failure
    raise UnsupportedCodecError(str(failure)) from failure


# Both


def _agree(
    peer: SessionDescription,
    index: int,
    formats: list[RTPPayloadFormat],
    *,
    mux: bool,
    local: Direction,
) -> Agreement:
    """Read the peer's section beside what we want."""
    theirs = peer.media[index]
    remote, remote_rtcp = _addresses(peer, theirs, mux=mux)
    direction = peer.direction_of(theirs)
    # RFC 3264 §6.1: what the peer does not receive we do not send, and the other way round.
    # §8.4: no address is the old form of hold; nothing can be sent, whatever the attribute says.
    listens = direction.receives and remote is not None
    speaks = local.sends
    send, receive = speaks and listens, local.receives and direction.sends
    return Agreement(
        index,
        MediaDescription("audio", theirs.port, theirs.proto, list(formats)),
        remote,
        remote_rtcp,
        mux,
        send,
        receive,
        _ptime_ms(theirs),
        telephone_event=formats[1] if len(formats) > 1 else None,
        held=not listens and speaks,
        payload_types=frozenset([one.payload_type for one in formats]),
        direction=Direction.of(send=send, receive=receive),
    )


def _addresses(
    session: SessionDescription, media: MediaDescription, *, mux: bool
) -> tuple[HostPort | None, HostPort | None]:
    """Return where RTP and RTCP go, or None twice when the peer gave no address."""
    connection = session.connection_of(media)
    if connection is None:
        raise NegotiationError("the description has no c= line")
    host = media_host(connection)
    if host is None:
        return None, None
    remote = HostPort(host, media.port)
    if mux:
        return remote, remote
    told = media.value("rtcp")
    if told:
        # RFC 3605 §2.1: a=rtcp:53020 or a=rtcp:53020 IN IP6 2001:db8::1.
        number, *words = told.split(" ")
        port = parse_digits(number, 65535)
        if port:
            own = media_host(ConnectionData(*words)) if len(words) == 3 else None
            return remote, HostPort(own or host, port)
    return remote, HostPort(host, media.port + 1) if media.port < 65535 else None


def _ptime_ms(media: MediaDescription) -> int:
    """Return the packet time that the peer wants: 10 to 60 ms in steps of 10."""
    told, limit = media.value("ptime"), media.value("maxptime")
    if told is None and limit is None:
        return 20
    wanted = parse_digits(told or "", 1000) or 20
    longest = parse_digits(limit or "", 10_000) or 60
    # RFC 8866 §6.4: ptime is a recommendation; maxptime is a limit.
    return max(10, min(wanted, longest, 60) // 10 * 10)


def _packet_times(media: MediaDescription) -> list[Attribute]:
    found = media.attribute("ptime")
    return [] if found is None else [found]


def _own_place(description: SessionDescription | None) -> int:
    """Return the place of our stream in a description of our own."""
    if description is not None:
        for place, section in enumerate(description.media):
            if section.media == "audio" and section.port:
                return place
    return 0


def _refusal(section: MediaDescription) -> MediaDescription:
    """Return a section with port 0 and the offer's formats (RFC 3264 §6)."""
    return MediaDescription(
        section.media,
        0,
        section.proto,
        [RTPPayloadFormat(fmt.payload_type) for fmt in section.fmt],
        tokens=section.tokens,
    )


def _transport(local: LocalMedia, direction: Direction, *, mux: bool) -> list[Attribute]:
    """Return the attributes that tell our RTCP and our direction."""
    own = [Attribute(direction.value)]
    if mux:
        own.insert(0, Attribute("rtcp-mux"))
    elif local.rtcp_port is not None and local.rtcp_port != local.port + 1:
        own.insert(0, Attribute("rtcp", str(local.rtcp_port)))
    return own


def _describe(
    local: LocalMedia, sections: list[MediaDescription], timings: list[Timing]
) -> SessionDescription:
    where = ConnectionData.to(local.address)
    origin = Origin(
        "-", str(local.session_id), str(local.version), "IN", where.addrtype, local.address
    )
    return SessionDescription(origin, connection=where, media=sections, timings=timings)

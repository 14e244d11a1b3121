"""Session descriptions (RFC 8866): bytes in, bytes out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from voip.errors import NegotiationError, ParseError
from voip.sdp.types import (
    Attribute,
    Bandwidth,
    ConnectionData,
    Direction,
    MediaDescription,
    Origin,
    Timing,
    add_bandwidth,
    direction_of,
)
from voip.types import canonical_ip, is_unspecified

__all__ = ["SessionDescription", "media_host"]

MAX_BYTES = 16 * 1024
MAX_MEDIA = 16
MAX_ATTRIBUTES = 512
MAX_CANDIDATES = 64


@dataclass(slots=True)
class SessionDescription:
    """A session description.

    Text that is not UTF-8 survives a round trip; a bare LF ends a line as CRLF does (RFC 8866 §5).

    Attributes:
        origin: o=.
        name: s=; "-" when there is none.
        connection: the session-level c=, or None.
        media: the m= sections in order; an answer has as many as its offer (RFC 3264 §6).
        attributes: the session-level a= lines.
        timings: the t= lines.
        title: i=, or None.
        uri: u=, or None.
        emails: the e= lines.
        phones: the p= lines.
        bandwidths: the b= lines.
        time_zones: z=, or None.
        key: k=, or None.
    """

    origin: Origin
    name: str = "-"
    connection: ConnectionData | None = None
    media: list[MediaDescription] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=lambda: [Timing()])
    title: str | None = None
    uri: str | None = None
    emails: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    bandwidths: list[Bandwidth] = field(default_factory=list)
    time_zones: str | None = None
    key: str | None = field(default=None, repr=False)
    _raw: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def parse(cls, data: bytes | str) -> SessionDescription:
        """Read a session description.

        Raises:
            ParseError: it cannot be represented, or is over a limit.
        """
        session, *sections = _text(data).split("\nm=")
        if len(sections) > MAX_MEDIA:
            raise ParseError("too many m= lines")
        described = cls._session(session.split("\n"))
        for section in sections:
            first, *rows = section.split("\n")
            # Most hold attributes and nothing else; to count takes a quarter of asking each row.
            plain = section.count("\na=") == len(rows)
            described.media.append(MediaDescription._parse(first, rows, plain=plain))
        return described

    @classmethod
    def _session(cls, rows: list[str]) -> SessionDescription:
        """Read the part before the first m= line."""
        if rows[0].rstrip(" ") != "v=0":
            raise ParseError("a session description starts with v=0", rows[0])
        described = cls.__new__(cls)
        # Whole from the start: what is refused may be shown, in the locals of a traceback.
        described.origin = cast(Origin, None)
        described.connection = described.title = described.uri = None
        described.time_zones = described.key = None
        described.name = "-"
        described.media = []
        described.timings = []
        described.emails = []
        described.phones = []
        described.bandwidths = []
        described._raw = raw = []
        origin = None
        for row in rows[1:]:
            letter = row[:2]
            if letter == "a=":
                raw.append(row)
            elif letter == "o=":
                origin = Origin.parse(row[2:])
            elif letter == "s=":
                described.name = row[2:]
            elif letter == "t=":
                described.timings.append(Timing.parse(row[2:]))
            elif letter == "c=":
                described.connection = ConnectionData.parse(row[2:])
            else:
                described._take(row)
        if origin is None:
            raise ParseError("no o= line")
        described.origin = origin
        # s= and t= are mandatory too (§5), but their absence hides nothing from us.
        described.timings = described.timings or [Timing()]
        return described

    def _take(self, row: str) -> None:
        """Take one of the rarer lines."""
        letter, value = row[:2], row[2:]
        if letter == "b=":
            add_bandwidth(self.bandwidths, value)
        elif letter == "r=" and self.timings:
            self.timings[-1].repeats += (value,)
        elif letter == "e=":
            self.emails.append(value)
        elif letter == "p=":
            self.phones.append(value)
        elif letter in _TEXTS:
            setattr(self, _TEXTS[letter], value)
        else:
            # RFC 8866 §5: a type letter that is not understood spoils the whole description.
            raise ParseError("unknown or misplaced line", row)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Read the session-level a= lines when `attributes` is first wanted."""
            if name != "attributes":
                raise AttributeError(name)
            self.attributes = [Attribute.parse(row[2:]) for row in self._raw]
            return self.attributes

    def attribute(self, name: str) -> Attribute | None:
        """Return the first session-level attribute of that name, or None."""
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        return None

    def direction_of(self, media: MediaDescription) -> Direction:
        """Return the direction of a section: its own, the session's, or sendrecv (§6.7)."""
        own = media.direction or direction_of(self.attributes)
        return Direction.SENDRECV if own is None else own

    def connection_of(self, media: MediaDescription) -> ConnectionData | None:
        """Return the connection data that hold for a section: its own, else the session's."""
        return media.connection or self.connection

    def lines(self) -> Iterator[str]:
        """Yield the lines in the order of RFC 8866 §5, without their ends."""
        return iter(self._rows())

    def _rows(self) -> list[str]:
        rows = ["v=0", f"o={self.origin!s}", f"s={self.name}"]
        if self.title is not None:
            rows.append(f"i={self.title}")
        if self.uri is not None:
            rows.append(f"u={self.uri}")
        for email in self.emails:
            rows.append(f"e={email}")
        for phone in self.phones:
            rows.append(f"p={phone}")
        if self.connection is not None:
            rows.append(f"c={self.connection!s}")
        for bandwidth in self.bandwidths:
            rows.append(f"b={bandwidth}")
        for timing in self.timings:
            rows.append(f"t={timing!s}")
            for repeat in timing.repeats:
                rows.append(f"r={repeat}")
        if self.time_zones is not None:
            rows.append(f"z={self.time_zones}")
        if self.key is not None:
            rows.append(f"k={self.key}")
        for attribute in self.attributes:
            rows.append(f"a={attribute!s}")
        for media in self.media:
            rows += media._rows()
        return rows

    def __bytes__(self) -> bytes:
        """Return the description as it goes on the wire.

        Raises:
            ValueError: a value holds CR, LF or NUL, which would forge lines.
        """
        rows = self._rows()
        count = len(rows)
        text = "\r\n".join((*rows, ""))
        if text.count("\r") != count or text.count("\n") != count or "\0" in text:
            raise ValueError("a value of the session description holds CR, LF or NUL")
        return text.encode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        return bytes(self).decode("utf-8", "replace")


_TEXTS = {"i=": "title", "u=": "uri", "z=": "time_zones", "k=": "key"}


def _text(data: bytes | str) -> str:
    """Return the lines of a description, joined by LF, when its size and its line ends are sane."""
    if len(data) > MAX_BYTES:
        raise ParseError("session description too long", data[:64], status=413)
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    text = text.replace("\r\n", "\n").rstrip("\n")
    if "\r" in text or "\0" in text:
        raise ParseError("bare CR or NUL in a session description")
    # A shorter text has no room for so many.
    if len(text) > MAX_CANDIDATES * len("\na=candidate:") and (
        text.count("\na=") > MAX_ATTRIBUTES or text.count("\na=candidate:") > MAX_CANDIDATES
    ):
        raise ParseError("too many attributes")
    return text


def media_host(connection: ConnectionData) -> str | None:
    """Return the IP literal of a c= line, None for "no address" (hold).

    Raises:
        NegotiationError: it is no IP literal.
    """
    host = connection.host
    if len(host) > 255:  # as long as a name may be (RFC 1035 §2.3.4)
        raise NegotiationError(f"the media address is no IP address: {host[:64]!r}")
    return _literal(host)


# The same few peers call again and again, and reading an address costs more than all the rest of
# an answer (6 µs each); what is remembered is bounded and cannot change a result.
@lru_cache(maxsize=1024)
def _literal(host: str) -> str | None:
    """Return an IP literal in its one spelling, None for "no address".

    A host name would be looked up once per packet, or held against another address than the one
    that the policy saw, so only literals are taken.
    """
    # RFC 3264 §8.4, and a name under .invalid for those who have no 0.0.0.0 to write.
    if is_unspecified(host) or host.lower().endswith(".invalid"):
        return None
    address = canonical_ip(host)
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise NegotiationError(f"the media address is no IP address: {host[:64]!r}") from None
    return address

"""The fields of a session description (RFC 8866) as values.

A media section that came off the wire keeps its `a=` lines as text until somebody asks for `fmt`
or `attributes`: most messages are only routed, or refused by their m= line. What can go wrong is
decided when the text is parsed; reading later never raises, an attribute that makes no sense
simply stays an attribute.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voip.errors import ParseError
from voip.sdp.formats import (
    NUMBERS,
    PAYLOAD_TYPES,
    RTPPayloadFormat,
    StaticFormat,
    parse_digits,
    take_line,
)

__all__ = [
    "PAYLOAD_TYPES",
    "Attribute",
    "Bandwidth",
    "ConnectionData",
    "Direction",
    "MediaDescription",
    "Origin",
    "RTPPayloadFormat",
    "StaticFormat",
    "Timing",
    "parse_digits",
]


def _words(line: str) -> list[str]:
    words = line.split(" ")
    return [word for word in words if word] if "" in words else words


class Direction(enum.StrEnum):
    """Which way media flows, seen by the side that wrote the attribute (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @classmethod
    def of(cls, *, send: bool, receive: bool) -> Direction:
        """Return the direction of a side that sends, receives, both, or neither."""
        if send:
            return cls.SENDRECV if receive else cls.SENDONLY
        return cls.RECVONLY if receive else cls.INACTIVE

    @property
    def sends(self) -> bool:
        """Whether the side that wrote it sends."""
        return "send" in self

    @property
    def receives(self) -> bool:
        """Whether the side that wrote it receives."""
        return "recv" in self


@dataclass(slots=True)
class Origin:
    """Who made the description, and which version of it this is (o=, RFC 8866 §5.2)."""

    username: str
    sess_id: str
    sess_version: str
    nettype: str
    addrtype: str
    unicast_address: str

    @classmethod
    def parse(cls, value: str) -> Origin:
        """Read the value of an o= line.

        Raises:
            ParseError: fewer than six words.
        """
        words = value.split(" ")
        if len(words) == 6 and "" not in words:
            return cls(*words)
        words = [word for word in words if word]
        if len(words) < 6:
            raise ParseError("o= needs six words", value)
        # Some phones put a display name with blanks in front; the other five words are fixed.
        return cls(" ".join(words[:-5]), *words[-5:])

    def __str__(self) -> str:
        return (
            f"{self.username} {self.sess_id} {self.sess_version}"
            f" {self.nettype} {self.addrtype} {self.unicast_address}"
        )


@dataclass(slots=True)
class ConnectionData:
    """Where media is received (c=, RFC 8866 §5.7)."""

    nettype: str
    addrtype: str
    connection_address: str

    @classmethod
    def parse(cls, value: str) -> ConnectionData:
        """Read the value of a c= line.

        Raises:
            ParseError: not three words.
        """
        words = _words(value)
        if len(words) != 3:
            raise ParseError("c= needs three words", value)
        return cls(*words)

    @classmethod
    def to(cls, address: str) -> ConnectionData:
        """Return the connection data for an IPv4 or unbracketed IPv6 literal."""
        return cls("IN", "IP6" if ":" in address else "IP4", address)

    @property
    def host(self) -> str:
        """The address without the time to live and the count of a multicast address."""
        return self.connection_address.partition("/")[0]

    def __str__(self) -> str:
        return f"{self.nettype} {self.addrtype} {self.connection_address}"


@dataclass(slots=True)
class Bandwidth:
    """A proposed bandwidth (b=, RFC 8866 §5.8), in kilobits per second for CT and AS."""

    bwtype: str
    bandwidth: int

    def __str__(self) -> str:
        return f"{self.bwtype}:{self.bandwidth}"


@dataclass(slots=True)
class Timing:
    """When the session is active (t=, RFC 8866 §5.9), with the r= lines that follow it."""

    start_time: int = 0
    stop_time: int = 0
    repeats: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: str) -> Timing:
        """Read the value of a t= line.

        Raises:
            ParseError: not two numbers.
        """
        if value == "0 0":
            return cls()
        numbers = [parse_digits(word, 10**19, digits=19) for word in _words(value)]
        if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
            raise ParseError("t= needs two numbers", value)
        return cls(numbers[0], numbers[1])

    def __str__(self) -> str:
        return f"{self.start_time} {self.stop_time}"


# Keys travel in them (RFC 4568, RFC 8839 §5.4); a repr ends up in logs.
_SECRETS = ("crypto", "ice-pwd")


@dataclass(slots=True)
class Attribute:
    """One a= line (RFC 8866 §5.13); `value` is None for a property such as `sendrecv`."""

    name: str
    value: str | None = None

    @classmethod
    def parse(cls, value: str) -> Attribute:
        """Read the value of an a= line."""
        name, colon, rest = value.partition(":")
        return cls(name, rest if colon else None)

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"

    def __repr__(self) -> str:
        secret = self.value is not None and self.name.lower() in _SECRETS
        return f"Attribute({self.name!r}, {'***' if secret else self.value!r})"


@dataclass(slots=True)
class MediaDescription:
    """One m= section (RFC 8866 §5.14).

    Attributes:
        media: "audio", "video", "image" …
        port: 0 refuses the stream (RFC 3264 §6).
        proto: "RTP/AVP", "RTP/SAVP" …
        fmt: the formats in order of preference, rtpmap and fmtp included; empty unless RTP.
        attributes: the other a= lines, in order.
        connection: the section's own c=, or None.
        title: i=, or None.
        bandwidths: the b= lines.
        port_count: the number of ports (`49170/2`).
        key: k=, or None; obsolete, kept as it is.
        tokens: the formats of a transport that is not RTP.
    """

    media: str
    port: int
    proto: str
    fmt: list[RTPPayloadFormat] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    connection: ConnectionData | None = None
    title: str | None = None
    bandwidths: list[Bandwidth] = field(default_factory=list)
    port_count: int = 1
    key: str | None = field(default=None, repr=False)
    tokens: tuple[str, ...] = ()
    _raw: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def parse(cls, lines: str | Iterable[str]) -> MediaDescription:
        """Read one section, its m= line first.

        Args:
            lines: the section as text, or its lines without their ends.

        Raises:
            ParseError: the m= line or the form of another line is wrong.
        """
        rows = lines.replace("\r\n", "\n").split("\n") if isinstance(lines, str) else list(lines)
        if not rows or not rows[0].startswith("m="):
            raise ParseError("a media section starts with m=", "".join(rows[:1]))
        return cls._parse(rows[0][2:], [row for row in rows[1:] if row])

    @classmethod
    def _parse(cls, first: str, rows: list[str], *, plain: bool = False) -> MediaDescription:
        words = _words(first)
        if len(words) < 3:
            raise ParseError("m= needs media, port and transport", first)
        media = cls.__new__(cls)
        media.media, port, media.proto, *formats = words
        media.port_count = 1
        if "/" in port:
            port, _, count = port.partition("/")
            media.port_count = parse_digits(count, 65535) or 0
        number = parse_digits(port, 65535)
        if number is None or not media.port_count or len(formats) > 64:
            raise ParseError("malformed m=", first)
        media.port = number
        media.tokens = tuple(formats)
        if "RTP/" in media.proto and not NUMBERS.keys() >= set(formats):
            raise ParseError("an RTP format is a payload type", first)
        media.connection = media.title = media.key = None
        media.bandwidths = []
        media._raw = raw = rows if plain else []
        for row in () if plain else rows:
            if row.startswith("a="):
                raw.append(row)
            else:
                media._take(row)
        return media

    def _take(self, row: str) -> None:
        """Take a line of the section that is no attribute."""
        letter, value = row[:2], row[2:]
        if letter == "c=":
            # Several c= lines are the addresses of one multicast session (§5.7): the first serves.
            self.connection = self.connection or ConnectionData.parse(value)
        elif letter == "b=":
            add_bandwidth(self.bandwidths, value)
        elif letter == "i=":
            self.title = value
        elif letter == "k=":
            self.key = value
        else:
            # RFC 8866 §5: a type letter that is not understood spoils the whole description.
            raise ParseError("unknown or misplaced line", row)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Read the a= lines when `fmt` or `attributes` is first wanted."""
            if name not in ("fmt", "attributes"):
                raise AttributeError(name)
            self._settle()
            return getattr(self, name)

    def _settle(self) -> None:
        formats: dict[str, RTPPayloadFormat] = {}
        if "RTP/" in self.proto:
            number_of = RTPPayloadFormat.of_number
            for token in self.tokens:
                formats[token] = number_of(NUMBERS[token])
            self.tokens = ()
        mapped: set[str] = set()
        self.attributes = attributes = []
        for row in self._raw:
            if row.startswith(("a=rtpmap:", "a=fmtp:")) and take_line(row, formats, mapped):
                continue
            name, colon, value = row[2:].partition(":")
            attributes.append(Attribute(name, value if colon else None))
        self.fmt = list(formats.values())
        self._raw = []

    @property
    def direction(self) -> Direction | None:
        """The section's own direction attribute, or None; the last one counts."""
        return direction_of(self.attributes)

    def attribute(self, name: str) -> Attribute | None:
        """Return the first attribute of that name, or None."""
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        return None

    def value(self, name: str) -> str | None:
        """Return the value of the first attribute of that name, or None."""
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute.value
        return None

    def get_format(self, payload_type: int) -> RTPPayloadFormat | None:
        """Return the format with that payload type, or None."""
        for fmt in self.fmt:
            if fmt.payload_type == payload_type:
                return fmt
        return None

    def lines(self) -> Iterator[str]:
        """Yield the lines of the section in the order of RFC 8866 §5, without their ends."""
        return iter(self._rows())

    def _rows(self) -> list[str]:
        ports = f"{self.port}/{self.port_count}" if self.port_count > 1 else f"{self.port}"
        fmt = self.fmt
        formats = [str(one.payload_type) for one in fmt] or self.tokens
        rows = [" ".join((f"m={self.media}", ports, self.proto, *formats))]
        if self.title is not None:
            rows.append(f"i={self.title}")
        if self.connection is not None:
            rows.append(f"c={self.connection}")
        for bandwidth in self.bandwidths:
            rows.append(f"b={bandwidth}")
        if self.key is not None:
            rows.append(f"k={self.key}")
        for known in fmt:
            if (rtpmap := known.rtpmap) is not None:
                rows.append(f"a=rtpmap:{known.payload_type} {rtpmap}")
            if known.fmtp is not None:
                rows.append(f"a=fmtp:{known.payload_type} {known.fmtp}")
        for one in self.attributes:
            value = one.value
            rows.append(f"a={one.name}" if value is None else f"a={one.name}:{value}")
        return rows

    def __str__(self) -> str:
        return "".join(f"{line}\r\n" for line in self.lines())


def direction_of(attributes: list[Attribute]) -> Direction | None:
    """Return the direction among some attributes, or None; the last one counts."""
    found = None
    for attribute in attributes:
        if attribute.name in _DIRECTIONS and attribute.value is None:
            found = _DIRECTIONS[attribute.name]
    return found


_DIRECTIONS = {direction.value: direction for direction in Direction}


def add_bandwidth(bandwidths: list[Bandwidth], value: str) -> None:
    """Take the value of a b= line; one that makes no sense proposes nothing and is left out."""
    name, _, number = value.partition(":")
    kilobits = parse_digits(number, 0xFFFFFFFF)
    if name and kilobits is not None:
        bandwidths.append(Bandwidth(name, kilobits))
